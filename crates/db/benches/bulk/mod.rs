//! A million rows into a new database: rusqlite's in one transaction, ours out of a script of SQL, as an export writes it.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use isobar_db::dump::import;
use rusqlite::{Connection, params};

use crate::measure::{INSERT, TABLE, processor_time};

/// Rows that are imported.
const ROWS: i64 = 1_000_000;
/// Rows of a statement of the script.
const OF_A_STATEMENT: i64 = 1000;

pub(crate) fn with_rusqlite(folder: &Path) {
    once("rusqlite\timport/1M", || {
        let mut connection = Connection::open(folder.join("rusqlite-import.sqlite")).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").unwrap();
        connection.execute_batch(TABLE).unwrap();
        let transaction = connection.transaction().unwrap();
        let mut insert = transaction.prepare(INSERT).unwrap();
        for number in 0..ROWS {
            insert.execute(params![format!("name {number}"), number % 90, 0.5]).unwrap();
        }
        drop(insert);
        transaction.commit().unwrap();
    });
}

pub(crate) fn with_isobar(folder: &Path) {
    let script = folder.join("import.sql");
    write_script(&script);
    once("isobar\timport/1M", || {
        let mut script = BufReader::new(File::open(&script).unwrap());
        let report = import(&folder.join("isobar-import.sqlite"), &mut script, &mut |_| ()).unwrap();
        assert_eq!(report.rows, ROWS.unsigned_abs());
    });
}

fn write_script(path: &Path) {
    let mut script = BufWriter::new(File::create(path).unwrap());
    write!(script, "BEGIN TRANSACTION;\n{TABLE};\n").unwrap();
    for number in 0..ROWS {
        let head = match number % OF_A_STATEMENT {
            0 => "INSERT INTO users (name, age, score) VALUES\n",
            _ => ",\n",
        };
        write!(script, "{head}('name {number}',{},0.5)", number % 90).unwrap();
        if number % OF_A_STATEMENT == OF_A_STATEMENT - 1 {
            script.write_all(b";\n").unwrap();
        }
    }
    script.write_all(b"COMMIT;\n").unwrap();
    script.flush().unwrap();
}

/// Measures one run, and prints a row of it, and the most memory that the process has had.
fn once(name: &str, run: impl FnOnce()) {
    let processor = processor_time();
    let begun = Instant::now();
    run();
    let time = begun.elapsed();
    let rows = ROWS.unsigned_abs();
    let cost = processor_time().saturating_sub(processor).as_nanos() / u128::from(rows);
    let nanoseconds = time.as_nanos();
    let rate = rows as f64 / time.as_secs_f64();
    println!("row\t{name}\t{nanoseconds}\t{nanoseconds}\t{rate:.0}\t{cost}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        println!("memory\t{name}\t{}", peak.trim().trim_end_matches(" kB"));
    }
}
