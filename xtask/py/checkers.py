"""Checks a site with REDbot and httplint: `checkers.py BASE`; prints a line of JSON for each note above INFO.

REDbot asks by itself (negotiation, ranges, validators); httplint looks at what is asked here, as it comes over the socket. The last
line says how many answers were looked at: none is a failure of the checker, not a success of the site.
"""

import html
import http.client
import json
import re
import subprocess
import sys
import time
from configparser import ConfigParser
from urllib.parse import urlsplit

import thor
from httplint import HttpRequestLinter, HttpResponseLinter
from redbot.resource import HttpResource

PATIENCE = 60
PAGES = ["/", "/about", "/style.css", "/app-3f9a1c2b.js", "/image.png", "/data.json", "/folder/", "/none", "/none.css"]
PATHS = PAGES + ["/old", "/index.html", "/a//b", "/healthz"]
GZIP = ("Accept-Encoding", "gzip")


def plain(text):
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", str(text)))).strip()


def tell(what, status, notes):
    for note in notes:
        if note.level.name in ("WARN", "BAD"):
            told = {"what": what, "status": status, "level": note.level.name, "id": type(note).__name__}
            print(json.dumps(told | {"summary": str(note.summary), "detail": plain(note.detail)[:300]}))
        tell(what, status, note.subnotes)


def redbot(url):
    """Runs in its own process: REDbot's event loop is global and can start only once."""
    config = ConfigParser()
    config.read_dict({"redbot": {"enable_local_access": "True"}})
    resource = HttpResource(config["redbot"])
    resource.set_request(url, headers=[])
    resource.on("check_done", thor.stop)
    thor.schedule(PATIENCE, thor.stop)
    resource.check()
    thor.run()
    checks = [("", resource)] + [(f" ({name})", one) for name, one in resource.subreqs.items() if one.fetch_started]
    for name, one in checks:
        if one.fetch_error is not None or not one.response.complete:
            sys.exit(f"REDbot could not fetch {url}{name}: {one.fetch_error}")
        tell(f"redbot {url}{name}", one.response.status_code, one.response.notes)
    print(json.dumps({"looked_at": len(checks)}))


def lint(base, method, path, headers):
    """Returns httplint's notes on a response, and the response's headers."""
    at, started = urlsplit(base), time.time()
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=PATIENCE)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    request = HttpRequestLinter(start_time=started)
    request.process_request_topline(method.encode(), (base + path).encode(), b"1.1")
    request.process_headers([(name.encode(), value.encode()) for name, value in headers])
    request.finish_content(True)
    response = HttpResponseLinter(start_time=time.time(), no_content=method == "HEAD")
    response.request, response.base_uri = request, base + path
    response.process_response_topline(b"1.1", str(answer.status).encode(), answer.reason.encode())
    response.process_headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.getheaders()])
    response.feed_content(body)
    response.finish_content(True)
    what = " | ".join([f"httplint {method} {path}"] + [f"{name}: {value}" for name, value in headers[1:]])
    tell(what, answer.status, response.notes)
    return {name.lower(): value for name, value in answer.getheaders()}


def requests(base):
    """Requests all files in all variations. Returns the number of responses."""
    agent, count = ("User-Agent", "isobar-checkers"), 0
    for path in PATHS:
        for method in ["GET", "HEAD"]:
            for taken in [[], [GZIP]]:
                headers = [agent] + taken
                got = lint(base, method, path, headers)
                count += 1
                if "last-modified" not in got or method != "GET":
                    continue
                for further in [
                    ("If-None-Match", got["etag"]),
                    ("If-Modified-Since", got["last-modified"]),
                    ("If-Match", '"none"'),
                    ("Range", "bytes=0-9"),
                    ("Range", "bytes=0-1,5-6"),
                    ("Range", "bytes=999999999-"),
                    ("Want-Content-Digest", "sha-256=1"),
                ]:
                    lint(base, "GET", path, headers + [further])
                    count += 1
    for method in ["POST", "DELETE", "OPTIONS", "BREW"]:
        lint(base, method, "/", [agent, ("Content-Length", "0")])
        count += 1
    lint(base, "GET", "/" + "a" * 300, [agent])
    lint(base, "GET", "/%00", [agent])
    return count + 2


if __name__ == "__main__":
    if sys.argv[1] == "redbot":
        redbot(sys.argv[2])
    else:
        base = sys.argv[1]
        for page in PAGES:
            subprocess.run([sys.executable, __file__, "redbot", base + page], check=True)
        print(json.dumps({"looked_at": requests(base)}))
