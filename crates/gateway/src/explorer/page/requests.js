// The log of an application's requests, which are events of a dataset.
import { ask, current } from "./api.js";
import { address, announce, attempt, facts, h, note, title } from "./dom.js";
import { bytes, milliseconds, moment, number, plural, quoted, time } from "./format.js";
import { chart } from "./chart.js";
import { list } from "./grid.js";

// Spans with their names, the step of their chart with its name, and both in minutes.
const SPANS = [
  ["15 MINUTE", "Last 15 minutes", "1 MINUTE", "by minute", 15, 1],
  ["1 HOUR", "Last hour", "5 MINUTE", "by 5 minutes", 60, 5],
  ["1 DAY", "Last day", "1 HOUR", "by hour", 1440, 60],
  ["7 DAY", "Last 7 days", "6 HOUR", "by 6 hours", 10080, 360],
];
const STATUSES = [["", "Any"], ["2", "2xx"], ["3", "3xx"], ["4", "4xx"], ["5", "5xx"]];
const METHODS = ["", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const MOST = 200;
// The number of requests that an event stands for. Events of older versions do not say it; each stands for itself.
const WEIGHT = "if(double4 = 0, 1.0, double4)";

const text = (value) => `'${value.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
const interval = (span) => span.replace(/^(\d+) (\w+)$/, "INTERVAL '$1' $2");

// The conditions of a search, as SQL.
function conditions({ span, route, method, status, slowest }) {
  return [
    "blob1 = 'request'", `timestamp > now() - ${interval(span)}`,
    route && `position(${text(route)} IN blob2) > 0`, method && `blob3 = ${text(method)}`,
    status && `substring(blob4, 1, 1) = ${text(status)}`, slowest > 0 && `double1 >= ${Number(slowest)}`,
  ].filter(Boolean).join(" AND ");
}

export async function view({ query, signal }) {
  const shown = {
    span: SPANS.some(([span]) => span === query.get("span")) ? query.get("span") : "1 HOUR",
    route: query.get("route") ?? "", method: query.get("method") ?? "", status: query.get("status") ?? "", slowest: Number(query.get("slowest")) || 0,
  };
  const problem = h("div", {});
  const place = h("div", { id: "log" });
  const refresh = h("button", { type: "button", class: "quiet", onclick: () => attempt(refresh, problem, load) }, "Refresh");
  const load = async () => place.replaceChildren(...(await log(shown, signal)));
  await load();
  return [title("Requests"), h("p", { class: "muted" }, "What the application has answered. Routes are patterns, without values."), search(shown, refresh), problem, place];
}

function search(shown, refresh) {
  const select = (name, label, options) => h("label", {}, label, h("select", { name }, options.map(([value, text]) => h("option", { value, selected: value === shown[name] }, text))));
  const submit = (event) => {
    event.preventDefault();
    location.hash = address(["requests"], Object.fromEntries(new FormData(event.target)));
  };
  return h("form", { class: "row", id: "search", role: "search", onsubmit: submit },
    select("span", "Time", SPANS),
    h("label", { class: "grow" }, "Route contains", h("input", { name: "route", value: shown.route, autocomplete: "off", spellcheck: "false" })),
    select("method", "Method", METHODS.map((method) => [method, method || "Any"])),
    select("status", "Status", STATUSES),
    h("label", {}, "At least (ms)", h("input", { name: "slowest", type: "number", min: "0", step: "any", value: shown.slowest || "" })),
    h("button", {}, "Search"), refresh);
}

async function log(shown, signal) {
  const dataset = quoted(current().requests);
  const where = conditions(shown);
  const span = SPANS.find(([span]) => span === shown.span);
  const counts = `sum(${WEIGHT}) AS requests, sumIf(${WEIGHT}, blob4 >= '500') AS failed`;
  const quantile = (level) => `quantileExactWeighted(${level})(double1, toUInt32(${WEIGHT}))`;
  const [total, steps, newest] = await Promise.all([
    ask(`SELECT ${counts}, ${quantile(0.5)} AS middle, ${quantile(0.95)} AS slow FROM ${dataset} WHERE ${where}`, signal),
    ask(`SELECT toStartOfInterval(timestamp, ${interval(span[2])}) AS started, ${counts} FROM ${dataset} WHERE ${where} GROUP BY started ORDER BY started`, signal),
    ask(`SELECT timestamp, blob3, blob2, blob4, double1, double3, double2, blob5, blob6 FROM ${dataset} WHERE ${where} ORDER BY timestamp DESC LIMIT ${MOST}`, signal),
  ]);
  announce(plural(newest.rows.length, "request"));
  if (newest.rows.length === 0) return [note("No request is like this.")];
  const [requests, failed, middle, slow] = total.rows[0].map(Number);
  return [
    facts(["Requests", number(requests)], ["Failed (5xx)", `${number(failed)} (${number((100 * failed) / requests)} %)`], ["Median", milliseconds(middle)], ["95 % within", milliseconds(slow)]),
    chart("bars", drawn(steps.rows, span), `Requests and failures, ${span[3]}`),
    list("Requests", [["Time", "nowrap"], "Method", ["Route", "name"], "Status", ["Duration", "number"], ["Databases", "number"], ["Bytes", "number"], "Cache", "Country"], newest.rows.map(row)).box,
    newest.rows.length === MOST && h("p", { class: "hint" }, `The newest ${MOST} are shown.`),
  ].filter(Boolean);
}

// Every step of a span, those without a request, too.
function drawn(rows, [, , , , minutes, each]) {
  const step = each * 60000;
  const last = Math.floor(Date.now() / step) * step;
  const found = new Map(rows.map(([started, requests, failed]) => [moment(started).getTime(), [Number(requests), Number(failed)]]));
  const places = Array.from({ length: minutes / each + 1 }, (_, index) => last - (minutes / each - index) * step);
  const values = (index) => places.map((place) => found.get(place)?.[index] ?? 0);
  return { labels: places.map((place) => time(place).slice(5, 16)), places, isTimed: true, series: [{ name: "Requests", values: values(0) }, { name: "Failed", values: values(1) }] };
}

function row([at, method, route, status, duration, databases, size, cache, country]) {
  const kind = status >= "500" ? "badge bad" : status >= "400" ? "badge warn" : "badge good";
  return [time(moment(at)), method, route, h("span", { class: kind }, status), milliseconds(duration), databases > 0 ? milliseconds(databases) : "", bytes(size), cache === "none" ? "" : cache, country];
}
