//! Tools for a host's folder: looking, SQL, export, import, deletion.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use isobar_sessions::conformance::Probe;
use isobar_sessions::local::{
    Catalog, CatalogListOptions, CatalogWriter, HostOptions, LocalHost, OnExisting, QueryBounds,
};
use isobar_sessions::memory::MemoryHost;
use isobar_sessions::{ErrorKind, SessionNamespace, SessionNamespaceExt, Value};
use serde_json::json;

use super::faults::{act, open, put};
use super::restart::copy;

const ROWS: &str = "CREATE TABLE rows (big INTEGER, blob BLOB, real REAL, text TEXT)";
const INSERT: &str =
    "INSERT INTO rows VALUES (9007199254740993, x'00ff', 0.1, 'a' || char(0) || 'é'), (NULL, x'', -1e300, '')";

/// Makes objects of these names, each with rows and a key.
async fn fill(folder: &Path, names: &[&str]) {
    let host = open(folder);
    for name in names {
        let operations =
            json!([{"op": "sql", "sql": ROWS}, {"op": "sql", "sql": INSERT}, {"op": "put", "key": "k", "value": name}]);
        act(&host, name, operations).await;
    }
}

/// Every file with its bytes and times.
pub(super) fn state(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(state(&path));
        } else {
            let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
            found.insert(path.clone(), (std::fs::read(&path).unwrap(), modified));
        }
    }
    found
}

pub(super) fn catalog(folder: &Path) -> Catalog {
    Catalog::open(folder, "Probe").unwrap()
}

fn count(catalog: &Catalog, name: &str, sql: &str) -> i64 {
    catalog.query(&catalog.id(name), sql, ()).unwrap().unwrap().one().unwrap()
}

pub(super) fn file(folder: &Path, catalog: &Catalog, name: &str) -> PathBuf {
    let id = catalog.id(name).to_string();
    folder.join("objects").join(&id[..2]).join(id + ".db")
}

fn exported(catalog: &Catalog) -> Vec<u8> {
    let mut archive = Vec::new();
    catalog.export(None, &mut archive, |_| {}).unwrap();
    archive
}

#[tokio::test]
async fn looking_changes_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none");
    assert_eq!(Catalog::open(&missing, "Probe").unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(CatalogWriter::open(&missing, "Probe").unwrap_err().kind(), ErrorKind::Storage);
    assert!(!missing.exists());
    fill(folder.path(), &["Ada", "Bob"]).await;
    act(&open(folder.path()), "Bob", json!([{"op": "set timer", "name": "late", "in": 3_600_000}])).await;
    let before = state(folder.path());
    let catalog = catalog(folder.path());
    assert!(!catalog.is_live().unwrap());
    assert_eq!(catalog.list(&CatalogListOptions::default().with_check()).unwrap().objects.len(), 2);
    let details = catalog.details(&catalog.id("Ada")).unwrap().unwrap();
    assert_eq!((details.keys, details.entry.id.name(), details.alarm), (1, Some("Ada"), None));
    let tables: Vec<_> = details.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect();
    assert_eq!(tables, [("rows", 2), ("starts", 1)]);
    assert_eq!((details.timers, catalog.details(&catalog.id("Bob")).unwrap().unwrap().timers), (0, 1));
    assert!(catalog.details(&catalog.id("nobody")).unwrap().is_none());
    assert!(catalog.query(&catalog.id("nobody"), "SELECT 1", ()).unwrap().is_none());
    assert_eq!(count(&catalog, "Ada", "SELECT count(*) FROM _cf_KV"), 1);
    for (sql, kind) in [
        ("DELETE FROM rows", ErrorKind::NotAuthorized),
        ("DELETE FROM _cf_KV", ErrorKind::NotAuthorized),
        ("ATTACH 'x.db' AS x", ErrorKind::NotAuthorized),
        ("VACUUM INTO 'x.db'", ErrorKind::NotAuthorized),
        ("SELECT 1; SELECT 2", ErrorKind::Sql),
        ("SELECT ?", ErrorKind::Sql),
        ("-- nothing", ErrorKind::Sql),
    ] {
        let error = catalog.query(&catalog.id("Ada"), sql, ()).unwrap_err();
        assert_eq!(error.kind(), kind, "{sql}: {error}");
    }
    assert!(!exported(&catalog).is_empty());
    assert!(state(folder.path()) == before, "the folder has changed");
}

