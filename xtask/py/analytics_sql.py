"""Answers of ClickHouse (chDB) to Analytics Engine's queries, for comparison with isobar's.

analytics_sql.py record DATA QUERIES   answers each line of the file QUERIES, and prints a JSON line for each
analytics_sql.py random DATA COUNT SEED   makes queries from a grammar, and prints a JSON line for each with its answer
"""

import json
import random
import re
import sys

from chdb import session

SETTINGS = (
    "SETTINGS output_format_json_quote_64bit_integers=1, output_format_write_statistics=0, "
    # The last makes min(x - 1) of no rows min(x) - 1.
    "session_timezone='Etc/UTC', max_threads=1, optimize_arithmetic_operations_in_aggregate_functions=0"
)
BLOBS, DOUBLES = 20, 20


def connect(data):
    chdb = session.Session()
    columns = ["dataset String", "timestamp DateTime", "_sample_interval UInt32", "index1 String"]
    columns += [f"blob{n} String" for n in range(1, BLOBS + 1)]
    columns += [f"double{n} Float64" for n in range(1, DOUBLES + 1)]
    chdb.query(f"CREATE TABLE default.events ({', '.join(columns)}) ENGINE = Memory")
    rows = []
    for line in open(data, encoding="utf-8"):
        event = json.loads(line)
        row = {"dataset": "events", "timestamp": event["timestamp"], "_sample_interval": 1, "index1": event["index"]}
        row.update({f"blob{n + 1}": blob for n, blob in enumerate(event["blobs"])})
        row.update({f"double{n + 1}": float(double) for n, double in enumerate(event["doubles"])})
        rows.append(row)
    names = [column.split()[0] for column in columns]

    def value(row, name):
        default = 0.0 if name.startswith("double") else ""
        value = row.get(name, default)
        if isinstance(value, str):
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
        return repr(value)

    values = ", ".join("(" + ", ".join(value(row, name) for name in names) + ")" for row in rows)
    chdb.query(f"INSERT INTO default.events VALUES {values}")
    return chdb


def end_of_call(text, begin):
    """The place of the parenthesis that closes the one before `begin`."""
    depth, at, quoted = 1, begin, False
    while depth:
        letter = text[at]
        if quoted and letter == "\\":
            at += 1
        elif letter == "'":
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(letter, 0)
        at += 1
    return at - 1


def clickhouse(sql):
    """The query as ClickHouse has it: what Analytics Engine documents as different is named otherwise there."""
    for ours, theirs in [("length", "lengthUTF8"), ("substring", "substringUTF8"), ("toLower", "lowerUTF8"), ("toUpper", "upperUTF8")]:
        sql = re.sub(rf"\b{ours}\(", f"{theirs}(", sql)
    sql = re.sub(r"\bquantileWeighted\(([0-9.]+), ", r"quantileExactWeighted(\1)(", sql)
    sql = re.sub(r"\bLIMIT ALL\b", "", sql)
    at = 0
    while (found := sql.find("toStartOfWeek(", at)) >= 0:
        at = found + len("toStartOfWeek(")
        end = end_of_call(sql, at)
        sql = sql[:end] + ", 1" + sql[end:]
    return sql


def answer(chdb, sql, form):
    try:
        result = chdb.query(f"{clickhouse(sql)} {SETTINGS}", form)
        text = result.bytes().decode("utf-8", "surrogateescape")
        if form == "JSON":
            json.loads(text)
        return {"answer": text}
    except Exception as error:  # chDB has one kind
        return {"error": str(error)[:200]}


def record(chdb, queries):
    for line in open(queries, encoding="utf-8"):
        sql = line.strip()
        if not sql or sql.startswith("--"):
            continue
        forms = {form: answer(chdb, sql, form) for form in ("JSON", "JSONEachRow", "TabSeparated")}
        print(json.dumps({"sql": sql, **forms}, ensure_ascii=False))


