//! Rows read and written where the numbers depend on the whole database, so that the kit cannot have them.

use isobar_db::{Database, QueryableExt, SqliteDatabase};

#[tokio::test]
async fn rows_of_sqlite_sequence_are_counted_as_by_d1() {
    let db = SqliteDatabase::memory().await.unwrap();
    let counts = db.capabilities().row_counts;
    // What D1 in workerd reports for a database without another table.
    for (sql, read, written) in [
        ("CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, a)", 2, 4),
        ("INSERT INTO counted (a) VALUES (1)", 1, 2),
        ("INSERT INTO counted (a) VALUES (2)", 1, 2),
        ("INSERT INTO counted (a) VALUES (3), (4), (5)", 1, 4),
    ] {
        let meta = db.prepare(sql).run().await.unwrap();
        let expected = counts.then_some((read, written));
        assert_eq!(meta.rows_read.zip(meta.rows_written), expected, "{sql}");
    }
}
