import { api, attempt, element } from "/js/api.js";
import { bars } from "/js/chart.js";

const period = document.getElementById("period");
const cell = (textContent, className = "") => element("td", { textContent, className });
const number = (value, digits = 0) => cell(value.toLocaleString(undefined, { maximumFractionDigits: digits }), "number");

async function show() {
  const hours = Number(period.elements.hours.value);
  const me = await api("/auth/me");
  // Only admins can read statistics. A Worker that is not configured to ask its dataset has none, so the page omits them.
  const unread = { requests: null, series: [], routes: [], events: [] };
  const optional = (error) => { if (error.status === 501) return unread; throw error; };
  const stats = ["admin", "owner"].includes(me.role) ? await api(`/stats?hours=${hours}`).catch(optional) : unread;
  const [images, tickets] = await Promise.all(["/images?limit=200&fields=id", "/support_tickets?status=open&limit=200&fields=id"].map((path) => api(path)));
  document.getElementById("who").textContent = `${me.user.name}, ${me.role} of ${me.tenant.name}`;
  const count = ({ items, next }) => `${items.length}${next ? "+" : ""}`;
  const figures = [
    ["Requests", stats.requests?.count.toLocaleString() ?? "-"], ["Server errors", stats.requests?.errors ?? "-"],
    ["95th percentile", stats.requests ? `${stats.requests.p95_ms.toFixed(1)} ms` : "-"], ["Media files", count(images)], ["Open tickets", count(tickets)],
  ];
  document.getElementById("figures").replaceChildren(...figures.map(([name, value]) =>
    element("div", { className: "card" }, element("h2", { textContent: name }), element("div", { className: "figure", textContent: value }))));
  const label = (at) => new Date(at).toLocaleString(undefined, hours > 24 ? { month: "numeric", day: "numeric" } : { hour: "2-digit", minute: "2-digit" });
  const drawn = (id, title, steps) => document.getElementById(id).replaceChildren(bars(title, steps));
  drawn("requests", "Requests", stats.series.map((step) => ({ label: label(step.at), value: step.count, wrong: step.errors })));
  drawn("times", "Milliseconds", stats.series.map((step) => ({ label: label(step.at), value: Math.round(step.p95_ms * 10) / 10 })));
  const most = Math.max(1, ...stats.routes.map((route) => route.count));
  document.getElementById("routes").replaceChildren(...stats.routes.map((route) => {
    const share = element("div", { className: "share" });
    share.style.setProperty("--part", (100 * route.count) / most);
    return element("tr", {}, cell(route.route), element("td", {}, share), number(route.count), number(route.errors),
      number(route.median_ms, 2), number(route.p95_ms, 2), number(route.database_ms, 2));
  }));
  const events = stats.events.map((event) => element("tr", {}, cell(event.name), number(event.count), number(event.users)));
  if (!events.length) events.push(element("tr", {}, element("td", { colSpan: 3, className: "empty", textContent: "No events yet." })));
  document.getElementById("events").replaceChildren(...events);
}

period.onchange = () => attempt(show);
await attempt(show);
