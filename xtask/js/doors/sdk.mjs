// Cloudflare's SDK for Node against the REST API of an isobar server. Prints a line for each operation.
import assert from "node:assert/strict";

import Cloudflare from "cloudflare";

const account_id = process.env.CLOUDFLARE_ACCOUNT_ID;
const client = new Cloudflare({ apiToken: process.env.CLOUDFLARE_API_TOKEN, baseURL: process.env.CLOUDFLARE_API_BASE_URL });

async function step(name, run) {
  try {
    await run();
  } catch (error) {
    console.error(`${name}: ${error.stack}`);
    process.exit(1);
  }
  console.log(name);
}

async function fails(status, code, run) {
  await assert.rejects(run, (error) => {
    assert.equal(error.status, status, error.message);
    assert.equal(error.errors[0].code, code, error.message);
    return true;
  });
}

const listed = async (pages) => {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
};

await step("user.tokens.verify", async () => assert.equal((await client.user.tokens.verify()).status, "active"));
await step("accounts.list", async () => assert.deepEqual((await listed(client.accounts.list())).map((it) => it.id), [account_id]));
await step("accounts.get", async () => assert.equal((await client.accounts.get({ account_id })).id, account_id));
await step("memberships.list", async () => assert.equal((await listed(client.memberships.list()))[0].account.id, account_id));

const bucket_name = "made-by-node";
await step("r2.buckets.create", async () => {
  assert.equal((await client.r2.buckets.create({ account_id, name: bucket_name })).name, bucket_name);
  await fails(409, 10004, () => client.r2.buckets.create({ account_id, name: bucket_name }));
});
await step("r2.buckets.list, get", async () => {
  const { buckets } = await client.r2.buckets.list({ account_id });
  assert.ok(buckets.some((bucket) => bucket.name === bucket_name));
  assert.equal((await client.r2.buckets.get(bucket_name, { account_id })).name, bucket_name);
});
const keys = ["k/a b+c", "é?#%", "z"];
await step("r2.buckets.objects.upload, get", async () => {
  for (const key of keys) {
    const stored = await client.r2.buckets.objects.upload(key, Buffer.from(`body of ${key}`), { account_id, bucket_name });
    assert.equal(stored.key, key);
    const got = await client.r2.buckets.objects.get(key, { account_id, bucket_name });
    assert.equal(await got.text(), `body of ${key}`);
  }
});
await step("r2.buckets.objects.list", async () => {
  const objects = await listed(client.r2.buckets.objects.list(bucket_name, { account_id, per_page: 1 }));
  assert.deepEqual(objects.map((object) => object.key), [...keys].sort());
});
await step("r2.buckets.objects.delete, r2.buckets.delete", async () => {
  await fails(409, 10008, () => client.r2.buckets.delete(bucket_name, { account_id }));
  for (const key of keys) await client.r2.buckets.objects.delete(key, { account_id, bucket_name });
  await fails(404, 10007, () => client.r2.buckets.objects.get("z", { account_id, bucket_name }));
  await client.r2.buckets.delete(bucket_name, { account_id });
});

let database;
await step("d1.database.create", async () => {
  database = (await client.d1.database.create({ account_id, name: "made-by-node" })).uuid;
  await fails(400, 7502, () => client.d1.database.create({ account_id, name: "made-by-node" }));
});
await step("d1.database.list, get", async () => {
  const databases = await listed(client.d1.database.list({ account_id, per_page: 1 }));
  assert.ok(databases.length >= 2 && databases.some((it) => it.uuid === database));
  assert.equal((await client.d1.database.get(database, { account_id })).name, "made-by-node");
});
await step("d1.database.query, raw", async () => {
  const sql = "CREATE TABLE t (a, b); INSERT INTO t VALUES ('x', 1), ('y', 2.5)";
  assert.equal((await listed(client.d1.database.query(database, { account_id, sql }))).length, 2);
  const select = { account_id, sql: "SELECT * FROM t WHERE a = ?", params: ["x"] };
  const [rows] = await listed(client.d1.database.query(database, select));
  assert.deepEqual([rows.results, rows.success], [[{ a: "x", b: 1 }], true]);
  const [raw] = await listed(client.d1.database.raw(database, select));
  assert.deepEqual(raw.results, { columns: ["a", "b"], rows: [["x", 1]] });
});
await step("d1.database.query fails once, without a second attempt", async () => {
  let requests = 0;
  const counting = client.withOptions({ fetch: (...request) => (requests++, fetch(...request)) });
  await fails(400, 7500, () => counting.d1.database.query(database, { account_id, sql: "INSERT INTO nothing VALUES (1)" }));
  assert.equal(requests, 1);
});
await step("d1.database.timeTravel.getBookmark", async () => {
  assert.ok((await client.d1.database.timeTravel.getBookmark(database, { account_id })).bookmark);
});
await step("d1.database.delete", async () => {
  await client.d1.database.delete(database, { account_id });
  await fails(404, 7404, () => client.d1.database.get(database, { account_id }));
});
await step("durableObjects.namespaces.list, objects.list", async () => {
  const [rooms] = await listed(client.durableObjects.namespaces.list({ account_id }));
  assert.deepEqual([rooms.class, rooms.name], ["Room", "doors_Room"]);
  assert.deepEqual(await listed(client.durableObjects.namespaces.objects.list(rooms.id, { account_id })), []);
});
