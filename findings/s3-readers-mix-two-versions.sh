#!/usr/bin/env bash
# pyarrow 26.0.1 (S3FileSystem) and obstore 0.12.1 (open_reader), both PyPI: a file of an S3 bucket that is open for reading asks for
# its ranges without If-Match. When the object is replaced meanwhile by one of the same length, the reader gives the first part of the
# old and the rest of the new one, without an error; with Parquet that is the footer of one and the pages of the other. s3fs 2026.9.0
# and boto3 1.43.117 send If-Match with the ETag of their HEAD, and end in 412. In pyarrow a stream's read() makes it likely: it is one
# GET for each 256 KiB (16 for 4 MiB, each paid for), where read(size), or read() of open_input_file, is one GET for all.
# Seen: a server on loopback with one object of 4 MiB logs the requests; the object is replaced after the first read.
# Give each version a key of its own, and read streams with a size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1 obstore==0.12.1 s3fs==2026.9.0 aiobotocore==3.10.0 boto3==1.43.117

cat >main.py <<'PY'
import hashlib, http.server, io, threading
SIZE = 4 << 20
OLD, NEW = b"a" * SIZE, b"b" * SIZE
body, requests = OLD, []

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        tag, wanted, match = '"' + hashlib.md5(body).hexdigest() + '"', self.headers.get("range"), self.headers.get("if-match")
        requests.append((self.command, match is not None))
        first, last, status = 0, SIZE - 1, 200
        if wanted:
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last, status = int(start), min(int(end or last), last), 206
        content = body[first:last + 1]
        if match and match.strip('"') != tag.strip('"'):
            content, status = b"", 412
        self.send_response(status)
        if status == 206:
            self.send_header("content-range", f"bytes {first}-{last}/{SIZE}")
        self.send_header("etag", tag)
        self.send_header("last-modified", "Sun, 01 Nov 2026 10:00:00 GMT")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
    do_HEAD = do_GET
    def log_message(self, *arguments): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"127.0.0.1:{server.server_port}"

def replace():
    global body
    body = NEW
def show(name, read):
    global body
    body = OLD
    requests.clear()
    try:
        content = read()
        result = f"{content.count(b'a')} old, {content.count(b'b')} new"
    except Exception as error:
        result = "412" if "Precondition Failed" in str(error) else f"{error}"
    gets = [match for method, match in requests if method == "GET"]
    print(f"{name}: {result}; {len(gets)} GET, {sum(gets)} with If-Match")
def halves(file, read):
    first = bytes(read(file, 1000))
    replace()
    file.seek(SIZE // 2)
    return first + bytes(read(file, 1000))

from pyarrow.fs import S3FileSystem
arrow = S3FileSystem(access_key="x", secret_key="y", endpoint_override=address, scheme="http", region="auto")
def arrow_stream():
    stream = arrow.open_input_stream("bucket/key")
    first = stream.read(1000)
    replace()
    return first + stream.read()
sized = lambda file, size: file.read(size)
show("pyarrow file", lambda: halves(arrow.open_input_file("bucket/key"), sized))
show("pyarrow stream", arrow_stream)
show("pyarrow stream read()", lambda: arrow.open_input_stream("bucket/key").read())
show("pyarrow stream read(size)", lambda: arrow.open_input_stream("bucket/key").read(SIZE))
show("pyarrow file read()", lambda: arrow.open_input_file("bucket/key").read())

import obstore
from obstore.store import S3Store
store = S3Store("bucket", access_key_id="x", secret_access_key="y", endpoint=f"http://{address}", region="auto",
                virtual_hosted_style_request=False, client_options={"allow_http": True})
show("obstore reader", lambda: halves(obstore.open_reader(store, "key"), sized))

import s3fs
system = s3fs.S3FileSystem(key="x", secret="y", endpoint_url=f"http://{address}", client_kwargs={"region_name": "auto"})
show("s3fs file", lambda: halves(system.open("bucket/key", "rb", block_size=1 << 20), sized))

import boto3
from boto3.s3.transfer import TransferConfig
class Target(io.BytesIO):
    def write(self, content):
        replace()
        return super().write(content)
def boto():
    client = boto3.client("s3", aws_access_key_id="x", aws_secret_access_key="y", endpoint_url=f"http://{address}", region_name="auto")
    target, mebibyte = Target(), 1 << 20
    config = TransferConfig(multipart_threshold=mebibyte, multipart_chunksize=mebibyte, use_threads=False)
    client.download_fileobj("bucket", "key", target, Config=config)
    return target.getvalue()
show("boto3 download", boto)
PY
python/bin/python main.py | tee seen
expected='pyarrow file: 1000 old, 1000 new; 2 GET, 0 with If-Match
pyarrow stream: 1000 old, 4193304 new; 17 GET, 0 with If-Match
pyarrow stream read(): 4194304 old, 0 new; 16 GET, 0 with If-Match
pyarrow stream read(size): 4194304 old, 0 new; 1 GET, 0 with If-Match
pyarrow file read(): 4194304 old, 0 new; 1 GET, 0 with If-Match
obstore reader: 1000 old, 1000 new; 2 GET, 0 with If-Match
s3fs file: 412; 2 GET, 2 with If-Match
boto3 download: 412; 2 GET, 2 with If-Match'
[ "$(cat seen)" = "$expected" ] || { echo "changed: the requests are not those seen"; exit 1; }
echo "as seen"
