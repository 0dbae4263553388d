// Runs a built Worker in the real workerd, through miniflare: `node workerd.mjs options.json`. Ends with its standard input.
//
// The options are miniflare's own, and these:
//   build       the output folder of worker-build
//   evicts      a class whose objects hibernate on request to the service binding EVICT
//   eventsFrom  names of Analytics Engine bindings: miniflare drops data points, so each leads to a second Worker that stores
//               them; the address printed as "events on" returns them
//   migrate     [{ database, folder }]: applies the folder's .sql files that are not in the table d1_migrations
//   email       { send_email: [{ name }] }: the files of the messages that are sent are printed
//   load        [{ bucket, files: [{ key, path, contentType }] }]: stores files
//   measure     { runs, path }: does nothing of all this, but starts an empty Worker and the built one this often, and prints by
//               how many milliseconds the built one's first answer, to a GET of the path, comes later: the median
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { Log, LogLevel, Miniflare, convertV4MiniflareOptions } from "miniflare";

const { build, evicts, eventsFrom = [], migrate = [], load = [], measure, port = 0, persist, browserRendering, email, ...options } =
  JSON.parse(readFileSync(process.argv[2], "utf8"));
const events = [];

const keeper = `
import { WorkerEntrypoint } from "cloudflare:workers";
export default class extends WorkerEntrypoint {
  // Waits for the storing Worker: a data point is stored once its write is answered.
  async writeDataPoint(point) {
    const bytes = (value) => typeof value === "string" ? value : { bytes: [...new Uint8Array(value)] };
    const list = (values) => (values ?? []).map(bytes);
    const body = JSON.stringify({ indexes: list(point.indexes), blobs: list(point.blobs), doubles: point.doubles ?? [] });
    const answer = await this.env.KEEP.fetch("http://keep/", { method: "POST", body });
    if (!answer.ok) throw new Error("the point was not kept");
  }
}`;

async function keep(request) {
  events.push(JSON.parse(await request.text()));
  return new Response("kept");
}

// An object that is not running is evicted already.
async function evict(request) {
  const id = new URL(request.url).pathname.slice(1);
  try {
    await miniflare.unsafeEvictDurableObject(options.name, evicts, { id });
  } catch (error) {
    if (!/not (currently )?(running|found|active)|no such/i.test(error.message)) return new Response(error.message, { status: 500 });
  }
  return new Response("evicted");
}

const workers = [
  {
    ...options,
    ...(browserRendering && { browserRendering }),
    ...(email && { email }),
    modulesRoot: build,
    modules: [
      { type: "ESModule", path: join(build, "index.js") },
      { type: "CompiledWasm", path: join(build, "index_bg.wasm") },
    ],
    serviceBindings: {
      ...Object.fromEntries(eventsFrom.map((name) => [name, "events"])),
      ...(evicts && { EVICT: evict }),
    },
  },
  {
    name: "events",
    compatibilityDate: options.compatibilityDate,
    modules: [{ type: "ESModule", path: "events.js", contents: keeper }],
    serviceBindings: { KEEP: keep },
  },
];
// Of what miniflare says of its own accord, only where it keeps messages.
class Mail extends Log {
  logWithLevel(level, message) {
    if (message.includes("send_email binding")) console.log(message);
  }
}
const start = (workers) => new Miniflare(
  convertV4MiniflareOptions({ ...(email && { log: new Mail(LogLevel.INFO) }), port, host: "127.0.0.1", cf: false, unsafeLocalExplorer: true, unsafeTriggerHandlers: true, resourcePersistencePath: persist ?? undefined, workers }),
);

// Milliseconds from the start of a runtime with these Workers to the first one's first answer, which has to be good.
async function firstAnswer(workers, path) {
  const from = performance.now();
  const miniflare = start(workers);
  try {
    const answer = await fetch(new URL(path, await miniflare.ready));
    await answer.arrayBuffer();
    if (!answer.ok) throw new Error(`${path} is answered with ${answer.status}`);
    return performance.now() - from;
  } finally {
    await miniflare.dispose();
  }
}

if (measure) {
  const script = "export default { fetch() { return new Response(); } }";
  const empty = { ...workers[0], name: "empty", durableObjects: {}, modulesRoot: undefined,
    modules: [{ type: "ESModule", path: "empty.js", contents: script }] };
  const later = [];
  // The first run reads what the others find in memory.
  for (let run = 0; run <= measure.runs; run++) {
    const without = await firstAnswer([empty, workers[1]], measure.path);
    const difference = await firstAnswer(workers, measure.path) - without;
    if (run > 0) later.push(difference);
  }
  later.sort((one, other) => one - other);
  console.log(Math.round(later[Math.floor(later.length / 2)]));
  process.exit(0);
}

const miniflare = start(workers);
const address = await miniflare.ready;

for (const { database: name, folder } of migrate) {
  const database = await miniflare.getD1Database(name);
  // The table as wrangler creates it.
  await database.prepare(`CREATE TABLE IF NOT EXISTS d1_migrations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`).run();
  const { results } = await database.prepare("SELECT name FROM d1_migrations").all();
  const done = new Set(results.map((row) => row.name));
  for (const file of readdirSync(folder).filter((file) => file.endsWith(".sql") && !done.has(file)).sort()) {
    const sql = readFileSync(join(folder, file), "utf8");
    await database.batch([database.prepare(sql), database.prepare("INSERT INTO d1_migrations (name) VALUES (?)").bind(file)]);
    console.log(`applied ${file} to ${name}`);
  }
}
for (const { bucket: name, files } of load) {
  const bucket = await miniflare.getR2Bucket(name);
  for (const { key, path, contentType } of files) {
    await bucket.put(key, readFileSync(path), { httpMetadata: { contentType } });
  }
  console.log(`put ${files.length} files into ${name}`);
}

const kept = createServer((_, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(events));
});
await new Promise((done) => kept.listen(0, "127.0.0.1", done));
console.log(`events on http://127.0.0.1:${kept.address().port}`);
console.log(`serving on http://${address.host} (Ctrl-C ends)`);

process.stdin.resume();
process.stdin.on("end", async () => {
  await miniflare.dispose();
  process.exit(0);
});
