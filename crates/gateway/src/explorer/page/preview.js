// Previews of objects. Nothing of an object runs: text is shown as text, whatever it says it is, and pictures as pictures.
import { objectPath, send } from "./api.js";
import { h, note } from "./dom.js";
import { bytes, dump } from "./format.js";

const TEXT_BYTES = 64 * 1024;
const DUMP_BYTES = 512;
const PICTURE_BYTES = 20 * 1024 * 1024;
// An SVG can have scripts, and is shown as text.
const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/x-icon", "image/vnd.microsoft.icon"];

export async function preview(bucket, meta, signal) {
  const type = (meta.http_metadata?.contentType ?? "").split(";")[0].trim().toLowerCase();
  if (meta.size === 0) return note("The object is empty.");
  if (meta.http_metadata?.contentEncoding) return note(`The object is stored as ${meta.http_metadata.contentEncoding}. Download it to see its content.`);
  if (PICTURES.includes(type)) {
    if (meta.size > PICTURE_BYTES) return note(`The picture has ${bytes(meta.size)}. Download it to see it.`);
    return picture(await (await send(objectPath(bucket, meta.key), { signal })).blob(), type, meta.key, signal);
  }
  const range = `bytes=0-${Math.min(meta.size, TEXT_BYTES) - 1}`;
  const view = new Uint8Array(await (await send(objectPath(bucket, meta.key), { headers: { range }, signal })).arrayBuffer());
  return text(view, meta) ?? binary(view);
}

function picture(content, type, name, signal) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  signal.addEventListener("abort", () => URL.revokeObjectURL(url));
  const shown = h("img", { src: url, alt: `The picture ${name}` });
  const box = h("div", { class: "preview" }, shown);
  shown.addEventListener("error", () => box.replaceChildren(note("The browser cannot show this picture.")));
  return box;
}

function text(view, { size }) {
  let content;
  try {
    // A character may be cut at the end of the part.
    content = new TextDecoder("utf-8", { fatal: true }).decode(view, { stream: size > view.length });
  } catch {
    return null;
  }
  if (content.includes("\0")) return null;
  return h("div", {},
    h("pre", { tabindex: "0", "aria-label": "Content", id: "content" }, content),
    size > view.length && h("p", { class: "hint" }, `The first ${bytes(view.length)} of ${bytes(size)}.`));
}

const binary = (view) => h("div", {},
  h("pre", { class: "bytes", tabindex: "0", "aria-label": "Content" }, dump(view.subarray(0, DUMP_BYTES))),
  h("p", { class: "hint" }, "Not text: its first bytes."));
