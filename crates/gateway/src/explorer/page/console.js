// A console for SQL: an editor, what was run before, results as tables, and plans.
import { announce, attempt, h, note } from "./dom.js";
import { milliseconds, plural } from "./format.js";
import { downloader, grid } from "./grid.js";

const KEPT = 50;

// Statements of one console, kept in this browser, the newest first.
function history(name) {
  const place = `explorer-history-${name}`;
  const read = () => JSON.parse(localStorage.getItem(place) ?? "[]");
  const write = (list) => {
    try {
      localStorage.setItem(place, JSON.stringify(list.slice(0, KEPT)));
    } catch {
      // The browser has no room for it: the statement has run all the same.
    }
  };
  return { read, add: (sql) => write([sql, ...read().filter((other) => other !== sql)]), clear: () => localStorage.removeItem(place) };
}

// `run(sql, signal)` resolves to elements; `explain` likewise, where there are plans.
export function editor({ name, label, start = "", hint, run, explain, signal }) {
  const kept = history(name);
  const text = h("textarea", { id: "sql", spellcheck: "false", autocapitalize: "off", "aria-describedby": "sql-hint", value: start });
  const results = h("div", { id: "results", role: "region", "aria-label": "Results" });
  const problem = h("div", {});
  const past = h("ul", { class: "history" });
  const pastBox = h("details", {}, h("summary", {}, "History"), past, h("button", { type: "button", class: "quiet", onclick: () => (kept.clear(), fill()) }, "Clear history"));
  const fill = () => {
    const statements = kept.read();
    pastBox.hidden = statements.length === 0;
    const take = (sql) => () => {
      text.value = sql;
      text.focus();
    };
    past.replaceChildren(...statements.map((sql) => h("li", {}, h("button", { type: "button", class: "plain", onclick: take(sql), title: sql }, sql.replace(/\s+/g, " ")))));
  };
  const start_ = (button, action) => attempt(button, problem, async () => {
    const sql = text.value.trim();
    if (sql === "") throw new Error("Enter a statement first.");
    results.replaceChildren();
    results.replaceChildren(...(await action(sql, signal)).flat().filter(Boolean));
    kept.add(sql);
    fill();
  });
  const runner = h("button", { type: "button", id: "run", onclick: () => start_(runner, run) }, "Run");
  const explainer = explain && h("button", { type: "button", class: "quiet", id: "explain", onclick: () => start_(explainer, explain) }, "Explain");
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !runner.disabled) {
      event.preventDefault();
      runner.click();
    }
  });
  fill();
  const box = h("div", {},
    h("label", { for: "sql" }, label), text,
    h("p", { class: "hint", id: "sql-hint" }, "Ctrl+Enter runs it. ", hint),
    h("div", { class: "row" }, runner, explainer), pastBox, problem, results);
  return { box, text, run: () => runner.click() };
}

// The results of a database's statements.
export function tables(results, name) {
  const total = results.reduce((sum, { rows }) => sum + rows.length, 0);
  announce(results.length === 1 ? plural(total, "row") : `${plural(results.length, "statement")}, ${plural(total, "row")}`);
  return results.map((result, index) => {
    const { columns, rows, meta } = result;
    const said = [columns.length > 0 && plural(rows.length, "row"), meta.changes > 0 && `${plural(meta.changes, "row")} changed`, milliseconds(meta.duration)];
    const label = results.length === 1 ? "Result" : `Result ${index + 1}`;
    return [
      h("h2", {}, label),
      h("p", { class: "muted" }, said.filter(Boolean).join(" · ")),
      columns.length > 0 && grid(label, result),
      columns.length > 0 && h("div", { class: "row" }, downloader(name, result)),
    ];
  }).flat();
}

// The plan of a statement, as a tree: steps within steps.
export function plan(steps) {
  announce(plural(steps.length, "step"));
  if (steps.length === 0) return [note("SQLite has no plan for this statement: it reads no table.")];
  const below = (parent) => steps.filter((step) => step.parent === parent);
  const branch = (parent, kind) => h("ul", { class: kind }, below(parent).map(({ id, detail }) => h("li", {}, detail, below(id).length > 0 && branch(id))));
  return [h("h2", {}, "Plan"), branch(0, "plan"), h("p", { class: "hint" }, "SCAN reads every row of a table, SEARCH goes by an index.")];
}
