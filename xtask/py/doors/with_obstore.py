"""object_store's S3 store, by its binding obstore."""

import urllib.request
from datetime import timedelta

import obstore
from obstore.store import S3Store

from common import BUCKET, ENDPOINT, KEY, SECRET, check, refused, report

store = S3Store(
    BUCKET, endpoint=ENDPOINT, access_key_id=KEY, secret_access_key=SECRET, region="auto", client_options={"allow_http": True}
)
put = obstore.put(store, "obstore/a b", b"hello")
check("put", bool(put["e_tag"]), True)
check("get", bytes(obstore.get(store, "obstore/a b").bytes()), b"hello")
check("get_range", bytes(obstore.get_range(store, "obstore/a b", start=1, end=4)), b"ell")
check("get_ranges", [bytes(part) for part in obstore.get_ranges(store, "obstore/a b", starts=[0, 4], ends=[1, 5])], [b"h", b"o"])
check("head", obstore.head(store, "obstore/a b")["size"], 5)
refused("put with mode create", lambda: obstore.put(store, "obstore/a b", b"x", mode="create"), "AlreadyExists")
updated = obstore.put(store, "obstore/a b", b"again", mode={"e_tag": put["e_tag"]})
check("put with mode update", updated["e_tag"] != put["e_tag"], True)
refused("put with a stale update", lambda: obstore.put(store, "obstore/a b", b"x", mode={"e_tag": put["e_tag"]}), "Precondition")
obstore.put(store, "obstore/large", b"q" * (12 << 20), use_multipart=True, chunk_size=5 << 20)
check("put in parts", obstore.head(store, "obstore/large")["size"], 12 << 20)
obstore.copy(store, "obstore/a b", "obstore/copy")
check("copy", bytes(obstore.get(store, "obstore/copy").bytes()), b"again")
obstore.rename(store, "obstore/copy", "obstore/moved")
names = sorted(item["path"] for batch in obstore.list(store, prefix="obstore") for item in batch)
check("rename, list", names, ["obstore/a b", "obstore/large", "obstore/moved"])
listed = obstore.list_with_delimiter(store, prefix=None)
check("list_with_delimiter", "obstore" in listed["common_prefixes"], True)
refused("get of no key", lambda: obstore.get(store, "obstore/none"), "not found")
url = obstore.sign(store, "GET", "obstore/a b", timedelta(seconds=60))
check("sign", urllib.request.urlopen(url).read(), b"again")
obstore.delete(store, names)
check("delete", [item for batch in obstore.list(store, prefix="obstore") for item in batch], [])
report()
