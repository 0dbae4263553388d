// Drizzle at run time, by the line that `isobar serve --rest` prints, as it is. Prints a line for each operation.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";

import { asc, count, eq, gt, sql } from "drizzle-orm";
import { integer, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { drizzle } from "drizzle-orm/sqlite-proxy";
import { migrate } from "drizzle-orm/sqlite-proxy/migrator";

const db = new Function("drizzle", `return ${process.env.PRINTED_LINE}`)(drizzle);

async function step(name, run) {
  try {
    await run();
  } catch (error) {
    console.error(`${name}: ${error.stack}\n${error.cause ?? ""}`);
    process.exit(1);
  }
  console.log(name);
}

const folder = "drizzle-proxy";
mkdirSync(`${folder}/meta`, { recursive: true });
const files = ["CREATE TABLE authors (id integer PRIMARY KEY, name text NOT NULL UNIQUE);", "CREATE TABLE books (id integer PRIMARY KEY, author integer NOT NULL, title text, price real);"];
const entries = files.map((file, idx) => {
  const tag = `000${idx}_file`;
  writeFileSync(`${folder}/${tag}.sql`, file);
  return { idx, version: "6", when: 1780000000000 + idx, tag, breakpoints: true };
});
writeFileSync(`${folder}/meta/_journal.json`, JSON.stringify({ version: "7", dialect: "sqlite", entries }));
const authors = sqliteTable("authors", { id: integer("id").primaryKey(), name: text("name").notNull() });
const books = sqliteTable("books", { id: integer("id").primaryKey(), author: integer("author").notNull(), title: text("title"), price: real("price") });

await step("migrate, twice", async () => {
  const ran = [];
  const run = async (queries) => {
    for (const query of queries) await db.run(sql.raw(query));
    ran.push(queries.length);
  };
  for (let time = 0; time < 2; time++) await migrate(db, run, { migrationsFolder: folder, migrationsTable: "proxy_migrations" });
  assert.deepEqual(ran, [4, 0]);
});
await step("insert, returning", async () => {
  const stored = await db.insert(authors).values([{ name: "Ada" }, { name: "Gráce; 'x'" }]).returning();
  assert.deepEqual(stored, [{ id: 1, name: "Ada" }, { id: 2, name: "Gráce; 'x'" }]);
  await db.insert(books).values([{ author: 1, title: null, price: 2.5 }, { author: 2, title: "On code", price: 4 }]);
});
await step("select, get", async () => {
  const joined = await db.select({ name: authors.name, title: books.title }).from(books).innerJoin(authors, eq(books.author, authors.id)).where(gt(books.price, 3));
  assert.deepEqual(joined, [{ name: "Gráce; 'x'", title: "On code" }]);
  assert.deepEqual(await db.select().from(books).orderBy(asc(books.id)).get(), { id: 1, author: 1, title: null, price: 2.5 });
  assert.equal(await db.select().from(books).where(eq(books.id, 9)).get(), undefined);
  assert.deepEqual(await db.select({ n: count() }).from(authors), [{ n: 2 }]);
});
await step("update, delete", async () => {
  await db.update(books).set({ title: sql`upper(${books.title})` }).where(eq(books.id, 2));
  assert.deepEqual(await db.select({ title: books.title }).from(books).where(eq(books.id, 2)), [{ title: "ON CODE" }]);
  await db.delete(books).where(eq(books.id, 1));
  assert.equal(await db.$count(books), 1);
});
await step("a constraint that does not hold", () => assert.rejects(() => db.insert(authors).values({ name: "Ada" }), (error) => /UNIQUE constraint failed: authors.name/.test(error.cause?.message ?? error.message)));
await step("a transaction, which D1 does not have, is refused", async () => {
  await assert.rejects(() => db.transaction((tx) => tx.delete(authors)));
  assert.equal(await db.$count(authors), 2);
});
