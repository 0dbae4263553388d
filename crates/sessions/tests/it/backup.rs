//! Backups of a host's objects, and the way back.

mod targets;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use isobar_sessions::backup::{
    Backup, BackupOptions, BackupReport, BackupTarget, RestoreOptions, RestoreReport, VerifyReport, restore, runs,
    verify,
};
use isobar_sessions::local::{Catalog, CatalogListOptions, CatalogWriter, OnExisting};
use isobar_sessions::{ErrorKind, Result};
use serde_json::json;
use tokio::sync::Semaphore;

use self::targets::{Disturbed, Memory, Overtaken, Pruned, Stalled};
use super::catalog::{catalog, file, state};
use super::faults::{act, open, put};

async fn run(folder: &Path, target: &Arc<Memory>) -> BackupReport {
    try_run(folder, target).await.unwrap()
}

async fn try_run(folder: &Path, target: &Arc<Memory>) -> Result<BackupReport> {
    // The marks of files that were changed this moment are not trusted.
    tokio::time::sleep(Duration::from_millis(150)).await;
    Backup::new(folder, "Probe", target.clone()).run().await
}

async fn verified(target: &Arc<Memory>) -> VerifyReport {
    verify(&**target, "Probe", None).await.unwrap()
}

async fn restored(target: &Arc<Memory>, to: &Path, options: RestoreOptions) -> Result<RestoreReport> {
    restore(&**target, to, "Probe", &options).await
}

async fn put_in(folder: &Path, name: &str, value: &str) {
    act(&open(folder), name, json!([{"op": "put", "key": "k", "value": value}])).await;
}

async fn value_in(folder: &Path, name: &str) -> serde_json::Value {
    act(&open(folder), name, json!([{"op": "get", "key": "k"}])).await[0].clone()
}

#[tokio::test]
async fn objects_of_a_running_host_come_back_with_rows_keys_timers_and_alarms() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    let host = open(folder.path());
    let large = "CREATE TABLE IF NOT EXISTS rows (blob BLOB); INSERT INTO rows VALUES (randomblob(2000000))";
    for _ in 0..3 {
        act(&host, "large", json!([{"op": "sql", "sql": large}])).await;
    }
    act(&host, "small", put("k")).await;
    act(&host, "timed", json!([{"op": "set timer", "name": "late", "in": 3_600_000}])).await;
    act(&host, "alarmed", json!([{"op": "put", "key": "k", "value": 1}, {"op": "set alarm", "in": 5000}])).await;
    let report = run(folder.path(), &target).await;
    assert_eq!((report.objects, report.read, report.unread.len()), (4, 4, 0));
    assert!(target.names("/blocks/").len() >= 5, "a large object has several blocks");
    act(&host, "small", put("later")).await; // the host goes on
    let report = verified(&target).await;
    assert!(report.objects == 4 && report.problems.is_empty() && report.bytes > 6_000_000, "{report:?}");

    let to = tempfile::tempdir().unwrap();
    let report = restored(&target, to.path(), RestoreOptions::default()).await.unwrap();
    assert_eq!((report.objects, report.skipped, report.missing.len()), (4, 0, 0));
    let from = catalog(folder.path());
    let there = catalog(to.path());
    let large = |catalog: &Catalog| {
        let sql = "SELECT group_concat(hex(substr(blob, 1, 100)) || length(blob)) FROM rows";
        catalog.query(&catalog.id("large"), sql, ()).unwrap().unwrap().one::<String>().unwrap()
    };
    assert_eq!(large(&there), large(&from));
    assert!(there.alarm(&there.id("alarmed")).unwrap().unwrap().alarm.is_some());
    assert_eq!(there.alarm(&there.id("timed")).unwrap().unwrap().timers, 1);
    assert_eq!(
        there.list(&CatalogListOptions::default()).unwrap().objects.iter().filter(|it| it.id.name().is_some()).count(),
        4
    );
    let host = open(to.path());
    let entries = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}]);
    for _ in 0..600 {
        if act(&host, "alarmed", entries.clone()).await[0]["ok"]["rows"] == json!([[1]]) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the alarm of the restored object did not run");
}

