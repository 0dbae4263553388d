import { api, attempt, element, send } from "/js/api.js";
import { recently } from "/js/recent.js";

const rows = document.getElementById("keys");
const made = document.getElementById("made");

async function show() {
  const { items } = await api("/auth/keys");
  rows.replaceChildren(...items.map((key) => {
    const revoke = element("button", { className: "quiet", textContent: "Revoke", type: "button" });
    revoke.setAttribute("aria-label", `Revoke ${key.name}`);
    revoke.onclick = () => attempt(async () => { await api(`/auth/keys/${key.id}`, { method: "DELETE" }); await show(); });
    const cells = [key.name, `iso_${key.prefix}`, key.scopes.join(", "), key.last_used_at ?? "never", key.expires_at?.slice(0, 10) ?? ""];
    return element("tr", {}, ...cells.map((textContent) => element("td", { textContent })), element("td", { className: "number" }, revoke));
  }));
  if (!items.length) rows.append(element("tr", {}, element("td", { colSpan: 6, className: "empty", textContent: "No keys yet." })));
}

document.getElementById("new").onsubmit = (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    const { name, scopes, days } = Object.fromEntries(new FormData(form));
    const expires_at = new Date(Date.now() + days * 86_400_000).toISOString();
    const { key } = await recently(() => send("/auth/keys", { name, scopes: [scopes], expires_at }));
    made.replaceChildren("Copy the key now. It will not be shown again: ", element("code", { textContent: key }));
    form.reset();
    await show();
  });
};
await attempt(show);
