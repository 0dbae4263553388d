//! A store that version 3 itself has written (`tests/fixtures`) is read, verified, brought up to date and rebuilt.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use chrono::DateTime;
use isobar_storage::local::{LocalOptions, LocalStore, Problem};
use isobar_storage::{ErrorKind, ObjectStore, ObjectStoreExt, UploadId};

use crate::fsck::{blobs, packs};
use crate::local::key;
use crate::packs::{SHORT, closed_index, is_sound};
use crate::rebuild::{everything, lose_index, rebuild};

const UNFINISHED: &str = "75b55b5f55bc1b5464d24d50a7492d4e";

/// Puts the store's files into a folder.
fn unpack(root: &Path) {
    let archive = include_bytes!("../fixtures/version-3.store.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&archive[..]).read_to_end(&mut bytes).unwrap();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let (name, length) = std::str::from_utf8(&rest[..end]).unwrap().rsplit_once(' ').unwrap();
        let (file, next) = rest[end + 1..].split_at(length.parse().unwrap());
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), file).unwrap();
        rest = next;
    }
}

fn text(name: &str, bytes: usize) -> Vec<u8> {
    format!("body of {name}. ").into_bytes().into_iter().cycle().take(bytes).collect()
}

/// The objects and their bodies.
fn expected() -> BTreeMap<String, Vec<u8>> {
    let kept = (0..16).map(|number| (format!("kept/{number}"), 600));
    let others = [("replaced", 90), ("was large", 80), ("was small", 50_000), ("large", 60_000), ("empty", 0)];
    let others = others.into_iter().chain([("parts", 50_000)]).map(|(name, bytes)| (name.to_owned(), bytes));
    let mut all: BTreeMap<_, _> = kept
        .chain(others)
        .map(|(name, bytes)| {
            let body = text(&name, bytes);
            (name, body)
        })
        .collect();
    for name in ["kept/3", "large"] {
        all.insert(format!("copy of {name}"), all[name].clone());
    }
    all
}

/// Opens it as long as its upload is not past its days.
async fn open(root: &Path) -> LocalStore {
    let then = DateTime::from_timestamp_millis(1_795_901_700_000).unwrap();
    let options = LocalOptions::default().with_pack_bytes(SHORT).with_clock(Arc::new(move || then));
    LocalStore::open_with(root, options).await.unwrap()
}

fn bodies(all: &BTreeMap<String, (String, Vec<u8>)>) -> BTreeMap<String, Vec<u8>> {
    all.iter().map(|(name, (_, body))| (name.clone(), body.clone())).collect()
}

fn number(root: &Path, sql: &str) -> i64 {
    rusqlite::Connection::open(root.join("index.db")).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_store_written_by_version_3_has_its_objects_its_upload_and_checksums_after_the_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    assert_eq!(number(folder.path(), "SELECT user_version FROM pragma_user_version"), 3);
    let store = open(folder.path()).await;
    let all = everything(&store).await;
    assert!(bodies(&all) == expected());
    assert!(
        all["kept/7"].0.contains("text/x-kept") && all["kept/7"].0.contains("\"number\": \"7\""),
        "{}",
        all["kept/7"].0
    );
    assert!(is_sound(&store).await);
    assert_eq!(number(folder.path(), "SELECT count(*) FROM objects WHERE pack NOT NULL AND crc IS NULL"), 0);
    assert_eq!(number(folder.path(), "SELECT count(*) FROM objects WHERE pack IS NULL AND named IS NULL"), 0);
    let parts = store.list_parts(&key("unfinished"), &UploadId::new(UNFINISHED)).await.unwrap();
    assert_eq!((parts.len(), parts[0].size), (1, 45_000));
    let upload = store.resume_multipart(&key("unfinished"), UploadId::new(UNFINISHED));
    upload.complete(vec![parts[0].part.clone()]).await.unwrap();
    drop(store);
    closed_index(folder.path());
    let store = open(folder.path()).await;
    let mut expected = expected();
    expected.insert("unfinished".to_owned(), text("unfinished", 45_000));
    assert!(bodies(&everything(&store).await) == expected);
    assert!(is_sound(&store).await);
}

#[tokio::test]
async fn damage_in_a_store_of_version_3_is_answered_by_errors() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    drop(open(folder.path()).await);
    closed_index(folder.path());
    for path in packs(folder.path()).into_iter().chain(blobs(folder.path())) {
        let mut bytes = fs::read(&path).unwrap();
        for name in ["kept/5", "large", "parts"] {
            let body = text(name, 600);
            let at = (0..bytes.len()).find(|at| bytes[*at..].starts_with(&body));
            if let Some(at) = at {
                bytes[at + 100] ^= 1;
            }
        }
        fs::write(path, bytes).unwrap();
    }
    let store = open(folder.path()).await;
    for name in ["kept/5", "large", "parts", "copy of large"] {
        assert_eq!(store.read(&key(name)).await.unwrap_err().kind(), ErrorKind::Corrupt, "{name}");
    }
    assert_eq!(store.read(&key("kept/6")).await.unwrap().unwrap().1, text("kept/6", 600));
}