#[tokio::test]
async fn only_objects_that_have_changed_are_read_and_put() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    for name in ["Ada", "Bob", "Eve"] {
        put_in(folder.path(), name, "first").await;
    }
    let first = run(folder.path(), &target).await;
    assert_eq!((first.objects, first.read), (3, 3));
    let again = run(folder.path(), &target).await;
    assert_eq!((again.run, again.read, again.blocks), (first.run.clone(), 0, 0), "nothing has changed");
    put_in(folder.path(), "Bob", "second").await;
    let writer = CatalogWriter::open(folder.path(), "Probe").unwrap();
    assert_eq!(writer.delete(&[writer.catalog().id("Eve")]).unwrap(), 1);
    drop(writer);
    let second = run(folder.path(), &target).await;
    assert_eq!((second.objects, second.read, second.blocks), (2, 1, 1));
    assert!(second.run > first.run);
    let full = Backup::new(folder.path(), "Probe", target.clone()).with_options(BackupOptions::default().with_full());
    assert_eq!(full.run().await.unwrap().blocks, 2);

    // Each run can be restored from.
    let to = tempfile::tempdir().unwrap();
    let options = RestoreOptions::default().with_run(&first.run);
    assert_eq!(restored(&target, to.path(), options).await.unwrap().objects, 3);
    assert_eq!(value_in(to.path(), "Bob").await, "first");
    let to = tempfile::tempdir().unwrap();
    assert_eq!(restored(&target, to.path(), RestoreOptions::default()).await.unwrap().objects, 2);
    assert_eq!(value_in(to.path(), "Bob").await, "second");
}

#[tokio::test]
async fn a_turn_of_a_running_host_is_in_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    let host = open(folder.path());
    for turn in 0..3 {
        act(&host, "Ada", json!([{"op": "put", "key": "k", "value": turn}])).await;
        let report = run(folder.path(), &target).await;
        assert_eq!((report.objects, report.read), (1, 1), "{turn}");
        let to = tempfile::tempdir().unwrap();
        restored(&target, to.path(), RestoreOptions::default()).await.unwrap();
        assert_eq!(value_in(to.path(), "Ada").await, turn);
    }
    assert_eq!(run(folder.path(), &target).await.read, 0);
}

#[tokio::test]
async fn a_run_that_breaks_off_replaces_nothing_and_the_next_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    let names: Vec<String> = (0..30).map(|number| format!("object {number}")).collect();
    for name in &names[..20] {
        put_in(folder.path(), name, "first").await;
    }
    let first = run(folder.path(), &target).await;
    for name in &names[10..] {
        put_in(folder.path(), name, "second").await;
    }
    for puts in 0..22 {
        target.allow(puts);
        let error = try_run(folder.path(), &target).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("is gone"), "{puts}: {error}");
        let report = verified(&target).await;
        assert!(report.run == first.run && report.objects == 20 && report.problems.is_empty(), "{puts}: {report:?}");
    }
    // Blocks and list are put, and the manifest is not: the next run has nothing to read.
    target.allow(usize::MAX);
    assert_eq!(target.names(".objects").len(), 2);
    let report = run(folder.path(), &target).await;
    assert_eq!((report.objects, report.blocks, report.read), (30, 0, 0));
    assert_eq!((report.removed, target.names("manifest").len()), (1, 2));
    let report = verified(&target).await;
    assert!(report.objects == 30 && report.problems.is_empty() && report.runs.len() == 2, "{report:?}");
}

#[tokio::test]
async fn runs_beyond_those_that_are_kept_go_with_the_blocks_that_only_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    put_in(folder.path(), "same", "always").await;
    let options = BackupOptions::default().with_keep(2);
    let mut reports = Vec::new();
    for value in 0..5 {
        put_in(folder.path(), "other", &format!("value {value}")).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        let backup = Backup::new(folder.path(), "Probe", target.clone()).with_options(options.clone());
        reports.push(backup.run().await.unwrap());
    }
    assert_eq!(reports.iter().map(|report| report.removed).collect::<Vec<_>>(), [0, 0, 1, 1, 1]);
    assert_eq!((target.names("manifest").len(), target.names("/blocks/").len()), (2, 3));
    for report in &reports[3..] {
        let looked = verify(&*target, "Probe", Some(&report.run)).await.unwrap();
        assert!(looked.objects == 2 && looked.problems.is_empty(), "{looked:?}");
    }
    let error = verify(&*target, "Probe", Some(&reports[0].run)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);

    // Leftovers of a run that was broken off before its list go with the next one.
    put_in(folder.path(), "other", "never listed").await;
    target.stored.lock().unwrap().insert(format!("Probe/blocks/ab/{}", "ab".repeat(32)), Bytes::from_static(b"left"));
    target
        .stored
        .lock()
        .unwrap()
        .insert("Probe/runs/0000000009-20260101T000000Z-0/000000.objects".into(), Bytes::new());
    assert_eq!(run(folder.path(), &target).await.removed, 1);
    assert_eq!((target.names("manifest").len(), target.names("/blocks/").len()), (3, 4));
    assert!(verified(&target).await.problems.is_empty());
}

