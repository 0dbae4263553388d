import { attempt, send } from "/js/api.js";

const token = location.hash.slice(1);
const [about, form] = ["about", "join"].map((id) => document.getElementById(id));

await attempt(async () => {
  const { tenant, email, role } = await send("/auth/invitations/read", { token });
  about.textContent = `${email} is invited to join ${tenant} as ${role}.`;
  form.elements.username.value = email;
});
form.onsubmit = (event) => {
  event.preventDefault();
  attempt(async () => {
    const { name, password } = form.elements;
    await send("/auth/join", { token, password: password.value, ...(name.value && { name: name.value }) });
    location.assign("/dashboard/");
  });
};
