//! Very many dormant objects: time and memory of a host over them, and of the tools for its folder.
//!
//! 1,100 objects by default, in a few seconds; `ISOBAR_OBJECTS=1000000` takes a million (about an hour of a small machine, and 20 GB of disk
//! in `TMPDIR`). Each step prints its time and the memory that it took. The limits of memory are the same for each number.

use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use chrono::TimeDelta;
use isobar_sessions::local::{Catalog, CatalogListOptions, CatalogWriter, HostOptions, LocalHost, OnExisting};
use isobar_sessions::{Body, IdScheme, Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
use rusqlite::{Connection, params};

const CLASS: &str = "Note";
const FOLDER: &str = "ISOBAR_SCALE_FOLDER";
const MIB: usize = 1 << 20;

/// Object with one row and an alarm in a year, once it was written to.
struct Note(SessionContext);

impl SessionObject for Note {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS notes (text TEXT)", ())?;
        Ok(Self(context))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if request.method() == http::Method::POST {
            self.0.sql().exec("INSERT INTO notes VALUES ('remember')", ())?;
            self.0.set_alarm(self.0.now() + TimeDelta::days(365))?;
        }
        let count: i64 = self.0.sql().exec("SELECT count(*) FROM notes", ())?.one()?;
        Ok(Response::new(Body::from(count.to_string())))
    }
}

fn open(folder: &Path) -> LocalHost<Note> {
    let options = HostOptions::default().with_threads(2).with_open_objects(32);
    LocalHost::open(folder, CLASS, &options, || ()).unwrap()
}

async fn notes(host: &LocalHost<Note>, name: &str) -> String {
    host.get(&host.id(name), "/").await.unwrap().into_body().text().await.unwrap()
}

/// Names of one length, so that one file can be made out of another.
fn name(number: usize) -> String {
    format!("note {number:08}")
}

/// Makes a folder as a host leaves it that has written to so many objects.
async fn make(folder: &Path, objects: usize) {
    let host = open(folder);
    host.post(&host.id(&name(0)), "/", Body::empty()).await.unwrap();
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    let scheme = IdScheme::new(CLASS);
    let file = |number: usize| {
        let id = scheme.from_name(&name(number)).to_string();
        folder.join("objects").join(&id[..2]).join(id + ".db")
    };
    let template = file(0);
    // Small pages: a million files of 20 KB are more than most disks of a test have.
    let sql = "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM; PRAGMA journal_mode = WAL";
    Connection::open(&template).unwrap().execute_batch(sql).unwrap();
    let template = std::fs::read(&template).unwrap();
    let text = name(0);
    let places: Vec<_> = template.windows(text.len()).enumerate().filter(|(_, it)| *it == text.as_bytes()).collect();
    assert_eq!(places.len(), 1, "the name is in one place of the file");
    let place = places[0].0;
    let mut index = Connection::open(folder.join("index.db")).unwrap();
    let transaction = index.transaction().unwrap();
    let sql = "INSERT OR IGNORE INTO objects (id, name, alarm, made, stored) SELECT ?, ?, alarm, made, 1 FROM objects WHERE id = ?";
    let mut statement = transaction.prepare(sql).unwrap();
    for number in 0..objects {
        let mut bytes = template.clone();
        bytes[place..place + text.len()].copy_from_slice(name(number).as_bytes());
        let path = file(number);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        let id = scheme.from_name(&name(number));
        statement.execute(params![id.as_bytes(), name(number), scheme.from_name(&text).as_bytes()]).unwrap();
    }
    drop(statement);
    transaction.commit().unwrap();
}

/// A number of bytes out of `/proc/self/status`.
fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// Runs a step, prints its time and the memory that it took at most, and checks that.
fn measured<T>(what: &str, limit: usize, step: impl FnOnce() -> T) -> T {
    let is_reset = std::fs::write("/proc/self/clear_refs", "5").is_ok(); // the peak counts from here on
    let before = status("VmRSS:");
    let begun = Instant::now();
    let result = step();
    let took = begun.elapsed();
    let most = status("VmHWM:").saturating_sub(before);
    println!("{what}: {took:.1?}, {:.1} MiB at most", most as f64 / MIB as f64);
    assert!(most <= limit || !is_reset, "{what} took {most} bytes");
    result
}

