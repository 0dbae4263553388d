// Tables: of rows of data, and of things with links.
import { h, show } from "./dom.js";
import { csv, number, value } from "./format.js";
import { save } from "./api.js";

// Most rows that a table shows, and most characters of a cell; a longer one opens in a dialog.
const ROWS = 1000;
const CHARACTERS = 120;

// Has the arrow keys, Home and End move among the rows' links and buttons.
export function arrows(table) {
  table.addEventListener("keydown", (event) => {
    const row = event.target.closest("tbody tr");
    const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    if (!row || !(event.key in steps) || event.target.matches("input, select, textarea")) return;
    const rows = [...table.querySelectorAll("tbody tr")].filter((other) => other.querySelector("a, button"));
    const place = [...row.querySelectorAll("a, button")].indexOf(event.target);
    const next = Math.min(rows.length - 1, Math.max(0, rows.indexOf(row) + steps[event.key]));
    const inRow = [...rows[next].querySelectorAll("a, button")];
    (inRow[place] ?? inRow[0]).focus();
    event.preventDefault();
  });
  return table;
}

// A table of things: `heads` are names, or [name, class]; a row is a list of cells, whose first one names it.
export function list(caption, heads, rows) {
  const named = heads.map((head) => (Array.isArray(head) ? head : [head]));
  const cell = (content, index) => h(index === 0 ? "th" : "td", { scope: index === 0 && "row", class: named[index][1] }, content);
  const row = (cells) => h("tr", {}, cells.map(cell));
  const table = h("table", {},
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, named.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)))),
    h("tbody", {}, rows.map(row)));
  return { box: h("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, arrows(table)), add: (cells) => table.tBodies[0].append(row(cells)) };
}

const isNumber = (content) => typeof content === "number" || typeof content === "bigint";

function cell(content, name) {
  if (content === null || content === undefined) return h("td", {}, h("span", { class: "null" }, "NULL"));
  const text = value(content);
  if (text.length <= CHARACTERS && !text.includes("\n")) return h("td", { class: isNumber(content) && "number" }, text);
  const open = () => show(name, text);
  return h("td", {}, h("button", { type: "button", class: "plain", onclick: open, title: "Show all of it" }, `${text.slice(0, CHARACTERS)}…`));
}

// A table of data. With `sort`, heads are buttons: { by, descending, onsort(column) }.
export function grid(caption, { columns, rows }, sort) {
  const head = (name, index) => {
    const isSorted = sort?.by === name;
    const order = isSorted ? (sort.descending ? "descending" : "ascending") : undefined;
    const mark = isSorted ? (sort.descending ? " ↓" : " ↑") : "";
    const content = sort ? h("button", { type: "button", onclick: () => sort.onsort(name) }, name, h("span", { "aria-hidden": "true" }, mark)) : name;
    const kind = rows.some((row) => isNumber(row[index])) && rows.every((row) => isNumber(row[index]) || row[index] === null) && "number";
    return h("th", { scope: "col", "aria-sort": order, class: kind }, content);
  };
  const table = h("table", { class: "data" },
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, columns.map(head))),
    h("tbody", {}, rows.slice(0, ROWS).map((row) => h("tr", {}, row.map((content, index) => cell(content, columns[index]))))));
  const hidden = rows.length - ROWS;
  return h("div", {},
    h("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, arrows(table)),
    hidden > 0 && h("p", { class: "hint" }, `The first ${number(ROWS)} rows are shown; the CSV has all ${number(rows.length)}.`));
}

export function downloader(name, { columns, rows }) {
  const download = () => save(`${name}.csv`, new Blob([csv(columns, rows)], { type: "text/csv" }));
  return h("button", { type: "button", class: "quiet", onclick: download }, "Download CSV");
}
