// What every page shares: the bar above, the footer below.
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
const links = PAGES.map(([path, name]) => `<a href="${path}"${path === here ? ' aria-current="page"' : ""}>${name}</a>`).join("");
document.body.insertAdjacentHTML("afterbegin", `
  <header class="bar">
    <a class="skip" href="#main">Skip to the content</a>
    <a class="brand" href="/"><img src="/images/mark-0cf672fd.svg" alt="" width="32" height="32">Inner Animal Media</a>
    <nav aria-label="Pages">${links}${here.startsWith("/dashboard/") ? '<button type="button" class="quiet" id="sign-out">Sign out</button>' : ""}</nav>
  </header>`);
document.body.insertAdjacentHTML("beforeend", `
  <footer><span>Inner Animal Media</span><a href="/legal/privacy">Privacy</a><a href="/legal/terms">Terms</a></footer>`);

document.getElementById("sign-out")?.addEventListener("click", async () => {
  await fetch("/api/auth/logout", { method: "POST" });
  location.assign("/dashboard/login");
});
