// Databases: tables and their rows, a console, exports.
import { account, call, query, read, save, send } from "./api.js";
import { address, attempt, crumbs, facts, h, note, tabs, title } from "./dom.js";
import { bytes, number, plural, quoted, time } from "./format.js";
import { downloader, grid, list } from "./grid.js";
import { editor, plan, tables } from "./console.js";
import { history } from "./history.js";

const PAGE = 50;

export async function view({ parts, query: parameters, signal }) {
  const [id, part, name] = parts;
  if (id === undefined) return overview(signal);
  const { result: database } = await call(account(`/d1/database/${encodeURIComponent(id)}`), { signal });
  if (part === "table" && name !== undefined) return table(database, name, parameters, signal);
  const content = { sql: console_, history, export: exporter }[part] ?? schema;
  return [...head(database, part ?? "tables"), ...(await content(database, signal))];
}

async function overview(signal) {
  const { result } = await call(account("/d1/database?per_page=1000"), { signal });
  const rows = result.map(({ uuid, name, created_at }) => [h("a", { href: address(["databases", uuid]) }, name), h("code", {}, uuid), time(created_at)]);
  return [
    title("Databases"),
    rows.length > 0 ? list("Databases", [["Name", "name"], "Id", ["Created", "nowrap"]], rows).box : note("There are no databases yet. Name one in the configuration, under d1_databases."),
  ];
}

function head({ uuid, name, num_tables, file_size }, current) {
  const links = [["tables", "Tables", address(["databases", uuid])], ["sql", "SQL", address(["databases", uuid, "sql"])], ["history", "History", address(["databases", uuid, "history"])], ["export", "Export", address(["databases", uuid, "export"])]];
  return [
    title(name), crumbs(["Databases", address(["databases"])], [name]),
    h("p", { class: "muted" }, `${plural(num_tables, "table")} · ${bytes(file_size)}`),
    tabs("Parts of the database", links, current),
  ];
}

const described = async (uuid, signal) => (await call(`/explorer/v1/databases/${encodeURIComponent(uuid)}/schema`, { signal })).result;

async function schema({ uuid }, signal) {
  const { tables, views, triggers } = await described(uuid, signal);
  const open = (name) => h("a", { href: address(["databases", uuid, "table", name]) }, name);
  const rows = [
    ...tables.map(({ name, kind, columns, indexes, foreign_keys }) => [open(name), kind === "table" ? "Table" : `Table (${kind})`, number(columns.length), number(indexes.length), foreign_keys.map((key) => key.table).join(", ")]),
    ...views.map(({ name }) => [open(name), "View", "", "", ""]),
  ];
  if (rows.length === 0) return [note("This database has no tables yet.")];
  return [
    list("Tables and views", [["Name", "name"], "Kind", ["Columns", "number"], ["Indexes", "number"], "Refers to"], rows).box,
    triggers.length > 0 && [h("h2", {}, "Triggers"), ...triggers.map(({ name, sql }) => h("details", {}, h("summary", {}, name), h("pre", { tabindex: "0" }, sql)))],
  ].flat();
}

async function table(database, name, parameters, signal) {
  const { uuid } = database;
  const place = (query) => address(["databases", uuid, "table", name], query);
  const shown = { sort: parameters.get("sort"), descending: parameters.get("order") === "desc", from: Math.max(0, Number.parseInt(parameters.get("from") ?? "0", 10) || 0), where: parameters.get("where") ?? "" };
  const { tables, views } = await described(uuid, signal);
  const found = tables.find((table) => table.name === name) ?? views.find((view) => view.name === name);
  if (!found) throw new Error(`There is no table ${name}.`);
  const field = h("input", { name: "where", value: shown.where, autocomplete: "off", spellcheck: "false", placeholder: "price > 10 AND name LIKE 'a%'" });
  const filter = (event) => {
    event.preventDefault();
    location.hash = place({ where: field.value, sort: shown.sort, order: shown.descending ? "desc" : "" });
  };
  return [
    title(name), crumbs(["Databases", address(["databases"])], [database.name, address(["databases", uuid])], [name]),
    h("form", { class: "row", id: "filter", onsubmit: filter }, h("label", { class: "grow" }, "Rows where (SQL)", field), h("button", { class: "quiet" }, "Show")),
    ...(await rows(uuid, name, shown, place, signal)),
    ...structure(found),
  ];
}

