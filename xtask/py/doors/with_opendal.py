"""OpenDAL's S3 service."""

import opendal

from common import BUCKET, ENDPOINT, KEY, SECRET, check, refused, report

operator = opendal.Operator("s3", bucket=BUCKET, endpoint=ENDPOINT, region="auto", access_key_id=KEY, secret_access_key=SECRET)
operator.write("opendal/a b", b"hello", content_type="text/plain")
check("write and read", bytes(operator.read("opendal/a b")), b"hello")
stat = operator.stat("opendal/a b")
check("stat", (stat.content_length, stat.content_type), (5, "text/plain"))
with operator.open("opendal/a b", "rb") as file:
    file.seek(1)
    check("open, seek and read", bytes(file.read(3)), b"ell")
with operator.open("opendal/large", "wb") as file:
    for _ in range(12):
        file.write(b"w" * (1 << 20))
check("open and write in parts", operator.stat("opendal/large").content_length, 12 << 20)
operator.create_dir("opendal/folder/")
operator.copy("opendal/a b", "opendal/folder/copy")
names = sorted(entry.path for entry in operator.scan("opendal/"))
check("create_dir, copy, scan", [name for name in names if not name.endswith("/")], ["opendal/a b", "opendal/folder/copy", "opendal/large"])
check("list", "opendal/folder/" in [entry.path for entry in operator.list("opendal/")], True)
refused("read of no key", lambda: operator.read("opendal/none"), "NotFound")
operator.remove_all("opendal/")
check("remove_all", list(operator.scan("opendal/")), [])
report()
