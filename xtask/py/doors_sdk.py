"""Cloudflare's SDK for Python against the REST API of an isobar server. Prints a line for each operation.

Each response is validated strictly against the SDK's models, which are generated from Cloudflare's published OpenAPI schema."""

import hashlib
import os
import time
import urllib.request

import cloudflare
from cloudflare import Cloudflare

ACCOUNT = os.environ["CLOUDFLARE_ACCOUNT_ID"]
client = Cloudflare(
    api_token=os.environ["CLOUDFLARE_API_TOKEN"],
    base_url=os.environ["CLOUDFLARE_API_BASE_URL"],
    _strict_response_validation=True,
)


def fails(status, code, run):
    try:
        run()
    except cloudflare.APIStatusError as error:
        assert (error.status_code, error.errors[0].code) == (status, code), error
        return
    raise AssertionError(f"expected status {status} with code {code}")


assert client.user.tokens.verify().status == "active"
print("user.tokens.verify")
assert [account.id for account in client.accounts.list()] == [ACCOUNT]
assert client.accounts.get(account_id=ACCOUNT).id == ACCOUNT
assert client.accounts.tokens.verify(account_id=ACCOUNT).status == "active"
print("accounts.list, get, tokens.verify")
assert [membership.account.id for membership in client.memberships.list()] == [ACCOUNT]
print("memberships.list")

buckets = client.r2.buckets
assert buckets.create(account_id=ACCOUNT, name="made-by-python").name == "made-by-python"
print("r2.buckets.create")
assert "made-by-python" in [bucket.name for bucket in buckets.list(account_id=ACCOUNT).buckets]
assert buckets.get("made-by-python", account_id=ACCOUNT).name == "made-by-python"
fails(404, 10006, lambda: buckets.get("nothing", account_id=ACCOUNT))
print("r2.buckets.list, get")
rule = {"allowed": {"methods": ["GET"], "origins": ["https://*.example.com"]}, "max_age_seconds": 60}
buckets.cors.update("made-by-python", account_id=ACCOUNT, rules=[rule])
(kept,) = buckets.cors.get("made-by-python", account_id=ACCOUNT).rules
assert (kept.allowed.methods, kept.allowed.origins, kept.max_age_seconds) == (["GET"], ["https://*.example.com"], 60), kept
buckets.cors.delete("made-by-python", account_id=ACCOUNT)
assert buckets.cors.get("made-by-python", account_id=ACCOUNT).rules == []
print("r2.buckets.cors.update, get, delete")
(default,) = buckets.lifecycle.get("made-by-python", account_id=ACCOUNT).rules
assert default.abort_multipart_uploads_transition.condition.max_age == 7 * 86400, default
expiry = {"condition": {"type": "Age", "max_age": 86400}}
rule = {"id": "logs", "enabled": True, "conditions": {"prefix": "logs/"}, "delete_objects_transition": expiry}
buckets.lifecycle.update("made-by-python", account_id=ACCOUNT, rules=[rule])
(kept,) = buckets.lifecycle.get("made-by-python", account_id=ACCOUNT).rules
assert (kept.id, kept.conditions.prefix, kept.delete_objects_transition.condition.max_age) == ("logs", "logs/", 86400), kept
print("r2.buckets.lifecycle.update, get")
place = {"account_id": ACCOUNT, "bucket_name": "made-by-python"}
stored = buckets.objects.upload("a/b c", body=b"hello", **place)
assert (stored.key, stored.size) == ("a/b c", "5"), stored
assert buckets.objects.get("a/b c", **place).read() == b"hello"
print("r2.buckets.objects.upload, get")
assert [entry.key for entry in buckets.objects.list("made-by-python", account_id=ACCOUNT)] == ["a/b c"]
print("r2.buckets.objects.list")
assert buckets.edit("made-by-python", account_id=ACCOUNT, storage_class="Standard").storage_class == "Standard"
fails(400, 7400, lambda: buckets.edit("made-by-python", account_id=ACCOUNT, storage_class="InfrequentAccess"))
fails(400, 7400, lambda: buckets.create(account_id=ACCOUNT, name="made-in-the-eu", cf_r2_jurisdiction="eu"))
print("r2.buckets.edit")
absent = [
    buckets.domains.custom.list("made-by-python", account_id=ACCOUNT).domains,
    buckets.domains.managed.list("made-by-python", account_id=ACCOUNT).enabled,
    buckets.sippy.get("made-by-python", account_id=ACCOUNT).enabled,
    buckets.locks.get("made-by-python", account_id=ACCOUNT).rules,
    buckets.event_notifications.list("made-by-python", account_id=ACCOUNT).queues,
]
assert absent == [[], False, False, [], []], absent
fails(400, 7400, lambda: buckets.domains.managed.update("made-by-python", account_id=ACCOUNT, enabled=True))
print("r2.buckets.domains, sippy, locks, event_notifications: there are none")
buckets.objects.delete("a/b c", **place)
buckets.delete("made-by-python", account_id=ACCOUNT)
print("r2.buckets.objects.delete, r2.buckets.delete")

