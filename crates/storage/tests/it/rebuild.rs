//! A store without its index, or with another one: it is refused, and its index is made again out of packs and blobs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use isobar_storage::local::{FsckOptions, LocalOptions, LocalStore, Problem, Rebuild};
use isobar_storage::{ErrorKind, HttpMetadata, ListOptions, MultipartOptions, ObjectStore, ObjectStoreExt, PutOptions};

use crate::fsck::{blobs, meddle, packs};
use crate::local::key;
use crate::packs::{SHORT, closed_index, is_sound, open, read};

/// Every object with its metadata and its body.
pub(crate) async fn everything(store: &LocalStore) -> BTreeMap<String, (String, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut options = ListOptions::default().with_metadata();
    loop {
        let page = store.list(options.clone()).await.unwrap();
        for meta in page.objects {
            let body = store.read(&meta.key).await.unwrap().unwrap().1.to_vec();
            all.insert(meta.key.to_string(), (format!("{meta:?}"), body));
        }
        match page.cursor {
            Some(cursor) => options = options.with_cursor(cursor),
            None => return all,
        }
    }
}

pub(crate) async fn rebuild(root: &Path) -> Rebuild {
    LocalStore::rebuild(root, LocalOptions::default()).await.unwrap()
}

pub(crate) fn lose_index(root: &Path) {
    closed_index(root);
    for end in ["", "-wal", "-shm"] {
        drop(fs::remove_file(root.join(format!("index.db{end}"))));
    }
}

/// The files of packs and blobs, with their bytes.
fn files(root: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    packs(root).into_iter().chain(blobs(root)).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn files_without_an_index_are_refused_and_left_as_they_are() {
    for size in [10, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).await.unwrap();
        store.write(&key("kept"), vec![1; size]).await.unwrap();
        drop(store);
        lose_index(folder.path());
        if size > 10 {
            fs::remove_dir_all(folder.path().join("packs")).unwrap(); // blobs alone are as good
            fs::create_dir(folder.path().join("packs")).unwrap();
        }
        let before = files(folder.path());
        for index in [None, Some("")] {
            if let Some(text) = index {
                fs::write(folder.path().join("index.db"), text).unwrap();
            }
            let error = LocalStore::open(folder.path()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let told = error.to_string();
            assert!(told.contains("no index.db") && told.contains("isobar r2 fsck BUCKET --rebuild"), "{told}");
            assert!(told.contains(folder.path().to_str().unwrap()), "{told}");
            assert_eq!(folder.path().join("index.db").exists(), index.is_some(), "none is made");
            assert!(files(folder.path()) == before);
        }
    }
}

#[tokio::test]
async fn an_index_of_another_store_or_of_another_time_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    for (root, count, name) in [(folder.path(), 3, "ours"), (other.path(), 5, "theirs")] {
        let store = open(root, 1 << 20).await;
        for number in 0..count {
            store.write(&key(&format!("{number}")), name.repeat(100)).await.unwrap();
        }
    }
    let ours = closed_index(folder.path());
    let theirs = closed_index(other.path());
    let before = files(folder.path());
    fs::write(folder.path().join("index.db"), theirs).unwrap();
    // An index that was never written to is another one, too.
    let empty = tempfile::tempdir().unwrap();
    drop(open(empty.path(), 1 << 20).await);
    let fresh = closed_index(empty.path());
    for index in [None, Some(fresh)] {
        if let Some(index) = index {
            fs::write(folder.path().join("index.db"), index).unwrap();
        }
        let error = LocalStore::open(folder.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error.to_string().contains("do not belong together") && error.to_string().contains("--rebuild"),
            "{error}"
        );
        assert!(files(folder.path()) == before);
    }
    fs::write(folder.path().join("index.db"), &ours).unwrap();
    let store = open(folder.path(), 1 << 20).await;
    assert!(is_sound(&store).await);
    drop(store);
    // Older than packs of which some were emptied and removed since: what follows it is not there.
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), SHORT).await);
    let store = open(folder.path(), SHORT).await;
    store.write(&key("kept"), "kept").await.unwrap();
    drop(store);
    let old = closed_index(folder.path());
    let store = open(folder.path(), SHORT).await;
    for round in 0..200 {
        store.write(&key("often"), format!("{round}").repeat(200)).await.unwrap();
    }
    drop(store);
    closed_index(folder.path());
    assert!(!packs(folder.path())[0].ends_with("000000000001.pack"), "it has been emptied");
    fs::write(folder.path().join("index.db"), old).unwrap();
    let error = LocalStore::open(folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("do not belong together"), "{error}");
    rebuild(folder.path()).await;
    let store = open(folder.path(), SHORT).await;
    assert_eq!(read(&store, "kept").await.as_deref(), Some("kept"));
    assert_eq!(read(&store, "often").await, Some("199".repeat(200)));
}

