//! Tests particular to the local backend: durability, and files that it refuses to open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{Duration, Utc};
use isobar_storage::local::{LocalOptions, LocalStore};
use isobar_storage::{Clock, ErrorKind, GetOptions, Key, MultipartOptions, ObjectStore, ObjectStoreExt, UploadId};

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// A clock that a test moves on.
pub(crate) fn shifted_clock() -> (Clock, Arc<AtomicI64>) {
    let hours = Arc::new(AtomicI64::new(0));
    let shift = Arc::clone(&hours);
    (Arc::new(move || Utc::now() + Duration::hours(shift.load(Ordering::SeqCst))), hours)
}

fn count_blobs(root: &Path) -> usize {
    let folders = std::fs::read_dir(root.join("blobs")).unwrap();
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let big = vec![5u8; 1_000_000];
    let upload = {
        let store = LocalStore::open(folder.path()).await.unwrap();
        store.write(&key("small.html"), "small").await.unwrap();
        store.write(&key("big"), big.clone()).await.unwrap();
        let upload = store.multipart(&key("parts"), MultipartOptions::default()).await.unwrap();
        (upload.id().as_str().to_owned(), upload.upload_part(1, "part").await.unwrap())
    };
    let store = LocalStore::open(folder.path()).await.unwrap();
    assert_eq!(store.read(&key("small.html")).await.unwrap().unwrap().1, "small");
    assert_eq!(store.read(&key("big")).await.unwrap().unwrap().1, big);
    store.resume_multipart(&key("parts"), UploadId::new(upload.0)).complete(vec![upload.1]).await.unwrap();
    assert_eq!(store.read(&key("parts")).await.unwrap().unwrap().1, "part");
}

#[tokio::test]
async fn a_reader_keeps_its_bytes_while_the_object_is_replaced_and_collected() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hours) = shifted_clock();
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_clock(clock)).await.unwrap();
    store.write(&key("big"), vec![1u8; 500_000]).await.unwrap();
    let (_, body) = store.get(&key("big"), GetOptions::default()).await.unwrap().into_object().unwrap();
    store.write(&key("big"), vec![2u8; 500_000]).await.unwrap();
    hours.store(1, Ordering::SeqCst);
    store.write(&key("other"), "x").await.unwrap(); // what was replaced an hour ago is collected then
    for _ in 0..200 {
        if count_blobs(folder.path()) == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(count_blobs(folder.path()), 1);
    assert!(body.bytes().await.unwrap().iter().all(|byte| *byte == 1));
    assert!(store.read(&key("big")).await.unwrap().unwrap().1.iter().all(|byte| *byte == 2));
}

#[tokio::test]
async fn a_copy_outlives_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hours) = shifted_clock();
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_clock(clock)).await.unwrap();
    store.write(&key("from"), vec![1u8; 100_000]).await.unwrap();
    store.copy(&key("from"), &key("to"), Default::default()).await.unwrap();
    store.delete(&[key("from")]).await.unwrap();
    hours.store(2, Ordering::SeqCst);
    store.write(&key("other"), "x").await.unwrap();
    store.gc().await.unwrap();
    assert_eq!(store.read(&key("to")).await.unwrap().unwrap().1.len(), 100_000);
}

#[tokio::test]
async fn gc_removes_orphans_and_old_uploads_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hours) = shifted_clock();
    let store = LocalStore::open_with(folder.path(), LocalOptions::default().with_clock(clock)).await.unwrap();
    store.write(&key("kept"), vec![1u8; 100_000]).await.unwrap();
    let upload = store.multipart(&key("parts"), MultipartOptions::default()).await.unwrap();
    upload.upload_part(1, "part").await.unwrap();
    std::fs::create_dir_all(folder.path().join("blobs/ff")).unwrap();
    std::fs::write(folder.path().join("blobs/ff").join("f".repeat(32)), "orphan").unwrap();
    std::fs::write(folder.path().join("blobs/ff/README"), "not ours").unwrap();

    let young = store.gc().await.unwrap();
    assert_eq!((young.uploads, young.blobs), (0, 0), "what is young may be under way");
    hours.store(8 * 24, Ordering::SeqCst);
    let swept = store.gc().await.unwrap();
    // The upload's part is garbage from now on, and removed in its own time.
    assert_eq!((swept.uploads, swept.blobs), (1, 1));
    assert_eq!(upload.upload_part(2, "late").await.unwrap_err().kind(), ErrorKind::NoSuchUpload);
    assert_eq!(store.read(&key("kept")).await.unwrap().unwrap().1.len(), 100_000);
    assert!(folder.path().join("blobs/ff/README").exists());
}

