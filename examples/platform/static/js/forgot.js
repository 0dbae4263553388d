import { attempt, send } from "/js/api.js";

document.getElementById("forgot").onsubmit = (event) => {
  event.preventDefault();
  const { email } = event.target.elements;
  attempt(async () => {
    await send("/auth/forgot", { email: email.value });
    document.getElementById("message").textContent = "If there is an account with this address, we have sent a link to it. It is valid for one hour.";
    event.target.reset();
  });
};
