// Buckets, their folders and objects.
import { account, call, current, link, mayWrite, objectPath, save, send } from "./api.js";
import { address, announce, attempt, copier, crumbs, facts, failure, h, note, notify, sure, title } from "./dom.js";
import { bytes, plural, time } from "./format.js";
import { list } from "./grid.js";
import { preview } from "./preview.js";

const VALIDITIES = [[3600, "1 hour"], [86400, "1 day"], [604800, "7 days"]];

export async function view({ parts, query, signal }) {
  const [bucket] = parts;
  if (bucket === undefined) return overview(signal);
  const key = query.get("key");
  return key === null ? folder(bucket, query.get("prefix") ?? current().scope.prefix, signal) : object(bucket, key, signal);
}

async function overview(signal) {
  const { result } = await call(account("/r2/buckets"), { signal });
  const rows = result.buckets.map(({ name, creation_date }) => [h("a", { href: address(["buckets", name]) }, name), time(creation_date)]);
  return [
    title("Buckets"),
    rows.length > 0 ? list("Buckets", [["Name", "name"], ["Created", "nowrap"]], rows).box : note("There are no buckets yet. ", h("code", {}, "isobar r2 bucket create NAME"), " makes one."),
  ];
}

// The way from the bucket down to a prefix: every folder in it, as far as the key may list them.
function path(bucket, prefix, last) {
  const links = [["Buckets", address(["buckets"])], [bucket, address(["buckets", bucket])]];
  let end = prefix.indexOf("/");
  for (let start = 0; end !== -1; start = end + 1, end = prefix.indexOf("/", start)) {
    links.push([prefix.slice(start, end) || "(empty)", address(["buckets", bucket], { prefix: prefix.slice(0, end + 1) })]);
  }
  if (last !== undefined) links.push([last]);
  else links.at(-1).pop();
  return crumbs(...links);
}

function rowsOf(bucket, prefix, { result, result_info }) {
  const folders = (result_info.delimited ?? []).map((folder) => [
    h("a", { href: address(["buckets", bucket], { prefix: folder }) }, folder.slice(prefix.length)), "", "Folder", ""]);
  const objects = result.map(({ key, size, http_metadata, last_modified }) => [
    h("a", { href: address(["buckets", bucket], { prefix, key }) }, key.slice(prefix.length) || key),
    bytes(size), http_metadata?.contentType ?? "", time(last_modified)]);
  return [...folders, ...objects];
}

async function folder(bucket, prefix, signal) {
  const page = (cursor) => {
    const query = new URLSearchParams({ delimiter: "/", prefix, per_page: "200", ...(cursor && { cursor }) });
    return call(account(`/r2/buckets/${encodeURIComponent(bucket)}/objects?${query}`), { signal });
  };
  const first = await page();
  const problem = h("div", {});
  let { cursor } = first.result_info;
  const table = list(`Objects of ${bucket}`, [["Name", "name"], ["Size", "number"], "Type", ["Modified", "nowrap"]], rowsOf(bucket, prefix, first));
  const more = h("button", { type: "button", class: "quiet", hidden: !cursor, onclick: () => attempt(more, problem, next) }, "Load more");
  const next = async () => {
    const answer = await page(cursor);
    const rows = rowsOf(bucket, prefix, answer);
    rows.forEach(table.add);
    cursor = answer.result_info.cursor;
    more.hidden = !cursor;
    announce(`${plural(rows.length, "more entry", "more entries")}`);
  };
  const isEmpty = first.result.length === 0 && (first.result_info.delimited ?? []).length === 0;
  const field = h("input", { name: "prefix", value: prefix, autocomplete: "off", spellcheck: "false" });
  const filter = (event) => {
    event.preventDefault();
    location.hash = address(["buckets", bucket], { prefix: field.value });
  };
  const toolbar = h("div", { class: "row" },
    h("form", { class: "row grow", id: "prefix", onsubmit: filter }, h("label", { class: "grow" }, "Keys that begin with", field), h("button", { class: "quiet" }, "Show")),
    mayWrite("r2:write") && uploader(bucket, prefix, problem));
  const entries = isEmpty ? note(prefix ? "Nothing begins with this." : "This bucket is empty.") : table.box;
  const area = h("div", { class: "drop" }, entries, h("div", { class: "row" }, more));
  if (mayWrite("r2:write")) acceptDrops(area, (files) => upload(bucket, prefix, files, problem));
  return [title(bucket), path(bucket, prefix), toolbar, problem, area];
}

