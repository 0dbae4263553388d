// Runs a built Worker in the real workerd, through miniflare. `node workerd.mjs options.json`; ends with its standard input.
//
// The options are miniflare's own, and three more: `build`, the folder that worker-build has made; `evicts`, a class whose
// objects hibernate when the service binding EVICT is asked to; and `eventsFrom`, the names of Analytics Engine bindings. Miniflare throws data points away, so each of them leads to a second Worker that keeps them:
// the address "events on" gives them back.
import { readFileSync } from "node:fs";
import { createServer, request as forward } from "node:http";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";

const { build, evicts, eventsFrom = [], port = 0, ...options } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const events = [];

const keeper = `
import { WorkerEntrypoint } from "cloudflare:workers";
export default class extends WorkerEntrypoint {
  // The answer waits for the keeper: a data point is kept once its write has been answered.
  async writeDataPoint(point) {
    const bytes = (value) => typeof value === "string" ? value : { bytes: [...new Uint8Array(value)] };
    const list = (values) => (values ?? []).map(bytes);
    const body = JSON.stringify({ indexes: list(point.indexes), blobs: list(point.blobs), doubles: point.doubles ?? [] });
    const answer = await this.env.KEEP.fetch("http://keep/", { method: "POST", body });
    if (!answer.ok) throw new Error("the point was not kept");
  }
}`;

async function evict(request) {
  const id = new URL(request.url).pathname.slice(1);
  await miniflare.unsafeEvictDurableObject(options.name, evicts, { id });
  return new Response("evicted");
}

const workers = [
  {
    ...options,
    modulesRoot: build,
    modules: [
      { type: "ESModule", path: `${build}/index.js` },
      { type: "CompiledWasm", path: `${build}/index_bg.wasm` },
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
    serviceBindings: {
      KEEP: async (request) => {
        events.push(JSON.parse(await request.text()));
        return new Response("kept");
      },
    },
  },
];
const miniflare = new Miniflare(
  convertV4MiniflareOptions({ port, host: "127.0.0.1", cf: false, resourcePersistencePath: options.persist, workers }),
);
const address = await miniflare.ready;

// What only Node can tell: the kept events.
const side = createServer((request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(events));
});
await new Promise((done) => side.listen(0, "127.0.0.1", done));
console.log(`events on http://127.0.0.1:${side.address().port}`);
console.log(`serving on http://${address.host} (ends with its input)`);
process.stdin.resume();
process.stdin.on("end", async () => {
  await miniflare.dispose();
  process.exit(0);
});
