//! Small bodies: what the index forgets is in the packs, and what is garbage in them goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use isobar_storage::local::{FsckOptions, LocalOptions, LocalStore, Problem};
use isobar_storage::{Conditions, ErrorKind, ObjectStore, ObjectStoreExt, PutOptions};

use crate::fsck::{change, meddle, packs};
use crate::local::{OLD_TABLES, key, shifted_clock};

/// Packs of 1 KiB, 2, 4, and 8 KiB from then on.
pub(crate) const SHORT: u64 = 8 * 1024;

pub(crate) async fn open(root: &Path, pack_bytes: u64) -> LocalStore {
    LocalStore::open_with(root, LocalOptions::default().with_pack_bytes(pack_bytes)).await.unwrap()
}

/// The index as it is when the store is closed: a moment after the last handle was dropped.
pub(crate) fn closed_index(root: &Path) -> Vec<u8> {
    for _ in 0..500 {
        if !root.join("index.db-wal").exists() {
            return fs::read(root.join("index.db")).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the store was not closed");
}

/// Brings an older index back: as if the power had gone before the newer one was on the disk.
fn forget(root: &Path, index: &[u8]) {
    closed_index(root);
    fs::write(root.join("index.db"), index).unwrap();
}

pub(crate) async fn read(store: &LocalStore, name: &str) -> Option<String> {
    let found = store.read(&key(name)).await.unwrap();
    found.map(|(_, bytes)| String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) async fn is_sound(store: &LocalStore) -> bool {
    let report = store.fsck(FsckOptions::default().with_exclusive(true), |_| {}).await.unwrap();
    report.findings.is_empty() && report.foreign.is_empty()
}

fn bytes_of(packs: &[PathBuf]) -> u64 {
    packs.iter().map(|pack| fs::metadata(pack).unwrap().len()).sum()
}

#[tokio::test]
async fn what_the_index_forgot_is_put_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    store.write(&key("kept"), "kept").await.unwrap();
    store.write(&key("replaced"), "old").await.unwrap();
    store.write(&key("large"), vec![b'x'; 100_000]).await.unwrap();
    drop(store);
    let index = closed_index(folder.path());

    let store = open(folder.path(), SHORT).await;
    store.write(&key("replaced"), "new").await.unwrap();
    let metadata = PutOptions::default().with_content_type("text/x").with_conditions(Conditions::create_only());
    assert!(store.put(&key("created"), "conditional".into(), metadata).await.unwrap().stored().is_some());
    store.copy(&key("kept"), &key("copy"), Default::default()).await.unwrap();
    store.write(&key("large"), "small now").await.unwrap();
    // Into the packs behind the first, and many in one transaction.
    let names: Vec<String> = (0..200).map(|number| format!("many/{number}")).collect();
    for name in &names[..30] {
        store.write(&key(name), name.repeat(20)).await.unwrap();
    }
    join_all(names[30..].iter().map(async |name| store.write(&key(name), name.repeat(20)).await.unwrap())).await;
    let before = store.head(&key("created")).await.unwrap();
    drop(store);
    assert!(packs(folder.path()).len() > 2);

    forget(folder.path(), &index);
    let store = open(folder.path(), SHORT).await;
    for (name, body) in
        [("kept", "kept"), ("replaced", "new"), ("created", "conditional"), ("copy", "kept"), ("large", "small now")]
    {
        assert_eq!(read(&store, name).await.as_deref(), Some(body), "{name}");
    }
    for name in &names {
        assert_eq!(read(&store, name).await, Some(name.repeat(20)));
    }
    assert_eq!(store.head(&key("created")).await.unwrap(), before, "version and metadata are those that were answered");
    assert!(is_sound(&store).await);
}

#[tokio::test]
async fn what_was_deleted_stays_deleted_and_what_came_after_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    for name in ["a", "b"] {
        store.write(&key(name), "x").await.unwrap();
    }
    store.delete(&[key("a")]).await.unwrap();
    store.write(&key("c"), "x").await.unwrap();
    drop(store);
    // Nothing is forgotten: what is in the packs is not put once more.
    let store = open(folder.path(), SHORT).await;
    assert_eq!((read(&store, "a").await, read(&store, "c").await.as_deref()), (None, Some("x")));
    assert!(is_sound(&store).await);
}

#[tokio::test]
async fn only_the_frame_that_follows_is_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    for root in [folder.path(), other.path()] {
        open(root, 1 << 20).await.write(&key("first"), "1").await.unwrap();
    }
    let end = bytes_of(&packs(folder.path()));
    let store = open(folder.path(), 1 << 20).await;
    store.write(&key("forged"), "2").await.unwrap();
    drop(store);
    // What follows in one store follows nothing in another.
    let frame = fs::read(&packs(folder.path())[0]).unwrap().split_off(end as usize);
    let pack = &packs(other.path())[0];
    let mut bytes = fs::read(pack).unwrap();
    bytes.truncate(end as usize);
    bytes.extend(frame);
    fs::write(pack, &bytes).unwrap();
    // It is not written over, either: it may be what is left of something.
    closed_index(other.path());
    let error = LocalStore::open(other.path()).await.unwrap_err();
    assert!(error.to_string().contains("do not belong together") && error.to_string().contains("--rebuild"), "{error}");
    bytes.truncate(end as usize);
    fs::write(pack, bytes).unwrap();
    let store = open(other.path(), 1 << 20).await;
    assert_eq!(read(&store, "forged").await, None);
    store.write(&key("second"), "written over it").await.unwrap();
    drop(store);
    let store = open(other.path(), 1 << 20).await;
    assert_eq!((read(&store, "forged").await, read(&store, "second").await.is_some()), (None, true));
}

