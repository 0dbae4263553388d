import { api, attempt, element, send } from "/js/api.js";
import { recently } from "/js/recent.js";

const [form, made, members] = ["invite", "made", "members"].map((id) => document.getElementById(id));

async function show() {
  const me = await api("/auth/me");
  const { items } = await api("/auth/members");
  members.replaceChildren(...items.map((member) => {
    const role = element("select", { disabled: me.role !== "owner" }, ...["viewer", "member", "admin", "owner"].map((name) => element("option", { textContent: name, selected: name === member.role })));
    role.setAttribute("aria-label", `Role of ${member.name}`);
    role.onchange = () => attempt(async () => {
      const headers = { "content-type": "application/json", "if-match": "*" };
      try { await api(`/memberships/${member.id}`, { method: "PATCH", headers, body: JSON.stringify({ role: role.value }) }); } finally { await show(); }
    });
    return element("tr", {}, element("td", { textContent: member.name }), element("td", { textContent: member.email }), element("td", {}, role));
  }));
}

form.onsubmit = (event) => {
  event.preventDefault();
  attempt(async () => {
    const { email, ...rest } = Object.fromEntries(new FormData(form));
    const { token, mailed } = await recently(() => send("/auth/invitations", { email, ...rest }));
    const url = new URL(`/dashboard/join#${token}`, location);
    if (mailed) made.replaceChildren(`An invitation is on its way to ${email}. Its link is valid for a week.`);
    else made.replaceChildren("Send them this link. It is valid for a week and works once: ", element("code", { textContent: url }));
    form.reset();
  });
};
await attempt(show);