#[tokio::test]
async fn two_openings_see_each_other_and_swap_once() {
    let folder = tempfile::tempdir().unwrap();
    let stores = [LocalStore::open(folder.path()).await.unwrap(), LocalStore::open(folder.path()).await.unwrap()];
    let mut tasks = Vec::new();
    for round in 0..20 {
        for store in stores.clone() {
            tasks.push(tokio::spawn(async move {
                let options =
                    isobar_storage::PutOptions::default().with_conditions(isobar_storage::Conditions::create_only());
                store.put(&key(&format!("{round}")), "x".into(), options).await.unwrap().stored().is_some()
            }));
        }
    }
    let mut created = 0;
    for task in tasks {
        created += usize::from(task.await.unwrap());
    }
    assert_eq!(created, 20);
}

#[tokio::test]
async fn a_missing_or_cut_blob_is_an_error_and_no_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    store.write(&key("big"), vec![1u8; 100_000]).await.unwrap();
    let folders = std::fs::read_dir(folder.path().join("blobs")).unwrap();
    let blob =
        folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap()).next().unwrap().unwrap().path();
    std::fs::write(&blob, "cut").unwrap();
    let error = store.get(&key("big"), GetOptions::default()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().contains("has 3 bytes, 100000")),
        (ErrorKind::Corrupt, true),
        "{error}"
    );
    std::fs::remove_file(blob).unwrap();
    assert_eq!(store.get(&key("big"), GetOptions::default()).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn what_is_not_a_store_of_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index.db");
    std::fs::write(&index, "this is no database at all, it is a text").unwrap();
    let error = LocalStore::open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("index.db"), "{error}");
    assert_eq!(std::fs::read_to_string(&index).unwrap(), "this is no database at all, it is a text");

    let other = tempfile::tempdir().unwrap();
    std::fs::copy(foreign_database(), other.path().join("index.db")).unwrap();
    let before = std::fs::read(other.path().join("index.db")).unwrap();
    let error = LocalStore::open(other.path()).await.unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(std::fs::read(other.path().join("index.db")).unwrap(), before);
}

/// The tables that indexes of versions 1 and 2 have in common.
pub(crate) const OLD_TABLES: &str = "
    CREATE TABLE segments (version TEXT NOT NULL, seq INTEGER NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (version, seq)) WITHOUT ROWID;
    CREATE INDEX segments_blob ON segments (blob);
    CREATE TABLE uploads (id TEXT PRIMARY KEY, key BLOB NOT NULL, created INTEGER NOT NULL, options TEXT NOT NULL,
        open INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE parts (upload TEXT NOT NULL, number INTEGER NOT NULL, etag TEXT NOT NULL, md5 TEXT NOT NULL,
        blob TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (upload, number)) WITHOUT ROWID;
    CREATE INDEX parts_blob ON parts (blob);
    CREATE TABLE garbage (blob TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX garbage_since ON garbage (since);
";

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_to_date_and_one_of_the_future_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index.db");
    let connection = rusqlite::Connection::open(&index).unwrap();
    connection.execute_batch(OLD_TABLES).unwrap();
    connection.execute_batch(r#"
        CREATE TABLE objects (key BLOB PRIMARY KEY, version TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
            uploaded INTEGER NOT NULL, http TEXT NOT NULL, custom TEXT NOT NULL, checksums TEXT NOT NULL, class TEXT NOT NULL
        ) WITHOUT ROWID;
        CREATE TABLE inline (version TEXT PRIMARY KEY, body BLOB NOT NULL);
        INSERT INTO objects VALUES (CAST('a' AS BLOB), 'v1', 5, '5d41402abc4b2a76b9719d911017c592', 1700000000000,
            '{"contentType":"text/plain"}', '{}', '[{"algorithm":"md5","hex":"5d41402abc4b2a76b9719d911017c592"}]', '"Standard"');
        INSERT INTO objects VALUES (CAST('b' AS BLOB), 'v2', 3, '900150983cd24fb0d6963f7d28e17f72', 1700000000000,
            '{}', '{"by":"ada"}', '[{"algorithm":"md5","hex":"900150983cd24fb0d6963f7d28e17f72"}]', '"InfrequentAccess"');
        INSERT INTO inline VALUES ('v2', CAST('abc' AS BLOB)), ('v1', CAST('hello' AS BLOB));
        PRAGMA application_id = 1769172834; PRAGMA user_version = 1;"#).unwrap();
    drop(connection);
    let store = LocalStore::open(folder.path()).await.unwrap();
    let (a, bytes) = store.read(&key("a")).await.unwrap().unwrap();
    assert_eq!((a.http.content_type.as_deref(), &bytes[..], a.checksums.len()), (Some("text/plain"), &b"hello"[..], 1));
    let (b, bytes) = store.read(&key("b")).await.unwrap().unwrap();
    assert_eq!((b.custom["by"].as_str(), &bytes[..]), ("ada", &b"abc"[..]));
    assert_eq!(b.storage_class, isobar_storage::StorageClass::InfrequentAccess);
    store.write(&key("a"), "changed").await.unwrap();
    let report = store.fsck(Default::default(), |_| {}).await.unwrap();
    assert_eq!((report.objects, report.findings.len()), (2, 0), "{report:?}");
    drop(store);
    rusqlite::Connection::open(&index).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let error = LocalStore::open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("newer isobar (version 99"), "{error}");
}

/// A SQLite database with a table that is none of ours.
fn foreign_database() -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("isobar-foreign-{}.db", std::process::id()));
    drop(std::fs::remove_file(&path));
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE somebody (elses)").unwrap();
    path
}

