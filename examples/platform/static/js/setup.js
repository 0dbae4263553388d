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

// Where there were accounts before there was an operator: an owner who is signed in may take the place.
document.getElementById("take").onclick = () => attempt(async () => {
  await send("/auth/setup", { token });
  location.assign("/dashboard/");
});