/// Objects of every kind, as they came to be.
async fn filled(root: &Path) -> LocalStore {
    let store = open(root, 1 << 20).await;
    let mut http = HttpMetadata::with_content_type("text/x");
    http.cache_control = Some("no-store".to_owned());
    let options = PutOptions::default().with_http(http).with_custom("by", "ada");
    for (name, body) in [("small", vec![1; 10]), ("large", vec![2; 100_000]), ("empty", Vec::new())] {
        assert!(store.put(&key(name), body.into(), options.clone()).await.unwrap().stored().is_some());
    }
    for name in ["small", "large"] {
        store.copy(&key(name), &key(&format!("copy of {name}")), Default::default()).await.unwrap();
        store.write(&key("replaced"), name.repeat(10)).await.unwrap();
        store
            .write(&key(&format!("deleted {name}")), if name == "small" { vec![3; 10] } else { vec![4; 100_000] })
            .await
            .unwrap();
    }
    let upload = store.multipart(&key("parts"), MultipartOptions::default().with_http(options.http)).await.unwrap();
    let parts = [upload.upload_part(1, vec![5; 6_000_000]).await.unwrap(), upload.upload_part(2, "end").await.unwrap()];
    upload.complete(parts.to_vec()).await.unwrap();
    store.delete(&[key("deleted small"), key("deleted large"), key("never there")]).await.unwrap();
    store
}

#[tokio::test]
async fn the_index_is_made_again_with_every_object_and_no_deleted_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path()).await;
    let before = everything(&store).await;
    assert_eq!(before.len(), 7);
    drop(store);
    lose_index(folder.path());
    let kept = files(folder.path());
    let report = rebuild(folder.path()).await;
    assert_eq!((report.findings.len(), report.objects, report.packs), (0, 7, 1), "{report:?}");
    assert!(!report.has_loss() && report.set_aside.is_empty() && report.foreign.is_empty());
    let store = open(folder.path(), 1 << 20).await;
    assert!(everything(&store).await == before, "versions and metadata, too");
    assert!(files(folder.path()) == kept, "nothing was written to what was there");
    assert!(is_sound(&store).await);
    // It is a store like any other, and can be made again.
    store.write(&key("new"), "new").await.unwrap();
    store.delete(&[key("large")]).await.unwrap();
    let after = everything(&store).await;
    drop(store);
    closed_index(folder.path());
    let report = rebuild(folder.path()).await;
    let [old] = &report.set_aside[..] else { panic!("{report:?}") };
    let old = rusqlite::Connection::open(old).unwrap();
    let objects: i64 = old.query_row("SELECT count(*) FROM objects", [], |row| row.get(0)).unwrap();
    assert_eq!(objects, after.len() as i64, "the old index is kept");
    let store = open(folder.path(), 1 << 20).await;
    assert!(everything(&store).await == after);
    assert!(is_sound(&store).await);
}

