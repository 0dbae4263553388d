// The API's document, and a form for each operation.
import { account, current, send } from "./api.js";
import { attempt, h, title } from "./dom.js";
import { plural } from "./format.js";

const READS = ["get"];
const SHOWN = 100000;

export async function view({ signal }) {
  const document_ = await (await send("/openapi.json", { signal })).json();
  const groups = new Map();
  for (const [path, operations] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const group = operation.tags[0];
      groups.set(group, [...(groups.get(group) ?? []), entry(path, method, operation, signal)]);
    }
  }
  return [
    title("API"),
    h("p", {}, document_.info.description, " ", h("a", { href: "/openapi.json", download: "openapi.json" }, "OpenAPI document")),
    ...[...groups].flatMap(([group, entries]) => [h("h2", {}, group), ...entries]),
  ];
}

function entry(path, method, { summary, parameters = [], requestBody, "x-reads": reads }, signal) {
  const isRead = READS.includes(method) || reads === true || requestBody?.["x-reads"] === true;
  const isAllowed = isRead || current().is_writable;
  const fields = new Map(parameters.filter(({ name }) => name !== "account_id").map((parameter) => [parameter, h("input", { name: parameter.name, autocomplete: "off", spellcheck: "false", required: parameter.required === true })]));
  const kind = requestBody && Object.keys(requestBody.content)[0];
  const example = requestBody && requestBody.content[kind].example;
  const body = requestBody && h("textarea", { name: "body", spellcheck: "false", value: typeof example === "string" ? example : JSON.stringify(example ?? {}, null, 2) });
  const answer = h("div", { "aria-live": "polite" });
  const button = h("button", { disabled: !isAllowed }, "Send");
  const submit = (event) => {
    event.preventDefault();
    attempt(button, answer, async () => {
      const target = filled(path, fields);
      const headers = { ...named(fields), ...(kind && { "content-type": kind }) };
      const response = await send(target, { method: method.toUpperCase(), body: body?.value, headers, signal });
      answer.replaceChildren(await shown(response, target));
    });
  };
  return h("details", { class: "operation" },
    h("summary", {}, h("span", { class: isRead ? "verb" : "verb writes" }, method.toUpperCase()), h("code", {}, path), h("span", { class: "muted" }, summary)),
    h("form", { class: "stack", onsubmit: submit },
      [...fields].map(([{ name, description }, field]) => h("label", {}, description ? `${name}: ${description}` : name, field)),
      body && h("label", {}, "Body", body),
      !isAllowed && h("p", { class: "hint" }, "This explorer only reads."),
      button),
    answer);
}

function filled(path, fields) {
  let target = path.replace("/client/v4/accounts/{account_id}", account(""));
  const search = new URLSearchParams();
  for (const [{ name, in: place }, { value }] of fields) {
    if (place === "path") target = target.replace(`{${name}}`, encodeURIComponent(value));
    else if (place === "query" && value !== "") search.set(name, value);
  }
  return search.size > 0 ? `${target}?${search}` : target;
}

// The fields that are headers.
function named(fields) {
  const given = [...fields].filter(([parameter, { value }]) => parameter.in === "header" && value !== "");
  return Object.fromEntries(given.map(([{ name }, { value }]) => [name, value]));
}

async function shown(response, target) {
  const content = await response.text();
  return h("div", {},
    h("p", { class: "muted" }, `${response.status} ${response.statusText} · ${plural(content.length, "character")} · `, h("code", {}, target)),
    h("pre", { tabindex: "0", "aria-label": "Answer" }, content.slice(0, SHOWN), content.length > SHOWN && "…"));
}