function uploader(bucket, prefix, problem) {
  const input = h("input", { type: "file", multiple: true, class: "hidden", id: "upload", onchange: () => upload(bucket, prefix, [...input.files], problem) });
  return h("label", { class: "button file", for: "upload" }, "Upload files", input);
}

function acceptDrops(area, take) {
  const mark = (isOver) => (event) => {
    event.preventDefault();
    area.classList.toggle("over", isOver);
  };
  area.addEventListener("dragover", mark(true));
  area.addEventListener("dragleave", mark(false));
  area.addEventListener("drop", (event) => {
    mark(false)(event);
    take([...event.dataTransfer.files]);
  });
}

// Stores files one after the other. What is there is replaced only after a question.
async function upload(bucket, prefix, files, problem) {
  problem.replaceChildren();
  let stored = 0;
  try {
    for (const file of files) {
      notify(`Uploading ${file.name}`);
      stored += await put(objectPath(bucket, prefix + file.name), file);
    }
    notify(`${plural(stored, "file")} uploaded`);
  } catch (error) {
    problem.replaceChildren(failure(error));
  }
  if (stored > 0 && problem.childElementCount === 0) dispatchEvent(new Event("hashchange"));
}

async function put(path, file) {
  const options = { method: "PUT", body: file, headers: { "content-type": file.type || "application/octet-stream" } };
  try {
    await send(path, { ...options, headers: { ...options.headers, "if-none-match": "*" } });
  } catch (error) {
    if (error.status !== 412) throw error;
    if (!(await sure(`Replace ${file.name}?`, "There is an object with this key. Its content will be replaced.", "Replace"))) return 0;
    await send(path, options);
  }
  return 1;
}

// An object's own entry of the listing, which has its metadata.
async function find(bucket, key, signal) {
  const query = new URLSearchParams({ prefix: key, per_page: "1" });
  const { result } = await call(account(`/r2/buckets/${encodeURIComponent(bucket)}/objects?${query}`), { signal });
  if (result[0]?.key !== key) throw new Error(`There is no object ${key} in ${bucket}.`);
  return result[0];
}

async function object(bucket, key, signal) {
  const meta = await find(bucket, key, signal);
  const prefix = key.slice(0, key.lastIndexOf("/") + 1);
  const name = key.slice(prefix.length) || key;
  const problem = h("div", {});
  const download = async () => save(name, (await link(bucket, key, 60)).url);
  const downloader = h("button", { type: "button", onclick: () => attempt(downloader, problem, download) }, "Download");
  const remove = async () => {
    if (!(await sure(`Delete ${name}?`, "The object is deleted for good.", "Delete"))) return;
    await send(objectPath(bucket, key), { method: "DELETE" });
    location.hash = address(["buckets", bucket], { prefix });
    notify(`${name} is deleted`);
  };
  const remover = mayWrite("r2:write") && h("button", { type: "button", class: "danger", onclick: () => attempt(remover, problem, remove) }, "Delete");
  const http = meta.http_metadata ?? {};
  const custom = Object.entries(meta.custom_metadata ?? {});
  return [
    title(name), path(bucket, prefix, name),
    h("div", { class: "row" }, downloader, linker(bucket, key, problem), remover),
    problem,
    h("h2", {}, "Preview"),
    await preview(bucket, meta, signal),
    h("h2", {}, "Details"),
    facts(["Key", key], ["Size", `${bytes(meta.size)} (${plural(meta.size, "byte")})`], ["Type", http.contentType], ["Modified", time(meta.last_modified)],
      ["ETag", meta.etag], ["Storage class", meta.storage_class], ["Cache-Control", http.cacheControl], ["Content-Encoding", http.contentEncoding],
      ["Content-Disposition", http.contentDisposition], ["Content-Language", http.contentLanguage]),
    custom.length > 0 && [h("h3", {}, "Custom metadata"), facts(...custom)],
  ].flat();
}

// A link for others, good for a while.
function linker(bucket, key, problem) {
  const validity = h("select", { "aria-label": "The link is good for" }, VALIDITIES.map(([seconds, name]) => h("option", { value: String(seconds) }, name)));
  const make = async () => {
    const { url, ends } = await link(bucket, key, Number(validity.value));
    problem.replaceChildren(h("div", { class: "message" },
      h("label", {}, `Link, good until ${time(ends)}. Whoever has it can download the object.`, h("input", { readonly: true, value: url, id: "link" })),
      h("div", { class: "row" }, copier(url, "Copy link"))));
  };
  const button = h("button", { type: "button", class: "quiet", onclick: () => attempt(button, problem, make) }, "Create link");
  return [button, validity];
}
