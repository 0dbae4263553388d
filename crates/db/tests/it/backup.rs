//! Backups: into a target that remembers its puts, and back from each prefix of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use isobar_db::backup::{Backup, BackupTarget, FolderTarget, RestoreOptions, restore, stretches, verify};
use isobar_db::{
    Bookmark, Database, Error, ErrorKind, HistoryOptions, QueryableExt, Result, SqliteDatabase, SqliteOptions,
};

/// A target in memory. It remembers what was put, in order, and fails after so many puts.
#[derive(Debug, Default)]
struct Memory {
    objects: Mutex<BTreeMap<String, Bytes>>,
    puts: Mutex<Vec<(String, Bytes)>>,
    fails_after: Option<usize>,
}

#[async_trait]
impl BackupTarget for Memory {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let mut puts = self.puts.lock().unwrap();
        if self.fails_after.is_some_and(|most| puts.len() >= most) {
            return Err(Error::new(ErrorKind::Unavailable, "the network is gone"));
        }
        assert!(!self.objects.lock().unwrap().contains_key(name), "{name} is put twice");
        puts.push((name.to_owned(), bytes.clone()));
        self.objects.lock().unwrap().insert(name.to_owned(), bytes);
        Ok(())
    }
    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.objects.lock().unwrap().get(name).cloned())
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let objects = self.objects.lock().unwrap();
        Ok(objects.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.objects.lock().unwrap().remove(name);
        Ok(())
    }
}

impl Memory {
    fn of(puts: &[(String, Bytes)]) -> Self {
        Self { objects: Mutex::new(puts.iter().cloned().collect()), ..Self::default() }
    }
}

async fn opened(file: &Path) -> SqliteDatabase {
    let options = SqliteOptions::default().with_history(HistoryOptions::default());
    SqliteDatabase::open_with(file, options).await.unwrap()
}

async fn numbers(db: &SqliteDatabase) -> Vec<i64> {
    db.prepare("SELECT n FROM t ORDER BY n").all().await.unwrap()
}

/// Writes a number, with so many bytes behind it. Returns the bookmark.
async fn write(db: &SqliteDatabase, number: i64, bytes: i64) -> Bookmark {
    db.prepare("INSERT INTO t VALUES (?, randomblob(?))").bind(number).bind(bytes).run().await.unwrap();
    db.time_travel().unwrap().bookmark(None).await.unwrap()
}

async fn restored(target: &dyn BackupTarget, options: &RestoreOptions) -> Result<Vec<i64>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sub/restored.sqlite");
    restore(target, &file, options).await?;
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    let db = SqliteDatabase::open(&file).await.unwrap();
    Ok(numbers(&db).await)
}

#[tokio::test]
async fn every_prefix_of_a_broken_off_backup_is_a_consistent_database() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db.sqlite");
    // The table is in the first snapshot.
    let plain = SqliteDatabase::open(&file).await.unwrap();
    plain.run_script("CREATE TABLE t (n INTEGER PRIMARY KEY, pad)").await.unwrap();
    drop(plain);
    let db = opened(&file).await;
    let target = Arc::new(Memory::default());
    let backup = Backup::new(db.clone(), target.clone());
    let mut number = 0;
    // What each number of puts had at least.
    let mut known = vec![(0, 0)];
    for round in 0..8 {
        for _ in 0..5 {
            number += 1;
            write(&db, number, if round == 3 { 1_900_000 } else { 3000 }).await;
        }
        if round == 5 {
            // A commit that is too large for one object.
            let many = "INSERT INTO t SELECT 1000000 + value, randomblob(1000000) FROM \
                        (WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 20) SELECT value FROM n)";
            db.run_script(many).await.unwrap();
            db.run_script("DELETE FROM t WHERE n > 1000000").await.unwrap();
        }
        let report = backup.run().await.unwrap();
        assert!(report.objects > 0);
        known.push((target.puts.lock().unwrap().len(), number));
    }
    assert_eq!(backup.run().await.unwrap().objects, 0, "there is nothing new");
    let puts = target.puts.lock().unwrap().clone();
    assert!(puts.iter().any(|(name, _)| name.ends_with(".part")), "a large commit is in parts");
    let mut newest = 0;
    for prefix in 0..=puts.len() {
        let broken_off = Memory::of(&puts[..prefix]);
        let found = match restored(&broken_off, &RestoreOptions::default()).await {
            Err(error) if prefix == 0 => {
                assert_eq!(error.kind(), ErrorKind::History);
                continue;
            }
            found => found.unwrap(),
        };
        let found: Vec<_> = found.into_iter().filter(|number| *number < 1_000_000).collect();
        let last = found.last().copied().unwrap_or_default();
        assert_eq!(found, (1..=last).collect::<Vec<_>>(), "{prefix} puts");
        let least = known.iter().rfind(|(puts, _)| *puts <= prefix).unwrap().1;
        assert!(last >= least && last >= newest, "{prefix} puts: {last}, {least} was there");
        newest = last;
    }
    assert_eq!(newest, number);
    let verified = verify(&*target).await.unwrap();
    assert_eq!((verified.problems, verified.objects), (Vec::new(), puts.len() as u64));
}