class Grammar:
    """Random queries. Columns: few values, with corners among them."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        return self.random.choice(choices)

    def call(self, name, *arguments):
        return f"{name}({', '.join(arguments)})"

    def text(self, depth):
        r = self.random
        if depth <= 0 or r.random() < 0.35:
            return self.one("blob1", "blob2", "blob3", "index1", "'a'", "''", "'é'", "'/home'", "'x%y_z'", "'A b'")
        x = lambda: self.text(depth - 1)
        n = lambda: self.integer(1)
        return self.one(
            lambda: self.call(self.one("lower", "upper", "lowerUTF8", "upperUTF8", "toLower", "toUpper"), x()),
            lambda: self.call("substring", x(), self.one("1", "2", "-2", "-3", "5")),
            lambda: self.call("substring", x(), self.one("1", "2", "-2", "-9"), self.one("0", "1", "2", "3", "-1", "9")),
            lambda: self.call("if", self.condition(depth - 1), x(), x()),
            lambda: self.call("format", self.one("'{}'", "'{}-{}'", "'{1}:{0}'", "'a{{}}{}'"), self.scalar(1), self.scalar(1)),
            lambda: self.call(self.one("hex", "bin"), self.one(x, n, lambda: self.number(1), lambda: self.time(1))()),
            lambda: self.call("formatDateTime", self.time(depth - 1), self.one("'%Y-%m-%d %H:%i:%S'", "'%a %b %e %j %V %u %W %M %Q %p'", "'%D %F %g %G %h %I %k %l %R %T %r %y %z %%'", "'%C %c %d %m %w %s %f'")),
        )()

    def integer(self, depth):
        r = self.random
        if depth <= 0 or r.random() < 0.3:
            return self.one("1", "2", "7", "0", "-1", "-5", "255", "256", "70000", "toUInt32(double2)", "toUInt8(double2)", "_sample_interval", "5000000000", "true")
        i = lambda: self.integer(depth - 1)
        return self.one(
            lambda: f"({i()} {self.one('+', '-', '*')} {i()})",
            lambda: f"({i()} % {self.one('3', '-3', '7', '300', 'toUInt32(5)')})",
            lambda: self.call("intDiv", i(), self.one("2", "-3", "7", "toUInt32(300)")),
            lambda: self.call("length", self.text(depth - 1)),
            lambda: f"position({self.one(chr(39) + 'a' + chr(39), self.text(0))} IN {self.text(depth - 1)})",
            lambda: self.call(self.one("toYear", "toMonth", "toDayOfMonth", "toDayOfWeek", "toHour", "toMinute", "toSecond", "toUnixTimestamp", "toYYYYMM"), self.time(depth - 1)),
            lambda: self.call("extract", f"{self.one('YEAR', 'MONTH', 'DAY', 'HOUR', 'MINUTE', 'SECOND')} FROM {self.time(depth - 1)}"),
            lambda: self.call(self.one("toUInt8", "toUInt32"), self.one(i, lambda: self.time(0), lambda: "'17'")()),
            lambda: self.call(self.one("bitAnd", "bitOr", "bitXor", "bitHammingDistance"), i(), i()),
            lambda: self.call(self.one("bitNot", "bitCount"), i()),
            lambda: self.call(self.one("bitShiftLeft", "bitShiftRight"), i(), self.one("0", "1", "3", "8", "9", "33", "70", "toUInt8(double2)")),
            lambda: self.call(self.one("bitRotateLeft", "bitRotateRight"), i(), self.one("0", "1", "3", "8", "17")),
            lambda: self.call("bitTest", i(), self.one("0", "1", "7")),
            lambda: self.call("round", i(), self.one("-1", "-2", "0", "1", "-3", "-5")),
            lambda: self.call(self.one("floor", "ceil"), i(), self.one("-1", "-2", "0")),
            lambda: self.call("if", self.condition(depth - 1), i(), i()),
            lambda: f"(- {i()})",
        )()

    def number(self, depth):
        r = self.random
        if depth <= 0 or r.random() < 0.3:
            return self.one("double1", "double2", "double3", "double4", "1.5", "-0.25", "2.5", "100.0", self.integer(0))
        x = lambda: self.number(depth - 1)
        return self.one(
            lambda: f"({x()} {self.one('+', '-', '*', '/')} {x()})",
            lambda: f"(double1 % {self.one('2', '0.75', '-3')})",
            lambda: self.call(self.one("round", "floor", "ceil"), self.one("double1", "double3", "double1 / 8"), self.one("0", "1", "2", "-1", "-2")),
            lambda: self.call(self.one("round", "floor", "ceil"), self.one("double1", "double3", "double4")),
            lambda: self.call(self.one("log", "ln"), x()),
            lambda: self.call("pow", self.one("double1", "double2", "2"), self.one("2", "0.5", "-1", "3")),
            lambda: self.call("if", self.condition(depth - 1), self.one("double1", "1.5", "2"), self.one("double2", "double4", "-1.5")),
            lambda: f"(- {x()})",
            lambda: self.integer(depth - 1),
        )()

    def zone(self):
        return self.one("'Europe/Berlin'", "'America/New_York'", "'Asia/Kolkata'", "'Asia/Kathmandu'", "'Australia/Lord_Howe'", "'Etc/UTC'")

    def interval(self):
        """Nothing that leads out of the years of a DateTime, 1970 to 2106, where ClickHouse's answers follow no rule."""
        count = self.one(1, 2, 3, 5, 7, 10, 15, 30, 90, 100)
        unit = self.one("SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR")
        return f"INTERVAL '{min(count, 5) if unit == 'YEAR' else count}' {unit}"

    def moment(self, depth):
        """A DateTime."""
        if depth <= 0 or self.random.random() < 0.4:
            return self.one("timestamp", "timestamp", "toDateTime('2024-03-31 01:30:00')", f"toDateTime(timestamp, {self.zone()})", f"toDateTime('2024-10-27 02:30:00', {self.zone()})")
        m = lambda: self.moment(depth - 1)
        return self.one(
            lambda: self.call(self.one("toStartOfDay", "toStartOfHour", "toStartOfFifteenMinutes", "toStartOfTenMinutes", "toStartOfFiveMinutes", "toStartOfMinute"), m()),
            lambda: self.call("toStartOfInterval", m(), f"INTERVAL '{self.one(1, 2, 3, 5, 7, 10, 15, 30, 90)}' {self.one('SECOND', 'MINUTE', 'HOUR', 'DAY')}"),
            lambda: self.call("toStartOfInterval", m(), f"INTERVAL '{self.one(1, 2, 6, 12)}' {self.one('MINUTE', 'HOUR', 'DAY')}", self.zone()),
            lambda: f"({m()} {self.one('+', '-')} {self.interval()})",
            lambda: f"({m()} {self.one('+', '-')} {self.one('5', '3600', '_sample_interval')})",
        )()

    def time(self, depth):
        return self.moment(depth)

    def date(self, depth):
        return self.one(
            lambda: self.call(self.one("toStartOfYear", "toStartOfMonth", "toStartOfWeek"), self.moment(depth)),
            lambda: self.call("toStartOfInterval", self.moment(depth), f"INTERVAL '{self.one(1, 2, 3, 5)}' {self.one('MONTH', 'YEAR')}"),
        )()

    def condition(self, depth):
        r = self.random
        compare = lambda: self.one("=", "!=", "<>", "<", "<=", ">", ">=")
        if depth <= 0 or r.random() < 0.5:
            return self.one(
                lambda: f"{self.number(0)} {compare()} {self.number(0)}",
                lambda: f"{self.text(0)} {compare()} {self.text(0)}",
                lambda: f"timestamp {compare()} '2024-03-31 02:00:00'",
                lambda: f"{self.text(0)} {self.one('LIKE', 'NOT LIKE', 'ILIKE', 'NOT ILIKE')} {self.one(*map(repr, ['%a%', '/%', '_', '%É%', 'x!%%', 'A_b', '%', '']))}",
                lambda: f"{self.text(0)} {self.one('IN', 'NOT IN')} ('a', '/home', '', 'é')",
                lambda: f"{self.one('double1', 'double2')} {self.one('IN', 'NOT IN')} (0, 1.5, 2, -3)",
                lambda: f"{self.integer(0)} {self.one('IN', 'NOT IN')} (1, 2, 255, -1)",
                lambda: f"{self.number(0)} {self.one('BETWEEN', 'NOT BETWEEN')} -1 AND 2.5",
                lambda: self.call(self.one("startsWith", "endsWith"), self.text(0), self.one("'a'", "'/'", "''")),
                lambda: self.call("empty", self.text(0)),
            )()
        c = lambda: self.condition(depth - 1)
        return self.one(
            lambda: f"({c()} {self.one('AND', 'OR')} {c()})",
            lambda: f"(NOT {c()})",
            lambda: f"{self.integer(depth - 1)} {compare()} {self.integer(depth - 1)}",
            lambda: f"{self.text(depth - 1)} {compare()} {self.text(depth - 1)}",
            lambda: f"{self.time(depth - 1)} {compare()} {self.time(depth - 1)}",
            lambda: f"{self.date(0)} {compare()} {self.one(self.date(0), self.moment(0))}",
        )()

    def scalar(self, depth):
        return self.one(self.text, self.integer, self.number, self.moment, self.date, self.condition)(depth)

    def aggregate(self, depth, is_grouped):
        """Among groups none of those that ClickHouse answers by the order in which it has come to the rows."""
        if not is_grouped and self.random.random() < 0.25:
            return self.one(
                lambda: f"{self.one('first_value', 'last_value')}({self.scalar(1)})",
                lambda: f"topKWeighted(blob5, {self.one('_sample_interval', '3')})",
            )()
        w = lambda: self.one("_sample_interval", "toUInt32(double2)", "1", "toUInt8(3)")
        return self.one(
            lambda: "count()",
            lambda: f"count(DISTINCT {self.one(self.text, self.integer, self.moment)(1)})",
            lambda: f"sum({self.one('DISTINCT ', '')}{self.one('double1', 'double2', '_sample_interval', self.integer(1), 'double1 * 2')})",
            lambda: f"avg({self.one('DISTINCT ', '')}{self.one('double1', 'double2', '_sample_interval', self.integer(1))})",
            lambda: f"{self.one('min', 'max')}({self.scalar(1)})",
            lambda: f"quantileExactWeighted({self.one('0', '0.25', '0.5', '0.95', '1')})({self.one('double1', 'double2', 'double4', 'timestamp', self.integer(1))}, {w()})",
            lambda: f"quantileWeighted({self.one('0.5', '0.9')}, {self.one('double1', 'double2')}, {w()})",
            lambda: f"{self.one('argMin', 'argMax')}(double5, double5)",
            lambda: f"{self.one('argMin', 'argMax')}(blob4, double5)",
            lambda: f"length(argMax(blob4, {self.one('double5', 'blob4')}))",
            lambda: f"topK({self.one('blob5', 'double6')})",
            lambda: f"countIf({self.condition(1)})",
            lambda: f"{self.one('sumIf', 'avgIf')}({self.one('double1', '_sample_interval', self.integer(1))}, {self.condition(1)})",
        )()

    def query(self):
        r = self.random
        where = f" WHERE {self.condition(2)}" if r.random() < 0.4 else ""
        kind = r.random()
        if kind < 0.45:  # rows
            items = [f"{self.scalar(3)} AS c{n}" for n in range(r.randint(1, 4))]
            order = " ORDER BY double5" + self.one("", " DESC") if r.random() < 0.6 else ""
            limit = f" LIMIT {r.randint(0, 9)}" + self.one("", f" OFFSET {r.randint(0, 5)}") if order else ""
            return f"SELECT {', '.join(items)} FROM events{where}{order}{limit}"
        if kind < 0.6:  # all in one
            items = [f"{self.aggregate(2, False)} AS c{n}" for n in range(r.randint(1, 4))]
            return f"SELECT {', '.join(items)} FROM events{where}"
        keys = [self.one(self.text, self.integer, self.moment, self.date, self.condition)(2) for _ in range(r.randint(1, 2))]
        items = [f"{key} AS k{n}" for n, key in enumerate(keys)]
        items += [f"{self.aggregate(2, True)} AS c{n}" for n in range(r.randint(0, 3))]
        names = ", ".join(f"k{n}" for n in range(len(keys)))
        having = f" HAVING count() {self.one('>', '<=')} {r.randint(1, 9)}" if r.random() < 0.3 else ""
        order = f" ORDER BY {names}" + self.one("", " DESC") if r.random() < 0.5 else ""
        sql = f"SELECT {', '.join(items)} FROM events{where} GROUP BY {names}{having}{order}"
        if r.random() < 0.15:
            sql = f"SELECT count() AS n, min(k0) AS least FROM ({sql})"
        return sql


def main():
    mode, data, *rest = sys.argv[1:]
    chdb = connect(data)
    if mode == "record":
        record(chdb, rest[0])
        return
    count, seed = map(int, rest)
    grammar = Grammar(seed)
    for _ in range(count):
        sql = grammar.query()
        print(json.dumps({"sql": sql, "JSON": answer(chdb, sql, "JSON")}, ensure_ascii=False))


main()