/// Lists all objects page by page. Returns their number.
fn list(folder: &Path) -> usize {
    let catalog = Catalog::open(folder, CLASS).unwrap();
    let mut options = CatalogListOptions::default();
    let mut count = 0;
    let mut last = [0; 32];
    loop {
        let page = catalog.list(&options).unwrap();
        for object in &page.objects {
            assert!(*object.id.as_bytes() > last && object.damage.is_none() && object.id.name().is_some());
            last = *object.id.as_bytes();
        }
        count += page.objects.len();
        if page.cursor.is_none() {
            return count;
        }
        options = options.with_after(page.cursor);
    }
}

/// Exports all objects into an import of another folder. Returns the number of objects that came.
fn transfer(from: &Path, to: &Path) -> u64 {
    let (mut reader, writer) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        let export = scope.spawn(|| {
            let catalog = Catalog::open(from, CLASS).unwrap();
            let report = catalog.export(None, BufWriter::new(writer), |_| {}).unwrap();
            assert!(report.damaged.is_empty());
            report.objects
        });
        let writer = CatalogWriter::create(to, CLASS).unwrap();
        let report = writer.import(BufReader::new(&mut reader), OnExisting::Refuse, |_| {}).unwrap();
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap(); // the end of an archive is empty blocks
        assert_eq!(export.join().unwrap(), report.objects);
        report.objects
    })
}

/// Deletes all objects page by page. Returns their number.
fn erase(folder: &Path) -> u64 {
    let writer = CatalogWriter::open(folder, CLASS).unwrap();
    let mut deleted = 0;
    loop {
        let page = writer.catalog().list(&CatalogListOptions::default()).unwrap();
        if page.objects.is_empty() {
            return deleted;
        }
        let ids: Vec<_> = page.objects.into_iter().map(|object| object.id).collect();
        deleted += writer.delete(&ids).unwrap();
    }
}

/// Number of files below a folder.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

/// In a process of its own, whose memory is that of one step at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dormant_objects_are_listed_exported_imported_and_erased_in_bounded_memory() {
    const TEST: &str = "scale::dormant_objects_are_listed_exported_imported_and_erased_in_bounded_memory";
    let Some(folder) = std::env::var_os(FOLDER) else {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", TEST, "--nocapture"]).env(FOLDER, folder.path());
        let status = child.status().unwrap();
        assert!(status.success(), "{status}");
        return;
    };
    let objects: usize = std::env::var("ISOBAR_OBJECTS").map_or(1100, |objects| objects.parse().unwrap());
    let from = Path::new(&folder).join("from");
    let to = Path::new(&folder).join("to");
    let begun = Instant::now();
    make(&from, objects).await;
    println!("{objects} objects made in {:.1?}", begun.elapsed());

    // A host keeps the times of alarms in memory, and nothing of an object without one.
    let host = measured("a host is opened", 24 * MIB + objects * 400, || open(&from));
    assert_eq!(notes(&host, &name(objects / 2)).await, "1");
    let before = status("VmRSS:");
    let looked = 2000;
    for number in 0..looked {
        assert_eq!(notes(&host, &format!("nobody {number}")).await, "0");
    }
    let grown = status("VmRSS:").saturating_sub(before);
    println!("{looked} objects that have nothing were looked at: {:.1} MiB", grown as f64 / MIB as f64);
    assert!(grown <= 24 * MIB, "{grown} bytes");
    assert_eq!(measured("listed while the host runs", 24 * MIB, || list(&from)), objects);
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    assert_eq!(files(&from.join("objects")), objects, "what was looked at has left nothing");

    assert_eq!(measured("listed", 24 * MIB, || list(&from)), objects);
    assert_eq!(measured("exported and imported", 48 * MIB, || transfer(&from, &to)), objects as u64);
    assert_eq!(measured("erased", 32 * MIB, || erase(&from)), objects as u64);
    assert_eq!((list(&from), files(&from.join("objects"))), (0, 0));

    assert_eq!((list(&to), files(&to.join("objects"))), (objects, objects));
    let host = open(&to);
    for number in (0..objects).step_by((objects / 50).max(1)) {
        assert_eq!(notes(&host, &name(number)).await, "1");
    }
    let last = Catalog::open(&to, CLASS).unwrap().entry(&host.id(&name(objects - 1))).unwrap().unwrap();
    assert!(last.alarm.is_some_and(|alarm| alarm > chrono::Utc::now() + TimeDelta::days(364)));
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
}