#[tokio::test]
async fn processes_of_other_opinions_write_one_log() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), SHORT).await);
    let index = closed_index(folder.path());
    let stores = [open(folder.path(), SHORT).await, open(folder.path(), 64 * SHORT).await];
    let names: Vec<String> = (0..300).map(|number| format!("{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        stores[number / 3 % 2].write(&key(name), name.repeat(100)).await.unwrap();
    }
    drop(stores);
    forget(folder.path(), &index);
    let store = open(folder.path(), SHORT).await;
    for name in &names {
        assert_eq!(read(&store, name).await, Some(name.repeat(100)));
    }
    assert!(is_sound(&store).await);
}

/// A store with `kept` in it, and what a process that was killed before its commit has written behind that: `kept` as 2, and `new`.
async fn with_a_frame_of_nobody(root: &Path) -> Vec<u8> {
    let other = tempfile::tempdir().unwrap();
    open(root, 1 << 20).await.write(&key("kept"), "1").await.unwrap();
    fs::create_dir(other.path().join("packs")).unwrap();
    fs::write(other.path().join("index.db"), closed_index(root)).unwrap();
    let pack = &packs(root)[0];
    fs::copy(pack, other.path().join("packs").join(pack.file_name().unwrap())).unwrap();
    let store = open(other.path(), 1 << 20).await;
    join_all(["kept", "new"].map(async |name| store.write(&key(name), "2").await.unwrap())).await;
    drop(store);
    closed_index(other.path());
    fs::read(&packs(other.path())[0]).unwrap()
}

#[tokio::test]
async fn what_was_never_committed_undoes_nothing_that_was() {
    for change in ["nothing", "delete", "large", "other"] {
        let folder = tempfile::tempdir().unwrap();
        let killed = with_a_frame_of_nobody(folder.path()).await;
        let store = open(folder.path(), 1 << 20).await;
        fs::write(&packs(folder.path())[0], &killed).unwrap();
        match change {
            "delete" => store.delete(&[key("kept")]).await.unwrap(),
            "large" => drop(store.write(&key("kept"), vec![b'x'; 100_000]).await.unwrap()),
            "other" => drop(store.write(&key("other"), "x").await.unwrap()),
            _ => {}
        }
        drop(store);
        closed_index(folder.path());
        let store = open(folder.path(), 1 << 20).await;
        let kept = read(&store, "kept").await;
        let new = read(&store, "new").await;
        match change {
            // It was decided, and nobody knows that it was not answered.
            "nothing" => assert_eq!((kept.as_deref(), new.as_deref()), (Some("2"), Some("2"))),
            "delete" => assert_eq!((kept, new), (None, None)),
            "large" => assert_eq!((kept.map(|body| body.len()), new), (Some(100_000), None)),
            _ => assert_eq!((kept.as_deref(), new), (Some("1"), None)),
        }
        assert!(is_sound(&store).await);
    }
}