#[tokio::test]
async fn a_backup_goes_on_after_a_failure_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db.sqlite");
    let mut objects = Vec::new();
    for round in 0..6 {
        let db = opened(&file).await;
        db.run_script("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, pad)").await.unwrap();
        write(&db, round, 2000).await;
        let mut target = Memory::of(&objects);
        target.fails_after = Some(round as usize % 3);
        let target = Arc::new(target);
        let done = Backup::new(db, target.clone()).run().await;
        assert!(done.is_ok() || done.unwrap_err().kind() == ErrorKind::Unavailable);
        objects.extend(target.puts.lock().unwrap().clone());
    }
    let db = opened(&file).await;
    let target = Arc::new(Memory::of(&objects));
    Backup::new(db, target.clone()).run().await.unwrap();
    assert_eq!(restored(&*target, &RestoreOptions::default()).await.unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(verify(&*target).await.unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_bookmark_and_a_time_come_back_on_another_machine() {
    let folder = tempfile::tempdir().unwrap();
    let db = opened(&folder.path().join("db.sqlite")).await;
    db.run_script("CREATE TABLE t (n INTEGER PRIMARY KEY, pad)").await.unwrap();
    let target = Arc::new(FolderTarget::new(folder.path().join("backup")));
    let backup = Backup::new(db.clone(), target.clone());
    let mut points = Vec::new();
    for number in 1..=12 {
        let bookmark = write(&db, number, 100).await;
        points.push((number, bookmark, chrono::Utc::now()));
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        if number % 5 == 0 {
            backup.run().await.unwrap();
        }
    }
    let report = backup.run().await.unwrap();
    assert_eq!(report.bookmark, points[11].1);
    for (number, bookmark, time) in &points {
        let expected: Vec<_> = (1..=*number).collect();
        let by_bookmark = RestoreOptions::default().with_bookmark(bookmark.clone());
        assert_eq!(restored(&*target, &by_bookmark).await.unwrap(), expected);
        let by_time = RestoreOptions::default().with_time(*time);
        assert_eq!(restored(&*target, &by_time).await.unwrap(), expected);
    }
    let wrong = RestoreOptions::default().with_bookmark(Bookmark::new("nonsense"));
    assert_eq!(restored(&*target, &wrong).await.unwrap_err().kind(), ErrorKind::History);
    // What exists is not replaced.
    let there = folder.path().join("db.sqlite");
    let refused = restore(&*target, &there, &RestoreOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert_eq!(numbers(&db).await.len(), 12);
}

#[tokio::test]
async fn a_damaged_or_missing_object_is_a_problem_that_verify_names() {
    let folder = tempfile::tempdir().unwrap();
    let db = opened(&folder.path().join("db.sqlite")).await;
    db.run_script("CREATE TABLE t (n INTEGER PRIMARY KEY, pad)").await.unwrap();
    let target = Arc::new(Memory::default());
    let backup = Backup::new(db.clone(), target.clone());
    for number in 1..=4 {
        write(&db, number, 500).await;
        backup.run().await.unwrap();
    }
    let puts = target.puts.lock().unwrap().clone();
    for (number, (name, bytes)) in puts.iter().enumerate() {
        let mut damaged = puts.clone();
        let mut changed = bytes.to_vec();
        let middle = changed.len() - 5;
        changed[middle] ^= 1;
        damaged[number].1 = changed.into();
        let problems = verify(&Memory::of(&damaged)).await.unwrap().problems;
        assert!(problems.len() == 1 && problems[0].contains(name), "{name}: {problems:?}");
    }
    let empty = verify(&Memory::default()).await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::History);
}

#[tokio::test]
async fn without_a_history_there_is_no_backup() {
    let folder = tempfile::tempdir().unwrap();
    let db = SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap();
    let refused = Backup::new(db, Arc::new(Memory::default())).run().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn stretches_are_the_states_that_can_be_restored() {
    let folder = tempfile::tempdir().unwrap();
    let target = Arc::new(Memory::default());
    assert_eq!(stretches(&*target).await.unwrap(), []);
    let mut newest = Vec::new();
    for name in ["first.sqlite", "second.sqlite"] {
        let db = opened(&folder.path().join(name)).await;
        db.run_script("CREATE TABLE t (n, bytes)").await.unwrap();
        write(&db, 1, 10).await;
        Backup::new(db.clone(), target.clone()).run().await.unwrap();
        newest.push(write(&db, 2, 10).await);
        Backup::new(db, target.clone()).run().await.unwrap();
    }
    let found = stretches(&*target).await.unwrap();
    let mut ends: Vec<_> = found.iter().map(|stretch| stretch.to.bookmark.clone()).collect();
    ends.sort();
    newest.sort();
    assert_eq!(ends, newest, "one for each history");
    for stretch in &found {
        assert!(stretch.from.time <= stretch.to.time && stretch.objects >= 2, "{stretch:?}");
        let oldest = RestoreOptions::default().with_bookmark(stretch.from.bookmark.clone());
        restore(&*target, &folder.path().join(stretch.from.bookmark.as_str()), &oldest).await.unwrap();
        let latest = RestoreOptions::default().with_bookmark(stretch.to.bookmark.clone());
        assert_eq!(restored(&*target, &latest).await.unwrap(), [1, 2]);
    }
}
