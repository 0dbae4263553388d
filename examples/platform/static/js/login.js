import { api, attempt, element, problem, send } from "/js/api.js";

// Only within this site: where a link says to go on, it is a path.
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

// Who comes back from a provider without having got in learns why.
const WHY = {
  denied: "The provider did not let you in.",
  expired: "The sign-in took too long, or began in another browser. Try again.",
  failed: "The provider did not answer as it should. Try again later.",
  unknown: "Nobody here has connected this account. Sign in with your password, and connect it in the settings.",
  taken: "Somebody else here has connected this account.",
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