#[tokio::test]
async fn two_frames_never_follow_the_same_one() {
    let folder = tempfile::tempdir().unwrap();
    let killed = with_a_frame_of_nobody(folder.path()).await;
    let index = closed_index(folder.path());
    // For this one the pack is full, and what follows in it is the other's.
    let store = open(folder.path(), 8).await;
    fs::write(&packs(folder.path())[0], &killed).unwrap();
    for name in ["a", "b", "c"] {
        store.write(&key(name), "acknowledged").await.unwrap();
    }
    drop(store);
    forget(folder.path(), &index);
    let store = open(folder.path(), 8).await;
    for name in ["a", "b", "c"] {
        assert_eq!(read(&store, name).await.as_deref(), Some("acknowledged"));
    }
    assert_eq!((read(&store, "kept").await.as_deref(), read(&store, "new").await), (Some("1"), None));
    assert!(is_sound(&store).await);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_its_pack_and_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    store.write(&key("damaged"), "x").await.unwrap();
    meddle(folder.path(), "UPDATE objects SET custom = '{' WHERE key = CAST('damaged' AS BLOB)");
    for number in 0..100 {
        store.write(&key(&format!("{}", number % 3)), vec![b'x'; 300]).await.unwrap();
    }
    assert!(packs(folder.path())[0].ends_with("000000000001.pack"));
    meddle(folder.path(), "UPDATE objects SET custom = NULL WHERE key = CAST('damaged' AS BLOB)");
    assert_eq!(read(&store, "damaged").await.as_deref(), Some("x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_goes_and_nobody_misses_anything_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 8 * SHORT).await;
    let kept: Vec<String> = (0..50).map(|number| format!("kept/{number}")).collect();
    let is_over = AtomicBool::new(false);
    let writing = async {
        for round in 0..400 {
            // What stays is spread over what goes.
            if let Some(name) = kept.get(round / 4).filter(|_| round % 4 == 0) {
                store.write(&key(name), name.repeat(30)).await.unwrap();
            }
            let many = (0..10).map(|number| format!("often/{number}"));
            join_all(many.map(async |name| store.write(&key(&name), format!("{round}").repeat(300)).await.unwrap()))
                .await;
        }
        is_over.store(true, Ordering::SeqCst);
    };
    // Another process, as it were: its own view of the index.
    let reader = open(folder.path(), 8 * SHORT).await;
    let reading = async {
        let mut reads = 0;
        while !is_over.load(Ordering::SeqCst) {
            for name in ["often/3", "kept/0"] {
                if let Some((meta, bytes)) = reader.read(&key(name)).await.unwrap() {
                    assert_eq!(bytes.len() as u64, meta.size);
                    reads += 1;
                }
            }
            tokio::task::yield_now().await;
        }
        reads
    };
    let ((), reads) = tokio::join!(writing, reading);
    assert!(reads > 100, "{reads} reads");
    for name in &kept {
        assert_eq!(read(&store, name).await, Some(name.repeat(30)));
    }
    assert_eq!(read(&store, "often/9").await, Some("399".repeat(300)));
    // 3.4 MB were written; 20 kB are somebody's, in packs that may be half garbage, and one is being written.
    let left = packs(folder.path());
    assert!(bytes_of(&left) < 5 * 8 * SHORT, "{left:?}: {} bytes", bytes_of(&left));
    assert!(is_sound(&store).await);
}

#[tokio::test]
async fn a_pack_that_cannot_be_looked_through_stays_and_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 64 * SHORT).await;
    store.write(&key("damaged"), "this one").await.unwrap();
    for round in 0..200 {
        store.write(&key(&format!("{}", round % 3)), vec![b'x'; 1000]).await.unwrap();
        if round == 20 {
            change(&packs(folder.path())[0], b"}this one", b"}THIS ONE");
        }
    }
    assert_eq!(store.read(&key("damaged")).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(packs(folder.path())[0].ends_with("000000000001.pack"), "it has what is left of an object");
    let repair = FsckOptions::default().with_exclusive(true).with_repair(true);
    let report = store.fsck(repair, |_| {}).await.unwrap();
    assert!(report.is_clean() && report.has_loss(), "{report:?}");
    // With the object, the pack has gone.
    store.write(&key("after"), "x").await.unwrap();
    assert!(!packs(folder.path())[0].ends_with("000000000001.pack"));
    assert!(is_sound(&store).await);
}

#[tokio::test]
async fn packs_of_deletions_go_when_no_older_pack_needs_them() {
    // Without anything else, and behind objects that stay in a pack with less garbage than half of it.
    for kept in [0, 3] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), SHORT).await;
        let stay: Vec<String> = (0..kept).map(|number| format!("stays/{number}")).collect();
        for name in &stay {
            store.write(&key(name), vec![b'x'; 10]).await.unwrap();
        }
        // Each time the deletions fill a pack. As long as records of these objects are there, they are needed.
        for round in 0..6 {
            let names: Vec<_> = (0..500).map(|number| key(&format!("goes/{round}/{number}"))).collect();
            join_all(names.iter().map(async |name| store.write(name, "x").await.unwrap())).await;
            store.delete(&names).await.unwrap();
        }
        for round in 0..40 {
            store.write(&key("last"), format!("{round}").repeat(300)).await.unwrap();
        }
        let left = packs(folder.path());
        assert!(left.len() <= 4, "{kept}: {left:?}");
        assert!(is_sound(&store).await);
        drop(store);
        crate::rebuild::lose_index(folder.path());
        assert_eq!(crate::rebuild::rebuild(folder.path()).await.objects, kept + 1);
        let store = open(folder.path(), SHORT).await;
        for name in &stay {
            assert_eq!(read(&store, name).await.as_deref(), Some("xxxxxxxxxx"));
        }
    }
}

