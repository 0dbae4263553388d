import { api, attempt, element } from "/js/api.js";

await attempt(async () => {
  // Inside Workers events are only written: the page does without their summary.
  const unread = { requests: "-", errors: "-", routes: [] };
  const summary = await api("/events/summary").catch((error) => { if (error.status === 501) return unread; throw error; });
  const [tenants, images, projects] = await Promise.all(["/tenants", "/images", "/projects"].map((path) => api(path)));
  const figures = [["Requests", summary.requests], ["Server errors", summary.errors], ["Tenants", tenants.length], ["Media files", images.length], ["Legacy projects", projects.length]];
  document.getElementById("figures").replaceChildren(...figures.map(([name, value]) =>
    element("div", { className: "card" }, element("h3", { textContent: name }), element("div", { className: "figure", textContent: value }))));
  const most = Math.max(1, ...summary.routes.map((route) => route.requests));
  document.getElementById("routes").replaceChildren(...summary.routes.map((route) => {
    const share = element("div", { className: "share" });
    share.style.width = `${(100 * route.requests) / most}%`;
    return element("tr", {},
      element("td", { textContent: route.route }), element("td", {}, share),
      element("td", { className: "number", textContent: route.requests }),
      element("td", { className: "number", textContent: route.errors }),
      element("td", { className: "number", textContent: route.median_ms.toFixed(2) }));
  }));
});
