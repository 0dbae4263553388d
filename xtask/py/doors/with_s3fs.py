"""s3fs."""

import s3fs

from common import BUCKET, ENDPOINT, KEY, SECRET, check, report

fs = s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=ENDPOINT, client_kwargs={"region_name": "auto"})
with fs.open(f"{BUCKET}/s3fs/a b.txt", "wb") as file:
    file.write(b"hello")
check("open for writing, info", fs.info(f"{BUCKET}/s3fs/a b.txt")["size"], 5)
check("cat", fs.cat(f"{BUCKET}/s3fs/a b.txt"), b"hello")
check("cat_ranges", fs.cat_file(f"{BUCKET}/s3fs/a b.txt", start=1, end=4), b"ell")
with fs.open(f"{BUCKET}/s3fs/large", "wb", block_size=5 << 20) as file:
    for _ in range(13):
        file.write(b"x" * (1 << 20))
check("open for writing in parts", fs.size(f"{BUCKET}/s3fs/large"), 13 << 20)
with fs.open(f"{BUCKET}/s3fs/large", "rb") as file:
    file.seek(12 << 20)
    check("seek and read", len(file.read()), 1 << 20)
fs.copy(f"{BUCKET}/s3fs/a b.txt", f"{BUCKET}/s3fs/deep/copy")
check("copy, find", fs.find(f"{BUCKET}/s3fs"), [f"{BUCKET}/s3fs/{name}" for name in ["a b.txt", "deep/copy", "large"]])
check("ls", sorted(fs.ls(f"{BUCKET}/s3fs", refresh=True)), [f"{BUCKET}/s3fs/{name}" for name in ["a b.txt", "deep", "large"]])
check("exists", (fs.exists(f"{BUCKET}/s3fs/large"), fs.exists(f"{BUCKET}/s3fs/none")), (True, False))
fs.mv(f"{BUCKET}/s3fs/deep/copy", f"{BUCKET}/s3fs/moved")
check("mv", fs.cat(f"{BUCKET}/s3fs/moved"), b"hello")
fs.rm(f"{BUCKET}/s3fs", recursive=True)
fs.invalidate_cache()
check("rm", fs.find(f"{BUCKET}/s3fs"), [])
report()
