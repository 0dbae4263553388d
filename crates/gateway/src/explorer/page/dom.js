// Elements out of names, attributes and children. Text goes in as text: no markup is made of data.
const SVG = "http://www.w3.org/2000/svg";

function build(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value") made.value = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return made;
}

export const h = (name, attributes, ...children) => build(document.createElement(name), attributes, children);

export const svg = (name, attributes, ...children) => build(document.createElementNS(SVG, name), attributes, children);

// The address of a view: its parts and, behind them, the parameters that have a value.
export function address(parts, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(given).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${search && `?${search}`}`;
}

export const title = (text, ...more) => h("h1", { tabindex: "-1" }, text, ...more);

export function crumbs(...links) {
  const items = links.map(([text, href]) => h("li", {}, href ? h("a", { href }, text) : h("span", { "aria-current": "page" }, text)));
  return h("nav", { "aria-label": "Path" }, h("ol", { class: "crumbs" }, items));
}

export function tabs(label, links, current) {
  const items = links.map(([id, text, href]) => h("li", {}, h("a", { href, "aria-current": id === current && "page" }, text)));
  return h("nav", { "aria-label": label }, h("ul", { class: "tabs" }, items));
}

export const facts = (...pairs) =>
  h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== undefined && value !== null && value !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

export const failure = (error) => h("p", { class: "message error", role: "alert" }, error.message);

export const note = (...text) => h("p", { class: "message" }, ...text);

let fading;
function say(text, kind) {
  const place = document.getElementById("status");
  clearTimeout(fading);
  place.className = kind;
  place.textContent = text;
  fading = setTimeout(() => (place.textContent = ""), 6000);
}

// Says what has come into the page to those who do not see it.
export const announce = (text) => say(text, "hidden");

// Says that something was done, in the corner of the page, too.
export const notify = (text) => say(text, "toast");

// Runs an action of a button, which is disabled meanwhile. An error is shown in `place`.
export async function attempt(button, place, action) {
  button.disabled = true;
  place.replaceChildren();
  try {
    return await action();
  } catch (error) {
    if (error.name !== "AbortError") place.replaceChildren(failure(error));
  } finally {
    button.disabled = false;
  }
}

// Asks before something. Resolves to whether it was agreed to. `kind` is the class of the button: without one it is what cannot be undone.
export function sure(question, explanation, action, kind = "danger sure") {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "sure-title", onclose: () => (dialog.remove(), resolve(dialog.returnValue === "yes")) },
      h("form", { method: "dialog" },
        h("h2", { id: "sure-title" }, question),
        h("p", {}, explanation),
        h("div", { class: "row" },
          h("button", { value: "no", class: "quiet", autofocus: true }, "Cancel"),
          h("button", { value: "yes", class: kind }, action))),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

// Shows a long text in a dialog.
export function show(heading, text) {
  const dialog = h(
    "dialog",
    { "aria-labelledby": "shown-title", onclose: () => dialog.remove() },
    h("h2", { id: "shown-title" }, heading),
    h("pre", { tabindex: "0" }, text),
    h("form", { method: "dialog", class: "row" }, h("button", { autofocus: true }, "Close"), copier(text)),
  );
  document.body.append(dialog);
  dialog.showModal();
}

export function copier(text, label = "Copy") {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      notify("Copied");
    } catch {
      notify("The browser does not allow copying: select the text instead");
    }
  };
  return h("button", { type: "button", class: "quiet", onclick: copy }, label);
}