#[tokio::test]
async fn after_garbage_has_gone_everything_is_there_and_nothing_that_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 2 * SHORT).await;
    for round in 0..600u32 {
        let name = format!("{}", round.wrapping_mul(2_654_435_761) % 23);
        match round % 7 {
            0 => store.delete(&[key(&name)]).await.unwrap(),
            1 => drop(store.write(&key(&name), vec![round as u8; 40_000]).await.unwrap()),
            2 => drop(store.copy(&key(&name), &key(&format!("copy/{name}")), Default::default()).await.unwrap()),
            _ => drop(store.write(&key(&name), format!("{round}").repeat(100)).await.unwrap()),
        }
    }
    let before = everything(&store).await;
    drop(store);
    lose_index(folder.path());
    assert!(!packs(folder.path())[0].ends_with("000000000001.pack"), "some have been emptied");
    let report = rebuild(folder.path()).await;
    assert!(!report.has_loss(), "{report:?}");
    let is_uncertain = |problem: &Problem| matches!(problem, Problem::Uncertain { .. });
    assert!(!report.findings.iter().any(|finding| is_uncertain(&finding.problem)), "{report:?}");
    let store = open(folder.path(), 2 * SHORT).await;
    assert!(everything(&store).await == before);
    // Blobs of objects that have gone with their packs are kept, and removed as what a crash leaves is.
    let repair = FsckOptions::default().with_exclusive(true).with_repair(true);
    let found = store.fsck(repair, |_| {}).await.unwrap().findings;
    assert!(found.iter().all(|finding| matches!(finding.problem, Problem::Orphan { .. })), "{found:?}");
    assert!(is_sound(&store).await);
    for round in 0..200 {
        store.write(&key("often"), format!("{round}").repeat(100)).await.unwrap();
    }
    assert!(is_sound(&store).await);
}

#[tokio::test]
async fn what_a_damaged_pack_still_has_is_brought_back_and_the_rest_is_named() {
    // Whether a body, the head of a frame, or the bytes from one frame into the next are damaged.
    for damage in ["body", "header", "both"] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), 1 << 20).await;
        let names = ["first", "damaged", "third", "fourth"];
        for name in names {
            store.write(&key(name), name.repeat(100)).await.unwrap();
        }
        drop(store);
        lose_index(folder.path());
        let pack = packs(folder.path()).pop().unwrap();
        let mut bytes = fs::read(&pack).unwrap();
        let starts: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"isobarF1")).collect();
        match damage {
            "body" => bytes[starts[2] - 50..starts[2] - 40].fill(0),
            "header" => bytes[starts[1]..starts[1] + 32].fill(0),
            _ => bytes[starts[1] + 20..starts[2] - 1].fill(0),
        }
        fs::write(&pack, &bytes).unwrap();
        let report = rebuild(folder.path()).await;
        assert!(report.has_loss() && report.objects == 3, "{damage}: {report:?}");
        assert!(report.findings.iter().any(|it| matches!(it.problem, Problem::Frame { pack: 1, .. })), "{report:?}");
        let is_named =
            report.findings.iter().any(|it| matches!(&it.problem, Problem::Body { key, .. } if key == "damaged"));
        assert_eq!(is_named, damage == "body", "its head can be read");
        let store = open(folder.path(), 1 << 20).await;
        for name in names {
            let expected = (name != "damaged").then(|| name.repeat(100));
            assert_eq!(read(&store, name).await, expected, "{damage}: {name}");
        }
        store.write(&key("new"), "new").await.unwrap();
        let kept = folder.path().join("lost").join(pack.file_name().unwrap());
        assert!(fs::read(kept).unwrap() == bytes, "{damage}: the damaged pack outlives its own emptying");
    }
}

#[tokio::test]
async fn damage_in_the_last_frame_of_a_pack_leaves_the_packs_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    let mut names = Vec::new();
    while packs(folder.path()).len() < 4 {
        let name = format!("object {:04}", names.len());
        store.write(&key(&name), name.repeat(100)).await.unwrap();
        names.push(name);
    }
    drop(store);
    lose_index(folder.path());
    let mut all = packs(folder.path());
    all.sort();
    let mut bytes = fs::read(&all[0]).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 40..end - 20].fill(0);
    fs::write(&all[0], &bytes).unwrap();
    let report = rebuild(folder.path()).await;
    assert_eq!(report.objects as usize, names.len() - 1, "{report:?}");
    let store = open(folder.path(), SHORT).await;
    let mut missing = Vec::new();
    for name in &names {
        match read(&store, name).await {
            Some(body) => assert_eq!(body, name.repeat(100)),
            None => missing.push(name),
        }
    }
    assert_eq!(missing.len(), 1, "{missing:?}");
}

