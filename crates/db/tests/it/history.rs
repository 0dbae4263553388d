//! Time travel on files.

mod changes;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use isobar_db::{
    Bookmark, Consistency, Database, ErrorKind, History, HistoryOptions, Queryable, QueryableExt, SqliteDatabase,
    SqliteOptions, Statement,
};
use tempfile::TempDir;

use self::changes::{Random, change};

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db.sqlite");
    (folder, file)
}

async fn opened(file: &Path) -> SqliteDatabase {
    opened_with(file, HistoryOptions::default()).await
}

async fn opened_with(file: &Path, history: HistoryOptions) -> SqliteDatabase {
    SqliteDatabase::open_with(file, SqliteOptions::default().with_history(history)).await.unwrap()
}

async fn bookmark(db: &SqliteDatabase) -> Bookmark {
    db.time_travel().unwrap().bookmark(None).await.unwrap()
}

async fn report(db: &SqliteDatabase) -> History {
    db.time_travel().unwrap().history().await.unwrap()
}

async fn restore(db: &SqliteDatabase, to: &Bookmark) -> isobar_db::Restored {
    db.time_travel().unwrap().restore(to).await.unwrap()
}

async fn run(db: &SqliteDatabase, sql: &str) {
    db.run_script(sql).await.unwrap();
}

/// The header of a write-ahead log, which is another one where it has begun anew.
fn wal_header(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap().into_iter().take(32).collect()
}

/// A table of numbers, in one row for each.
async fn numbers(db: &SqliteDatabase) -> Vec<i64> {
    db.prepare("SELECT n FROM t ORDER BY n").all().await.unwrap()
}

/// All that is in a database: its schema, and a number for the rows.
async fn content(db: &SqliteDatabase) -> String {
    let schema: Vec<(String, String)> =
        db.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").all().await.unwrap();
    let mut content = format!("{schema:?}");
    for (name, sql) in &schema {
        if sql.starts_with("CREATE TABLE") {
            let select = Statement::new(format!("SELECT rowid, * FROM {name} ORDER BY rowid"));
            let rows = db.query(select).await.unwrap().rows;
            let mut hasher = DefaultHasher::new();
            format!("{rows:?}").hash(&mut hasher);
            content.push_str(&format!("\n{name}: {} rows, {:x}", rows.len(), hasher.finish()));
        }
    }
    content
}

#[tokio::test]
async fn local_with_a_history_conforms() {
    let (_folder, file) = place();
    let db = opened(&file).await;
    isobar_db::conformance::run(async || std::sync::Arc::new(db.clone()) as _).await.assert_green();
}

#[tokio::test]
async fn any_of_100_points_comes_back_as_a_model_has_it() {
    let (_folder, file) = place();
    let mut db = opened(&file).await;
    let mut random = Random(0x1234_5678_9abc_def1);
    run(&db, "CREATE TABLE items (id INTEGER PRIMARY KEY, text);").await;
    let mut model = BTreeMap::new();
    let mut points = Vec::new();
    for step in 0..160 {
        change(&db, &mut random).await;
        let session = db.session(Consistency::FirstPrimary);
        session.prepare("SELECT 1").run().await.unwrap();
        // A session's bookmark means the same.
        let now = session.bookmark().unwrap();
        drop(session);
        assert_eq!(now, bookmark(&db).await);
        points.push(now.clone());
        model.insert(now, content(&db).await);
        if step % 40 == 39 {
            drop(db);
            db = opened(&file).await;
            assert_eq!(Some(content(&db).await), model.values().next_back().cloned());
        }
    }
    assert!(points.is_sorted());
    for _ in 0..100 {
        let before = content(&db).await;
        let to = &points[random.below(points.len() as u64) as usize];
        let restored = restore(&db, to).await;
        assert_eq!(content(&db).await, model[to], "{to}");
        assert_eq!(model[&restored.previous_bookmark], before);
        assert!(restored.bookmark > restored.previous_bookmark);
        let same = model[to].clone();
        model.insert(restored.bookmark, same);
    }
    let health: String = db.prepare("PRAGMA quick_check").one().await.unwrap();
    assert_eq!(health, "ok");
    assert_eq!(report(&db).await.gaps, []);
}

