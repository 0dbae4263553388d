// A bar chart as SVG: one bar for each step, with its value as a tooltip and for screen readers.
const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, FLOOR] = [480, 160, 140];

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// `steps` is [{ label, value, wrong }]: `wrong` is the number of failed ones.
export function bars(title, steps) {
  const most = Math.max(1, ...steps.map(({ value }) => value));
  const chart = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${steps.map(({ label, value }) => `${label} ${value}`).join(", ")}` });
  chart.append(shape("line", { x1: 0, x2: WIDTH, y1: FLOOR, y2: FLOOR }), shape("text", { x: 0, y: 10 }, most.toLocaleString()));
  const width = WIDTH / Math.max(1, steps.length);
  steps.forEach(({ label, value, wrong = 0 }, index) => {
    const [high, bad] = [value, wrong].map((number) => ((FLOOR - 14) * number) / most);
    const [x, wide] = [index * width + 1, Math.max(1, width - 2)];
    const bar = shape("rect", { x, width: wide, y: FLOOR - high, height: high, rx: 2 });
    bar.append(shape("title", {}, `${label}: ${value.toLocaleString()}${wrong ? `, ${wrong} failed` : ""}`));
    chart.append(bar);
    if (wrong) chart.append(shape("rect", { class: "wrong", x, width: wide, y: FLOOR - bad, height: bad, rx: 2 }));
    if (index % Math.ceil(steps.length / 6) === 0) chart.append(shape("text", { x, y: HEIGHT - 5 }, label));
  });
  return chart;
}
