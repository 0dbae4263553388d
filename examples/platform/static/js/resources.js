// One page for all resources: columns and fields come from the API's OpenAPI document.
import { api, attempt, element, problem } from "/js/api.js";

const chosen = document.getElementById("choose");
const rows = document.getElementById("rows");
const more = document.getElementById("more");
const editor = document.getElementById("editor");
const refused = document.getElementById("refused");
const hidden = ["id", "revision", "created_at", "updated_at"];
const document_ = await api("/openapi.json");
const names = Object.keys(document_.paths).filter((path) => /^\/[a-z0-9_-]+$/.test(path) && document_.paths[path].get?.parameters).map((path) => path.slice(1)).filter((name) => document_.paths[`/${name}`].get.operationId === `list_${name}`);

const at = (reference) => reference.split("/").slice(1).reduce((value, key) => value[key], document_);
const title = (name) => name.replaceAll("_", " ");
// A nullable schema has two alternatives; the first is not null.
const plain = (schema) => schema.anyOf ? { ...schema, ...schema.anyOf[0] } : schema;

// Returns the description of a resource.
function described(name) {
  const [list, one] = [document_.paths[`/${name}`], document_.paths[`/${name}/{id}`]];
  // Uploads are on the media page.
  const json = (operation) => operation?.requestBody.content["application/json"];
  const body = (operation) => json(operation) && at(json(operation).schema.$ref);
  const parameters = new Map(list.get.parameters.map((parameter) => [parameter.name, parameter]));
  const columns = parameters.get("fields").description.split(": ")[1].split(", ").filter((column) => !hidden.includes(column));
  return { create: body(list.post), update: body(one.patch), deletes: Boolean(one.delete), searches: parameters.has("q"), columns };
}

function shown(value) {
  if (value === null || value === undefined) return "";
  if (value.sealed) return "sealed";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function field(name, schema, required, value) {
  const { type, enum: choices, maxLength, minLength, minimum, maximum, format, writeOnly } = plain(schema);
  let input;
  if (choices) {
    input = element("select", {}, ...(required || schema.default ? [] : [element("option", { value: "", textContent: "" })]),
      ...choices.map((choice) => element("option", { value: choice, textContent: choice })));
  } else if (type === "boolean") {
    input = element("input", { type: "checkbox" });
  } else if (type === "object" || type === "array" || Array.isArray(type) || maxLength > 500) {
    input = element("textarea", { rows: 4 });
  } else {
    input = element("input", { type: writeOnly ? "password" : type === "integer" || type === "number" ? "number" : "text" });
    if (writeOnly) input.autocomplete = "new-password";
    if (minimum !== undefined) Object.assign(input, { min: minimum, max: maximum });
    if (type === "number") input.step = "any";
    if (format === "date-time") input.placeholder = "2026-11-01T12:00:00Z";
  }
  if (maxLength) input.maxLength = maxLength;
  if (minLength) input.minLength = minLength;
  const start = value ?? schema.default;
  if (type === "boolean") input.checked = Boolean(start);
  else if (start !== undefined && start !== null && !start.sealed) input.value = typeof start === "object" || Array.isArray(type) ? JSON.stringify(start, null, 1) : start;
  // A secret that is set may stay as it is.
  Object.assign(input, { name, required: required && type !== "boolean" && !start?.sealed });
  return element("label", {}, title(name), input);
}

function taken(schema, form, before) {
  const value = {};
  for (const [name, property] of Object.entries(schema.properties)) {
    const { type, writeOnly } = plain(property);
    const input = form.elements[name];
    const text = input.value;
    if (writeOnly && !text) continue;
    if (type === "boolean") value[name] = input.checked;
    else if (!text && (type !== "string" || property.anyOf)) { if (before?.[name] !== undefined) value[name] = null; }
    else if (type === "integer" || type === "number") value[name] = Number(text);
    else if (type === "object" || type === "array" || Array.isArray(type)) {
      try { value[name] = JSON.parse(text); } catch { throw new Error(`${title(name)} is not JSON`); }
    } else value[name] = text;
  }
  return value;
}

// Opens the form; it stays open until what is in it was taken.
function edit(name, schema, columns, row) {
  const required = schema.required ?? [];
  document.getElementById("editing").textContent = `${row ? "Change" : "New"}: ${title(name)}`;
  document.getElementById("fields").replaceChildren(
    ...columns.filter((column) => schema.properties[column]).map((column) => field(column, schema.properties[column], required.includes(column), row?.[column])));
  refused.textContent = "";
  editor.querySelector("form").onsubmit = async (event) => {
    if (event.submitter?.value === "cancel") return;
    event.preventDefault();
    try {
      const body = JSON.stringify(taken(schema, event.target, row));
      const headers = { "content-type": "application/json", ...(row && { "if-match": `"${row.revision}"` }) };
      await api(row ? `/${name}/${row.id}` : `/${name}`, { method: row ? "PATCH" : "POST", headers, body });
      editor.close();
      await attempt(() => show());
    } catch (error) { problem(refused, error); }
  };
  editor.showModal();
}

async function show(cursor) {
  const name = chosen.elements.resource.value;
  const { create, update, deletes, searches, columns } = described(name);
  const query = new URLSearchParams({ limit: 50 });
  if (cursor) query.set("cursor", cursor);
  chosen.elements.q.disabled = !searches;
  if (searches && chosen.elements.q.value.trim()) query.set("q", chosen.elements.q.value);
  const { items, next } = await api(`/${name}?${query}`);
  document.getElementById("new").hidden = !create;
  document.getElementById("new").onclick = () => edit(name, create, columns);
  document.getElementById("columns").replaceChildren(
    element("tr", {}, ...columns.map((column) => element("th", { scope: "col", textContent: title(column) })), element("th", { scope: "col", className: "number", textContent: "Actions" })));
  const made = items.map((row) => {
    const actions = element("td", { className: "number" });
    const add = (text, act) => {
      const button = element("button", { className: "quiet", type: "button", textContent: text, onclick: act });
      button.setAttribute("aria-label", `${text} ${shown(row[columns[0]]) || row.id}`);
      actions.append(button, " ");
    };
    if (update) add("Change", () => edit(name, update, columns, row));
    if (deletes) add("Delete", () => attempt(async () => {
      if (!confirm(`Delete ${shown(row[columns[0]])}?`)) return;
      await api(`/${name}/${row.id}`, { method: "DELETE", headers: { "if-match": `"${row.revision}"` } });
      await show();
    }));
    return element("tr", {}, ...columns.map((column) => element("td", { textContent: shown(row[column]) })), actions);
  });
  if (cursor) rows.append(...made); else rows.replaceChildren(...made);
  if (!rows.children.length) rows.append(element("tr", {}, element("td", { colSpan: columns.length + 1, className: "empty", textContent: `No ${title(name)} yet.` })));
  more.hidden = !next;
  more.onclick = () => attempt(() => show(next));
}

chosen.elements.resource.replaceChildren(...names.map((name) => element("option", { value: name, textContent: title(name) })));
const asked = new URLSearchParams(location.search).get("resource");
if (names.includes(asked)) chosen.elements.resource.value = asked;
chosen.onsubmit = (event) => {
  event.preventDefault();
  history.replaceState(null, "", `?resource=${chosen.elements.resource.value}`);
  attempt(() => show());
};
chosen.elements.resource.onchange = () => { chosen.elements.q.value = ""; chosen.requestSubmit(); };
await attempt(() => show());