#[tokio::test]
async fn a_run_that_another_one_overtakes_fails_and_leaves_the_others_whole() {
    let folder = tempfile::tempdir().unwrap();
    let others = tempfile::tempdir().unwrap();
    let target = Memory::new();
    put_in(folder.path(), "Ada", "stays").await;
    put_in(folder.path(), "Bob", "first").await;
    put_in(others.path(), "Eve", "another's").await;
    run(folder.path(), &target).await;
    put_in(folder.path(), "Bob", "second").await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let is_over = AtomicBool::new(false);
    let by = Overtaken { others: others.path().to_owned(), is_over };
    let overtaken = Disturbed { target: target.clone(), by };
    // Ada has not changed, and her blocks are gone with the earlier run.
    let ended = Backup::new(folder.path(), "Probe", Arc::new(overtaken)).run().await;
    assert!(ended.is_err_and(|error| error.to_string().contains("another run")));
    let report = verified(&target).await;
    assert!(report.objects == 1 && report.problems.is_empty() && report.runs.len() == 1, "{report:?}");
    // The next run does not go on with what was listed, and removes what was put.
    let report = run(folder.path(), &target).await;
    assert_eq!((report.objects, report.read, report.removed), (2, 2, 1));
    assert!(verified(&target).await.problems.is_empty());
    assert_eq!(target.names("/blocks/").len(), 3);
}

#[tokio::test]
async fn a_host_starts_while_a_run_waits_for_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    let host = open(folder.path());
    for number in 0..20 {
        act(&host, &format!("object {number}"), json!([{"op": "put", "key": "k", "value": number}])).await;
    }
    drop(host);
    let by = Stalled { asked: AtomicUsize::new(0), let_go: Semaphore::new(0) };
    let stalled = Arc::new(Disturbed { target: target.clone(), by });
    let backup = Backup::new(folder.path(), "Probe", stalled.clone());
    let path = folder.path().to_owned();
    let start = async {
        while stalled.by.asked.load(Ordering::SeqCst) < 8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let started = tokio::task::spawn_blocking(move || drop(open(&path)));
        let started = tokio::time::timeout(Duration::from_secs(10), started).await;
        stalled.by.let_go.add_permits(1000);
        started
    };
    let (report, started) = tokio::join!(backup.run(), start);
    started.expect("the host waits for the target").unwrap();
    assert_eq!(report.unwrap().objects, 20);
    assert!(verified(&target).await.problems.is_empty());
}

#[tokio::test]
async fn damage_of_a_backup_is_found_and_nothing_damaged_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    for name in ["Ada", "Bob"] {
        put_in(folder.path(), name, name).await;
    }
    run(folder.path(), &target).await;
    let whole = target.stored.lock().unwrap().clone();
    for name in target.names("") {
        for is_gone in [true, false] {
            if is_gone {
                target.delete(&name).await.unwrap();
            } else {
                target.change(&name, |bytes| {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                });
            }
            let looked = verify(&*target, "Probe", None).await;
            assert!(!looked.is_ok_and(|report| report.problems.is_empty()), "{name} {is_gone}");
            let to = tempfile::tempdir().unwrap();
            let error = restored(&target, &to.path().join("host"), RestoreOptions::default()).await.unwrap_err();
            assert!([ErrorKind::Decode, ErrorKind::InvalidArgument].contains(&error.kind()), "{name}: {error}");
            *target.stored.lock().unwrap() = whole.clone();
        }
    }
    assert!(verified(&target).await.problems.is_empty());

    // A run without all of the earlier one puts what is missing, when it is told to.
    let block = target.names("/blocks/").remove(0);
    target.delete(&block).await.unwrap();
    let full = Backup::new(folder.path(), "Probe", target.clone()).with_options(BackupOptions::default().with_full());
    full.run().await.unwrap();
    assert!(verified(&target).await.problems.is_empty());
}

#[tokio::test]
async fn an_object_that_is_damaged_stays_in_the_backup_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    for name in ["Ada", "Bob"] {
        put_in(folder.path(), name, name).await;
    }
    run(folder.path(), &target).await;
    put_in(folder.path(), "Eve", "never read").await;
    for name in ["Ada", "Eve"] {
        std::fs::write(file(folder.path(), &catalog(folder.path()), name), vec![b'x'; 9000]).unwrap();
    }
    let report = run(folder.path(), &target).await;
    let mut unread: Vec<_> = report.unread.iter().filter_map(|(id, _)| id.name()).collect();
    unread.sort_unstable();
    assert_eq!((report.objects, unread), (2, vec!["Ada", "Eve"]));
    let looked = verified(&target).await;
    assert_eq!((looked.unread.len(), looked.problems), (2, Vec::new()));
    let to = tempfile::tempdir().unwrap();
    let restored = restored(&target, to.path(), RestoreOptions::default()).await.unwrap();
    assert_eq!((restored.objects, restored.missing.len()), (2, 1));
    assert_eq!(value_in(to.path(), "Ada").await, "Ada");
}

