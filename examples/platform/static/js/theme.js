// Sets the selected theme, or the one that the system prefers, before the page is drawn.
const THEMES = ["light", "dark", "forest", "ocean", "contrast"];
const preferred = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const stored = localStorage.getItem("theme");
document.getElementById("theme").href = `/themes/${THEMES.includes(stored) ? stored : preferred()}.css`;
