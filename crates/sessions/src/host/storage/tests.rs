//! Tests of an object's database.

use super::wal::MAX_WAL_PAGES;
use super::*;
use crate::host::history;
use crate::host::options::{Clock, HistoryOptions};

fn stored(path: &Path) -> Storage {
    let health = Arc::new(Health::new(None, None));
    let draft = Storage::open(path, &health, None, None, || Ok(false)).unwrap();
    draft.kv_put("kept", b"1").unwrap();
    draft.commit().unwrap();
    draft.publish(Some("name")).unwrap()
}

#[test]
fn a_commit_waits_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let storage = stored(&folder.path().join("object.sqlite"));
    let pragma = |name: &str| storage.connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
    storage.trusted.store(true, Ordering::Relaxed);
    assert_eq!(pragma("journal_mode").unwrap(), "wal");
    let synchronous = storage.connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
    assert_eq!(synchronous.unwrap(), 2, "2 is FULL: SQLite syncs the WAL with each commit");
}

#[test]
fn a_published_draft_holds_what_was_written_and_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ab/object.db");
    let health = Arc::new(Health::new(None, None));
    let draft = Storage::open(&path, &health, None, None, || Ok(false)).unwrap();
    draft.exec("PRAGMA foreign_keys = OFF", &[]).unwrap();
    draft.exec("CREATE TABLE t (a)", &[]).unwrap();
    draft.commit().unwrap();
    assert!(!draft.has_news(true).unwrap(), "definitions of a start are made again by the next one");
    draft.exec("DELETE FROM t", &[]).unwrap();
    draft.commit().unwrap();
    assert!(!draft.has_news(false).unwrap(), "nothing was deleted");
    assert!(!path.exists());
    draft.exec("INSERT INTO t VALUES (7)", &[]).unwrap();
    draft.commit().unwrap();
    assert!(draft.has_news(false).unwrap());
    let file = draft.publish(Some("Ada")).unwrap();
    assert_eq!(file.exec("SELECT a FROM t", &[]).unwrap().one::<i64>().unwrap(), 7);
    assert_eq!(file.exec("PRAGMA foreign_keys", &[]).unwrap().one::<i64>().unwrap(), 0);
    assert_eq!(file.object_name().unwrap().as_deref(), Some("Ada"));
    assert!(!isobar_base::fs::beside(&path, ".new").exists());
}

