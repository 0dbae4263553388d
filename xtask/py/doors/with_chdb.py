"""chDB's s3(): ClickHouse writes and reads Parquet through the door."""

import json

import chdb

from common import BUCKET, ENDPOINT, KEY, SECRET, check, refused, report


def s3(path, secret=SECRET):
    return f"s3('{ENDPOINT}/{BUCKET}/chdb/{path}', '{KEY}', '{secret}', 'Parquet')"


def rows(sql):
    return [json.loads(line) for line in str(chdb.query(sql, "JSONCompactEachRow")).splitlines()]


def write(path, select, *, settings=""):
    chdb.query(f"INSERT INTO FUNCTION {s3(path)} {settings} {select}")


ROWS = "SELECT number AS n, toString(number) AS text, number / 2 AS half, if(number % 3 = 0, NULL, number) AS gap FROM numbers(100000)"
write("a%20b%2Bc.parquet", ROWS)
sums = "count(), sum(n), sum(half), countIf(isNull(gap)), max(length(text))"
check("INSERT, SELECT", rows(f"SELECT {sums} FROM {s3('a%20b%2Bc.parquet')}"), rows(f"SELECT {sums} FROM ({ROWS})"))
check("SELECT of a column and some rows", rows(f"SELECT n FROM {s3('a%20b%2Bc.parquet')} WHERE n >= 99998 ORDER BY n"), [[99998], [99999]])
types = [row[:2] for row in rows(f"DESCRIBE TABLE {s3('a%20b%2Bc.parquet')}")]
check("DESCRIBE", types, [["n", "UInt64"], ["text", "String"], ["half", "Float64"], ["gap", "Nullable(UInt64)"]])
refused("INSERT over an object", lambda: write("a%20b%2Bc.parquet", "SELECT 1 AS n"), "already exists")
write("a%20b%2Bc.parquet", "SELECT 7 AS n", settings="SETTINGS s3_truncate_on_insert = 1")
check("INSERT with s3_truncate_on_insert", rows(f"SELECT * FROM {s3('a%20b%2Bc.parquet')}"), [[7]])

# In parts, which R2 wants to be equal: ClickHouse has a setting for that.
parts = "SETTINGS s3_max_single_part_upload_size = 5242880, s3_strict_upload_part_size = 5242880"
write("large.parquet", "SELECT cityHash64(number) AS hash FROM numbers(3000000)", settings=parts)
size = rows(f"SELECT any(_size) FROM {s3('large.parquet')}")
check("INSERT in parts", size[0][0] > 4 * (5 << 20), True)
total = "SELECT count(), sum(hash) FROM"
check("SELECT of an object in parts", rows(f"{total} {s3('large.parquet')}"), rows(f"{total} (SELECT cityHash64(number) AS hash FROM numbers(3000000))"))

write("part-{_partition_id}.parquet", "SELECT number AS n, number % 3 AS p FROM numbers(30)", settings="PARTITION BY p")
found = rows(f"SELECT _file, count(), sum(n) FROM {s3('part-*.parquet')} GROUP BY _file ORDER BY _file")
check("INSERT with PARTITION BY, SELECT by a pattern", found, [[f"part-{p}.parquet", 10, sum(range(p, 30, 3))] for p in range(3)])
check("SELECT by a list of names", rows(f"SELECT count() FROM {s3('part-{0,2}.parquet')}"), [[20]])
refused("SELECT of no key", lambda: rows(f"SELECT * FROM {s3('none.parquet')}"), "404")
refused("a wrong secret", lambda: rows(f"SELECT count() FROM {s3('large.parquet', 'wrong')}"), "403")
report()
