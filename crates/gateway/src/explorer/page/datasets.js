// Datasets: a query editor with charts, and a live tail.
import { ask } from "./api.js";
import { address, announce, crumbs, failure, h, note, tabs, title } from "./dom.js";
import { plural, quoted } from "./format.js";
import { downloader, grid, list } from "./grid.js";
import { chart, drawable } from "./chart.js";
import { editor } from "./console.js";

const POLL = 2000;
const TAIL = 100;

const named = (name) => (/^[A-Za-z_]\w*$/.test(name) ? name : quoted(name));

const examples = (name) => [
  ["Newest points", `SELECT * FROM ${named(name)}\nORDER BY timestamp DESC\nLIMIT 50`],
  ["By hour", `SELECT toStartOfInterval(timestamp, INTERVAL '1' HOUR) AS hour, sum(_sample_interval) AS points\nFROM ${named(name)}\nWHERE timestamp > now() - INTERVAL '1' DAY\nGROUP BY hour\nORDER BY hour`],
  ["By index", `SELECT index1, sum(_sample_interval) AS points, avg(double1) AS mean\nFROM ${named(name)}\nGROUP BY index1\nORDER BY points DESC\nLIMIT 20`],
];

export async function view({ parts, signal }) {
  const [name, part] = parts;
  if (name === undefined) return overview(signal);
  const links = [["query", "Query", address(["datasets", name])], ["tail", "Live tail", address(["datasets", name, "tail"])]];
  return [
    title(name), crumbs(["Datasets", address(["datasets"])], [name]), tabs("Parts of the dataset", links, part ?? "query"),
    ...(part === "tail" ? await tail(name, signal) : asker(name, signal)),
  ];
}

async function overview(signal) {
  const { columns, rows, text } = await ask("SHOW TABLES", signal);
  const names = text === undefined ? rows.map((row) => row[columns.length - 1]) : text.split("\n").filter(Boolean);
  const items = names.map((name) => [h("a", { href: address(["datasets", name]) }, name), h("a", { href: address(["datasets", name, "tail"]) }, "Live tail")]);
  return [title("Datasets"), items.length > 0 ? list("Datasets", [["Name", "name"], "Watch"], items).box : note("There are no datasets yet: one begins with the first point that is written to it.")];
}

function asker(name, signal) {
  const kind = h("select", { id: "kind" }, [["", "Table only"], ["line", "Line"], ["bars", "Bars"]].map(([value, text]) => h("option", { value }, text)));
  const drawn = h("div", { id: "drawn" });
  let answer;
  const draw = () => {
    const data = answer && kind.value && drawable(answer);
    drawn.replaceChildren(...[data && chart(kind.value, data), data === null && note("Nothing to draw: the answer has no column of numbers beside another one.")].filter(Boolean));
  };
  kind.addEventListener("change", draw);
  const { box, text, run } = editor({
    name: "datasets", label: "Query", start: examples(name)[0][1], signal, hint: "The language is that of Workers Analytics Engine.",
    run: async (sql, signal) => {
      answer = await ask(sql, signal);
      if (answer.text !== undefined) {
        const shown = answer.text;
        answer = undefined;
        draw();
        return [h("pre", { tabindex: "0" }, shown)];
      }
      announce(plural(answer.rows.length, "row"));
      if (kind.value === "" && /^Date/.test(answer.types[0]) && !answer.columns.includes("_sample_interval")) kind.value = "line";
      draw();
      return [h("h2", {}, "Result"), h("p", { class: "muted" }, plural(answer.rows.length, "row")), drawn, grid("Result", answer), h("div", { class: "row" }, downloader(name, answer))];
    },
  });
  const presets = examples(name).map(([label, sql]) => h("button", { type: "button", class: "quiet", onclick: () => ((text.value = sql), run()) }, label));
  return [h("div", { class: "row", role: "group", "aria-label": "Examples" }, presets, h("label", {}, "Chart", kind)), box];
}

// Asks for the newest points every other second, and shows them while the view is open.
async function tail(name, signal) {
  const place = h("div", { id: "tail" });
  const state = h("span", { class: "badge good" }, "Live");
  const pause = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => toggle() }, "Pause");
  let isPaused = false;
  const toggle = () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(isPaused));
    state.textContent = isPaused ? "Paused" : "Live";
    state.className = isPaused ? "badge" : "badge good";
  };
  let last;
  const look = async () => {
    const answer = await ask(`SELECT * FROM ${named(name)} ORDER BY timestamp DESC LIMIT ${TAIL}`, signal);
    const found = JSON.stringify(answer.rows);
    if (found === last) return;
    if (last !== undefined) announce("New points");
    last = found;
    place.replaceChildren(answer.rows.length > 0 ? grid("Newest points", used(answer)) : note("No points yet."));
  };
  await look();
  // One query at a time: a large dataset may take longer than the time between two.
  let isAsking = false;
  const timer = setInterval(async () => {
    if (isPaused || isAsking || document.hidden) return;
    isAsking = true;
    try {
      await look();
    } catch (error) {
      if (signal.aborted) return;
      toggle();
      place.replaceChildren(failure(error));
    } finally {
      isAsking = false;
    }
  }, POLL);
  signal.addEventListener("abort", () => clearInterval(timer));
  return [h("div", { class: "row middle" }, state, pause, h("span", { class: "muted" }, `The newest ${TAIL} points, every 2 s`)), place];
}

// Without the columns that no point has something in.
function used({ columns, rows }) {
  const kept = columns.map((_, index) => index).filter((index) => columns[index] !== "dataset" && rows.some((row) => row[index] !== "" && row[index] !== 0 && row[index] !== null));
  return { columns: kept.map((index) => columns[index]), rows: rows.map((row) => kept.map((index) => row[index])) };
}
