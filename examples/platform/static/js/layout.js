// What every page shares: the bar above, the footer below.
const PAGES = [
  ["/", "Home"],
  ["/dashboard/", "Overview"],
  ["/dashboard/tenants", "Tenants"],
  ["/dashboard/media", "Media"],
  ["/dashboard/chat", "Chat"],
  ["/dashboard/settings", "Settings"],
];

const here = location.pathname.replace(/\.html$/, "").replace(/\/index$/, "/");
const links = PAGES.map(([path, name]) => `<a href="${path}"${path === here ? ' aria-current="page"' : ""}>${name}</a>`).join("");
document.body.insertAdjacentHTML("afterbegin", `
  <header class="bar">
    <a class="skip" href="#main">Skip to the content</a>
    <a class="brand" href="/"><img src="/images/mark-0cf672fd.svg" alt="" width="32" height="32">Inner Animal Media</a>
    <nav aria-label="Pages">${links}</nav>
  </header>`);
document.body.insertAdjacentHTML("beforeend", `
  <footer><span>Inner Animal Media</span><a href="/legal/privacy">Privacy</a><a href="/legal/terms">Terms</a></footer>`);