#[tokio::test]
async fn a_rebuild_after_the_upgrade_brings_no_object_back_that_version_3_has_deleted() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    let store = open(folder.path()).await;
    let before = everything(&store).await;
    drop(store);
    lose_index(folder.path());
    let report = rebuild(folder.path()).await;
    assert!(report.objects == 24 && !report.has_loss(), "{report:?}");
    // Blobs of replaced objects and of the upload are in no frame; nothing else is in doubt.
    assert!(report.findings.iter().all(|it| matches!(it.problem, Problem::Unnamed { .. })), "{report:?}");
    let store = open(folder.path()).await;
    assert!(everything(&store).await == before, "versions and metadata, too");
}

#[tokio::test]
async fn a_rebuild_of_a_store_that_only_version_3_has_opened_reports_what_it_cannot_know() {
    for keeps_index in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        unpack(folder.path());
        if !keeps_index {
            fs::remove_file(folder.path().join("index.db")).unwrap();
        }
        let report = rebuild(folder.path()).await;
        let uncertain: Vec<&String> = report
            .findings
            .iter()
            .flat_map(|finding| match &finding.problem {
                Problem::Uncertain { keys, .. } => keys.as_slice(),
                _ => &[],
            })
            .collect();
        let all = everything(&open(folder.path()).await).await;
        assert!(all.keys().any(|name| name.starts_with("deleted/")), "its packs do not know better");
        for name in all.keys() {
            assert!(uncertain.contains(&name), "{name}");
        }
        assert!(report.findings.iter().any(|it| it.problem.to_string().contains("may have been deleted since")));
    }
}

#[tokio::test]
async fn a_damaged_index_of_version_3_is_not_upgraded_and_no_object_is_taken_for_deleted() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    // The cells of the first leaf of objects lose their keys.
    let page: i64 = number(folder.path(), "SELECT rootpage FROM sqlite_schema WHERE name = 'objects'");
    let size: i64 = number(folder.path(), "SELECT page_size FROM pragma_page_size");
    closed_index(folder.path());
    let path = folder.path().join("index.db");
    let mut bytes = fs::read(&path).unwrap();
    let start = usize::try_from((page - 1) * size).unwrap();
    bytes[start + 64..start + usize::try_from(size).unwrap()].fill(0);
    fs::write(&path, &bytes).unwrap();
    let contents = || packs(folder.path()).into_iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let before = contents();
    let refused = LocalStore::open(folder.path()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(refused.to_string().contains("--rebuild"), "{refused}");
    assert!(contents() == before);
    rebuild(folder.path()).await;
    let rebuilt = bodies(&everything(&open(folder.path()).await).await);
    // Frames of version 3 name no large objects.
    for (name, body) in expected().into_iter().filter(|(_, body)| body.len() <= 600) {
        assert!(rebuilt.get(&name) == Some(&body), "{name}");
    }
}

#[tokio::test]
async fn an_upgrade_that_broke_off_does_not_say_that_the_packs_have_every_deletion() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    drop(open(folder.path()).await);
    lose_index(folder.path());
    // Its last frame, which says so, was not written.
    let newest = packs(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let last = (0..bytes.len()).rfind(|at| bytes[*at..].starts_with(b"isobarF1")).unwrap();
    bytes[last..].fill(0);
    fs::write(&newest, bytes).unwrap();
    let report = rebuild(folder.path()).await;
    assert!(report.findings.iter().any(|it| matches!(it.problem, Problem::Uncertain { .. })), "{report:?}");
}

#[tokio::test]
async fn a_store_that_an_earlier_version_has_open_is_not_upgraded() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    // It takes no lock of the store's.
    let earlier = rusqlite::Connection::open(folder.path().join("index.db")).unwrap();
    let count = |connection: &rusqlite::Connection| {
        connection.query_row("SELECT count(*) FROM objects", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = count(&earlier);
    let contents = || packs(folder.path()).into_iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let bytes = contents();
    let refused = LocalStore::open(folder.path()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("an earlier isobar") && refused.to_string().contains("index.db"), "{refused}");
    assert_eq!(number(folder.path(), "SELECT user_version FROM pragma_user_version"), 3);
    assert!(contents() == bytes && count(&earlier) == before);
    drop(earlier);
    assert!(bodies(&everything(&open(folder.path()).await).await) == expected());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_version_3_that_is_opened_twice_at_once_is_upgraded_once() {
    let folder = tempfile::tempdir().unwrap();
    unpack(folder.path());
    let (one, other) = tokio::join!(open(folder.path()), open(folder.path()));
    assert!(bodies(&everything(&one).await) == expected());
    one.write(&key("kept/1"), "new").await.unwrap();
    assert_eq!(other.read(&key("kept/1")).await.unwrap().unwrap().1, "new");
    assert!(is_sound(&other).await);
}
