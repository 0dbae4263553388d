import { api, attempt, element } from "/js/api.js";

const gallery = document.getElementById("gallery");

async function show() {
  const images = await api("/images");
  gallery.replaceChildren(...images.map((image) => {
    const source = `/api/images/${image.id}/content`;
    const picture = image.content_type.startsWith("image/")
      ? element("img", { src: source, alt: image.name, loading: "lazy" })
      : element("a", { href: source, textContent: image.content_type });
    const remove = element("button", { className: "quiet", textContent: "Delete", type: "button" });
    remove.setAttribute("aria-label", `Delete ${image.name}`);
    remove.onclick = () => attempt(async () => { await api(`/images/${image.id}`, { method: "DELETE" }); await show(); });
    return element("figure", {}, picture, element("figcaption", {}, element("span", { textContent: image.name }), remove));
  }));
  if (!images.length) gallery.append(element("p", { className: "empty", textContent: "Nothing here yet: upload an image, a video or a 3D model." }));
}

document.getElementById("upload").onsubmit = (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    for (const file of form.elements.file.files) {
      await api(`/images?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    }
    form.reset();
    await show();
  });
};
await attempt(show);