#[tokio::test]
async fn query_past_its_bounds_is_broken_off() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["Ada"]).await;
    let bounds = QueryBounds::default().with_time(Duration::from_millis(200)).with_bytes(10_000);
    let catalog = catalog(folder.path()).with_bounds(bounds);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) ";
    let start = Instant::now();
    for (sql, message) in [
        (format!("{endless} SELECT count(*) FROM n"), "took longer than 200ms"),
        (format!("{endless} SELECT i FROM n"), "more than 10000 bytes"),
        ("SELECT zeroblob(20000)".to_owned(), "more than 10000 bytes"),
    ] {
        let error = catalog.query(&catalog.id("Ada"), &sql, ()).unwrap_err();
        assert!(error.kind() == ErrorKind::Sql && error.message().contains(message), "{sql}: {error}");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(count(&catalog, "Ada", "SELECT count(*) FROM rows"), 2);
}

#[tokio::test]
async fn details_past_their_time_are_broken_off_and_show_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO rows (big) SELECT i FROM n";
    act(&open(folder.path()), "Ada", json!([{"op": "sql", "sql": ROWS}, {"op": "sql", "sql": many}])).await;
    let catalog = catalog(folder.path());
    let details = catalog.details(&catalog.id("Ada")).unwrap().unwrap();
    assert_eq!(details.tables[0].rows, 5000);
    let catalog = catalog.with_bounds(QueryBounds::default().with_time(Duration::ZERO));
    let error = catalog.details(&catalog.id("Ada")).unwrap_err();
    assert!(error.kind() == ErrorKind::Sql && error.message().contains("took longer than"), "{error}");
}

#[tokio::test]
async fn objects_are_listed_in_pages_by_the_index_and_by_their_files_alike() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..25).map(|number| format!("object {number}")).collect();
    {
        let host = open(folder.path());
        for name in &names {
            act(&host, name, json!([{"op": "put", "key": "k", "value": 1}, {"op": "set alarm", "in": 3_600_000}]))
                .await;
        }
    }
    let listed = || {
        let catalog = catalog(folder.path());
        let mut options = CatalogListOptions::default().with_limit(4);
        let mut entries = Vec::new();
        loop {
            let page = catalog.list(&options).unwrap();
            assert!(page.objects.len() <= 4 && (page.objects.len() == 4 || page.cursor.is_none()));
            entries.extend(page.objects);
            match page.cursor {
                None => break entries,
                cursor => options = options.with_after(cursor),
            }
        }
    };
    let by_index = listed();
    let whole = catalog(folder.path()).list(&CatalogListOptions::default().with_limit(25)).unwrap();
    assert_eq!((whole.objects.len(), whole.cursor), (25, None), "nothing follows");
    let mut found: Vec<_> = by_index.iter().filter_map(|entry| entry.id.name()).collect();
    found.sort_unstable();
    let mut expected: Vec<_> = names.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(by_index.iter().all(|entry| entry.bytes >= 4096 && entry.changed.is_some() && entry.alarm.is_some()));
    std::fs::remove_file(folder.path().join("index.db")).unwrap();
    assert_eq!(listed(), by_index, "without an index");
    std::fs::write(folder.path().join("index.db"), vec![b'x'; 9000]).unwrap();
    assert_eq!(listed(), by_index, "with a damaged one");
}

#[tokio::test]
async fn a_running_host_is_looked_at_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    for name in ["awake", "asleep"] {
        act(&host, name, json!([{"op": "sql", "sql": ROWS}, {"op": "sql", "sql": INSERT}])).await;
    }
    host.evict(&host.id("asleep")).await.unwrap();
    let catalog = catalog(folder.path());
    assert!(catalog.is_live().unwrap());
    for name in ["awake", "asleep"] {
        assert_eq!(count(&catalog, name, "SELECT count(*) FROM rows"), 2, "{name}");
    }
    act(&host, "awake", json!([{"op": "sql", "sql": INSERT}])).await;
    act(&host, "asleep", json!([{"op": "sql", "sql": INSERT}])).await; // no lock of a look is in its way
    for name in ["awake", "asleep"] {
        assert_eq!(count(&catalog, name, "SELECT count(*) FROM rows"), 4, "{name}");
    }
    assert_eq!(catalog.list(&CatalogListOptions::default()).unwrap().objects.len(), 2);
    act(&host, "new", put("k")).await;
    assert_eq!(catalog.list(&CatalogListOptions::default()).unwrap().objects.len(), 3);
    let error = CatalogWriter::open(folder.path(), "Probe").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(
        error.to_string().contains("another process hosts") && error.to_string().contains("stop it first"),
        "{error}"
    );
    let archive = exported(&catalog);
    drop(host);
    let elsewhere = folder.path().join("elsewhere");
    let writer = CatalogWriter::create(&elsewhere, "Probe").unwrap();
    assert_eq!(writer.import(archive.as_slice(), OnExisting::Refuse, |_| {}).unwrap().objects, 3);
    assert_eq!(count(writer.catalog(), "awake", "SELECT count(*) FROM rows"), 4);
}

