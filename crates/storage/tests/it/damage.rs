//! Tests that damage is answered by an error: whole objects, ranges and copies, packs, blobs and the index, with default options.

use std::fs;
use std::path::Path;

use futures_util::TryStreamExt;
use isobar_storage::local::{FsckOptions, LocalOptions, LocalStore};
use isobar_storage::{
    Conditions, ErrorKind, GetOptions, MultipartOptions, ObjectStore, ObjectStoreExt, PutOptions, Range, Result,
};

use crate::fsck::{blobs, meddle, packs};
use crate::local::{key, shifted_clock};
use crate::packs::{SHORT, closed_index, open, read};
use crate::rebuild::{lose_index, rebuild};

/// Zeros in a file.
fn blank(path: &Path, from: usize, length: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[from..from + length].fill(0);
    fs::write(path, bytes).unwrap();
}

/// The position of bytes that a file has.
fn position(path: &Path, of: &[u8]) -> usize {
    fs::read(path).unwrap().windows(of.len()).position(|window| window == of).unwrap()
}

/// The position of bytes that a file has, from this one on.
fn position_from(path: &Path, of: &[u8], from: usize) -> usize {
    fs::read(path).unwrap()[from..].windows(of.len()).position(|window| window == of).unwrap()
}

async fn range(store: &LocalStore, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
    let options = GetOptions::default().with_range(Range::From { offset, length: Some(length) });
    let (_, body) = store.get(&key(name), options).await?.into_object().unwrap();
    Ok(body.bytes().await?.to_vec())
}

#[tokio::test]
async fn zeros_in_a_pack_are_not_served_whole_in_ranges_or_by_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    for name in ["before", "damaged", "after"] {
        store.write(&key(name), format!("body of {name}").repeat(100)).await.unwrap();
    }
    store.read(&key("damaged")).await.unwrap().unwrap();
    let pack = &packs(folder.path())[0];
    blank(pack, position(pack, b"body of damaged") + 500, 100);
    for _ in 0..2 {
        assert_eq!(store.read(&key("damaged")).await.unwrap_err().kind(), ErrorKind::Corrupt);
        // Not even those bytes of it that are sound: the body is verified as a whole.
        assert_eq!(range(&store, "damaged", 0, 10).await.unwrap_err().kind(), ErrorKind::Corrupt);
        let copied = store.copy(&key("damaged"), &key("copy"), Default::default()).await;
        assert_eq!(copied.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert!(store.head(&key("copy")).await.unwrap().is_none());
    assert!(store.head(&key("damaged")).await.unwrap().is_some(), "its metadata are not in the pack");
    for name in ["before", "after"] {
        assert_eq!(store.read(&key(name)).await.unwrap().unwrap().1, format!("body of {name}").repeat(100));
    }
}

#[tokio::test]
async fn cut_and_swapped_packs_are_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    let names: Vec<String> = (10..40).map(|number| format!("{number}")).collect();
    for name in &names {
        store.write(&key(name), name.repeat(150)).await.unwrap();
    }
    let files = packs(folder.path());
    assert!(files.len() > 3);
    let one = fs::read(&files[1]).unwrap();
    let other = fs::read(&files[2]).unwrap();
    for damage in ["swapped", "cut", "none"] {
        match damage {
            "swapped" => [(&files[1], &other), (&files[2], &one)].map(|(path, bytes)| fs::write(path, bytes).unwrap()),
            "cut" => {
                [(&files[1], &one[..100]), (&files[2], &other[..0])].map(|(path, it)| fs::write(path, it).unwrap())
            }
            _ => [(&files[1], &one), (&files[2], &other)].map(|(path, bytes)| fs::write(path, bytes).unwrap()),
        };
        let mut refused = 0;
        for name in &names {
            match store.read(&key(name)).await {
                Ok(found) => assert_eq!(found.unwrap().1, name.repeat(150)),
                Err(error) => refused += usize::from(error.kind() == ErrorKind::Corrupt),
            }
        }
        assert_eq!(refused > 5, damage != "none", "{damage}: {refused}");
    }
    // With the newest pack in the place of another the store is not opened at all: it would be written over.
    drop(store);
    closed_index(folder.path());
    let last = files.last().unwrap();
    fs::write(last, &one).unwrap();
    let error = LocalStore::open(folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("do not belong together"), "{error}");
}

