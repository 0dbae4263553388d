// The parts that all pages share: the bar at the top and the footer.
const PAGES = [
  ["/", "Home"],
  ["/dashboard/", "Overview"],
  ["/dashboard/resources", "Resources"],
  ["/dashboard/media", "Media"],
  ["/dashboard/chat", "Chat"],
  ["/dashboard/call", "Call"],
  ["/dashboard/browser", "Browser"],
  ["/dashboard/mcp", "MCP"],
  ["/dashboard/team", "Team"],
  ["/dashboard/keys", "API keys"],
  ["/dashboard/settings", "Settings"],
];

const here = location.pathname.replace(/\.html$/, "").replace(/\/index$/, "/");
// The navigation has only pages that the visitor can use. A page that needs a session redirects to the sign-in page without
// one; elsewhere the mark that api.js sets tells whether there is one.
const OUTSIDE = ["login", "setup", "join", "forgot", "reset", "verify"].map((name) => `/dashboard/${name}`);
const SIGNED_OUT = ["/dashboard/login", "/dashboard/forgot", "/dashboard/reset"];
const needsSession = here.startsWith("/dashboard/") && !OUTSIDE.includes(here);
if (needsSession) document.documentElement.dataset.needsSession = "";
const isSignedIn = needsSession || (localStorage.getItem("signed-in") !== null && !SIGNED_OUT.includes(here));
const pages = isSignedIn ? PAGES : [["/", "Home"], ["/dashboard/login", "Sign in"]];
const links = pages.map(([path, name]) => `<a href="${path}"${path === here ? ' aria-current="page"' : ""}>${name}</a>`).join("");
document.body.insertAdjacentHTML("afterbegin", `
  <header class="bar">
    <a class="skip" href="#main">Skip to the content</a>
    <a class="brand" href="/"><img src="/images/mark-0cf672fd.svg" alt="" width="32" height="32">Inner Animal Media</a>
    <nav aria-label="Pages">${links}${isSignedIn ? '<button type="button" class="quiet" id="sign-out">Sign out</button>' : ""}</nav>
  </header>`);
document.body.insertAdjacentHTML("beforeend", `
  <footer><span>Inner Animal Media</span><a href="/legal/privacy">Privacy</a><a href="/legal/terms">Terms</a></footer>`);

document.getElementById("sign-out")?.addEventListener("click", async () => {
  await fetch("/api/auth/logout", { method: "POST" });
  localStorage.removeItem("signed-in");
  location.assign("/dashboard/login");
});
