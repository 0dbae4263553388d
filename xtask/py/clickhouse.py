"""ClickHouse (chDB) behind ClickHouse's HTTP interface, as far as isobar uses it.

Arguments: the user and the password that requests must have. Prints its address. Every second insert is done and its connection closed
without an answer, so that whoever has sent it cannot know.
"""

import re
import sys
import tempfile
import urllib.parse
from http.server import BaseHTTPRequestHandler, HTTPServer

from chdb import session

USER, PASSWORD = sys.argv[1:]
# Parameters of the interface, which are not settings.
INTERFACE = {"query", "database", "default_format", "wait_end_of_query"}
STATUS = {27: 400, 33: 400, 60: 404, 62: 400, 81: 404, 117: 400, 516: 403}

chdb = session.Session()
chdb.query("CREATE DATABASE events")
inserts = 0


def with_settings(sql, settings):
    values = ", ".join(f"{name}='{value}'" for name, value in settings.items())
    return f"{sql}\nSETTINGS {values}" if settings else sql


def insert(sql, settings, body):
    """The rows of the body, out of a file: chDB has no standard input."""
    found = re.fullmatch(r"(INSERT INTO .*\)) FORMAT RowBinary", sql)
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(body)
        file.flush()
        chdb.query(with_settings(f"{found[1]} FROM INFILE '{file.name}'", settings) + " FORMAT RowBinary")
    return b""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        global inserts
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))
        settings = {name: value for name, value in parameters.items() if name not in INTERFACE}
        user, password = self.headers["X-ClickHouse-User"], self.headers["X-ClickHouse-Key"]
        if (user, password) != (USER, PASSWORD):
            return self.refuse(f"Code: 516. DB::Exception: {user}: wrong password {password}. (AUTHENTICATION_FAILED)")
        try:
            chdb.query(f"USE {parameters['database']}")
            if "query" in parameters:
                answer = insert(parameters["query"], settings, body)
                inserts += 1
                if inserts % 2:
                    return None  # without an answer
            else:
                form = parameters.get("default_format", "TabSeparated")
                answer = chdb.query(with_settings(body.decode(), settings), form).bytes()
        except Exception as error:  # chDB has one kind
            return self.refuse(str(error))
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def refuse(self, message):
        found = re.search(r"Code: (\d+)", message)
        code = int(found[1]) if found else 0
        self.send_response(STATUS.get(code, 500))
        self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Length", str(len(message.encode())))
        self.end_headers()
        self.wfile.write(message.encode())

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(f"serving on http://127.0.0.1:{server.server_port} ", flush=True)
server.serve_forever()
