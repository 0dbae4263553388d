"""minio-py."""

import io
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource
from minio.deleteobjects import DeleteObject

from common import BUCKET, ENDPOINT, KEY, SECRET, check, refused, report

client = Minio(ENDPOINT.removeprefix("http://"), access_key=KEY, secret_key=SECRET, secure=False, region="auto")
check("list_buckets", BUCKET in [bucket.name for bucket in client.list_buckets()], True)
check("bucket_exists", (client.bucket_exists(BUCKET), client.bucket_exists("nowhere")), (True, False))
client.put_object(BUCKET, "minio/a b+c", io.BytesIO(b"hello"), 5, metadata={"author": "ada"})
stat = client.stat_object(BUCKET, "minio/a b+c")
check("stat_object", (stat.size, stat.metadata["x-amz-meta-author"]), (5, "ada"))
check("get_object", client.get_object(BUCKET, "minio/a b+c").read(), b"hello")
check("get_object with a range", client.get_object(BUCKET, "minio/a b+c", offset=1, length=3).read(), b"ell")
large = b"z" * (11 << 20)
client.put_object(BUCKET, "minio/large", io.BytesIO(large), -1, part_size=5 << 20)
check("put_object of unknown length in parts", client.stat_object(BUCKET, "minio/large").size, len(large))
client.copy_object(BUCKET, "minio/copy", CopySource(BUCKET, "minio/a b+c"))
check("copy_object", client.get_object(BUCKET, "minio/copy").read(), b"hello")
client.compose_object(BUCKET, "minio/composed", [ComposeSource(BUCKET, "minio/copy")])
check("compose_object", client.get_object(BUCKET, "minio/composed").read(), b"hello")
names = [item.object_name for item in client.list_objects(BUCKET, prefix="minio/", recursive=True)]
check("list_objects", names, ["minio/a b+c", "minio/composed", "minio/copy", "minio/large"])
check("list_objects by folders", "minio/" in [item.object_name for item in client.list_objects(BUCKET)], True)
refused("get_object of no key", lambda: client.get_object(BUCKET, "minio/none"), "NoSuchKey")
errors = list(client.remove_objects(BUCKET, [DeleteObject(name) for name in names]))
check("remove_objects", errors, [])
check("list_objects of nothing", list(client.list_objects(BUCKET, prefix="minio/", recursive=True)), [])
report()
