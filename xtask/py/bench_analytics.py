"""Runs queries over Parquet files with DuckDB: the arguments are the dataset's folder and a JSON object of queries by name, in which TABLE
stands for the files. Prints a line of JSON for each: milliseconds of each run but the first, the answer, and the most memory in MiB."""

import json
import resource
import sys
import time

import duckdb

folder, queries = sys.argv[1], json.loads(sys.argv[2])
table = f"read_parquet('{folder}/*.parquet')"
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")

for name, sql in queries.items():
    sql = sql.replace("TABLE", table)
    rows = connection.execute(sql).fetchall()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        rows = connection.execute(sql).fetchall()
        times.append((time.perf_counter() - start) * 1000)
    answer = "".join("\t".join(str(value) for value in row) + "\n" for row in rows)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"name": name, "ms": times, "answer": answer, "memory": memory}), flush=True)
