import { attempt, send } from "/js/api.js";

const token = location.hash.slice(1);

// Needs a click, as programs that check links in messages open pages.
document.getElementById("verify").onsubmit = (event) => {
  event.preventDefault();
  attempt(async () => {
    const { email } = await send("/auth/verify", { token });
    event.target.hidden = true;
    document.getElementById("message").textContent = `${email} is confirmed.`;
  });
};