async function rows(uuid, name, { sort, descending, from, where }, place, signal) {
  // The filter ends its own line, so that a comment in it ends there.
  const condition = where && `WHERE (${where}\n) `;
  const order = sort && `ORDER BY ${quoted(sort)} ${descending ? "DESC" : "ASC"} `;
  const sql = `SELECT * FROM ${quoted(name)} ${condition}${order ?? ""}LIMIT ${PAGE + 1} OFFSET ${from}`;
  let result;
  try {
    [result] = await read(uuid, sql, signal);
  } catch (error) {
    return [h("p", { class: "message error", role: "alert" }, error.message)];
  }
  const hasMore = result.rows.length > PAGE;
  result.rows.length = Math.min(result.rows.length, PAGE);
  const at = (start) => place({ where, sort, order: descending ? "desc" : "", from: start > 0 ? String(start) : "" });
  const sorter = { by: sort, descending, onsort: (column) => (location.hash = place({ where, sort: column, order: sort === column && !descending ? "desc" : "" })) };
  const shown = result.rows.length > 0 ? `Rows ${number(from + 1)} to ${number(from + result.rows.length)}` : "No rows";
  return [
    grid(`Rows of ${name}`, result, sorter),
    h("nav", { class: "row middle", "aria-label": "Pages of rows" },
      h("span", { class: "muted", id: "rows" }, shown),
      from > 0 && h("a", { class: "button quiet", href: at(from - PAGE) }, "Previous"),
      hasMore && h("a", { class: "button quiet", href: at(from + PAGE) }, "Next"),
      downloader(name, result)),
  ];
}

function structure({ columns, indexes, foreign_keys, sql }) {
  const described = columns?.map((column) => [
    column.name, column.declared_type || "any", column.primary_key > 0 ? "Primary key" : column.is_not_null ? "Not null" : "",
    column.default ?? "", column.kind === "ordinary" ? "" : column.kind]);
  const keys = foreign_keys?.map((key) => [key.columns.join(", "), `${key.table} (${key.referenced.join(", ") || "primary key"})`, key.on_update, key.on_delete]);
  const indexed = indexes?.map((index) => [index.name, index.columns.map(({ name, is_descending }) => `${name ?? "expression"}${is_descending ? " desc" : ""}`).join(", "), [index.is_unique && "Unique", index.is_partial && "Partial"].filter(Boolean).join(", ")]);
  return [
    h("h2", {}, "Structure"),
    described && list("Columns", [["Column", "name"], "Type", "Constraint", "Default", "Generated"], described).box,
    indexed?.length > 0 && [h("h3", {}, "Indexes"), list("Indexes", [["Index", "name"], "Columns", "Kind"], indexed).box],
    keys?.length > 0 && [h("h3", {}, "Foreign keys"), list("Foreign keys", [["Columns", "name"], "Refers to", "On update", "On delete"], keys).box],
    h("h3", {}, "SQL"), h("pre", { tabindex: "0" }, sql),
  ].flat();
}

function console_({ uuid, name }, signal) {
  const { box } = editor({
    name: uuid, label: "Statements", signal, hint: "Several statements run in one transaction.",
    run: async (sql, signal) => tables(await query(uuid, sql, signal), name),
    explain: async (sql, signal) => plan((await call(`/explorer/v1/databases/${encodeURIComponent(uuid)}/explain`, { json: { sql }, signal })).result),
  });
  return [box];
}

function exporter({ uuid, name }, signal) {
  const problem = h("div", {});
  const choice = (label) => h("input", { type: "checkbox", checked: true, name: label.toLowerCase() });
  const [schema, data] = [choice("Schema"), choice("Rows")];
  const run = async () => {
    const dump_options = { no_schema: !schema.checked, no_data: !data.checked };
    const path = account(`/d1/database/${encodeURIComponent(uuid)}/export`);
    let answer = (await call(path, { json: { output_format: "polling", dump_options }, signal })).result;
    while (answer.status === "active") answer = (await call(path, { json: { output_format: "polling", current_bookmark: answer.at_bookmark }, signal })).result;
    if (answer.status !== "complete") throw new Error(answer.error ?? "The export has failed.");
    // The address has this server's name as it sees it, which may be another one than the browser's.
    const file = await send(new URL(answer.result.signed_url).pathname, { signal });
    save(`${name}.sql`, await file.blob());
  };
  const button = h("button", { type: "button", id: "export", onclick: () => attempt(button, problem, run) }, "Export as SQL");
  return [
    h("p", {}, "One file of SQL, of one moment, which isobar d1 import, wrangler and sqlite3 read."),
    h("fieldset", { class: "stack" }, h("legend", {}, "What is in it"), h("label", { class: "check" }, schema, "Schema"), h("label", { class: "check" }, data, "Rows")),
    h("div", { class: "row" }, button), problem,
  ];
}