#[tokio::test]
async fn a_restore_is_undone_by_the_bookmark_that_it_returns() {
    let (_folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n); INSERT INTO t VALUES (1);").await;
    let one = bookmark(&db).await;
    run(&db, "INSERT INTO t VALUES (2);").await;
    let two = bookmark(&db).await;
    let back = restore(&db, &one).await;
    assert_eq!((numbers(&db).await, &back.previous_bookmark), (vec![1], &two));
    run(&db, "INSERT INTO t VALUES (3);").await;
    let three = bookmark(&db).await;
    let forth = restore(&db, &two).await;
    assert_eq!((numbers(&db).await, &forth.previous_bookmark), (vec![1, 2], &three));
    restore(&db, &forth.previous_bookmark).await;
    assert_eq!(numbers(&db).await, [1, 3]);
    restore(&db, &back.bookmark).await;
    assert_eq!(numbers(&db).await, [1]);
}

#[tokio::test]
async fn kept_statements_and_open_sessions_see_a_restored_schema() {
    let (_folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n, old); INSERT INTO t VALUES (1, 'x');").await;
    let session = db.session(Consistency::FirstPrimary);
    let before = bookmark(&db).await;
    let columns = async || session.query(Statement::new("SELECT * FROM t")).await.unwrap().columns;
    assert_eq!(columns().await, ["n", "old"]);
    run(&db, "ALTER TABLE t DROP COLUMN old; ALTER TABLE t ADD COLUMN new; INSERT INTO t VALUES (2, 'y');").await;
    for _ in 0..3 {
        assert_eq!(columns().await, ["n", "new"]);
        db.prepare("UPDATE t SET n = n").run().await.unwrap();
    }
    restore(&db, &before).await;
    for _ in 0..3 {
        assert_eq!(columns().await, ["n", "old"]);
        db.prepare("UPDATE t SET n = n, old = old").run().await.unwrap();
    }
    assert_eq!(numbers(&db).await, [1]);
}

#[tokio::test]
async fn a_time_means_the_last_commit_before_it() {
    let (_folder, file) = place();
    let before = Utc::now();
    tokio::time::sleep(Duration::from_millis(3)).await;
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n);").await;
    let mut times = Vec::new();
    for number in 1..=20 {
        run(&db, &format!("INSERT INTO t VALUES ({number});")).await;
        times.push(Utc::now());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let travel = db.time_travel().unwrap();
    for (number, time) in (1..).zip(&times) {
        let then = travel.bookmark(Some(*time)).await.unwrap();
        travel.restore(&then).await.unwrap();
        assert_eq!(numbers(&db).await, (1..=number).collect::<Vec<i64>>());
    }
    let error = travel.bookmark(Some(before)).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::History, "bookmark"));
    assert!(error.message().contains("begins later"), "{error}");
    let error = travel.bookmark(Some(Utc::now() + Duration::from_secs(60))).await.unwrap_err();
    assert!(error.message().contains("in the future"), "{error}");
}

#[tokio::test]
async fn a_bookmark_of_another_database_or_of_later_is_refused_and_changes_nothing() {
    let (_folder, file) = place();
    let (_other_folder, other_file) = place();
    let db = opened(&file).await;
    let other = opened(&other_file).await;
    run(&db, "CREATE TABLE t (n); INSERT INTO t VALUES (1);").await;
    let now = bookmark(&db).await;
    let later = Bookmark::new(format!("ffffffff{}", &now.as_str()[8..]));
    for wrong in [bookmark(&other).await, later, Bookmark::new("0"), Bookmark::new("")] {
        let error = db.time_travel().unwrap().restore(&wrong).await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::History, "restore"), "{error}");
    }
    assert_eq!((bookmark(&db).await, numbers(&db).await), (now, vec![1]));
}

#[tokio::test]
async fn without_a_history_there_is_no_time_travel() {
    let (_folder, file) = place();
    let db = SqliteDatabase::open(&file).await.unwrap();
    assert!(db.time_travel().is_none());
    assert!(SqliteDatabase::memory().await.unwrap().time_travel().is_none());
    drop(db);
    let now = Utc::now().timestamp_micros();
    let of_time = Bookmark::new(format!("{:08x}-{:08x}", (now >> 32) as u32, now as u32));
    assert!(bookmark(&opened(&file).await).await > of_time, "bookmarks go on growing");
    // It is kept on, without being asked for.
    assert!(SqliteDatabase::open(&file).await.unwrap().time_travel().is_some());
}

