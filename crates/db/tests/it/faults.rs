//! Tests of faults of the disk, of timeouts and of callers that leave: the database continues.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use isobar_db::{Constraint, Database, ErrorKind, Queryable, QueryableExt, SqliteDatabase, SqliteOptions, Statement};

const FOREVER: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_commit_that_breaks_a_deferred_foreign_key_leaves_a_working_database() {
    let folder = tempfile::tempdir().unwrap();
    for db in
        [SqliteDatabase::memory().await.unwrap(), SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap()]
    {
        db.run_script("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id));").await.unwrap();
        for _ in 0..3 {
            let defer = Statement::new("PRAGMA defer_foreign_keys = ON");
            let error = db.batch(vec![defer, "INSERT INTO c VALUES (99)".into()]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Constraint(Constraint::ForeignKey), "{error}");
            db.prepare("INSERT INTO p (id) VALUES (NULL)").run().await.unwrap();
            db.health().await.unwrap();
        }
        let counts: (i64, i64) =
            db.prepare("SELECT (SELECT count(*) FROM c), (SELECT count(*) FROM p)").one().await.unwrap();
        assert_eq!(counts, (0, 3));
    }
}

#[tokio::test]
async fn dropped_query_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let db = SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let start = Instant::now();
    for _ in 0..3 {
        let queries = (0..8).map(|_| db.prepare(FOREVER).run());
        let all = futures_util::future::join_all(queries);
        assert!(tokio::time::timeout(Duration::from_millis(50), all).await.is_err());
        let write = db.batch(vec!["INSERT INTO t VALUES (1)".into(), FOREVER.into()]);
        assert!(tokio::time::timeout(Duration::from_millis(50), write).await.is_err());
    }
    assert_eq!(db.prepare("SELECT count(*) FROM t").one::<i64>().await.unwrap(), 0);
    db.prepare("INSERT INTO t VALUES (2)").run().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn query_is_limited_to_thirty_seconds_or_the_options_limit() {
    assert_eq!(SqliteOptions::default().time_limit, Duration::from_secs(30));
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().with_time_limit(Duration::from_millis(200));
    let db = SqliteDatabase::open_with(folder.path().join("db.sqlite"), options).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let start = Instant::now();
    let error = db.prepare(FOREVER).run().await.unwrap_err();
    let text = "D1_ERROR: D1 DB storage operation exceeded timeout which caused object to be reset.";
    assert_eq!((error.to_string().as_str(), error.kind()), (text, ErrorKind::Unavailable));
    let error = db.batch(vec!["INSERT INTO t VALUES (1)".into(), FOREVER.into()]).await.unwrap_err();
    assert_eq!(error.to_string(), text);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    db.prepare("INSERT INTO t VALUES (2)").run().await.unwrap();
    assert_eq!(db.prepare("SELECT a FROM t").all::<i64>().await.unwrap(), [2]);
}

#[tokio::test]
async fn a_write_waits_for_another_process_no_longer_than_it_may_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let options = SqliteOptions::default().with_time_limit(Duration::from_millis(300));
    let db = SqliteDatabase::open_with(&path, options).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let start = Instant::now();
    let error = db.prepare("INSERT INTO t VALUES (1)").run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!((200..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    db.prepare("INSERT INTO t VALUES (1)").run().await.unwrap();
}

#[tokio::test]
async fn files_are_their_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/db.sqlite");
    let db = SqliteDatabase::open(&path).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let wal = folder.path().join("a/b/db.sqlite-wal");
    let shm = folder.path().join("a/b/db.sqlite-shm");
    assert_eq!([&path, &wal, &shm].map(|path| mode(path)), [0o600; 3]);
    assert_eq!([folder.path().join("a"), folder.path().join("a/b")].map(|path| mode(&path)), [0o700; 2]);
    // As an earlier version has left them.
    for (path, mode) in [(&path, 0o644), (&wal, 0o644), (&shm, 0o664), (&folder.path().join("a/b"), 0o755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let again = SqliteDatabase::open(&path).await.unwrap();
    again.prepare("INSERT INTO t VALUES (1)").run().await.unwrap();
    assert_eq!([&path, &wal, &shm].map(|path| mode(path)), [0o600; 3]);
    assert_eq!(mode(&folder.path().join("a/b")), 0o700);
    // A folder with other files in it is somebody else's affair.
    let shared = folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("notes.txt"), "hello").unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o755)).unwrap();
    SqliteDatabase::open(shared.join("db.sqlite")).await.unwrap();
    assert_eq!((mode(&shared), mode(&shared.join("db.sqlite"))), (0o755, 0o600));
}

