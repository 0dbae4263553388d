// Namespaces of session objects, and the objects that have stored something.
import { account, call } from "./api.js";
import { address, announce, attempt, crumbs, h, note, title } from "./dom.js";
import { plural } from "./format.js";
import { list } from "./grid.js";

export async function view({ parts, signal }) {
  const { result } = await call(account("/workers/durable_objects/namespaces?per_page=1000"), { signal });
  const [id] = parts;
  if (id === undefined) return overview(result);
  const found = result.find((namespace) => namespace.id === id);
  if (!found) throw new Error(`There is no namespace ${id}.`);
  return objects(found, signal);
}

function overview(namespaces) {
  const rows = namespaces.map(({ id, class: kind, script }) => [h("a", { href: address(["sessions", id]) }, kind), script, h("code", {}, id)]);
  return [
    title("Session objects"),
    rows.length > 0 ? list("Namespaces", [["Class", "name"], "Program", "Id"], rows).box : note("This server has no namespaces of session objects."),
  ];
}

async function objects({ id, class: kind }, signal) {
  const page = (cursor) => call(account(`/workers/durable_objects/namespaces/${id}/objects?${new URLSearchParams({ limit: "200", ...(cursor && { cursor }) })}`), { signal });
  const rowsOf = ({ result }) => result.map((object) => [h("code", {}, object.id), object.hasStoredData ? "Yes" : "No"]);
  const first = await page();
  const table = list(`Objects of ${kind}`, [["Object", "name"], "Has data"], rowsOf(first));
  let { cursor } = first.result_info;
  const problem = h("div", {});
  const next = async () => {
    const answer = await page(cursor);
    rowsOf(answer).forEach(table.add);
    cursor = answer.result_info.cursor;
    more.hidden = !cursor;
    announce(plural(answer.result.length, "more object"));
  };
  const more = h("button", { type: "button", class: "quiet", hidden: !cursor, onclick: () => attempt(more, problem, next) }, "Load more");
  return [
    title(kind), crumbs(["Session objects", address(["sessions"])], [kind]),
    first.result.length > 0 ? table.box : note("No object of this class has stored something yet."),
    h("div", { class: "row" }, more), problem,
  ];
}