#[tokio::test]
async fn zeros_in_a_pack_do_not_keep_the_store_from_being_opened() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    for name in ["first", "second"] {
        store.write(&key(name), name.repeat(1000)).await.unwrap();
    }
    drop(store);
    closed_index(folder.path());
    let pack = &packs(folder.path())[0];
    for (from, length) in [(position(pack, b"firstfirst"), 1000), (0, 200)] {
        blank(pack, from, length);
        let store = LocalStore::open(folder.path()).await.unwrap();
        assert_eq!(store.read(&key("first")).await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.read(&key("second")).await.unwrap().unwrap().1, "second".repeat(1000));
        store.write(&key("third"), "third").await.unwrap();
        drop(store);
        closed_index(folder.path());
    }
}

#[tokio::test]
async fn a_damaged_header_in_the_newest_pack_refuses_neither_the_store_nor_what_is_sound() {
    let names = ["first", "second", "third"];
    // Of each frame: its beginning, its length (more, and less), its id.
    for (frame, damaged) in names.into_iter().enumerate() {
        for (from, bytes) in
            [(0, &b"damaged!"[..]), (12, &[0xff, 0xff][..]), (12, &[1, 0][..]), (24, &[7; 8][..]), (0, &[0; 32][..])]
        {
            let folder = tempfile::tempdir().unwrap();
            let store = LocalStore::open(folder.path()).await.unwrap();
            for name in names {
                store.write(&key(name), name.repeat(100)).await.unwrap();
            }
            drop(store);
            closed_index(folder.path());
            let pack = &packs(folder.path())[0];
            let mut before = fs::read(pack).unwrap();
            let starts: Vec<usize> = (0..before.len()).filter(|at| before[*at..].starts_with(b"isobarF1")).collect();
            before[starts[frame] + from..][..bytes.len()].copy_from_slice(bytes);
            fs::write(pack, &before).unwrap();
            let store = LocalStore::open(folder.path()).await.unwrap();
            for name in names {
                assert_eq!(store.read(&key(name)).await.unwrap().unwrap().1, name.repeat(100), "{frame} at {from}");
            }
            store.write(&key("new"), "new").await.unwrap();
            assert_eq!(store.read(&key("new")).await.unwrap().unwrap().1, "new");
            drop(store);
            closed_index(folder.path());
            let after = fs::read(pack).unwrap();
            let end = before.iter().rposition(|byte| *byte != 0).unwrap();
            assert!(after[..=end] == before[..=end], "nothing is written over");
            // A damaged body in the same frame is answered by an error, and nothing else is.
            blank(pack, position(pack, damaged.repeat(3).as_bytes()) + 100, 50);
            let store = LocalStore::open(folder.path()).await.unwrap();
            for (number, name) in names.into_iter().enumerate() {
                let read = store.read(&key(name)).await;
                assert_eq!(read.is_err_and(|error| error.kind() == ErrorKind::Corrupt), number == frame, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn frames_behind_a_damaged_one_that_the_index_forgot_are_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    store.write(&key("known"), "known").await.unwrap();
    drop(store);
    let index = closed_index(folder.path());
    let store = LocalStore::open(folder.path()).await.unwrap();
    for name in ["damaged", "forgotten"] {
        store.write(&key(name), name.repeat(100)).await.unwrap();
    }
    drop(store);
    closed_index(folder.path());
    fs::write(folder.path().join("index.db"), index).unwrap();
    let pack = &packs(folder.path())[0];
    let start = position(pack, b"isobarF1");
    let second = start + 8 + position_from(pack, b"isobarF1", start + 8);
    blank(pack, second, 32);
    let before = fs::read(pack).unwrap();
    for name in ["new", "newer"] {
        let store = LocalStore::open(folder.path()).await.unwrap();
        assert_eq!(store.read(&key("known")).await.unwrap().unwrap().1, "known");
        store.write(&key(name), name).await.unwrap();
        assert_eq!(store.read(&key(name)).await.unwrap().unwrap().1, name);
        drop(store);
        closed_index(folder.path());
        assert!(fs::read(pack).unwrap() == before);
        assert!(fs::read(folder.path().join("lost").join(pack.file_name().unwrap())).unwrap() == before);
    }
}

#[tokio::test]
async fn a_pack_behind_a_damaged_one_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let open = || LocalStore::open_with(folder.path(), LocalOptions::default().with_pack_bytes(SHORT));
    let store = open().await.unwrap();
    store.write(&key("known"), "known").await.unwrap();
    drop(store);
    let index = closed_index(folder.path());
    let store = open().await.unwrap();
    for number in 0.. {
        store.write(&key(&number.to_string()), vec![b'x'; 300]).await.unwrap();
        if packs(folder.path()).len() == 2 {
            break;
        }
    }
    drop(store);
    closed_index(folder.path());
    let there = packs(folder.path());
    assert_eq!(there.len(), 2, "{there:?}");
    fs::write(folder.path().join("index.db"), index).unwrap();
    let start = position(&there[0], b"isobarF1");
    let second = start + 8 + position_from(&there[0], b"isobarF1", start + 8);
    blank(&there[0], second, 32);
    let contents = || there.iter().map(|pack| fs::read(pack).unwrap()).collect::<Vec<_>>();
    let before = contents();
    let refused = open().await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Corrupt && refused.to_string().contains("--rebuild"), "{refused}");
    assert!(contents() == before);
}

#[tokio::test]
async fn zeros_in_a_blob_are_not_served_and_ranges_beside_them_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    let body: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8 + 1).collect();
    store.write(&key("large"), body.clone()).await.unwrap();
    let blob = &blobs(folder.path())[0];
    // What was verified is remembered for a while, as long as the file is not changed.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    for (offset, length) in
        [(0, 10), (32_767, 2), (65_536, 32_768), (1_000_001, 1_500_000), (2_999_999, 1), (0, 3_000_000)]
    {
        for _ in 0..2 {
            let found = range(&store, "large", offset, length).await.unwrap();
            assert!(found == body[offset as usize..(offset + length) as usize], "{length} bytes from {offset}");
        }
    }
    blank(blob, 2_000_000, 10);
    for (offset, length) in [(0, 10), (32_767, 2), (65_536, 32_768), (2_999_999, 1)] {
        assert!(range(&store, "large", offset, length).await.is_ok(), "{length} bytes from {offset}");
    }
    for (offset, length) in [(2_000_005, 1), (1_999_900, 10), (1_000_001, 1_500_000), (0, 3_000_000)] {
        let error = range(&store, "large", offset, length).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length} bytes from {offset}");
        assert!(error.to_string().contains(blob.to_str().unwrap()), "{error}");
    }
    // A stream ends with the error, and nothing of the damage has gone out.
    let (_, stream) = store.get(&key("large"), Default::default()).await.unwrap().into_object().unwrap();
    let mut sent = Vec::new();
    let mut stream = stream.into_stream();
    let error = loop {
        match stream.try_next().await {
            Ok(chunk) => sent.extend_from_slice(&chunk.expect("the end is an error")),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(sent.len() < 2_000_000 && sent == body[..sent.len()]);
}

#[tokio::test]
async fn cut_swapped_and_missing_blobs_and_damaged_trailers_are_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    let upload = store.multipart(&key("large"), MultipartOptions::default()).await.unwrap();
    let parts = [
        upload.upload_part(1, vec![1; 6_000_000]).await.unwrap(),
        upload.upload_part(2, vec![2; 6_000_000]).await.unwrap(),
    ];
    upload.complete(parts.to_vec()).await.unwrap();
    let files = blobs(folder.path());
    let one = fs::read(&files[0]).unwrap();
    let other = fs::read(&files[1]).unwrap();
    for damage in ["swapped", "cut", "trailer", "missing"] {
        match damage {
            "swapped" => fs::write(&files[0], &other).unwrap(),
            "cut" => fs::write(&files[0], &one[..5_000_000]).unwrap(),
            "trailer" => blank(&files[0], 6_000_000, 5),
            _ => fs::remove_file(&files[0]).unwrap(),
        }
        let mut refused = 0;
        for offset in [0, 6_000_000] {
            match range(&store, "large", offset, 10).await {
                Ok(bytes) => assert!(bytes == [1; 10] || bytes == [2; 10]),
                Err(error) => refused += usize::from(error.kind() == ErrorKind::Corrupt),
            }
        }
        assert_eq!(refused, 1, "{damage}");
        assert_eq!(store.read(&key("large")).await.unwrap_err().kind(), ErrorKind::Corrupt, "{damage}");
        fs::write(&files[0], &one).unwrap();
    }
    assert_eq!(store.read(&key("large")).await.unwrap().unwrap().1.len(), 12_000_000);
}