#[tokio::test]
async fn readers_and_the_writer_share_what_a_pragma_sets() {
    let folder = tempfile::tempdir().unwrap();
    let db = SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap();
    let like = || db.prepare("SELECT 'a' LIKE 'A'").one::<i64>();
    db.exec("CREATE TABLE t (a)\nINSERT INTO t VALUES (1)\nINSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(like().await.unwrap(), 1);
    db.prepare("PRAGMA case_sensitive_like = ON").run().await.unwrap();
    assert_eq!(like().await.unwrap(), 0);
    assert_eq!(db.prepare("INSERT INTO t SELECT 3 WHERE 'a' LIKE 'A'").run().await.unwrap().changes, 0);
    db.prepare("PRAGMA case_sensitive_like = OFF").run().await.unwrap();
    assert_eq!(like().await.unwrap(), 1);
    db.prepare("PRAGMA reverse_unordered_selects = 1").run().await.unwrap();
    assert_eq!(db.prepare("SELECT a FROM t").all::<i64>().await.unwrap(), [2, 1]);
    // What the writer has done is asked of the writer.
    db.prepare("INSERT INTO t VALUES (9)").run().await.unwrap();
    assert_eq!(db.prepare("SELECT last_insert_rowid(), changes()").one::<(i64, i64)>().await.unwrap(), (3, 1));
}

/// A child of this test, in a file system of its own of 4 MiB: the disk is full, and has room again.
#[cfg(target_os = "linux")]
#[test]
fn full_disk_fails_writes_until_there_is_room() {
    const MARK: &str = "ISOBAR_TEST_FULL_DISK";
    if std::env::var_os(MARK).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(fill_the_disk(Path::new("/mnt")));
    }
    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=4m none /mnt || exit 77; {MARK}=1 exec {} --exact faults::full_disk_fails_writes_until_there_is_room --nocapture",
        exe.display()
    );
    let child = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .output();
    let Ok(child) = child else { return eprintln!("skipped: there is no unshare here") };
    let said = String::from_utf8_lossy(&child.stderr).into_owned() + &String::from_utf8_lossy(&child.stdout);
    match child.status.code() {
        Some(0) => assert!(said.contains("1 passed"), "{said}"),
        // 77: no mount; 1 with unshare's own words: no namespaces.
        code if code == Some(77) || said.contains("unshare:") => eprintln!("skipped: no mounts here: {said}"),
        code => panic!("{code:?}: {said}"),
    }
}

/// Writes a file that leaves so many bytes.
#[cfg(target_os = "linux")]
fn leave_free(disk: &Path, bytes: u64) {
    let stat = rustix::fs::statvfs(disk).unwrap();
    let ballast = (stat.f_bavail * stat.f_frsize).saturating_sub(bytes);
    std::fs::write(disk.join("ballast"), vec![1; usize::try_from(ballast).unwrap()]).unwrap();
}

#[cfg(target_os = "linux")]
async fn fill_the_disk(disk: &Path) {
    let options = SqliteOptions::default().with_disk_reserve(0);
    let db = SqliteDatabase::open_with(disk.join("db.sqlite"), options).await.unwrap();
    db.exec("CREATE TABLE t (a)").await.unwrap();
    let insert = || db.prepare("INSERT INTO t VALUES (randomblob(20000))").run();
    for _ in 0..3 {
        leave_free(disk, 400 << 10);
        let mut written = db.prepare("SELECT count(*) FROM t").one::<i64>().await.unwrap();
        // Large ones until none fits, then small ones.
        for bytes in [20_000, 1] {
            let fill = || db.prepare("INSERT INTO t VALUES (randomblob(?))").bind(bytes).run();
            let error = loop {
                match fill().await {
                    Ok(_) => written += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
            for _ in 0..3 {
                assert_eq!(fill().await.unwrap_err().kind(), ErrorKind::StorageFull);
            }
        }
        // Together they share a transaction, whose commit fails, and are then tried one by one.
        for outcome in futures_util::future::join_all((0..8).map(|_| insert())).await {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::StorageFull);
        }
        let tx = db.begin(isobar_db::InteractiveOptions::default()).await.unwrap();
        tx.prepare("INSERT INTO t VALUES (randomblob(20000))").run().await.unwrap();
        let error = tx.commit().await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::StorageFull, "commit"), "{error}");
        assert_eq!(db.health().await.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(
            db.prepare("SELECT count(*) FROM t").one::<i64>().await.unwrap(),
            written,
            "what was answered is there"
        );
        std::fs::remove_file(disk.join("ballast")).unwrap();
        db.health().await.unwrap();
        db.prepare("DELETE FROM t").run().await.unwrap();
        futures_util::future::try_join_all((0..8).map(|_| insert())).await.unwrap();
    }
    // With a reserve, writes end before the disk is full: a twentieth of it is still free, but for the writes of half a second.
    drop(db);
    let db = SqliteDatabase::open(disk.join("db.sqlite")).await.unwrap();
    leave_free(disk, 300 << 10);
    let error = loop {
        if let Err(error) = db.prepare("INSERT INTO t VALUES (1)").run().await {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // the disk is asked twice a second
    };
    assert!(error.kind() == ErrorKind::StorageFull && error.to_string().contains("in reserve"), "{error}");
    let stat = rustix::fs::statvfs(disk).unwrap();
    let reserve = stat.f_blocks * stat.f_frsize / 20;
    let free = stat.f_bavail * stat.f_frsize;
    assert!((reserve - (128 << 10)..reserve).contains(&free), "{free} of {reserve}");
    for sql in ["SELECT count(*) FROM t", "PRAGMA table_info(t)", "EXPLAIN DELETE FROM t"] {
        db.prepare(sql).run().await.unwrap();
    }
}
