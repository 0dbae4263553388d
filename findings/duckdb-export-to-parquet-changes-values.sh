#!/usr/bin/env bash
# DuckDB 2.0.1 (PyPI): EXPORT DATABASE (FORMAT parquet) and IMPORT DATABASE do not give the same database back, without a warning,
# though the column types are the same again. An INTERVAL loses its microseconds, and hours above a day become days: 2000 hours added to a
# TIMESTAMPTZ before the clocks change is then an hour off, and extract(hour) is 8. A TIMETZ loses its offset: 01:02:03+02 is
# 23:02:03+00. FORMAT csv keeps all of it. One negative interval, as `a - b` of timestamps gives, and the whole export to Parquet is an
# error, so an exporting job that ran for months stops at a row. HUGEINT, which COPY to Parquet makes a DOUBLE, is exported exactly.
# Seen: one table exported and imported in each format. Keep durations as BIGINT of microseconds, an offset in a column of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check duckdb==2.0.1

cat >main.py <<'PY'
import duckdb
query = """SELECT short::VARCHAR, long::VARCHAR, extract(hour FROM long), (TIMESTAMPTZ '2026-03-01 12:00:00+01' + long)::VARCHAR,
    clock::VARCHAR, typeof(large), large::VARCHAR FROM t"""
def connect():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'Europe/Berlin'")
    return connection
def show(name, connection):
    print(name, *connection.execute(query).fetchall()[0], sep=" | ")

first = connect()
first.execute("""CREATE TABLE t AS SELECT INTERVAL '0.000456 seconds' AS short, INTERVAL '2000 hours' AS long,
    '01:02:03+02'::TIMETZ AS clock, 9007199254740993::HUGEINT AS large""")
show("before", first)
for format in ["csv", "parquet"]:
    first.execute(f"EXPORT DATABASE '{format}' (FORMAT {format})")
    second = connect()
    second.execute(f"IMPORT DATABASE '{format}'")
    show(format, second)
first.execute("CREATE TABLE d AS SELECT TIMESTAMP '2026-01-01' - TIMESTAMP '2026-01-02' AS difference")
for format in ["csv", "parquet"]:
    try:
        first.execute(f"EXPORT DATABASE 'negative-{format}' (FORMAT {format})")
        print("negative:", format, "exported")
    except duckdb.Error as error:
        print("negative:", format, error)
PY
python/bin/python main.py | tee seen
expected='before | 00:00:00.000456 | 2000:00:00 | 2000 | 2026-05-23 21:00:00+02 | 01:02:03+02 | HUGEINT | 9007199254740993
csv | 00:00:00.000456 | 2000:00:00 | 2000 | 2026-05-23 21:00:00+02 | 01:02:03+02 | HUGEINT | 9007199254740993
parquet | 00:00:00 | 83 days 08:00:00 | 8 | 2026-05-23 20:00:00+02 | 23:02:03+00 | HUGEINT | 9007199254740993
negative: csv exported
negative: parquet IO Error: Parquet files do not support negative intervals'
[ "$(cat seen)" = "$expected" ] || { echo "changed: the values are not those seen"; exit 1; }
echo "as seen"