#[tokio::test]
async fn zeros_in_the_index_are_answered_by_errors_and_by_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    let names: Vec<String> = (0..1000).map(|number| format!("folder/{number}")).collect();
    futures_util::future::join_all(
        names.iter().map(async |name| store.write(&key(name), name.repeat(9)).await.unwrap()),
    )
    .await;
    drop(store);
    let index = folder.path().join("index.db");
    let length = closed_index(folder.path()).len();
    blank(&index, length / 2 / 4096 * 4096, 4096);
    let store = LocalStore::open(folder.path()).await.unwrap();
    let mut refused = 0;
    for name in &names {
        match store.read(&key(name)).await {
            Ok(found) => assert_eq!(found.unwrap().1, name.repeat(9)),
            Err(error) => refused += usize::from(error.kind() == ErrorKind::Corrupt),
        }
    }
    assert!(refused > 0);
    assert_eq!(store.list(Default::default()).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn what_a_damaged_index_does_not_find_is_not_said_to_be_missing_and_a_rebuild_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    let names: Vec<String> = (0..300).map(|number| format!("folder/{number}")).collect();
    let writes = names.iter().map(async |name| store.write(&key(name), name.repeat(9)).await.unwrap());
    futures_util::future::join_all(writes).await;
    drop(store);
    let index = folder.path().join("index.db");
    let whole = closed_index(folder.path());
    // In the middle of each page but the first two: zeros among its cells are cells like others to SQLite.
    for page in 2..whole.len() / 4096 {
        fs::write(&index, &whole).unwrap();
        blank(&index, page * 4096 + 2048, 2048);
        let Ok(store) = LocalStore::open(folder.path()).await else { continue };
        for name in &names {
            match store.read(&key(name)).await {
                Ok(found) => assert_eq!(found.expect("it is there").1, name.repeat(9), "page {page}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "page {page}: {error}"),
            }
        }
        if store.health().is_err() {
            let create = PutOptions::default().with_conditions(Conditions::create_only());
            assert_eq!(store.put(&key("new"), "x".into(), create).await.unwrap_err().kind(), ErrorKind::Corrupt);
            assert_eq!(store.delete(&[key("folder/1")]).await.unwrap_err().kind(), ErrorKind::Corrupt);
            assert!(store.health().unwrap_err().to_string().contains("--rebuild"));
        }
        drop(store);
        // Its connections are closed a moment later.
        for _ in 0..100 {
            if !folder.path().join("index.db-wal").exists() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    LocalStore::rebuild(folder.path(), Default::default()).await.unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    for name in &names {
        assert_eq!(store.read(&key(name)).await.unwrap().unwrap().1, name.repeat(9));
    }
}

/// A store as version 3 has left it: rows without a CRC, large objects without a name in a frame, blobs that are their body alone.
pub(crate) async fn of_version_3(root: &Path) {
    let store = LocalStore::open(root).await.unwrap();
    store.write(&key("small"), "small").await.unwrap();
    store.write(&key("large"), vec![7; 100_000]).await.unwrap();
    drop(store);
    closed_index(root);
    meddle(
        root,
        "ALTER TABLE objects DROP COLUMN crc; ALTER TABLE objects DROP COLUMN named; PRAGMA user_version = 3;
        UPDATE packs SET weight = (SELECT sum(size + 256) FROM objects WHERE pack IS NOT NULL), live = weight",
    );
    meddle(root, "UPDATE packs SET live = weight");
    for blob in blobs(root) {
        let bytes = fs::read(&blob).unwrap();
        fs::write(&blob, &bytes[..100_000]).unwrap();
    }
}

#[tokio::test]
async fn a_store_of_the_third_version_is_brought_up_to_date_and_verified_by_md5() {
    let folder = tempfile::tempdir().unwrap();
    of_version_3(folder.path()).await;
    let store = LocalStore::open(folder.path()).await.unwrap();
    assert_eq!(store.read(&key("small")).await.unwrap().unwrap().1, "small");
    assert_eq!(store.read(&key("large")).await.unwrap().unwrap().1.len(), 100_000);
    assert_eq!(range(&store, "large", 5, 10).await.unwrap(), [7; 10]);
    assert!(crate::packs::is_sound(&store).await);
    let pack = &packs(folder.path())[0];
    blank(pack, position(pack, b"}small") + 1, 5);
    blank(&blobs(folder.path())[0], 50_000, 1);
    for name in ["small", "large"] {
        assert_eq!(store.read(&key(name)).await.unwrap_err().kind(), ErrorKind::Corrupt, "{name}");
    }
    let copied = store.copy(&key("small"), &key("copy"), Default::default()).await;
    assert_eq!(copied.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_put_that_a_damaged_index_hides_is_not_undone_by_a_relocated_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), SHORT).await;
    let number = |sql: &str| -> i64 {
        let index = rusqlite::Connection::open(folder.path().join("index.db")).unwrap();
        index.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    // The first pack stays, with a record that is not in force: the deletion of it is needed.
    for (name, bytes) in [("returned", 10), ("stays", 900)] {
        store.write(&key(name), vec![b'x'; bytes]).await.unwrap();
    }
    store.write(&key("often"), "0").await.unwrap();
    store.delete(&[key("returned")]).await.unwrap();
    let deleted_in = number("SELECT max(id) FROM packs");
    assert!(deleted_in > 1, "it is in a pack of its own");
    for round in 0..20 {
        store.write(&key("often"), format!("{round}").repeat(200)).await.unwrap();
    }
    store.write(&key("returned"), "new").await.unwrap();
    // As damage does in an index that is too large to be looked over when it is opened.
    meddle(folder.path(), "DELETE FROM objects WHERE key = CAST('returned' AS BLOB)");
    for round in 0..100 {
        store.write(&key("often"), format!("{round}").repeat(200)).await.unwrap();
    }
    let left = number(&format!("SELECT count(*) FROM packs WHERE id = 1 OR id = {deleted_in}"));
    assert_eq!(left, 1, "the deletion was relocated");
    drop(store);
    lose_index(folder.path());
    rebuild(folder.path()).await;
    let store = open(folder.path(), SHORT).await;
    assert_eq!(read(&store, "returned").await.as_deref(), Some("new"));
    // One that was deleted since stays so, whatever is relocated.
    store.delete(&[key("returned")]).await.unwrap();
    for round in 0..100 {
        store.write(&key("often"), format!("{round}").repeat(200)).await.unwrap();
    }
    drop(store);
    lose_index(folder.path());
    rebuild(folder.path()).await;
    assert_eq!(read(&open(folder.path(), SHORT).await, "returned").await, None);
}

#[tokio::test]
async fn nothing_is_removed_for_an_index_that_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hours) = shifted_clock();
    let open =
        async || LocalStore::open_with(folder.path(), LocalOptions::default().with_clock(clock.clone())).await.unwrap();
    let store = open().await;
    for number in 0..20 {
        store.write(&key(&format!("{number}")), vec![number; 40_000]).await.unwrap();
    }
    drop(store);
    closed_index(folder.path());
    let path = folder.path().join("index.db");
    let index = rusqlite::Connection::open(&path).unwrap();
    let number = |sql: &str| index.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
    let page = number("SELECT rootpage FROM sqlite_schema WHERE name = 'segments'");
    let size = number("SELECT page_size FROM pragma_page_size");
    drop(index);
    blank(&path, (page - 1) * size + 64, size - 64);
    hours.store(2, std::sync::atomic::Ordering::SeqCst);
    let store = open().await;
    assert_eq!(store.gc().await.unwrap_err().kind(), ErrorKind::Corrupt);
    let repair = FsckOptions::default().with_repair(true).with_exclusive(true);
    match store.fsck(repair, |_| {}).await {
        Ok(report) => assert!(report.findings.iter().all(|finding| finding.repaired.is_none()), "{report:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
    }
    assert_eq!(blobs(folder.path()).len(), 20);
    drop(store);
    closed_index(folder.path());
    assert_eq!(rebuild(folder.path()).await.objects, 20);
    assert_eq!(open().await.read(&key("7")).await.unwrap().unwrap().1, vec![7; 40_000]);
}

#[tokio::test]
async fn a_blob_that_a_damaged_index_does_not_find_is_not_collected() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hours) = shifted_clock();
    let open =
        async || LocalStore::open_with(folder.path(), LocalOptions::default().with_clock(clock.clone())).await.unwrap();
    let store = open().await;
    store.write(&key("original"), vec![7; 40_000]).await.unwrap();
    store.copy(&key("original"), &key("copy"), Default::default()).await.unwrap();
    store.delete(&[key("original")]).await.unwrap();
    drop(store);
    closed_index(folder.path());
    let path = folder.path().join("index.db");
    let index = rusqlite::Connection::open(&path).unwrap();
    let number = |sql: &str| index.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
    let page = number("SELECT rootpage FROM sqlite_schema WHERE name = 'segments_blob'");
    let size = number("SELECT page_size FROM pragma_page_size");
    drop(index);
    closed_index(folder.path());
    // Behind its back, as it refuses puts where the index was damaged when it was opened.
    let store = open().await;
    blank(&path, (page - 1) * size + 64, size - 64);
    // What its connections know of the file is forgotten when another has written to it.
    meddle(folder.path(), "INSERT INTO garbage VALUES ('none', 9000000000000000)");
    hours.store(1, std::sync::atomic::Ordering::SeqCst);
    // The first one's collector has run when the second one is durable.
    for name in ["one", "two"] {
        store.write(&key(name), name).await.unwrap();
    }
    assert_eq!(blobs(folder.path()).len(), 1);
    assert_eq!(store.read(&key("copy")).await.unwrap().unwrap().1, vec![7; 40_000]);
}