databases = client.d1.database
database = databases.create(account_id=ACCOUNT, name="made-by-python").uuid
print("d1.database.create")
assert database in [entry.uuid for entry in databases.list(account_id=ACCOUNT)]
assert databases.get(database, account_id=ACCOUNT).name == "made-by-python"
for change in (databases.edit, databases.update):
    assert change(database, account_id=ACCOUNT, read_replication={"mode": "disabled"}).read_replication.mode == "disabled"
print("d1.database.list, get, edit, update")
script = "CREATE TABLE t (a); INSERT INTO t VALUES ('x'), ('y')"
assert len(list(databases.query(database, account_id=ACCOUNT, sql=script))) == 2
(rows,) = databases.query(database, account_id=ACCOUNT, sql="SELECT a FROM t WHERE a = ?", params=["y"])
assert rows.results == [{"a": "y"}] and rows.success, rows
(raw,) = databases.raw(database, account_id=ACCOUNT, sql="SELECT a FROM t ORDER BY a")
assert (raw.results.columns, raw.results.rows) == (["a"], [["x"], ["y"]]), raw
fails(400, 7500, lambda: databases.query(database, account_id=ACCOUNT, sql="SELEC"))
(count, rows) = databases.query(database, account_id=ACCOUNT, batch=[{"sql": "SELECT count(*) AS n FROM t"}, {"sql": "SELECT a FROM t WHERE a = ?", "params": ["x"]}])
assert (count.results, rows.results) == ([{"n": 2}], [{"a": "x"}]), (count, rows)
print("d1.database.query, raw")


def imported(script):
    """The steps of an import, with the file's upload between them."""
    file = script.encode()
    etag = hashlib.md5(file).hexdigest()
    begun = databases.import_(database, account_id=ACCOUNT, action="init", etag=etag)
    sent = urllib.request.urlopen(urllib.request.Request(begun.upload_url, data=file, method="PUT"))
    assert sent.headers["ETag"] == f'"{etag}"', sent.headers
    answer = databases.import_(database, account_id=ACCOUNT, action="ingest", etag=etag, filename=begun.filename)
    while answer.status not in ("complete", "error"):
        time.sleep(0.1)
        answer = databases.import_(database, account_id=ACCOUNT, action="poll", current_bookmark=answer.at_bookmark)
    return answer


done = imported("INSERT INTO t VALUES ('z');\nCREATE TABLE u (b UNIQUE);\n")
assert (done.status, done.result.num_queries) == ("complete", 2), done
failed = imported("INSERT INTO u VALUES (1);\nINSERT INTO u VALUES (1);\n")
assert failed.status == "error" and "UNIQUE" in failed.error, failed
(rows,) = databases.query(database, account_id=ACCOUNT, sql="SELECT (SELECT count(*) FROM t) AS t, (SELECT count(*) FROM u) AS u")
assert rows.results == [{"t": 3, "u": 0}], rows
print("d1.database.import_, of a file that fails half-way, too")
export = databases.export(database, account_id=ACCOUNT, output_format="polling")
while export.status is None:
    time.sleep(0.1)
    export = databases.export(database, account_id=ACCOUNT, output_format="polling", current_bookmark=export.at_bookmark)
assert export.status == "complete" and export.result.signed_url, export
print("d1.database.export")
assert databases.time_travel.get_bookmark(database, account_id=ACCOUNT).bookmark
fails(400, 7500, lambda: databases.time_travel.restore(database, account_id=ACCOUNT, bookmark="none"))
print("d1.database.time_travel.get_bookmark, restore of no bookmark")
databases.delete(database, account_id=ACCOUNT)
fails(404, 7404, lambda: databases.get(database, account_id=ACCOUNT))
print("d1.database.delete")
(rooms,) = client.durable_objects.namespaces.list(account_id=ACCOUNT)
assert (rooms.class_, rooms.script, rooms.name, rooms.use_sqlite) == ("Room", "doors", "doors_Room", True), rooms
assert list(client.durable_objects.namespaces.objects.list(rooms.id, account_id=ACCOUNT)) == []
fails(404, 7003, lambda: list(client.durable_objects.namespaces.objects.list("0" * 32, account_id=ACCOUNT)))
print("durable_objects.namespaces.list, objects.list")