#[tokio::test]
async fn bytes_in_a_body_that_look_like_a_frame_are_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let store = open(other.path(), 1 << 20).await;
    store.write(&key("forged"), "forged").await.unwrap();
    drop(store);
    closed_index(other.path());
    let frame = fs::read(&packs(other.path())[0]).unwrap();
    let store = open(folder.path(), 1 << 20).await;
    store.write(&key("first"), "first").await.unwrap();
    store.write(&key("hostile"), [&[7; 100], &frame[..], &[7; 100]].concat()).await.unwrap();
    store.write(&key("last"), "last").await.unwrap();
    drop(store);
    lose_index(folder.path());
    // The head of the frame that has the hostile body.
    let pack = &packs(folder.path())[0];
    let mut bytes = fs::read(pack).unwrap();
    let starts: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"isobarF1")).collect();
    bytes[starts[1]..starts[1] + 100].fill(0);
    fs::write(pack, bytes).unwrap();
    rebuild(folder.path()).await;
    let store = open(folder.path(), 1 << 20).await;
    assert_eq!(read(&store, "forged").await, None);
    assert_eq!(
        (read(&store, "first").await.as_deref(), read(&store, "last").await.as_deref()),
        (Some("first"), Some("last"))
    );
}

#[tokio::test]
async fn a_frame_in_the_last_body_ends_no_chain() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let store = open(other.path(), 1 << 20).await;
    store.write(&key("forged"), "forged").await.unwrap();
    drop(store);
    closed_index(other.path());
    let frame = fs::read(&packs(other.path())[0]).unwrap();
    let end = frame.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let store = open(folder.path(), 1 << 20).await;
    for name in ["damaged", "middle"] {
        store.write(&key(name), name).await.unwrap();
    }
    store.write(&key("hostile"), [&[7; 100], &frame[..end], &[7; 100]].concat()).await.unwrap();
    drop(store);
    lose_index(folder.path());
    let pack = &packs(folder.path())[0];
    let mut bytes = fs::read(pack).unwrap();
    bytes[..60].fill(0);
    fs::write(pack, bytes).unwrap();
    rebuild(folder.path()).await;
    let store = open(folder.path(), 1 << 20).await;
    assert_eq!((read(&store, "forged").await, read(&store, "damaged").await), (None, None));
    assert_eq!(read(&store, "middle").await.as_deref(), Some("middle"));
    assert!(store.head(&key("hostile")).await.unwrap().is_some());
}

#[tokio::test]
async fn blobs_that_nothing_names_are_kept_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    crate::damage::of_version_3(folder.path()).await;
    fs::remove_dir_all(folder.path().join("packs")).unwrap(); // with the frame that names the large one
    fs::remove_file(folder.path().join("index.db")).unwrap();
    let report = rebuild(folder.path()).await;
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    let Problem::Unnamed { blob, size: 100_000 } = &finding.problem else { panic!("{report:?}") };
    assert_eq!(report.objects, 0);
    let store = LocalStore::open(folder.path()).await.unwrap();
    store.gc().await.unwrap();
    assert_eq!(fs::read(folder.path().join("lost").join(blob)).unwrap().len(), 100_000);
}

#[tokio::test]
async fn large_objects_of_the_third_version_have_a_name_from_the_first_opening_on() {
    let folder = tempfile::tempdir().unwrap();
    crate::damage::of_version_3(folder.path()).await;
    let store = LocalStore::open(folder.path()).await.unwrap();
    let before = everything(&store).await;
    drop(store);
    lose_index(folder.path());
    assert_eq!(rebuild(folder.path()).await.objects, 2);
    assert!(everything(&LocalStore::open(folder.path()).await.unwrap()).await == before);
}

