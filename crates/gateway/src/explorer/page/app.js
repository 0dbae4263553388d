// The page: signing in, the sections, and which one is shown.
import { current, hasToken, mayRead, resume, signIn, signOut } from "./api.js";
import { address, attempt, facts, failure, h, title } from "./dom.js";
import { time } from "./format.js";
import * as buckets from "./buckets.js";
import * as databases from "./databases.js";
import * as datasets from "./datasets.js";
import * as sessions from "./sessions.js";
import * as requests from "./requests.js";
import * as deploys from "./deploys.js";
import * as backups from "./backups.js";
import * as reference from "./reference.js";

const SECTIONS = [
  { id: "buckets", name: "Buckets", about: "Objects by folder: preview, download, link", view: buckets.view, has: () => mayRead().r2 },
  { id: "databases", name: "Databases", about: "Tables, rows, SQL, plans, history, export", view: databases.view, has: () => mayRead().d1 },
  { id: "sessions", name: "Session objects", about: "State, alarms and SQL of each object", view: sessions.view, has: () => mayRead().sessions && current().has_sessions },
  { id: "datasets", name: "Datasets", about: "Queries, charts, live tail", view: datasets.view, has: () => mayRead().analytics && current().has_datasets },
  { id: "requests", name: "Requests", about: "Log of the application's requests with timings", view: requests.view, has: () => current().requests !== null },
  { id: "deploys", name: "Deploys", about: "Versions of the site, and the way back", view: deploys.view, has: () => current().deploys !== null },
  { id: "backups", name: "Backups", about: "States in the target, checks, runs", view: backups.view, has: () => current().has_backups && (mayRead().d1 || mayRead().sessions) },
  { id: "api", name: "API", about: "Routes, to be tried", view: reference.view, has: () => true },
];

const main = document.getElementById("main");
const navigation = document.getElementById("sections");
let shown = new AbortController();

function place() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  try {
    return { parts: path.split("/").filter((part) => part !== "").map(decodeURIComponent), query: new URLSearchParams(search) };
  } catch {
    return { parts: ["invalid address"], query: new URLSearchParams() };
  }
}

// Shows what the address says. After the first time the heading takes the focus, so that a screen reader says where it is.
async function render(isFirst) {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  const { parts, query } = place();
  const section = SECTIONS.find(({ id, has }) => id === parts[0] && has());
  frame(section);
  main.replaceChildren();
  main.setAttribute("aria-busy", "true");
  let content;
  try {
    content = section ? await section.view({ parts: parts.slice(1), query, signal }) : parts.length === 0 ? overview() : missing();
  } catch (error) {
    content = [title(section?.name ?? "Error"), failure(error)];
  }
  if (signal.aborted) return;
  main.setAttribute("aria-busy", "false");
  main.replaceChildren(...content.flat().filter(Boolean));
  const heading = main.querySelector("h1");
  document.title = `${heading.textContent} · isobar explorer`;
  if (!isFirst) heading.focus();
}

function frame(section) {
  const links = SECTIONS.filter(({ has }) => has()).map(({ id, name }) =>
    h("li", {}, h("a", { href: address([id]), "aria-current": id === section?.id && "page" }, name)));
  navigation.firstElementChild.replaceChildren(...links);
  navigation.hidden = false;
  document.getElementById("sign-out").hidden = false;
  const mode = document.getElementById("mode");
  mode.hidden = false;
  mode.textContent = current().is_writable ? "Writable" : "Read-only";
  mode.className = current().is_writable ? "badge warn" : "badge";
}

function overview() {
  const { key, scope, version, account_id } = current();
  const bound = [["buckets", scope.buckets], ["databases", scope.databases], ["datasets", scope.datasets]];
  const cards = SECTIONS.filter(({ has }) => has()).map(({ id, name, about }) =>
    h("li", {}, h("a", { href: address([id]) }, h("strong", {}, name), about)));
  return [
    title("Overview"),
    h("ul", { class: "cards" }, cards),
    h("h2", {}, "Your key"),
    facts(["Name", key.name], ["Id", key.id], ["Permissions", scope.permissions.join(", ")],
      ...bound.map(([kind, names]) => [`Only ${kind}`, names.join(", ")]), ["Only keys below", scope.prefix],
      ["Expires", key.expires_on ? time(key.expires_on) : "never"], ["Account", account_id], ["Version", version]),
    !current().is_writable && h("p", { class: "hint" }, "This explorer only reads. Start the server with --explorer-write to change data here."),
  ];
}

const missing = () => [
  title("Not found"),
  h("p", {}, "There is no such view, or your key does not have the permission for it. ", h("a", { href: "#/" }, "Overview")),
];

function welcome(reason = "") {
  shown.abort();
  shown = new AbortController();
  navigation.hidden = true;
  document.getElementById("sign-out").hidden = true;
  document.getElementById("mode").hidden = true;
  main.setAttribute("aria-busy", "false");
  const problem = h("div", {}, reason && failure({ message: reason }));
  const token = h("input", { type: "password", name: "token", required: true, autocomplete: "off", spellcheck: "false", "aria-describedby": "token-hint" });
  const button = h("button", {}, "Sign in");
  const submit = (event) => {
    event.preventDefault();
    attempt(button, problem, async () => {
      await signIn(token.value.trim());
      await render(false);
    });
  };
  main.replaceChildren(
    h("form", { class: "panel stack sign-in", id: "sign-in", onsubmit: submit },
      title("Sign in"),
      h("label", {}, "Token", token),
      h("p", { class: "hint", id: "token-hint" }, "Create one on the server: ", h("code", {}, "isobar keys create --scope r2:read,d1:read,sessions:read,analytics:read"),
        ". It stays in this tab and is forgotten when the tab is closed."),
      button, problem));
  document.title = "Sign in · isobar explorer";
  token.focus();
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view
  main.focus();
});
document.getElementById("sign-out").addEventListener("click", () => signOut());
addEventListener("signed-out", ({ detail }) => welcome(detail));
addEventListener("hashchange", () => current() && render(false));

if (hasToken()) {
  try {
    await resume();
    await render(true);
  } catch (error) {
    signOut(error.message);
  }
} else {
  welcome();
}