#[tokio::test]
async fn a_host_starts_and_serves_while_its_folder_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["Ada"]).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looking = {
        let folder = folder.path().to_owned();
        let stop = std::sync::Arc::clone(&stop);
        std::thread::spawn(move || {
            let catalog = catalog(&folder);
            let mut looks = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(count(&catalog, "Ada", "SELECT count(*) FROM rows") >= 2);
                looks += 1;
            }
            looks
        })
    };
    for _ in 0..5 {
        let host = open(folder.path());
        act(&host, "Ada", json!([{"op": "sql", "sql": INSERT}])).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(looking.join().unwrap() > 0);
    assert_eq!(count(&catalog(folder.path()), "Ada", "SELECT count(*) FROM rows"), 12);
}

#[tokio::test]
async fn turns_that_a_crash_left_in_the_journal_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    act(&host, "Ada", put("first")).await;
    act(&host, "Ada", put("second")).await;
    copy(folder.path(), crashed.path());
    // The power has taken what was not synced: all of the write-ahead log.
    for (path, _) in state(crashed.path()) {
        if path.to_string_lossy().ends_with(".db-wal") && path.starts_with(crashed.path().join("objects")) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let catalog = catalog(crashed.path());
    assert_eq!(count(&catalog, "Ada", "SELECT count(*) FROM _cf_KV"), 2);
    assert!(!crashed.path().join("journal").exists(), "it is put back as the host's next start does");
    let host = open(crashed.path());
    assert_eq!(act(&host, "Ada", json!([{"op": "get", "key": "second"}])).await, json!([1]));
}

#[tokio::test]
async fn a_damaged_object_is_named_and_the_others_are_read_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["damaged", "missing", "sound"]).await;
    let catalog = catalog(folder.path());
    let damaged = file(folder.path(), &catalog, "damaged");
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(&damaged, bytes).unwrap();
    std::fs::remove_file(file(folder.path(), &catalog, "missing")).unwrap();

    let page = catalog.list(&CatalogListOptions::default().with_check()).unwrap();
    let damage: BTreeMap<_, _> =
        page.objects.iter().map(|entry| (entry.id.name().unwrap(), entry.damage.clone())).collect();
    assert_eq!(damage.len(), 3);
    assert!(damage["damaged"].as_ref().unwrap().contains(&damaged.display().to_string()), "{damage:?}");
    assert!(damage["missing"].as_ref().unwrap().contains("is missing or empty"), "{damage:?}");
    assert_eq!(damage["sound"], None);
    let details = catalog.details(&catalog.id("damaged")).unwrap().unwrap();
    assert!(details.entry.damage.is_some() && details.tables.is_empty());
    let entry = |name: &str| catalog.entry(&catalog.id(name)).unwrap();
    assert_eq!(entry("damaged").unwrap().damage, None, "its file is not checked");
    assert!(entry("missing").unwrap().damage.is_some() && entry("nobody").is_none());

    let mut archive = Vec::new();
    let report = catalog.export(None, &mut archive, |_| {}).unwrap();
    let names: Vec<_> = report.damaged.iter().filter_map(|(id, _)| id.name()).collect();
    assert!(report.objects == 1 && names.len() == 2 && !names.contains(&"sound"), "{report:?}");
    let writer = CatalogWriter::create(folder.path().join("elsewhere"), "Probe").unwrap();
    let report = writer.import(archive.as_slice(), OnExisting::Refuse, |_| {}).unwrap();
    assert_eq!((report.objects, report.missing.len()), (1, 2));
    drop(writer);

    // Given up, a damaged object begins anew.
    let writer = CatalogWriter::open(folder.path(), "Probe").unwrap();
    let ids = ["damaged", "missing"].map(|name| catalog.id(name));
    assert_eq!(writer.delete(&ids).unwrap(), 2);
    drop(writer);
    let host = open(folder.path());
    assert_eq!(act(&host, "damaged", json!([{"op": "get", "key": "k"}])).await, json!([null]));
    assert_eq!(act(&host, "missing", json!([{"op": "get", "key": "k"}])).await, json!([null]));
    assert_eq!(act(&host, "sound", json!([{"op": "get", "key": "k"}])).await, json!(["sound"]));
}