#[tokio::test]
async fn a_deletion_is_kept_as_long_as_an_older_pack_has_the_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    // The first pack has 1 KiB: it stays, being less than half garbage.
    store.write(&key("goes"), "x").await.unwrap();
    store.write(&key("stays"), vec![b'x'; 700]).await.unwrap();
    // Its deletion is in a pack that becomes garbage as a whole, again and again.
    for round in 0..100 {
        store.write(&key("often"), format!("{round}").repeat(100)).await.unwrap();
        if round == 20 {
            store.delete(&[key("goes")]).await.unwrap();
        }
    }
    let left = packs(folder.path());
    assert!(left[0].ends_with("000000000001.pack") && left.len() < 6, "{left:?}");
    drop(store);
    crate::rebuild::lose_index(folder.path());
    assert_eq!(crate::rebuild::rebuild(folder.path()).await.objects, 2);
    let store = open(folder.path(), SHORT).await;
    assert_eq!((read(&store, "goes").await, read(&store, "often").await), (None, Some("99".repeat(100))));
}

#[tokio::test]
async fn a_deletion_behind_damage_is_kept_as_long_as_an_older_pack_has_the_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    store.write(&key("goes"), "x").await.unwrap();
    store.write(&key("stays"), vec![b'x'; 700]).await.unwrap();
    let mut damaged = None;
    for round in 0..100 {
        store.write(&key("often"), format!("{round}").repeat(100)).await.unwrap();
        if round == 20 {
            // In one pack with what comes before: a frame whose body is damaged.
            let newest = packs(folder.path()).pop().unwrap();
            let end = fs::read(&newest).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
            store.delete(&[key("goes")]).await.unwrap();
            let mut bytes = fs::read(&newest).unwrap();
            assert!(bytes[end + 1..].iter().any(|byte| *byte != 0), "the deletion is in the same pack");
            bytes[end - 10] ^= 1;
            fs::write(&newest, bytes).unwrap();
            damaged = Some(newest);
        }
    }
    assert!(damaged.unwrap().exists());
    drop(store);
    crate::rebuild::lose_index(folder.path());
    crate::rebuild::rebuild(folder.path()).await;
    let store = open(folder.path(), SHORT).await;
    assert_eq!((read(&store, "goes").await, read(&store, "often").await), (None, Some("99".repeat(100))));
}

#[tokio::test]
async fn a_wrong_count_and_a_forgotten_pack_are_reported_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    for number in 0..20 {
        store.write(&key(&format!("{number}")), vec![b'x'; 500]).await.unwrap();
    }
    let forgotten = folder.path().join("packs/000000000000.pack");
    fs::write(&forgotten, "forgotten").unwrap();
    fs::write(folder.path().join("packs/README"), "not ours").unwrap();
    meddle(folder.path(), "UPDATE packs SET live = live + 1000 WHERE id = 2");
    let report = store.fsck(FsckOptions::default(), |_| {}).await.unwrap();
    let problems: Vec<_> = report.findings.iter().map(|finding| &finding.problem).collect();
    assert!(matches!(&problems[..], [Problem::Count { pack: 2 }, Problem::Pack { pack: 0, size: 9 }]), "{problems:?}");
    assert!(!report.has_loss() && !report.is_clean());
    assert_eq!(report.foreign, [folder.path().join("packs/README")]);
    assert!(store.fsck(FsckOptions::default().with_repair(true), |_| {}).await.unwrap().is_clean());
    assert!(!forgotten.exists());
    assert_eq!(store.fsck(FsckOptions::default(), |_| {}).await.unwrap().findings, []);
}