#[cfg(unix)]
#[tokio::test]
async fn an_object_whose_file_cannot_be_read_ends_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    for name in ["Ada", "Bob", "Eve"] {
        put_in(folder.path(), name, "first").await;
    }
    run(folder.path(), &target).await;
    for name in ["Ada", "Bob", "Eve"] {
        put_in(folder.path(), name, "second").await;
    }
    let [ada, eve] = ["Ada", "Eve"].map(|name| file(folder.path(), &catalog(folder.path()), name));
    for path in [&ada, &eve] {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::create_dir(&ada).unwrap();
    std::os::unix::fs::symlink(&eve, &eve).unwrap();
    let listed = catalog(folder.path()).list(&CatalogListOptions::default()).unwrap().objects;
    assert_eq!(listed.len(), 3, "{listed:?}");
    let report = run(folder.path(), &target).await;
    let mut unread: Vec<_> = report.unread.iter().filter_map(|(id, _)| id.name()).collect();
    unread.sort_unstable();
    assert_eq!((report.objects, report.read, unread), (3, 1, vec!["Ada", "Eve"]));
    let to = tempfile::tempdir().unwrap();
    assert_eq!(restored(&target, to.path(), RestoreOptions::default()).await.unwrap().objects, 3);
    for (name, value) in [("Ada", "first"), ("Bob", "second"), ("Eve", "first")] {
        assert_eq!(value_in(to.path(), name).await, value, "{name}");
    }
}

#[tokio::test]
async fn a_restore_overwrites_only_when_told_and_takes_single_objects() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    for name in ["Ada", "Bob"] {
        put_in(folder.path(), name, "kept").await;
    }
    run(folder.path(), &target).await;
    put_in(folder.path(), "Ada", "changed").await;
    put_in(folder.path(), "new", "stays").await;
    let before = state(folder.path());
    let error = restored(&target, folder.path(), RestoreOptions::default()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("is there already"), "{error}");
    let nobody = RestoreOptions::default().with_objects(["nobody"]);
    let error = restored(&target, folder.path(), nobody).await.unwrap_err();
    assert!(error.to_string().contains("has no object"), "{error}");
    assert!(state(folder.path()) == before, "a restore that was refused has changed the folder");

    let skip = RestoreOptions::default().with_existing(OnExisting::Skip);
    let report = restored(&target, folder.path(), skip).await.unwrap();
    assert_eq!((report.objects, report.skipped), (0, 2));
    let host = open(folder.path());
    let replace = RestoreOptions::default().with_objects(["Ada"]).with_existing(OnExisting::Replace);
    let error = restored(&target, folder.path(), replace.clone()).await.unwrap_err();
    assert!(error.to_string().contains("another process hosts"), "{error}");
    drop(host);
    assert_eq!(restored(&target, folder.path(), replace).await.unwrap().objects, 1);
    for (name, value) in [("Ada", "kept"), ("Bob", "kept"), ("new", "stays")] {
        assert_eq!(value_in(folder.path(), name).await, value, "{name}");
    }

    let to = tempfile::tempdir().unwrap();
    let id = catalog(folder.path()).id("Bob").to_string();
    assert_eq!(restored(&target, to.path(), RestoreOptions::default().with_objects([id])).await.unwrap().objects, 1);
    let error = restore(&*target, to.path(), "Other", &RestoreOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("no complete backup of Other"), "{error}");
}

#[tokio::test]
async fn runs_are_listed_the_newest_first_with_damage_in_their_entries() {
    let folder = tempfile::tempdir().unwrap();
    let target = Memory::new();
    assert_eq!(runs(&*target, "Probe", 10).await.unwrap(), []);
    let mut names = Vec::new();
    for name in ["Ada", "Bob", "Cid"] {
        put_in(folder.path(), name, name).await;
        names.insert(0, run(folder.path(), &target).await.run);
    }
    target.change(&target.names("manifest")[0], |bytes| bytes.truncate(10)); // of the oldest
    let found = runs(&*target, "Probe", 10).await.unwrap();
    assert_eq!(found.iter().map(|run| run.name.clone()).collect::<Vec<_>>(), names);
    assert_eq!(found.iter().map(|run| run.objects).collect::<Vec<_>>(), [3, 2, 0]);
    assert!(found[0].ended > found[1].ended && found[0].bytes > found[1].bytes && found[0].problem.is_none());
    assert!(found[2].ended.is_none() && found[2].problem.is_some(), "{found:?}");
    assert_eq!(runs(&*target, "Probe", 2).await.unwrap(), found[..2]);
    assert_eq!(runs(&*target, "Other", 2).await.unwrap(), []);
    // Those that another process removes meanwhile are not there.
    let pruned = Disturbed { target: target.clone(), by: Pruned { is_over: AtomicBool::new(false) } };
    assert_eq!(runs(&pruned, "Probe", 10).await.unwrap(), found[..2]);
}
