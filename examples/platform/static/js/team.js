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
    if (mailed) made.replaceChildren(`We have sent an invitation to ${email}. Its link is valid for one week.`);
    else made.replaceChildren("Send this link to the new member. It is valid for one week and works once: ", element("code", { textContent: url }));
    form.reset();
  });
};
await attempt(show);