#[tokio::test]
async fn a_closed_database_is_one_file_and_reading_it_by_others_makes_no_gap() {
    let (_folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n); INSERT INTO t VALUES (1);").await;
    let one = bookmark(&db).await;
    drop(db);
    assert!(!file.with_extension("sqlite-wal").exists(), "the file has everything");
    for _ in 0..2 {
        let shell = rusqlite::Connection::open(&file).unwrap();
        assert_eq!(shell.query_row("SELECT n FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        drop(shell);
        let db = opened(&file).await;
        assert_eq!(bookmark(&db).await, one);
        assert_eq!(report(&db).await.snapshots, 1);
    }
    let db = opened(&file).await;
    run(&db, "INSERT INTO t VALUES (2);").await;
    restore(&db, &one).await;
    assert_eq!((numbers(&db).await, report(&db).await.gaps), (vec![1], Vec::new()));
}

#[tokio::test]
async fn what_another_program_writes_meanwhile_is_a_gap_and_what_was_before_it_is_kept() {
    let (_folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n); INSERT INTO t VALUES (1);").await;
    let one = bookmark(&db).await;
    drop(db);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let shell = rusqlite::Connection::open(&file).unwrap();
    shell.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    drop(shell);
    let in_gap = Utc::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let db = opened(&file).await;
    let three = bookmark(&db).await;
    assert!(three > one);
    run(&db, "INSERT INTO t VALUES (3);").await;
    let gaps = report(&db).await.gaps;
    assert_eq!(gaps.len(), 1);
    assert_eq!((&gaps[0].after.bookmark, &gaps[0].before.bookmark), (&one, &three));
    let travel = db.time_travel().unwrap();
    let error = travel.bookmark(Some(in_gap)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History);
    assert!(error.message().contains("gap"), "{error}");
    restore(&db, &one).await;
    assert_eq!(numbers(&db).await, [1]);
    restore(&db, &three).await;
    assert_eq!(numbers(&db).await, [1, 2]);
}

#[tokio::test]
async fn a_file_that_takes_the_place_of_the_old_one_is_behind_a_gap() {
    let (folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n); INSERT INTO t VALUES (1);").await;
    let one = bookmark(&db).await;
    drop(db);
    let other = folder.path().join("other.sqlite");
    let db = SqliteDatabase::open(&other).await.unwrap();
    run(&db, "CREATE TABLE t (n); INSERT INTO t VALUES (7);").await;
    drop(db);
    std::fs::rename(&other, &file).unwrap();
    let db = opened(&file).await;
    assert_eq!((numbers(&db).await, report(&db).await.gaps.len()), (vec![7], 1));
    restore(&db, &one).await;
    assert_eq!(numbers(&db).await, [1]);
}

#[tokio::test]
async fn commits_of_another_program_are_archived_while_it_is_kept() {
    let (_folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n, pad);").await;
    // It copies the log into the file whenever it can, and begins it anew.
    let shell = rusqlite::Connection::open(&file).unwrap();
    shell.execute_batch("PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 20").unwrap();
    shell.busy_timeout(Duration::from_secs(10)).unwrap();
    let mut points = Vec::new();
    for number in 1..=300 {
        shell.execute("INSERT INTO t VALUES (?1, randomblob(20000))", [number]).unwrap();
        if number % 30 == 0 {
            run(&db, "UPDATE t SET pad = NULL WHERE n % 2 = 0;").await;
            points.push((number, bookmark(&db).await));
        }
    }
    drop(shell);
    assert_eq!(report(&db).await.gaps, []);
    for (number, point) in points {
        restore(&db, &point).await;
        assert_eq!(numbers(&db).await, (1..=number).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_log_that_another_program_writes_is_copied_though_nothing_else_is_written() {
    let (_folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n, pad);").await;
    let shell = rusqlite::Connection::open(&file).unwrap();
    shell.execute_batch("PRAGMA synchronous = OFF").unwrap();
    shell.busy_timeout(Duration::from_secs(10)).unwrap();
    let path = file.with_extension("sqlite-wal");
    for _ in 0..4 {
        let before = wal_header(&path);
        shell.execute_batch(&"INSERT INTO t VALUES (1, randomblob(1000000));".repeat(10)).unwrap();
        // A log that is copied begins anew with the next commit. The pauses grow until a copy fits in one, however slow the disk is.
        let mut pause = Duration::ZERO;
        while wal_header(&path) == before {
            assert!(pause < Duration::from_secs(3), "the log of 10 MB is never copied");
            pause += Duration::from_millis(100);
            tokio::time::sleep(pause).await;
            shell.execute("INSERT INTO t VALUES (2, NULL)", []).unwrap();
        }
    }
    let log = std::fs::metadata(&path).unwrap().len();
    assert!(log < 35_000_000, "of 40 MB, the log has {log} bytes");
    drop(shell);
    assert_eq!(report(&db).await.gaps, []);
}

#[tokio::test]
async fn the_bounds_that_were_given_last_are_kept_beside_a_process_that_keeps_the_history() {
    let (folder, file) = place();
    let bounds = || std::fs::read_to_string(folder.path().join("db.sqlite-history/bounds.json")).unwrap();
    let keeper = opened_with(&file, HistoryOptions::default().with_max_bytes(11_000_000)).await;
    assert!(bounds().contains("11000000"), "{}", bounds());
    let second = opened_with(&file, HistoryOptions::default().with_max_bytes(12_000_000)).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(bounds().contains("12000000"), "{}", bounds());
    drop((keeper, second));
}

#[tokio::test]
async fn a_second_process_restores_beside_the_one_that_keeps_the_history_and_takes_it_over() {
    let (_folder, file) = place();
    let keeper = opened(&file).await;
    run(&keeper, "CREATE TABLE t (n); INSERT INTO t VALUES (1);").await;
    let one = bookmark(&keeper).await;
    run(&keeper, "INSERT INTO t VALUES (2);").await;
    let second = SqliteDatabase::open(&file).await.unwrap();
    run(&second, "INSERT INTO t VALUES (3);").await;
    // Another process, which has seen none of it, knows what is committed.
    let third = SqliteDatabase::open(&file).await.unwrap();
    let three = bookmark(&third).await;
    drop(third);
    assert_eq!(bookmark(&second).await, three);
    let restored = restore(&second, &one).await;
    assert_eq!((numbers(&keeper).await, &restored.previous_bookmark), (vec![1], &three));
    assert_eq!(bookmark(&keeper).await, restored.bookmark);
    drop(keeper);
    for number in 4..8 {
        run(&second, &format!("INSERT INTO t VALUES ({number});")).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    restore(&second, &three).await;
    assert_eq!((numbers(&second).await, report(&second).await.gaps), (vec![1, 2, 3], Vec::new()));
}

#[tokio::test]
async fn old_states_go_where_the_history_is_bounded_and_the_newest_stay() {
    let (_folder, file) = place();
    let history = HistoryOptions::default().with_max_bytes(1_000_000);
    let db = opened_with(&file, history).await;
    run(&db, "CREATE TABLE t (n INTEGER PRIMARY KEY, pad);").await;
    let first = bookmark(&db).await;
    let mut last = Vec::new();
    for number in 1..=240 {
        let pad = format!("INSERT OR REPLACE INTO t VALUES ({}, randomblob(30000));", number % 5);
        run(&db, &pad).await;
        if number > 237 {
            last.push((bookmark(&db).await, content(&db).await));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let report = bounded(&db, 1_300_000).await;
    assert!(report.oldest.as_ref().unwrap().bookmark > first, "{report:?}");
    let error = db.time_travel().unwrap().restore(&first).await.unwrap_err();
    assert!(error.message().contains("begins later"), "{error}");
    for (point, expected) in last {
        restore(&db, &point).await;
        assert_eq!(content(&db).await, expected);
    }
    // Asked for no more, the bounds stay.
    drop(db);
    let db = SqliteDatabase::open(&file).await.unwrap();
    for number in 0..40 {
        run(&db, &format!("INSERT OR REPLACE INTO t VALUES ({}, randomblob(30000));", number % 5)).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bounded(&db, 1_300_000).await;
}

/// Waits until the history has no more than this: the thread takes a snapshot, and then removes what is older.
async fn bounded(db: &SqliteDatabase, bytes: u64) -> History {
    for _ in 0..100 {
        let report = report(db).await;
        if report.bytes <= bytes {
            return report;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", report(db).await);
}

#[tokio::test]
async fn states_go_by_age() {
    let (_folder, file) = place();
    let history = HistoryOptions::default().with_max_age(Duration::from_millis(800));
    let db = opened_with(&file, history).await;
    run(&db, "CREATE TABLE t (n INTEGER PRIMARY KEY);").await;
    let first = bookmark(&db).await;
    for number in 1..=30 {
        run(&db, &format!("INSERT INTO t VALUES ({number});")).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let report = report(&db).await;
    let oldest = report.oldest.unwrap();
    assert!(oldest.bookmark > first);
    let age = Utc::now() - oldest.time;
    assert!(age.num_milliseconds() >= 700, "states of 800 ms are kept: {age}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_database_behind_a_link_has_the_history_of_its_file() {
    let (folder, file) = place();
    drop(SqliteDatabase::open(&file).await.unwrap());
    let link = folder.path().join("link.sqlite");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let db = opened(&link).await;
    run(&db, "CREATE TABLE t (n); INSERT INTO t VALUES (1);").await;
    let one = bookmark(&db).await;
    drop(db);
    let db = SqliteDatabase::open(&file).await.unwrap();
    run(&db, "INSERT INTO t VALUES (2);").await;
    restore(&db, &one).await;
    assert_eq!((numbers(&db).await, report(&db).await.gaps), (vec![1], Vec::new()));
}

#[tokio::test]
async fn a_damaged_history_is_reported_and_the_database_works() {
    let (folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n);").await;
    let mut points = Vec::new();
    for number in 1..=30 {
        run(&db, &format!("INSERT INTO t VALUES ({number});")).await;
        points.push(bookmark(&db).await);
    }
    let log = std::fs::read_dir(folder.path().join("db.sqlite-history")).unwrap();
    let log = log.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|name| name == "log"));
    let log = log.unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    let travel = db.time_travel().unwrap();
    let error = travel.restore(&points[25]).await.unwrap_err();
    assert!([ErrorKind::Corrupt, ErrorKind::History].contains(&error.kind()), "{error}");
    assert_eq!(numbers(&db).await.len(), 30);
    drop(db);
    let db = opened(&file).await;
    assert_eq!(report(&db).await.gaps.len(), 1, "what is behind the damage is missing");
    let now = bookmark(&db).await;
    run(&db, "DELETE FROM t;").await;
    restore(&db, &now).await;
    assert_eq!(numbers(&db).await.len(), 30);
    restore(&db, &points[2]).await;
    assert_eq!(numbers(&db).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_damaged_snapshot_is_kept_aside_and_another_one_is_taken() {
    let (folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n); INSERT INTO t VALUES (1);").await;
    drop(db);
    let history = folder.path().join("db.sqlite-history");
    let named = |extension: &str| {
        let entries = std::fs::read_dir(&history).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|name| name == extension)).collect::<Vec<_>>()
    };
    let base = named("base").remove(0);
    let mut bytes = std::fs::read(&base).unwrap();
    bytes[80] ^= 1; // in the head of its first block
    std::fs::write(&base, &bytes).unwrap();
    let db = opened(&file).await;
    assert_eq!((named("damaged").len(), named("base").len()), (1, 1));
    assert_eq!(std::fs::read(named("damaged").remove(0)).unwrap(), bytes);
    let now = bookmark(&db).await;
    run(&db, "DELETE FROM t;").await;
    restore(&db, &now).await;
    assert_eq!(numbers(&db).await, [1]);
}

#[tokio::test]
async fn a_batch_is_one_point_and_failed_work_is_none() {
    let (_folder, file) = place();
    let db = opened(&file).await;
    run(&db, "CREATE TABLE t (n UNIQUE); INSERT INTO t VALUES (1);").await;
    let one = bookmark(&db).await;
    let insert = |number: i64| db.prepare("INSERT INTO t VALUES (?)").bind(number).into_statement();
    db.batch(vec![insert(2), insert(1)]).await.unwrap_err();
    db.prepare("SELECT * FROM t").run().await.unwrap();
    assert_eq!(bookmark(&db).await, one);
    db.batch(vec![insert(2), insert(3)]).await.unwrap();
    let three = bookmark(&db).await;
    let writes = (10..60).map(|number| {
        let db = db.clone();
        async move {
            let session = db.session(Consistency::FirstPrimary);
            session.prepare("INSERT INTO t VALUES (?)").bind(number).run().await.unwrap();
            (number, session.bookmark().unwrap())
        }
    });
    // In group commits, each is in the state of its bookmark.
    let written: Vec<(i64, Bookmark)> = futures_util::future::join_all(writes).await;
    for (number, point) in written.iter().step_by(9) {
        restore(&db, point).await;
        assert!(numbers(&db).await.contains(number));
    }
    restore(&db, &three).await;
    assert_eq!(numbers(&db).await, [1, 2, 3]);
}
