//! Changes of a database, drawn by chance.

use isobar_db::{QueryableExt, SqliteDatabase};

/// Numbers drawn by a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Changes a database by chance.
pub(super) async fn change(db: &SqliteDatabase, random: &mut Random) {
    let id = random.below(40);
    let sql = match random.below(12) {
        0 => format!("CREATE TABLE IF NOT EXISTS t{} (a, b); INSERT INTO t{0} VALUES ({id}, 'new');", random.below(6)),
        1 => format!("DROP TABLE IF EXISTS t{};", random.below(6)),
        2 => "CREATE INDEX IF NOT EXISTS i ON items (text);".to_owned(),
        3 => "DROP INDEX IF EXISTS i;".to_owned(),
        4 => format!("DELETE FROM items WHERE id % 7 = {};", random.below(7)),
        5 => format!("UPDATE items SET text = text || {id};"),
        6 => format!("INSERT OR REPLACE INTO items VALUES ({id}, hex(zeroblob({})));", random.below(30_000)),
        // More than a write-ahead log has before it is copied.
        7 if random.below(4) == 0 => {
            format!("INSERT OR REPLACE INTO items SELECT 1000 + value, hex(randomblob(2000)) FROM ({});", rows_of(150))
        }
        _ => format!("INSERT OR REPLACE INTO items VALUES ({id}, 'short {}');", random.below(1000)),
    };
    db.run_script(&sql).await.unwrap();
}

fn rows_of(count: u64) -> String {
    format!(
        "WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {count}) SELECT value FROM n"
    )
}
