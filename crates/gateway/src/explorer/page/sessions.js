// Session objects by class: what each has stored, its alarm, and SQL on it. An object is looked into without being started.
import { call } from "./api.js";
import { address, announce, attempt, crumbs, facts, h, note, title } from "./dom.js";
import { bytes, number, plural, quoted, time } from "./format.js";
import { downloader, grid, list } from "./grid.js";
import { editor } from "./console.js";

const path = (...parts) => `/explorer/v1/sessions${parts.map((part) => `/${encodeURIComponent(part)}`).join("")}`;

// Key-value pairs, as text: a key is text, a value JSON.
const PAIRS = "SELECT CAST(key AS TEXT) AS key, CAST(value AS TEXT) AS value FROM _cf_KV ORDER BY key LIMIT 50";

const firstRows = (table) => `SELECT * FROM ${quoted(table)} LIMIT 50`;

export async function view({ parts, signal }) {
  const [kind, id] = parts;
  if (kind === undefined) return overview(signal);
  return id === undefined ? objects(kind, signal) : object(kind, id, signal);
}

async function overview(signal) {
  const { result } = await call(path(), { signal });
  const rows = result.map((kind) => [h("a", { href: address(["sessions", kind]) }, kind)]);
  return [
    title("Session objects"),
    rows.length > 0 ? list("Classes", [["Class", "name"]], rows).box : note("No session object has stored something here yet."),
  ];
}

function row(kind, { id, name, bytes: size, alarm, changed, damage }) {
  const link = h("a", { href: address(["sessions", kind, id]) }, name ?? h("code", {}, id));
  return [link, bytes(size), alarm ? time(alarm) : "", time(changed), damage ? h("span", { class: "badge bad" }, "Damaged") : ""];
}

async function objects(kind, signal) {
  const page = (after) => call(`${path(kind)}?${new URLSearchParams({ limit: "200", ...(after && { after }) })}`, { signal });
  const { result: first } = await page();
  const table = list(`Objects of ${kind}`, [["Object", "name"], ["Size", "number"], ["Alarm", "nowrap"], ["Modified", "nowrap"], "State"], first.objects.map((one) => row(kind, one)));
  let { cursor } = first;
  const problem = h("div", {});
  const next = async () => {
    const { result } = await page(cursor);
    result.objects.forEach((one) => table.add(row(kind, one)));
    cursor = result.cursor;
    more.hidden = !cursor;
    announce(plural(result.objects.length, "more object"));
  };
  const more = h("button", { type: "button", class: "quiet", hidden: !cursor, onclick: () => attempt(more, problem, next) }, "Load more");
  const find = h("input", { name: "object", required: true, autocomplete: "off", spellcheck: "false" });
  const open = (event) => {
    event.preventDefault();
    location.hash = address(["sessions", kind, find.value]);
  };
  return [
    title(kind), crumbs(["Session objects", address(["sessions"])], [kind]),
    h("form", { class: "row", id: "find", onsubmit: open }, h("label", { class: "grow" }, "Object by its name or id", find), h("button", { class: "quiet" }, "Open")),
    first.objects.length > 0 ? table.box : note("No object of this class has stored something yet."),
    h("div", { class: "row" }, more), problem,
  ];
}

async function object(kind, id, signal) {
  const { result } = await call(path(kind, id), { signal });
  const { tables, keys, alarm, alarm_retries, damage, timers, sockets } = result;
  const name = result.name ?? id;
  const { box, text, run } = editor({
    name: `sessions-${kind}`, label: "Statement", signal, hint: "One statement that reads.",
    start: tables.length > 0 ? firstRows(tables[0].name) : keys > 0 ? PAIRS : "SELECT name FROM sqlite_schema",
    run: async (sql, signal) => {
      const answer = (await call(path(kind, id, "query"), { json: { sql }, signal })).result;
      announce(plural(answer.rows.length, "row"));
      return [h("h2", {}, "Result"), h("p", { class: "muted" }, plural(answer.rows.length, "row")), grid("Result", answer), h("div", { class: "row" }, downloader(name, answer))];
    },
  });
  const show = (label, sql) => h("button", { type: "button", class: "plain", onclick: () => ((text.value = sql), run()) }, label);
  const stored = [...tables.map((table) => [show(table.name, firstRows(table.name)), number(table.rows)]), ...(keys > 0 ? [[show("Key-value pairs", PAIRS), number(keys)]] : [])];
  return [
    title(name), crumbs(["Session objects", address(["sessions"])], [kind, address(["sessions", kind])], [name]),
    damage && h("p", { class: "message error", role: "alert" }, damage),
    facts(["Id", h("code", {}, result.id)], ["Size", bytes(result.bytes)], ["Key-value pairs", number(keys)], ["WebSockets", sockets === null ? "known to the application alone, which hosts the object" : number(sockets.length)],
      ["Alarm", alarm ? `${time(alarm)}${alarm_retries > 0 ? `, after ${plural(alarm_retries, "failure")}` : ""}` : "none"], ["Modified", time(result.changed)]),
    stored.length > 0 && list("State", [["Stored", "name"], ["Rows", "number"]], stored).box,
    timers.length > 0 && [h("h2", {}, "Timers"), list("Timers", [["Timer", "name"], ["Runs", "nowrap"], "Cron", ["Failures", "number"]], timers.map(timer)).box],
    sockets?.length > 0 && [h("h2", {}, "WebSockets"), list("WebSockets", [["Number", "nowrap"], ["Tags", "name"], ["Attachment", "name"], "State"], sockets.map(socket)).box],
    !damage && [h("h2", {}, "SQL"), box],
  ].flat().filter(Boolean);
}

const timer = ({ name, due, cron, retries }) => [name, due ? time(due) : "given up", cron ?? "", number(retries)];

const socket = ({ id, tags, attachment, is_open }) => [
  number(id), tags.join(", "), attachment === null ? "" : JSON.stringify(attachment), h("span", { class: is_open ? "badge good" : "badge" }, is_open ? "Open" : "Closing")];
