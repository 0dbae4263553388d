import { api, attempt, element, send } from "/js/api.js";
import { recently } from "/js/recent.js";
import { track } from "/js/track.js";

const message = document.getElementById("message");
const themes = [["", "Same as system"], ["light", "Light"], ["dark", "Dark"], ["forest", "Forest"], ["ocean", "Ocean"], ["contrast", "High contrast"]];
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

async function showAddress() {
  const { user } = await api("/auth/me");
  const place = document.getElementById("address");
  place.replaceChildren(user.email, user.email_verified_at ? ", confirmed." : ", not confirmed. ");
  if (user.email_verified_at) return;
  const again = element("button", { type: "button", className: "quiet", id: "send-again", textContent: "Send the link again" });
  again.onclick = () => attempt(async () => {
    await send("/auth/verify/send", {});
    message.textContent = `We have sent a link to ${user.email}.`;
  });
  place.append(again);
}

document.getElementById("email").onsubmit = (event) => {
  event.preventDefault();
  const { email } = event.target.elements;
  attempt(async () => {
    await recently(() => send("/auth/email", { email: email.value }));
    message.textContent = `Open the link that we have sent to ${email.value} to confirm the change.`;
    event.target.reset();
  });
};

async function show() {
  await showAddress();
  const [{ items: providers }, { items: connections }] = await Promise.all([api("/auth/oauth"), api("/oauth_connections?limit=200")]);
  document.getElementById("providers").replaceChildren(...providers.map(({ name, title }) => {
    const button = element("button", { type: "button", className: "quiet", textContent: `Connect ${title}` });
    button.onclick = () => attempt(async () => {
      const { url } = await recently(() => send(`/auth/oauth/${name}`, { intent: "connect", return_to: "/dashboard/settings" }));
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
  if (!rows.length) rows.push(element("tr", {}, element("td", { colSpan: 4, className: "empty", textContent: providers.length ? "No connected accounts yet." : "No sign-in provider is configured." })));
  document.getElementById("connections").replaceChildren(...rows);
}

document.getElementById("password").onsubmit = (event) => {
  event.preventDefault();
  const { current, new: fresh, keep } = event.target.elements;
  attempt(async () => {
    await send("/auth/password", { current: current.value, new: fresh.value, keep_keys: keep.checked });
    event.target.reset();
    message.textContent = "Your password was changed, and your other sessions were signed out.";
  });
};
document.getElementById("everywhere").onclick = () => attempt(async () => {
  await api("/auth/logout-everywhere", { method: "POST" });
  localStorage.removeItem("signed-in");
  location.assign("/dashboard/login");
});
await attempt(show);
