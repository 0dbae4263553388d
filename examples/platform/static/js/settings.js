import { api, attempt, element, send } from "/js/api.js";
import { track } from "/js/track.js";

const message = document.getElementById("message");
const themes = [["", "As the system"], ["light", "Light"], ["dark", "Dark"], ["forest", "Forest"], ["ocean", "Ocean"], ["contrast", "High contrast"]];
document.getElementById("themes").replaceChildren(...themes.map(([value, name]) => {
  const choice = element("input", { type: "radio", name: "theme", value, checked: (localStorage.getItem("theme") ?? "") === value });
  choice.onchange = () => {
    if (value) localStorage.setItem("theme", value); else localStorage.removeItem("theme");
    const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    document.getElementById("theme").href = `/themes/${value || preferred}.css`;
    track("theme_changed", { theme: value || "system" });
  };
  return element("label", {}, choice, name);
}));

async function show() {
  const [{ items: providers }, { items: connections }] = await Promise.all([api("/auth/oauth"), api("/oauth_connections?limit=200")]);
  document.getElementById("providers").replaceChildren(...providers.map(({ name, title }) => {
    const button = element("button", { type: "button", className: "quiet", textContent: `Connect ${title}` });
    button.onclick = () => attempt(async () => {
      const { url } = await send(`/auth/oauth/${name}`, { intent: "connect", return_to: "/dashboard/settings" });
      location.assign(url);
    });
    return button;
  }));
  const rows = connections.map((it) => {
    const remove = element("button", { type: "button", className: "quiet", textContent: "Disconnect" });
    remove.setAttribute("aria-label", `Disconnect ${it.provider} ${it.label}`);
    remove.onclick = () => attempt(async () => { await api(`/oauth_connections/${it.id}`, { method: "DELETE" }); await show(); });
    return element("tr", {}, ...[it.provider, it.label, it.status].map((textContent) => element("td", { textContent })), element("td", { className: "number" }, remove));
  });
  if (!rows.length) rows.push(element("tr", {}, element("td", { colSpan: 4, className: "empty", textContent: providers.length ? "None yet." : "None; no provider is set up here." })));
  document.getElementById("connections").replaceChildren(...rows);
}

document.getElementById("password").onsubmit = (event) => {
  event.preventDefault();
  const { current, new: fresh } = event.target.elements;
  attempt(async () => {
    await send("/auth/password", { current: current.value, new: fresh.value });
    event.target.reset();
    message.textContent = "The password is changed; every other session has ended.";
  });
};
document.getElementById("everywhere").onclick = () => attempt(async () => {
  await api("/auth/logout-everywhere", { method: "POST" });
  location.assign("/dashboard/login");
});
await attempt(show);
