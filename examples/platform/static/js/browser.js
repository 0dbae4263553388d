import { api, attempt, element } from "/js/api.js";

const [state, form, result] = ["state", "render", "result"].map((id) => document.getElementById(id));
const base = "/sessions/browser/mine";
let shown;

async function tell() {
  const { open, closes_at, renders } = await api(`${base}/session`);
  state.textContent = open ? `Open, ${renders} pages rendered. Closes at ${new Date(closes_at).toLocaleTimeString()} if it is idle.` : "No browser is open. Rendering a page opens one.";
}

form.onsubmit = (event) => {
  event.preventDefault();
  const { url, format, width, full_page } = form.elements;
  attempt(async () => {
    result.textContent = "Rendering…";
    const body = JSON.stringify({ url: url.value, width: Number(width.value), full_page: full_page.checked });
    const response = await fetch(`/api${base}/${format.value}`, { method: "POST", headers: { "content-type": "application/json" }, body });
    if (!response.ok) { result.textContent = ""; throw new Error((await response.json()).detail); }
    const made = await response.blob();
    if (shown) URL.revokeObjectURL(shown);
    shown = URL.createObjectURL(made);
    if (format.value === "screenshot") result.replaceChildren(element("img", { src: shown, alt: `Screenshot of ${url.value}` }));
    else if (format.value === "pdf") result.replaceChildren(element("a", { href: shown, download: "page.pdf", textContent: "page.pdf" }));
    else result.replaceChildren(element("pre", { className: "log", textContent: await made.text() }));
    await tell();
  });
};
document.getElementById("close").onclick = () => attempt(async () => {
  await api(`${base}/session`, { method: "DELETE" });
  await tell();
});
await attempt(tell);
