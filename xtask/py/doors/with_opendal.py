"""OpenDAL's S3 service. OpenDAL's own behaviour tests are in no package: their groups of operations are here, blocking and asynchronous."""

import asyncio
import random
import urllib.request
from datetime import timedelta

import opendal
from opendal.exceptions import ConditionNotMatch, NotFound

from common import BUCKET, ENDPOINT, KEY, SECRET, check, refused, report

options = {"bucket": BUCKET, "endpoint": ENDPOINT, "region": "auto", "access_key_id": KEY, "secret_access_key": SECRET, "root": "/opendal"}
operator = opendal.Operator("s3", **options)


def fails(operation, call, kind):
    try:
        call()
    except kind:
        check(operation, True, True)
    else:
        check(operation, "succeeded", kind.__name__)


def paths(entries):
    return sorted(entry.path for entry in entries)


operator.check()
check("capability", (operator.capability().write_can_multi, operator.capability().presign, operator.capability().rename), (True, True, False))

# write
operator.write("a b", b"hello", content_type="text/plain", cache_control="no-cache", content_disposition="inline", user_metadata={"author": "ada"})
stat = operator.stat("a b")
check("write with metadata, stat", (stat.content_length, stat.content_type, stat.content_disposition, stat.user_metadata), (5, "text/plain", "inline", {"author": "ada"}))
operator.write("empty", b"")
check("write of nothing", (operator.stat("empty").content_length, bytes(operator.read("empty"))), (0, b""))
for name in ["ünï/日本", "%20", "a+b&c=d", "x'y\"z", "()[]{}!@#$^*~`;,."]:
    operator.write(name, name.encode())
    check("write, read and stat of special characters", (bytes(operator.read(name)), operator.stat(name).content_length), (name.encode(), len(name.encode())))
fails("write with if_not_exists", lambda: operator.write("a b", b"x", if_not_exists=True), ConditionNotMatch)
fails("write with if_match", lambda: operator.write("a b", b"x", if_match='"other"'), ConditionNotMatch)
operator.write("a b", b"again", if_match=stat.etag)
large = random.Random(1).randbytes(12 << 20)
with operator.open("large", "wb", chunk=5 << 20) as file:
    for at in range(0, len(large), 1 << 20):
        file.write(large[at : at + (1 << 20)])
check("write in parts", operator.stat("large").content_length, len(large))
operator.write("parallel", large, chunk=5 << 20, concurrent=3)
check("write of parts at once", bytes(operator.read("parallel")) == large, True)

# read
check("read", bytes(operator.read("a b")), b"again")
check("read of a range", [bytes(operator.read("large", offset=7, size=9)), bytes(operator.read("large", offset=len(large) - 3))], [large[7:16], large[-3:]])
check("read of chunks at once", bytes(operator.read("large", chunk=1 << 20, concurrent=4)) == large, True)
with operator.open("large", "rb") as file:
    for number in range(50):
        at = random.Random(number).randrange(len(large))
        file.seek(at)
        check("seek and read at random", bytes(file.read(1000)), large[at : at + 1000])
fails("read of no key", lambda: operator.read("none"), NotFound)
changed = operator.stat("large").last_modified
earlier = changed - timedelta(seconds=60)
check("read with if_match, if_modified_since", [len(operator.read("large", if_match=operator.stat("large").etag)), len(operator.read("large", if_modified_since=earlier))], [len(large)] * 2)
fails("read with if_none_match", lambda: operator.read("large", if_none_match=operator.stat("large").etag), ConditionNotMatch)
fails("read with if_unmodified_since", lambda: operator.read("large", if_unmodified_since=earlier), ConditionNotMatch)

# stat
fails("stat of no key", lambda: operator.stat("none"), NotFound)
fails("stat with if_match", lambda: operator.stat("large", if_match='"other"'), ConditionNotMatch)
fails("stat with if_none_match", lambda: operator.stat("large", if_none_match=operator.stat("large").etag), ConditionNotMatch)
check("exists", (operator.exists("large"), operator.exists("none")), (True, False))

# create_dir, list
operator.create_dir("folder/")
operator.create_dir("folder/")
check("create_dir, stat", operator.stat("folder/").is_dir, True)
for name in ["folder/1", "folder/2", "folder/deep/3", "folder/deep/er/4"]:
    operator.write(name, b"x")
below = ["folder/", "folder/1", "folder/2", "folder/deep/"]
check("list", paths(operator.list("folder/")), below)
check("list with recursive", [path for path in paths(operator.list("folder/", recursive=True)) if not path.endswith("/")], ["folder/1", "folder/2", "folder/deep/3", "folder/deep/er/4"])
check("scan", [path for path in paths(operator.scan("folder/deep/")) if not path.endswith("/")], ["folder/deep/3", "folder/deep/er/4"])
check("list with start_after", paths(operator.list("folder/", start_after="folder/1")), ["folder/2", "folder/deep/"])
check("list of pages", len(paths(operator.list("folder/", recursive=True, limit=1))) >= 4, True)
check("list of nothing", paths(operator.list("nowhere/")), [])

# copy, delete
operator.copy("a b", "folder/copy")
operator.copy("folder/copy", "folder/1")
check("copy, over an object", bytes(operator.read("folder/1")), b"again")
fails("copy of no key", lambda: operator.copy("none", "folder/never"), NotFound)
operator.delete("folder/1")
operator.delete("none")
check("delete, of no key", operator.exists("folder/1"), False)
operator.remove_all("folder/")
check("remove_all", paths(operator.list("folder/", recursive=True)), [])


async def asynchronous():
    """The same operations by the other half of the binding, and presigned requests, which it alone has."""
    operator = opendal.AsyncOperator("s3", **options)
    await asyncio.gather(*(operator.write(f"async/{number}", b"%d" % number) for number in range(20)))
    read = await asyncio.gather(*(operator.read(f"async/{number}") for number in range(20)))
    check("20 writes and reads at once", [bytes(body) for body in read], [b"%d" % number for number in range(20)])
    check("asynchronous list", len([entry async for entry in await operator.list("async/")]) >= 20, True)

    def sent(presigned, body=None):
        request = urllib.request.Request(presigned.url, data=body, method=presigned.method, headers=dict(presigned.headers))
        if body is not None:
            request.add_header("Content-Type", "application/octet-stream")
        return urllib.request.urlopen(request).read()

    sent(await operator.presign_write("by url", 60), b"by URL")
    check("presign_write, presign_read", sent(await operator.presign_read("by url", 60)), b"by URL")
    check("presign_stat", sent(await operator.presign_stat("by url", 60)), b"")
    sent(await operator.presign_delete("by url", 60))
    check("presign_delete", await operator.exists("by url"), False)


asyncio.run(asynchronous())
operator.remove_all("/")
check("remove_all of everything", [path for path in paths(operator.list("/", recursive=True)) if path != "/"], [])
wrong = opendal.Operator("s3", **{**options, "secret_access_key": "wrong"})
refused("a wrong secret", lambda: wrong.read("large"), "PermissionDenied")
report()
