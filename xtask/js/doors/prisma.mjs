// Prisma's driver adapter for D1 over HTTP against the REST API of an isobar server. Prints a line for each operation.
import assert from "node:assert/strict";

import { PrismaD1 } from "@prisma/adapter-d1";

const adapter = await new PrismaD1({
  CLOUDFLARE_D1_TOKEN: process.env.CLOUDFLARE_API_TOKEN,
  CLOUDFLARE_ACCOUNT_ID: process.env.CLOUDFLARE_ACCOUNT_ID,
  CLOUDFLARE_DATABASE_ID: process.env.CLOUDFLARE_DATABASE_ID,
}).connect();
const query = (sql, args = [], types = []) => ({ sql, args, argTypes: types });
const text = { scalarType: "string", arity: "scalar" };
const bytes = { scalarType: "bytes", arity: "scalar" };

await adapter.executeScript("DROP TABLE IF EXISTS prisma; CREATE TABLE prisma (id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB)");
console.log("executeScript");
const insert = query("INSERT INTO prisma (name, body) VALUES (?, ?)", ["Ada", new Uint8Array([0, 255])], [text, bytes]);
assert.equal(await adapter.executeRaw(insert), 1);
console.log("executeRaw");
const rows = await adapter.queryRaw(query("SELECT id, name, body FROM prisma"));
assert.deepEqual([rows.columnNames, rows.rows.length, rows.rows[0][1]], [["id", "name", "body"], 1, "Ada"]);
console.log("queryRaw");
await assert.rejects(() => adapter.executeRaw(insert), (error) => /UniqueConstraintViolation/.test(JSON.stringify(error.cause ?? error)));
console.log("a constraint that does not hold");
await adapter.dispose();
