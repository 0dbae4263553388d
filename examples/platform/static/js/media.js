import { api, attempt, element, problem, send } from "/js/api.js";
import { track } from "/js/track.js";
import { upload } from "/js/upload.js";

const gallery = document.getElementById("gallery");
const uploads = document.getElementById("uploads");
const form = document.getElementById("upload");
const message = document.getElementById("message");
const more = document.getElementById("more");

function picture({ id, name, kind, content_type, width, height }) {
  const source = `/api/images/${id}/content`;
  if (kind === "image") return element("img", { src: source, alt: name, loading: "lazy", ...(width && { width, height }) });
  if (kind === "video") {
    const film = element("video", { src: source, controls: true, preload: "metadata" });
    film.setAttribute("aria-label", name);
    return film;
  }
  return element("a", { className: "model", href: source, textContent: content_type });
}

function shown(image) {
  const act = (text, work) => {
    const button = element("button", { className: "quiet", textContent: text, type: "button", onclick: () => attempt(work) });
    button.setAttribute("aria-label", `${text} ${image.name}`);
    return button;
  };
  const isPublic = image.visibility === "public";
  const turn = act(isPublic ? "Make private" : "Make public", async () => {
    const headers = { "content-type": "application/json", "if-match": `"${image.revision}"` };
    await api(`/images/${image.id}`, { method: "PATCH", headers, body: JSON.stringify({ visibility: isPublic ? "private" : "public" }) });
    await show();
  });
  const link = act("Link", async () => {
    const { url, expires_at } = await send(`/images/${image.id}/link`, { seconds: 3600 });
    await navigator.clipboard?.writeText(new URL(url, location)).catch(() => {});
    message.replaceChildren("Link, valid until ", new Date(expires_at).toLocaleTimeString(), ": ", element("a", { href: url, textContent: image.name }));
  });
  const unlink = act("Revoke links", async () => {
    await api(`/images/${image.id}/link`, { method: "DELETE" });
    message.textContent = `All links to ${image.name} are revoked.`;
  });
  const remove = act("Delete", async () => {
    if (!confirm(`Delete ${image.name}?`)) return;
    await api(`/images/${image.id}`, { method: "DELETE" });
    await show();
  });
  return element("figure", {}, picture(image), element("figcaption", {}, element("span", { textContent: image.name }), turn, link, unlink, remove));
}

async function show(cursor) {
  const { items, next } = await api(`/images?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
  if (cursor) gallery.append(...items.map(shown)); else gallery.replaceChildren(...items.map(shown));
  if (!gallery.children.length) gallery.append(element("p", { className: "empty", textContent: "No files yet. Upload an image, a video or a 3D model." }));
  more.hidden = !next;
  more.onclick = () => attempt(() => show(next));
}

async function take(files) {
  const queue = [...files];
  const one = async (file) => {
    const bar = element("progress", { max: file.size || 1, value: 0 });
    bar.setAttribute("aria-label", `Upload of ${file.name}`);
    const share = element("span", { textContent: "0 %" });
    const line = element("li", {}, element("span", { textContent: file.name }), bar, share);
    uploads.append(line);
    try {
      await upload(file, (bytes) => { bar.value = bytes; share.textContent = `${Math.floor((100 * bytes) / (file.size || 1))} %`; });
      line.remove();
      track("media_uploaded", { type: file.type.split("/")[0] || "other", megabytes: Math.ceil(file.size / 1e6) });
    } catch (error) {
      line.replaceChildren();
      problem(line, new Error(`${file.name}: ${error.message}`));
    }
  };
  // Three at a time: each has its place on the server from its first request on.
  await Promise.all([0, 1, 2].map(async () => { while (queue.length) await one(queue.shift()); }));
  form.reset();
  await attempt(() => show());
}

form.elements.file.onchange = () => take(form.elements.file.files);
for (const [event, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
  form.addEventListener(event, (it) => { it.preventDefault(); form.classList.toggle("over", over); });
}
form.addEventListener("drop", (event) => take(event.dataTransfer.files));
await attempt(() => show());