#[test]
fn full_database_undoes_the_turn_and_keeps_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let storage = stored(&folder.path().join("object.db"));
    storage.own("PRAGMA max_page_count = 12").unwrap();
    storage.kv_put("first", b"1").unwrap();
    let error = storage.kv_put("large", &[b'x'; 100_000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("object.db"), "{error}");
    let verdict = storage.verdict();
    assert!(verdict.is_none_or(|verdict| verdict.kind() == ErrorKind::StorageFull));
    storage.roll_back();
    assert!(!storage.is_unsound());
    storage.kv_put("after", b"1").unwrap();
    storage.commit().unwrap();
    assert_eq!(storage.kv_get("first").unwrap(), None);
    assert_eq!(storage.kv_get("after").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_file_of_an_older_version_gets_its_metadata_with_a_write_and_loses_it_with_the_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(&format!("PRAGMA journal_mode = WAL; {TABLES} INSERT INTO _cf_ALARM VALUES (1, 5, 6, 2)"))
        .unwrap();
    drop(old);
    let storage = Storage::open(&path, &Arc::new(Health::new(None, None)), None, None, || Ok(true)).unwrap();
    let row = AlarmRow { scheduled: 5, due: 6, retries: 2, made: None };
    assert_eq!((storage.alarm().unwrap(), storage.object_name().unwrap()), (Some(row), None));
    let newer = AlarmRow { made: Some(7), ..row };
    storage.set_alarm(Some(newer)).unwrap();
    storage.roll_back();
    assert_eq!(storage.alarm().unwrap(), Some(row));
    storage.set_alarm(Some(newer)).unwrap();
    storage.commit().unwrap();
    assert_eq!(storage.alarm().unwrap(), Some(newer));
}

#[test]
fn changes_are_those_that_a_dropped_table_deletes() {
    let storage = Storage::memory(&Arc::new(Health::new(None, None)), None).unwrap();
    storage.exec("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p)", &[]).unwrap();
    storage.exec("INSERT INTO p VALUES (1), (2), (3)", &[]).unwrap();
    storage.commit().unwrap();
    storage.renew().unwrap();
    let changes = |sql: &str| storage.exec(sql, &[]).unwrap().one::<i64>().unwrap();
    assert_eq!(changes("SELECT changes()"), 0);
    assert_eq!(changes("DROP TABLE p; SELECT changes()"), 3);
}

#[test]
fn limited_statements_write_within_the_turn_and_leave_the_hosts_tables_alone() {
    let storage = Storage::memory(&Arc::new(Health::new(None, None)), None).unwrap();
    storage.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)", &[]).unwrap();
    storage.kv_put("kept", b"1").unwrap();
    storage.commit().unwrap();
    storage.exec("DELETE FROM t ORDER BY a DESC LIMIT 2", &[]).unwrap();
    assert!(storage.is_dirty());
    storage.roll_back();
    let cursor = storage.exec("UPDATE t SET a = 9 ORDER BY a LIMIT ? -- the least", &[1.into()]).unwrap();
    assert_eq!(cursor.rows_written(), Some(1));
    storage.commit().unwrap();
    let rows = storage.exec("SELECT a FROM t ORDER BY a", &[]).unwrap();
    assert_eq!(rows.all::<i64>().unwrap(), [2, 3, 9]);
    assert!(storage.exec("DELETE FROM _cf_KV LIMIT 1", &[]).is_err());
    assert!(storage.exec("SELECT 1\0", &[]).is_err());
    assert_eq!(storage.kv_get("kept").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_savepoint_that_cannot_be_undone_condemns_the_turn() {
    let storage = Storage::memory(&Arc::new(Health::new(None, None)), None).unwrap();
    let result = storage.transaction(&mut || {
        storage.own("ROLLBACK")?; // as SQLite does by itself on a full disk
        Err(Error::application("x"))
    });
    assert!(result.is_err() && storage.verdict().is_some());
}

#[test]
fn optimize_writes_within_the_turn() {
    let storage = Storage::memory(&Arc::new(Health::new(None, None)), None).unwrap();
    storage.exec("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)", &[]).unwrap();
    storage.exec("CREATE VIEW v AS SELECT * FROM pragma_optimize(0x10002)", &[]).unwrap();
    storage.commit().unwrap();
    let statistics = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'";
    for sql in ["PRAGMA optimize = 0x10002", "SELECT * FROM pragma_optimize(0x10002)", "SELECT * FROM v"] {
        storage.exec(sql, &[]).unwrap();
        assert!(storage.is_dirty(), "{sql}");
        assert_eq!(storage.exec(statistics, &[]).unwrap().one::<i64>().unwrap(), 1, "{sql}");
        storage.roll_back();
        assert_eq!(storage.exec(statistics, &[]).unwrap().one::<i64>().unwrap(), 0, "{sql}");
        assert!(!storage.is_dirty());
    }
}

#[test]
fn a_log_of_64_mib_that_cannot_be_copied_ends_the_writes() {
    let folder = tempfile::tempdir().unwrap();
    let storage = stored(&folder.path().join("object.db"));
    let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 70)";
    storage.own("CREATE TABLE t (a)").unwrap();
    storage.own(&format!("BEGIN; {rows} INSERT INTO t SELECT zeroblob(1000000) FROM n; COMMIT")).unwrap();
    assert!(storage.wal.pages() > MAX_WAL_PAGES);
    // Within a transaction a checkpoint is refused.
    storage.own("BEGIN IMMEDIATE").unwrap();
    let refused = storage.check_log().unwrap_err();
    assert!(refused.kind() == ErrorKind::Storage && refused.to_string().contains("64 MiB"), "{refused}");
    storage.own("ROLLBACK").unwrap();
    storage.check_log().unwrap();
    storage.kv_put("after", b"1").unwrap();
    storage.commit().unwrap();
}

#[test]
fn alarm_of_the_host_that_fails_leaves_nothing_to_commit() {
    let storage = Storage::memory(&Arc::new(Health::new(None, None)), None).unwrap();
    let alarm = |due, made| Some(AlarmRow { scheduled: due, due, retries: 0, made: Some(made) });
    storage.commit_own_alarm(alarm(100, 1)).unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON _cf_ALARM BEGIN SELECT RAISE(ABORT, 'no room'); END";
    storage.own(full).unwrap();
    assert!(storage.commit_own_alarm(alarm(200, 2)).is_err());
    assert!(!storage.is_dirty());
    storage.commit().unwrap();
    assert_eq!(storage.alarm().unwrap(), alarm(100, 1));
}

#[test]
fn what_a_failed_sync_may_have_lost_has_no_bookmark() {
    let folder = tempfile::tempdir().unwrap();
    history::keep(folder.path(), HistoryOptions::default()).unwrap();
    let histories = Histories::find(folder.path(), Clock::default()).unwrap();
    let path = folder.path().join("objects/ab/object.db");
    let health = Arc::new(Health::new(None, None));
    let draft = Storage::open(&path, &health, None, histories.as_ref(), || Ok(false)).unwrap();
    draft.kv_put("kept", b"1").unwrap();
    draft.commit().unwrap();
    let storage = draft.publish(Some("name")).unwrap();
    let bookmark = storage.bookmark(None).unwrap();
    storage.kv_put("kept", b"2").unwrap();
    storage.commit().unwrap();
    health.poison("a sync failed".to_owned());
    for refused in [storage.bookmark(None), storage.ask_restore(&bookmark)] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Storage);
    }
}
