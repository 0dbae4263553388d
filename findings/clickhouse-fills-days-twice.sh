#!/usr/bin/env bash
# ClickHouse 26.9 (PyPI chdb 4.4.0, chdb-core 26.9.0): `GROUP BY toStartOfInterval(t, INTERVAL 1 DAY, zone) ORDER BY 1 WITH FILL STEP
# INTERVAL 1 DAY` gives most days two rows, though no day is missing, in zones whose clocks skip midnight in spring (America/Santiago,
# Africa/Cairo, Asia/Beirut, America/Havana): from the skipped midnight on, each day has its own row and one of 23:00 with a count of 0.
# The bucket of that day begins at 01:00, but adding a day to the midnight before gives 23:00 of the same day, and the fill goes on from
# there. It lasts to the end of the series, so a chart of months is wrong for one night in spring. In Europe/Berlin all is as expected.
# Seen: five days with one row each, in five zones. Group by toDate(t, zone) in place of it: a series of Date has no such step.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check chdb==4.4.0 chdb-core==26.9.0

cat >main.py <<'PY'
import chdb
def rows(day, zone, noon):
    moments = f"SELECT toDateTime('{noon}', '{zone}') + INTERVAL arrayJoin(range(5)) DAY AS t"
    sql = f"SELECT {day} AS day, count() FROM ({moments}) GROUP BY day ORDER BY day WITH FILL STEP INTERVAL 1 DAY"
    return [line.split("\t") for line in chdb.query(sql, "TSV").data().splitlines()]
for zone, noon in [("America/Santiago", "2025-09-05 12:00:00"), ("Africa/Cairo", "2026-04-22 12:00:00"),
                   ("Asia/Beirut", "2026-03-27 12:00:00"), ("America/Havana", "2026-03-06 12:00:00"),
                   ("Europe/Berlin", "2026-03-27 12:00:00")]:
    filled = rows(f"toStartOfInterval(t, INTERVAL 1 DAY, '{zone}')", zone, noon)
    print(zone, len(filled), "rows,", len(rows(f"toDate(t, '{zone}')", zone, noon)), "of Date")
    if zone.endswith("Santiago"):
        for day, count in filled:
            print(" ", day, count)
PY
python/bin/python main.py | tee seen
expected='America/Santiago 8 rows, 5 of Date
  2025-09-05 00:00:00 1
  2025-09-06 00:00:00 1
  2025-09-06 23:00:00 0
  2025-09-07 01:00:00 1
  2025-09-07 23:00:00 0
  2025-09-08 00:00:00 1
  2025-09-08 23:00:00 0
  2025-09-09 00:00:00 1
Africa/Cairo 8 rows, 5 of Date
Asia/Beirut 8 rows, 5 of Date
America/Havana 8 rows, 5 of Date
Europe/Berlin 5 rows, 5 of Date'
[ "$(cat seen)" = "$expected" ] || { echo "changed: the rows are not those seen"; exit 1; }
echo "as seen"
