import { attempt, send } from "/js/api.js";

const token = location.hash.slice(1);

document.getElementById("reset").onsubmit = (event) => {
  event.preventDefault();
  const { password } = event.target.elements;
  attempt(async () => {
    await send("/auth/reset", { token, password: password.value });
    location.assign("/dashboard/login#reset");
  });
};
