// Runs SQL on D1 in the real workerd, through miniflare: `node d1.mjs COUNT`. Ends with its standard input.
//
// There are COUNT empty databases. POST { database, calls: [{ mode, statements: [[sql, [parameter]]] }] } runs the calls in their order and
// answers with a list of outcomes, in which values have one form each: null, a text, an integer, { real: bits }, { blob: hex }.
import { Miniflare, convertV4MiniflareOptions } from "miniflare";

const script = `
const view = new DataView(new ArrayBuffer(8));

function encode(value) {
  if (value === null || value === undefined) return null;
  if (typeof value === "string") return value;
  if (typeof value === "number") {
    if (!Number.isFinite(value)) return null;
    if (Number.isSafeInteger(value)) return value === 0 ? 0 : value;
    view.setFloat64(0, value);
    return { real: view.getBigUint64(0).toString(16) };
  }
  return { blob: [...new Uint8Array(value)].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
}

const report = ({ changes, last_row_id, changed_db, rows_read, rows_written }) =>
  ({ changes, last_row_id: encode(last_row_id), changed_db, rows_read, rows_written });
const objects = (rows) => rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, encode(value)])));
const outcome = ({ results, meta }) => ({ rows: objects(results), meta: report(meta) });
const decode = (value) => value !== null && typeof value === "object" ? new Uint8Array(value.blob) : value;

async function run(database, { mode, statements }) {
  const prepared = () => statements.map(([sql, values]) => database.prepare(sql).bind(...values.map(decode)));
  switch (mode) {
    case "run":
      return outcome(await prepared()[0].run());
    case "raw": {
      const [columns, ...rows] = await prepared()[0].raw({ columnNames: true });
      return { columns, rows: rows.map((row) => row.map(encode)) };
    }
    case "batch":
      return { results: (await database.batch(prepared())).map(outcome) };
    case "exec":
      return { count: (await database.exec(statements[0][0])).count };
  }
  throw new Error("no such mode: " + mode);
}

export default {
  async fetch(request, env) {
    const { database, calls } = await request.json();
    const outcomes = [];
    for (const call of calls) {
      try {
        outcomes.push(await run(env["DB" + database], call));
      } catch (error) {
        outcomes.push({ error: error.message });
      }
    }
    return Response.json(outcomes);
  },
};`;

const numbers = [...Array(Number(process.argv[2])).keys()];
const miniflare = new Miniflare(convertV4MiniflareOptions({
  port: 0, host: "127.0.0.1", cf: false, name: "d1", compatibilityDate: "2026-11-01",
  modules: [{ type: "ESModule", path: "index.js", contents: script }],
  d1Databases: Object.fromEntries(numbers.map((number) => ["DB" + number, "database-" + number])),
}));
const address = await miniflare.ready;
console.log(`serving on http://${address.host} (Ctrl-C ends)`);

process.stdin.resume();
process.stdin.on("end", async () => {
  await miniflare.dispose();
  process.exit(0);
});
