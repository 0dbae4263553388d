"""Reads the Parquet segments of a dataset with DuckDB, pyarrow and chDB, and prints what each finds, a JSON object a line.

Arguments: the dataset's folder, and the index of the selective query.
"""

import json
import pathlib
import sys

import chdb
import duckdb
import pyarrow.dataset
import pyarrow.parquet

folder, index = sys.argv[1:]
files = sorted(str(path) for path in pathlib.Path(folder).glob("*.parquet"))
SUMS = """
SELECT count(*) AS points, sum(_sample_interval) AS weight, {seconds} AS seconds, count(DISTINCT index1) AS indexes,
       count(DISTINCT blob2) AS routes, sum(double2) AS bytes, {ordered} AS ordered
FROM {table}
"""
ONE = "SELECT count(*) AS points, max(blob3) AS status FROM {table} WHERE index1 = '{index}'"


def tell(reader, **found):
    print(json.dumps({"reader": reader, "files": len(files), **found}))


def of_duckdb():
    table = f"read_parquet({files!r})"
    seconds = "sum(floor(epoch_ms(timestamp) / 1000))::BIGINT"
    row = duckdb.sql(SUMS.format(table=table, seconds=seconds, ordered="count(*) FILTER (blob1 = 'GET')")).fetchall()[0]
    one = duckdb.sql(ONE.format(table=table, index=index)).fetchall()[0]
    types = duckdb.sql(f"SELECT DISTINCT typeof(timestamp), typeof(blob2), typeof(double1) FROM {table}").fetchall()
    tell("duckdb", sums=[int(value) for value in row], one=list(one), types=[list(row) for row in types])


def of_chdb():
    table = f"file('{folder}/*.parquet', Parquet)"
    seconds = "sum(toInt64(floor(toUnixTimestamp64Milli(timestamp) / 1000)))"
    row = json.loads(chdb.query(SUMS.format(table=table, seconds=seconds, ordered="countIf(blob1 = 'GET')"), "JSONCompact").bytes())
    one = json.loads(chdb.query(ONE.format(table=table, index=index), "JSONCompact").bytes())
    types = chdb.query(f"SELECT DISTINCT toTypeName(timestamp), toTypeName(blob2), toTypeName(double1) FROM {table}", "JSONCompact")
    tell("chdb", sums=[int(value) for value in row["data"][0]], one=[int(one["data"][0][0]), one["data"][0][1]], types=json.loads(types.bytes())["data"])


def of_pyarrow():
    data = pyarrow.dataset.dataset(files).to_table(columns=["timestamp", "_sample_interval", "index1", "blob1", "blob2", "blob3", "double1", "double2"])
    rows = data.to_pydict()
    seconds = sum(int(time.timestamp() // 1) for time in rows["timestamp"])
    sums = [len(data), sum(rows["_sample_interval"]), seconds, len(set(rows["index1"])), len(set(rows["blob2"])), int(sum(rows["double2"])), rows["blob1"].count("GET")]
    wanted = pyarrow.dataset.field("index1") == index
    one = pyarrow.dataset.dataset(files).to_table(filter=wanted)
    pruned = 0
    for file in files:
        metadata = pyarrow.parquet.ParquetFile(file).metadata
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(2).statistics
            pruned += not statistics.min <= index <= statistics.max
            assert metadata.row_group(group).sorting_columns, "the sorting columns are recorded"
            assert metadata.row_group(group).column(2).has_column_index, "the index has a page index"
    types = [[str(data.schema.field(name).type) for name in ("timestamp", "blob2", "double1")]]
    tell("pyarrow", sums=sums, one=[len(one), max(one.column("blob3").to_pylist())], types=types, pruned=pruned)


of_duckdb()
of_chdb()
of_pyarrow()
