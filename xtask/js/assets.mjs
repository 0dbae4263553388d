// Records responses of Workers Static Assets: `node assets.mjs SPEC OUT` sends requests to the real asset Worker, in workerd
// through miniflare, and writes every exchange into OUT.
//
// SPEC: { files: { path: text }, sites: [{ name, html_handling, not_found_handling, run_worker_first?, headers?, redirects?,
//         latin1?, requests: [{ method?, path, headers? }] }], mime: folder }
// `mime` has the library of types in its node_modules: the type of a file of each of its extensions is written, too.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as send } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";

const { files, sites, mime } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const told = ["location", "content-type", "cache-control"];

// Not fetch, which would follow redirects, decode bodies and normalize paths.
function ask(address, { method = "GET", path, headers = {} }) {
  return new Promise((done, failed) => {
    const asked = send({ host: address.hostname, port: address.port, method, path, headers: { host: "example.com", ...headers } }, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => done({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(chunks).toString() }));
    });
    asked.on("error", failed);
    asked.end();
  });
}

async function exchange(address, request) {
  const answer = await ask(address, request);
  const headers = Object.fromEntries(
    Object.entries(answer.headers).filter(([name]) => told.includes(name) || name.startsWith("x-rule")),
  );
  const exchanged = { ...request, status: answer.status, answered: headers, body: answer.body };
  if (answer.headers.etag && answer.status === 200) {
    const again = await ask(address, { ...request, headers: { ...request.headers, "if-none-match": answer.headers.etag } });
    exchanged.again = again.status;
  }
  return exchanged;
}

const worker = `export default { fetch: () => new Response("the Worker", { headers: { "content-type": "text/plain" } }) }`;

async function serve(all, { html_handling, not_found_handling, run_worker_first, latin1 }, use) {
  const folder = mkdtempSync(join(tmpdir(), "isobar-assets-"));
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    const isRules = path === "/_headers" || path === "/_redirects";
    writeFileSync(join(folder, path), text, latin1 && isRules ? "latin1" : "utf8");
  }
  const has_user_worker = run_worker_first !== undefined;
  const miniflare = new Miniflare(convertV4MiniflareOptions({
    port: 0, host: "127.0.0.1", cf: false, workers: [{
      name: "site", compatibilityDate: "2026-11-01",
      modules: [{ type: "ESModule", path: "worker.js", contents: worker }],
      assets: { directory: folder, binding: "ASSETS", run_worker_first, routerConfig: { has_user_worker }, assetConfig: { html_handling, not_found_handling } },
    }],
  }));
  const address = await miniflare.ready;
  await use(address);
  await miniflare.dispose();
  rmSync(folder, { recursive: true });
}

const answered = [];
for (const { requests, headers, redirects, ...site } of sites) {
  const all = { ...files, ...(headers && { "/_headers": headers }), ...(redirects && { "/_redirects": redirects }) };
  const exchanges = [];
  await serve(all, site, async (address) => {
    for (const request of requests) exchanges.push(await exchange(address, request));
  });
  answered.push({ ...site, headers, redirects, exchanges });
}

const tables = ["standard", "other"].map((name) => import(`${mime}/node_modules/mime/dist/types/${name}.js`));
const extensions = (await Promise.all(tables)).flatMap((table) => Object.values(table.default).flat());
const types = {};
const typed = Object.fromEntries(extensions.map((extension) => [`/x.${extension.replace("*", "")}`, "a"]));
await serve(typed, { html_handling: "none", not_found_handling: "none" }, async (address) => {
  for (const path of Object.keys(typed).sort()) {
    types[path.slice("/x.".length)] = (await ask(address, { path })).headers["content-type"] ?? null;
  }
});
writeFileSync(process.argv[3], JSON.stringify({ files, sites: answered, types }));
process.exit(0);
