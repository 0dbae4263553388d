import { api, attempt, element, problem, send } from "/js/api.js";

// The page to go to after signing in, only within this site.
const next = new URLSearchParams(location.search).get("next") ?? "";
const there = new URL(next || "/dashboard/", location.origin);
const onward = there.origin === location.origin ? there.pathname + there.search : "/dashboard/";

document.getElementById("login").onsubmit = (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    await send("/auth/login", Object.fromEntries(new FormData(form)));
    location.assign(onward);
  });
};

if (location.hash === "#reset") document.getElementById("message").textContent = "Your password was changed. Sign in with the new one.";

// The reason for which a sign-in at a provider failed.
const WHY = {
  denied: "The provider denied access.",
  expired: "The sign-in has expired or was started in another browser. Try again.",
  failed: "The provider returned an error. Try again later.",
  unknown: "This account is not connected. Sign in with your password, then connect it in the settings.",
  taken: "This account is connected to another user.",
};
const why = WHY[new URLSearchParams(location.hash.slice(1)).get("oauth")];
if (why) problem(document.getElementById("message"), new Error(why));

const { items } = await api("/auth/oauth");
document.getElementById("providers").replaceChildren(...items.map(({ name, title }) => {
  const button = element("button", { className: "quiet", type: "button", textContent: `Sign in with ${title}` });
  button.onclick = () => attempt(async () => {
    const { url } = await send(`/auth/oauth/${name}`, { intent: "login", return_to: onward });
    location.assign(url);
  });
  return button;
}));