#[tokio::test]
async fn a_missing_blob_is_reported_and_an_open_store_or_an_empty_folder_is_not_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let error = LocalStore::rebuild(folder.path(), LocalOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let store = filled(folder.path()).await;
    let error = LocalStore::rebuild(folder.path(), LocalOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "rebuild"), "{error}");
    assert_eq!(read(&store, "empty").await.as_deref(), Some(""));
    drop(store);
    closed_index(folder.path());
    let large = blobs(folder.path()).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::remove_file(large).unwrap();
    let report = rebuild(folder.path()).await;
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    assert!(matches!(&finding.problem, Problem::Body { key, .. } if key == "parts"), "{report:?}");
    assert!(finding.repaired.is_none() && report.has_loss());
    let store = LocalStore::open(folder.path()).await.unwrap();
    assert_eq!(store.read(&key("parts")).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn objects_deleted_before_the_upgrade_do_not_come_back() {
    for version in [3, 4] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), 1 << 20).await;
        for name in ["kept", "deleted", "large", "deleted large"] {
            store.write(&key(name), vec![1; if name.ends_with("large") { 40_000 } else { 100 }]).await.unwrap();
        }
        drop(store);
        closed_index(folder.path());
        // As earlier versions deleted, or dropped deletions with their packs: no frame says so.
        let older = match version {
            3 => "ALTER TABLE objects DROP COLUMN crc; ALTER TABLE objects DROP COLUMN named; PRAGMA user_version = 3;",
            _ => "PRAGMA user_version = 4;",
        };
        meddle(folder.path(), older);
        meddle(
            folder.path(),
            "UPDATE packs SET live = live - 356 - CASE (SELECT user_version FROM pragma_user_version) WHEN 3 THEN 512 ELSE 256 END;
             INSERT INTO garbage SELECT blob, 0 FROM segments JOIN objects USING (version) WHERE key = CAST('deleted large' AS BLOB);
             DELETE FROM segments WHERE version IN (SELECT version FROM objects WHERE key = CAST('deleted large' AS BLOB));
             DELETE FROM objects WHERE key IN (CAST('deleted' AS BLOB), CAST('deleted large' AS BLOB))",
        );
        let store = open(folder.path(), 1 << 20).await;
        let before = everything(&store).await;
        assert_eq!(before.keys().collect::<Vec<_>>(), ["kept", "large"]);
        drop(store);
        lose_index(folder.path());
        let report = rebuild(folder.path()).await;
        assert!(!report.findings.iter().any(|it| matches!(it.problem, Problem::Uncertain { .. })), "{report:?}");
        assert!(everything(&open(folder.path(), 1 << 20).await).await == before, "version {version}");
    }
}

#[tokio::test]
async fn an_open_store_keeps_its_lock_without_an_index_and_a_rebuild_keeps_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    store.write(&key("kept"), "kept").await.unwrap();
    for end in ["", "-wal", "-shm"] {
        drop(fs::remove_file(folder.path().join(format!("index.db{end}"))));
    }
    let error = LocalStore::rebuild(folder.path(), LocalOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unavailable, "rebuild"), "{error}");
    assert!(error.to_string().contains("is open elsewhere: stop the processes that use it"), "{error}");
    assert!(!folder.path().join("index.db").exists());
    drop(store);
    assert_eq!(rebuild(folder.path()).await.objects, 1);
    // Another process is at a rebuild.
    let held = fs::File::open(folder.path().join("store.lock")).unwrap();
    held.lock().unwrap();
    let waits = LocalStore::open(folder.path());
    tokio::pin!(waits);
    // For longer than one attempt to lock it takes.
    let early = tokio::time::timeout(std::time::Duration::from_millis(1500), &mut waits).await;
    assert!(early.is_err(), "the lock is not free");
    drop(held);
    drop(waits.await.unwrap());
    let stores = [open(folder.path(), SHORT).await, open(folder.path(), SHORT).await];
    for store in stores {
        assert_eq!(read(&store, "kept").await.as_deref(), Some("kept"));
    }
}
