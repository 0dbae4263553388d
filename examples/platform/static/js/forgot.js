import { attempt, send } from "/js/api.js";

document.getElementById("forgot").onsubmit = (event) => {
  event.preventDefault();
  const { email } = event.target.elements;
  attempt(async () => {
    await send("/auth/forgot", { email: email.value });
    document.getElementById("message").textContent = "If there is an account with this address, a link is on its way. It is valid for one hour.";
    event.target.reset();
  });
};
