#!/usr/bin/env bash
# Cloudflare's own SDKs (npm cloudflare 7.3.0, PyPI cloudflare 5.9.0) send a D1 query again when its answer is a 5xx, 408, 409 or
# 429: an INSERT goes out three times by default, with nothing by which the server could know that it is the same one. A query
# whose answer was lost after it ran (a gateway's 502 or 504) is run again: rows appear two or three times.
# Seen: a server on loopback counts the POSTs to /d1/database/{id}/query and answers 502. No request has an idempotency key.
# What helps: max_retries / maxRetries = 0 for writes, or a key of one's own in the row with ON CONFLICT DO NOTHING.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund cloudflare@7.3.0 >/dev/null
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check cloudflare==5.9.0

cat >server.py <<'PY'
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        keys = [name for name in self.headers if "idempot" in name.lower()]
        print(self.path.split("/")[-1], body["sql"], "retry", self.headers.get("x-stainless-retry-count"), keys, flush=True)
        answer = b'{"success":false,"errors":[{"code":1,"message":"gateway"}],"messages":[],"result":null}'
        self.send_response(502)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, file=sys.stderr, flush=True)
server.serve_forever()
PY
python3 server.py >requests 2>port &
server=$!
until [ -s port ]; do sleep 0.1; done
export BASE="http://127.0.0.1:$(cat port)/client/v4"

cat >client.mjs <<'JS'
import Cloudflare from "cloudflare";
const client = new Cloudflare({ apiToken: "x", baseURL: process.env.BASE });
try {
  await client.d1.database.query("db", { account_id: "a", sql: "INSERT INTO t VALUES (1)" });
} catch (error) {
  console.log("node:", error.status);
}
JS
node client.mjs
python/bin/python - <<'PY'
import os
from cloudflare import Cloudflare, APIStatusError
try:
    Cloudflare(api_token="x", base_url=os.environ["BASE"]).d1.database.query("db", account_id="a", sql="INSERT INTO t VALUES (2)")
except APIStatusError as error:
    print("python:", error.status_code)
PY
cat requests
expected='query INSERT INTO t VALUES (1) retry 0 []
query INSERT INTO t VALUES (1) retry 1 []
query INSERT INTO t VALUES (1) retry 2 []
query INSERT INTO t VALUES (2) retry 0 []
query INSERT INTO t VALUES (2) retry 1 []
query INSERT INTO t VALUES (2) retry 2 []'
[ "$(cat requests)" = "$expected" ] || { echo "changed: the requests are not those seen"; exit 1; }
echo "as seen"