#[tokio::test]
async fn an_object_that_is_deleted_between_two_pages_is_not_taken_for_damaged() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["Ada", "Bob", "Eve"]).await;
    let host = open(folder.path());
    let catalog = catalog(folder.path());
    let options = CatalogListOptions::default().with_limit(1);
    let first = catalog.list(&options).unwrap(); // by a copy of the running host's index
    drop(host);
    let writer = CatalogWriter::open(folder.path(), "Probe").unwrap();
    let all = writer.catalog().list(&CatalogListOptions::default()).unwrap().objects;
    assert_eq!(writer.delete(&[all[1].id.clone()]).unwrap(), 1);
    drop(writer);
    let rest = catalog.list(&CatalogListOptions::default().with_after(first.cursor)).unwrap().objects;
    assert!(rest.len() == 1 && rest[0].damage.is_none(), "{rest:?}");
    assert_eq!(rest[0].id.to_string(), all[2].id.to_string());
}

#[tokio::test]
async fn an_export_comes_back_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    {
        let host = open(folder.path());
        let operations = json!([{"op": "sql", "sql": ROWS}, {"op": "sql", "sql": INSERT}, {"op": "put", "key": "k", "value": 1}, {"op": "set alarm", "in": 400}]);
        act(&host, "Ada", operations).await;
        let unnamed = host.unique_id().unwrap();
        let body = isobar_sessions::Body::from(json!([{"op": "put", "key": "k", "value": 2}]).to_string());
        host.post(&unnamed, "/act", body).await.unwrap();
    }
    let from = catalog(folder.path());
    let archive = exported(&from);
    let to = folder.path().join("to");
    let writer = CatalogWriter::create(&to, "Probe").unwrap();
    let report = writer.import(archive.as_slice(), OnExisting::Refuse, |_| {}).unwrap();
    assert_eq!((report.objects, report.skipped), (2, 0));
    let all = |catalog: &Catalog| catalog.list(&CatalogListOptions::default()).unwrap().objects;
    let imported = all(writer.catalog());
    let comparable = |entries: &[isobar_sessions::local::CatalogEntry]| {
        let entry = |entry: &isobar_sessions::local::CatalogEntry| {
            (entry.id.to_string(), entry.id.name().map(str::to_owned), entry.bytes, entry.alarm)
        };
        entries.iter().map(entry).collect::<Vec<_>>()
    };
    assert_eq!(comparable(&imported), comparable(&all(&from)));
    drop(writer);
    for entry in &imported {
        let id = entry.id.to_string();
        let below = Path::new("objects").join(&id[..2]).join(id + ".db");
        assert!(std::fs::read(folder.path().join(&below)).unwrap() == std::fs::read(to.join(&below)).unwrap());
    }
    let rows = catalog(&to).query(&from.id("Ada"), "SELECT * FROM rows", ()).unwrap().unwrap().raw();
    let text = Value::Text("a\0é".into());
    assert_eq!(rows[0], [9_007_199_254_740_993_i64.into(), vec![0_u8, 255].into(), 0.1.into(), text]);

    // The alarm of an imported object runs.
    let host = open(&to);
    let entries = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}]);
    for _ in 0..100 {
        if act(&host, "Ada", entries.clone()).await[0]["ok"]["rows"] == json!([[1]]) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the alarm of the imported object did not run");
}