#[tokio::test]
async fn the_next_pack_is_made_ready_and_what_a_killed_process_left_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hours) = shifted_clock();
    let options = LocalOptions::default().with_clock(clock).with_pack_bytes(1 << 20);
    let store = LocalStore::open_with(folder.path(), options).await.unwrap();
    let spares = || {
        let names = fs::read_dir(folder.path().join("packs")).unwrap().map(|file| file.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("spare-")).count()
    };
    // The first is half full at 64 KiB.
    let mut number = 0;
    while packs(folder.path()).len() < 2 {
        store.write(&key(&format!("{number}")), vec![b'x'; 1000]).await.unwrap();
        number += 1;
        if number == 100 {
            assert_eq!(spares(), 1);
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
    assert_eq!(spares(), 0);
    assert_eq!(fs::metadata(&packs(folder.path())[1]).unwrap().len(), 256 * 1024, "it is as long as it will be");
    fs::write(folder.path().join("packs/spare-0123"), "left").unwrap();
    store.gc().await.unwrap();
    assert_eq!(spares(), 1, "it may be somebody's");
    hours.store(2, Ordering::SeqCst);
    store.gc().await.unwrap();
    assert_eq!(spares(), 0);
    // Who puts no more than a few objects makes nothing ready.
    while fs::metadata(packs(folder.path()).pop().unwrap()).unwrap().len() < 128 * 1024 {
        store.write(&key(&format!("{number}")), vec![b'x'; 20_000]).await.unwrap();
        number += 1;
    }
    for number in 0..7 {
        store.write(&key(&format!("half/{number}")), vec![b'x'; 20_000]).await.unwrap();
    }
    drop(store);
    closed_index(folder.path());
    let store = open(folder.path(), 1 << 20).await;
    store.write(&key("one more"), "x").await.unwrap();
    assert_eq!(spares(), 0);
    assert!(is_sound(&store).await);
}

#[tokio::test]
async fn a_store_of_the_second_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("index.db")).unwrap();
    connection.execute_batch(OLD_TABLES).unwrap();
    connection.execute_batch(
        "CREATE TABLE objects (key BLOB PRIMARY KEY, version TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
            uploaded INTEGER NOT NULL, http TEXT, custom TEXT, checksums TEXT, class TEXT, inline INTEGER) WITHOUT ROWID;
        CREATE TABLE inline (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
        PRAGMA application_id = 1769172834; PRAGMA user_version = 2;
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)
            INSERT INTO objects SELECT CAST('key/' || n AS BLOB), 'v' || n, 5, '5d41402abc4b2a76b9719d911017c592', 1700000000000,
                NULL, NULL, NULL, NULL, n FROM numbers;
        INSERT INTO inline SELECT inline, CAST('hello' AS BLOB) FROM objects WHERE inline <> 7;
        INSERT INTO inline VALUES (5000, 'nobody''s');",
    ).unwrap();
    drop(connection);
    let store = open(folder.path(), 1 << 20).await;
    for number in (1..=1000).filter(|number| *number != 7) {
        assert_eq!(read(&store, &format!("key/{number}")).await.as_deref(), Some("hello"));
    }
    // Its body was not there before, either.
    assert_eq!(store.read(&key("key/7")).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let report = store.fsck(FsckOptions::default().with_repair(true), |_| {}).await.unwrap();
    assert!(
        matches!(&report.findings[..], [one] if matches!(&one.problem, Problem::Body { key, .. } if key == "key/7"))
    );
    store.write(&key("key/1"), "changed").await.unwrap();
    drop(store);
    let store = open(folder.path(), 1 << 20).await;
    assert_eq!(read(&store, "key/1").await.as_deref(), Some("changed"));
    assert!(is_sound(&store).await);
}
