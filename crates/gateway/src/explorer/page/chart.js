// A chart of numbers over times or names, as SVG. The table beside it has the same values for those who cannot see it.
import { h, svg } from "./dom.js";
import { number } from "./format.js";

const [WIDTH, HEIGHT] = [760, 260];
const [LEFT, RIGHT, TOP, BOTTOM] = [56, 12, 12, 28];
const SERIES = 6;
const MARKS = 400;
const WIDEST = 48;

const isNumeric = (type) => /^(Nullable\()?(U?Int|Float)/.test(type);
const isTime = (type) => /^Date/.test(type);

// The columns of an answer that can be drawn: the first that is no number, or the first at all, and the numbers.
export function drawable({ columns, types, rows }) {
  if (!types || rows.length === 0) return null;
  const other = types.findIndex((type) => !isNumeric(type));
  const base = other === -1 ? 0 : other;
  const series = columns.map((name, index) => ({ name, index })).filter(({ index }) => index !== base && isNumeric(types[index])).slice(0, SERIES);
  if (series.length === 0) return null;
  const moments = rows.map((row) => (isTime(types[base]) ? Date.parse(`${String(row[base]).replace(" ", "T")}Z`) : NaN));
  const isTimed = moments.every((moment) => !Number.isNaN(moment));
  const order = rows.map((_, index) => index);
  if (isTimed) order.sort((a, b) => moments[a] - moments[b]);
  return {
    base: columns[base],
    labels: order.map((index) => String(rows[index][base])),
    places: isTimed ? order.map((index) => moments[index]) : order.map((_, index) => index),
    isTimed,
    series: series.map(({ name, index }) => ({ name, values: order.map((row) => (rows[row][index] === null ? null : Number(rows[row][index]))) })),
  };
}

// Whole steps of 1, 2 or 5 that hold all values.
function scale(values) {
  // A call takes some ten thousand arguments, and an answer may have more rows.
  const least = values.reduce((one, other) => Math.min(one, other), 0);
  const most = values.reduce((one, other) => Math.max(one, other), 0);
  const rough = (most - least || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  const from = Math.floor(least / step) * step;
  const to = Math.ceil(most / step) * step || step;
  const ticks = Array.from({ length: Math.round((to - from) / step) + 1 }, (_, index) => from + index * step);
  return { ticks, y: (value) => TOP + ((to - value) / (to - from)) * (HEIGHT - TOP - BOTTOM) };
}

function axes({ labels }, x, { ticks, y }) {
  const rules = ticks.map((tick) => [
    svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }),
    svg("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, number(tick)),
  ]);
  const every = Math.ceil(labels.length / 5);
  const names = labels.map((label, index) => index % every === 0 && svg("text", { x: x(index), y: HEIGHT - 9, "text-anchor": index === 0 ? "start" : "middle" }, label.length > 19 ? `${label.slice(0, 18)}…` : label));
  return [...rules, ...names];
}

function lines({ labels, series }, x, { y }) {
  return series.map(({ name, values }, index) => {
    const points = values.map((value, at) => [x(at), value, labels[at]]).filter(([, value]) => value !== null);
    const marks = points.length <= MARKS && points.map(([place, value, label]) =>
      svg("circle", { class: "mark", cx: place, cy: y(value), r: 3 }, svg("title", {}, `${label}: ${name} ${number(value)}`)));
    return svg("g", { class: `s${index}` }, svg("polyline", { class: "line", points: points.map(([place, value]) => `${place},${y(value)}`).join(" ") }), marks);
  });
}

function bars({ labels, series }, x, { y }, width) {
  const each = Math.max(1, width / series.length);
  return series.map(({ name, values }, index) =>
    svg("g", { class: `s${index}` }, values.map((value, at) => value !== null && svg("rect", {
      class: "mark", x: x(at) - width / 2 + index * each, width: Math.max(1, each - 1), y: Math.min(y(0), y(value)), height: Math.abs(y(0) - y(value)),
    }, svg("title", {}, `${labels[at]}: ${name} ${number(value)}`)))));
}

// `kind` is "line" or "bars"; `data` comes from drawable(). Without a caption the columns are named.
export function chart(kind, data, caption) {
  const { labels, places, series, base, isTimed } = data;
  const values = series.flatMap(({ values }) => values).filter((value) => value !== null);
  const ruler = scale(values);
  const [first, last] = [places[0], places.at(-1)];
  const slot = (WIDTH - LEFT - RIGHT) / Math.max(1, labels.length);
  const inSlots = kind === "bars" || !isTimed || first === last;
  const x = (index) => (inSlots ? LEFT + (index + 0.5) * slot : LEFT + ((places[index] - first) / (last - first)) * (WIDTH - LEFT - RIGHT));
  const names = series.map(({ name }) => name).join(", ");
  const text = caption ?? `${kind === "bars" ? "Bar" : "Line"} chart of ${names} by ${base}`;
  const drawn = kind === "bars" ? bars(data, x, ruler, Math.min(WIDEST, slot * 0.8)) : lines(data, x, ruler);
  return h("figure", { class: "chart" },
    h("figcaption", {}, text),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${text}; the table has the values` }, axes(data, x, ruler), drawn),
    h("ul", { class: "legend" }, series.map(({ name }, index) => h("li", { class: `s${index}` }, name))));
}
