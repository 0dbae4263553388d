import { attempt, send } from "/js/api.js";

const token = location.hash.slice(1);

document.getElementById("setup").onsubmit = (event) => {
  event.preventDefault();
  const { name, email, password, team, slug } = Object.fromEntries(new FormData(event.target));
  attempt(async () => {
    await send("/auth/signup", { name, email, password, tenant: { name: team, slug }, ...(token && { token }) });
    location.assign("/dashboard/");
  });
};

// If there are accounts but no operator, a signed-in owner can become the operator.
document.getElementById("take").onclick = () => attempt(async () => {
  await send("/auth/setup", { token });
  location.assign("/dashboard/");
});
