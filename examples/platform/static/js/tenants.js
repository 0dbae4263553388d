import { api, attempt, element, send } from "/js/api.js";

const rows = document.getElementById("tenants");

async function show() {
  const tenants = await api("/tenants");
  rows.replaceChildren(...tenants.map((tenant) => {
    const remove = element("button", { className: "quiet", textContent: "Delete", type: "button" });
    remove.setAttribute("aria-label", `Delete ${tenant.name}`);
    remove.onclick = () => attempt(async () => { await api(`/tenants/${tenant.id}`, { method: "DELETE" }); await show(); });
    return element("tr", {}, element("td", { textContent: tenant.name }), element("td", { textContent: tenant.slug }),
      element("td", { textContent: tenant.created_at }), element("td", { className: "number" }, remove));
  }));
  if (!tenants.length) rows.append(element("tr", {}, element("td", { colSpan: 4, className: "empty", textContent: "No tenants yet: create the first above." })));
}

document.getElementById("new").onsubmit = (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    await send("/tenants", Object.fromEntries(new FormData(form)));
    form.reset();
    await show();
  });
};
await attempt(show);