#[tokio::test]
async fn a_dropped_or_broken_upload_leaves_no_blob() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    let broken = futures_util::stream::iter([Ok(bytes::Bytes::from(vec![1; 50_000]))]);
    let body = isobar_storage::Body::from_stream(100_000, broken);
    store.put(&key("broken"), body, Default::default()).await.unwrap_err();
    let stalled = futures_util::StreamExt::chain(
        futures_util::stream::iter([Ok(bytes::Bytes::from(vec![1; 50_000]))]),
        futures_util::stream::pending(),
    );
    let dropped = key("dropped");
    let put = store.put(&dropped, isobar_storage::Body::from_stream(100_000, stalled), Default::default());
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), put).await.is_err());
    for _ in 0..100 {
        if count_blobs(folder.path()) == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("a blob was left behind");
}

#[tokio::test]
async fn a_change_is_another_generation_whoever_made_it() {
    let folder = tempfile::tempdir().unwrap();
    let ours = LocalStore::open(folder.path()).await.unwrap();
    let theirs = LocalStore::open(folder.path()).await.unwrap();
    let key = Key::new("a").unwrap();
    let settled = async |store: &LocalStore| {
        // Of what was written before, the file itself may tell once more.
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        store.generation()
    };
    let before = settled(&ours).await;
    assert!(before.is_some());
    assert_eq!(settled(&ours).await, before, "nothing has changed");
    ours.write(&key, "1").await.unwrap();
    let after = ours.generation();
    assert_ne!(after, before, "this process's write shows at once");
    let after = settled(&ours).await;
    theirs.write(&key, "2").await.unwrap();
    assert_ne!(settled(&ours).await, after, "another's shows a little later");
    let after = settled(&ours).await;
    drop(ours.read(&key).await.unwrap());
    assert_eq!(settled(&ours).await, after, "reading changes nothing");
    ours.delete(&[key]).await.unwrap();
    assert_ne!(ours.generation(), after);
}

#[cfg(unix)]
#[tokio::test]
async fn a_stores_files_are_its_owners_alone_and_older_ones_become_so() {
    use std::os::unix::fs::PermissionsExt;

    fn modes(path: &Path, into: &mut Vec<(std::path::PathBuf, u32)>) {
        let meta = std::fs::metadata(path).unwrap();
        into.push((path.to_owned(), meta.permissions().mode() & 0o777));
        if meta.is_dir() {
            std::fs::read_dir(path).unwrap().for_each(|entry| modes(&entry.unwrap().path(), into));
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("state/store");
    let store = LocalStore::open_with(&root, LocalOptions::default().with_pack_bytes(64 * 1024)).await.unwrap();
    for number in 0..20 {
        store.write(&key(&format!("{number}")), vec![1; 4000]).await.unwrap();
    }
    store.write(&key("large"), vec![1; 100_000]).await.unwrap();
    LocalStore::signing_secret(&root).await.unwrap();
    let mut found = Vec::new();
    modes(&folder.path().join("state"), &mut found);
    for end in ["index.db", "index.db-wal", "index.db-shm", "000000000001.pack", "signing-key"] {
        assert!(found.iter().any(|(path, _)| path.ends_with(end)), "{end}");
    }
    for (path, mode) in &found {
        assert_eq!(*mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    drop(store);
    // As earlier versions have left them: files beneath are reached through the folders alone.
    let loosened = ["", "packs", "blobs", "index.db", "signing-key"].map(|name| root.join(name));
    for path in &loosened {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let _store = LocalStore::open(&root).await.unwrap();
    LocalStore::signing_secret(&root).await.unwrap();
    for path in &loosened {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn work_of_a_runtime_that_shuts_down_reports_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let error = handle.block_on(LocalStore::signing_secret(folder.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