#[tokio::test]
async fn an_import_takes_whole_archives_of_its_class_and_overwrites_only_when_told() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["Ada", "Bob"]).await;
    let archive = exported(&catalog(folder.path()));
    let one = {
        let catalog = catalog(folder.path());
        let mut one = Vec::new();
        catalog.export(Some(&[catalog.id("Ada")]), &mut one, |_| {}).unwrap();
        let error = catalog.export(Some(&[catalog.id("nobody")]), &mut Vec::new(), |_| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        one
    };
    act(&open(folder.path()), "Ada", json!([{"op": "put", "key": "k", "value": "changed"}])).await;
    let writer = CatalogWriter::open(folder.path(), "Probe").unwrap();
    let key = "SELECT CAST(value AS TEXT) FROM _cf_KV WHERE key = CAST('k' AS BLOB)";
    let value = || -> String {
        let catalog = writer.catalog();
        catalog.query(&catalog.id("Ada"), key, ()).unwrap().unwrap().one().unwrap()
    };
    let error = writer.import(archive.as_slice(), OnExisting::Refuse, |_| {}).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("is there already"), "{error}");
    let report = writer.import(archive.as_slice(), OnExisting::Skip, |_| {}).unwrap();
    assert_eq!((report.objects, report.skipped, value()), (0, 2, "\"changed\"".to_owned()));
    let report = writer.import(one.as_slice(), OnExisting::Replace, |_| {}).unwrap();
    assert_eq!((report.objects, report.skipped, value()), (1, 0, "\"Ada\"".to_owned()));

    let refused = |bytes: &[u8], class: &str| {
        let elsewhere = tempfile::tempdir().unwrap();
        let writer = CatalogWriter::create(elsewhere.path(), class).unwrap();
        let error = writer.import(bytes, OnExisting::Refuse, |_| {}).unwrap_err();
        let files = state(elsewhere.path());
        assert!(!files.keys().any(|file| file.to_string_lossy().ends_with(".new")), "{files:?}");
        error
    };
    assert_eq!(refused(&archive, "Other").kind(), ErrorKind::InvalidId);
    for (bytes, words) in [
        (&b"SQLite format 3"[..], "not an export"),
        (&[], "not an export"),
        (&archive[..archive.len() / 2], "cannot be read"),
        (&archive[..archive.len() - 2048], "breaks off"),
    ] {
        let error = refused(bytes, "Probe");
        assert!(error.kind() == ErrorKind::Decode && error.to_string().contains(words), "{words}: {error}");
    }
    let mut altered = archive.clone();
    let row = altered.windows(5).position(|bytes| bytes == [0x00, 0xff, 0x3f, 0xb9, 0x99]).unwrap();
    altered[row] ^= 1;
    assert!(refused(&altered, "Probe").to_string().contains("checksum"));
}

#[tokio::test]
async fn sql_that_writes_needs_the_folder_and_keeps_an_objects_rules() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["Ada"]).await;
    let writer = CatalogWriter::open(folder.path(), "Probe").unwrap();
    let ada = writer.catalog().id("Ada");
    assert!(LocalHost::<Probe>::open(folder.path(), "Probe", &HostOptions::default(), || ()).is_err());
    writer.execute(&ada, "DELETE FROM rows WHERE real = ?", (0.1,)).unwrap().unwrap();
    let sql = "INSERT INTO rows (big) VALUES (1); INSERT INTO none VALUES (1)";
    assert_eq!(writer.execute(&ada, sql, ()).unwrap_err().kind(), ErrorKind::Sql);
    assert_eq!(writer.execute(&ada, "DELETE FROM _cf_KV", ()).unwrap_err().kind(), ErrorKind::NotAuthorized);
    assert!(writer.execute(&writer.catalog().id("nobody"), "SELECT 1", ()).unwrap().is_none());
    assert_eq!(count(writer.catalog(), "Ada", "SELECT count(*) FROM rows"), 1);
    drop(writer);
    let host = open(folder.path());
    let rows = act(&host, "Ada", json!([{"op": "sql", "sql": "SELECT count(*) FROM rows"}])).await;
    assert_eq!(rows[0]["rows"], json!([[1]]));
}

#[tokio::test]
async fn deleted_objects_are_gone_with_their_alarms() {
    let folder = tempfile::tempdir().unwrap();
    {
        let host = open(folder.path());
        for name in ["Ada", "Bob"] {
            act(&host, name, json!([{"op": "put", "key": "k", "value": 1}, {"op": "set alarm", "in": 100}])).await;
        }
    }
    let writer = CatalogWriter::open(folder.path(), "Probe").unwrap();
    let ids = [writer.catalog().id("Ada"), writer.catalog().id("nobody")];
    assert_eq!(writer.delete(&ids).unwrap(), 1);
    assert_eq!(writer.delete(&ids).unwrap(), 0);
    let left = writer.catalog().list(&CatalogListOptions::default()).unwrap().objects;
    assert_eq!(left.iter().filter_map(|entry| entry.id.name()).collect::<Vec<_>>(), ["Bob"]);
    drop(writer);
    let host = open(folder.path());
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let entries = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}, {"op": "alarm"}]);
    assert_eq!(act(&host, "Bob", entries.clone()).await[0]["ok"]["rows"], json!([[1]]));
    let ada = act(&host, "Ada", entries).await;
    assert!(ada[0]["error"].is_string() && ada[1].is_null(), "{ada}");
}

#[test]
fn ids_are_told_from_names() {
    let folder = tempfile::tempdir().unwrap();
    let writer = CatalogWriter::create(folder.path(), "Probe").unwrap();
    let host = MemoryHost::<Probe>::new("Probe", || ()).unwrap();
    let id = host.id("lobby");
    assert_eq!(writer.catalog().id("lobby"), id);
    assert_eq!(writer.catalog().id(&id.to_string()), id);
    assert_eq!(writer.catalog().id(&id.to_string()).name(), None);
}
