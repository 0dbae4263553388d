//! Histories of objects: every state beside a model, through restarts, crashes and restores.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use isobar_sessions::local::{
    Catalog, CatalogWriter, Clock, HistoryOptions, HostOptions, LocalHost, OnExisting, RestorePoint,
};
use isobar_sessions::{
    AlarmInfo, Body, Bookmark, ErrorKind, KvListOptions, ObjectId, Request, Response, Result, SessionContext,
    SessionNamespace, SessionNamespaceExt, SessionObject,
};

use super::restart::copy;

/// Does what its path says, and answers with what it is asked for.
struct Notes(SessionContext);

impl SessionObject for Notes {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, pad BLOB)", ())?;
        Ok(Self(context))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let Self(context) = self;
        let path = request.uri().path().to_owned();
        let parts: Vec<_> = path.split('/').skip(1).collect();
        let number = |at: usize| parts[at].parse::<i64>().unwrap();
        let answer = match parts[0] {
            "put" => context.kv().put(parts[1], &number(2)).map(|()| String::new())?,
            "row" => {
                let sql = "INSERT OR REPLACE INTO rows VALUES (?, zeroblob(?) || 'x')";
                context.sql().exec(sql, (number(1), number(2)))?;
                String::new()
            }
            "delete" => {
                context.delete_all()?;
                context.sql().exec("CREATE TABLE rows (n INTEGER PRIMARY KEY, pad BLOB)", ())?;
                String::new()
            }
            "alarm" => {
                context.set_alarm(context.now() + TimeDelta::milliseconds(number(1)))?;
                String::new()
            }
            "quiet" => context.delete_alarm().map(|()| String::new())?,
            "bookmark" => context.current_bookmark().await?.to_string(),
            "restore" => context.restore_on_next_start(&Bookmark::new(parts[1])).await?.to_string(),
            "abort" => {
                context.abort("it goes back");
                String::new()
            }
            _ => self.dump()?,
        };
        Ok(Response::new(Body::from(answer)))
    }

    async fn alarm(&self, _: AlarmInfo) -> Result<()> {
        self.0.kv().put("rang", &1)
    }
}

impl Notes {
    /// All that is stored.
    fn dump(&self) -> Result<String> {
        let keys = self.0.kv().list::<i64>(&KvListOptions::default())?;
        let sql = "SELECT n, length(CAST(pad AS BLOB)) FROM rows ORDER BY n";
        let rows: Vec<(i64, i64)> = self.0.sql().exec(sql, ())?.all()?;
        Ok(format!("{keys:?} {rows:?} {:?}", self.0.alarm()?.map(|at| at.timestamp_millis())))
    }
}

fn kept() -> HostOptions {
    HostOptions::default().with_threads(1).with_history(HistoryOptions::default())
}

fn open(folder: &Path, options: &HostOptions) -> LocalHost<Notes> {
    LocalHost::open(folder, "Notes", options, || ()).unwrap()
}

async fn ask(host: &LocalHost<Notes>, path: &str) -> String {
    host.get(&host.id("one"), path).await.unwrap().into_body().text().await.unwrap()
}

/// Lets the object go back with its next start, which is now. Returns the bookmark that undoes it.
async fn restore(host: &LocalHost<Notes>, to: &str) -> String {
    let undo = ask(host, &format!("/restore/{to}")).await;
    host.get(&host.id("one"), "/abort").await.unwrap_err();
    undo
}

async fn close(host: LocalHost<Notes>) {
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
}

/// Small random numbers: the same seed, the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A random turn, mostly a small one.
fn turn(random: &mut Random) -> String {
    let key = random.below(20);
    match random.below(12) {
        0 => "/delete".to_owned(),
        1 => format!("/alarm/{}", 3_600_000 + key),
        2 => "/quiet".to_owned(),
        3 => format!("/row/{key}/{}", random.below(60_000)),
        4..8 => format!("/row/{key}/{}", random.below(300)),
        _ => format!("/put/k{key}/{}", random.below(1000)),
    }
}

/// 100 random states, with objects that fall asleep, hosts that end, hosts that crash and restores in between.
#[tokio::test]
async fn every_bookmark_comes_back_through_restarts_crashes_and_restores() {
    let mut folders = vec![tempfile::tempdir().unwrap()];
    let mut host = open(folders[0].path(), &kept());
    let mut random = Random(11);
    let mut states: Vec<(String, String)> = Vec::new();
    while states.len() < 100 {
        for _ in 0..random.below(6) {
            ask(&host, &turn(&mut random)).await;
        }
        match random.below(14) {
            0 => host.evict(&host.id("one")).await.unwrap(),
            1 => {
                close(host).await;
                host = open(folders[folders.len() - 1].path(), &kept());
            }
            2 => {
                // What is on the disk at this moment is what a crash would leave.
                let crashed = tempfile::tempdir().unwrap();
                copy(folders[folders.len() - 1].path(), crashed.path());
                let expected = ask(&host, "/").await;
                close(host).await;
                host = open(crashed.path(), &kept());
                assert_eq!(ask(&host, "/").await, expected);
                folders.push(crashed);
            }
            3 if !states.is_empty() => {
                let before = ask(&host, "/").await;
                let at = usize::try_from(random.below(states.len() as u64)).unwrap();
                let undo = restore(&host, &states[at].0).await;
                assert_eq!(ask(&host, "/").await, states[at].1);
                states.push((undo, before));
            }
            _ => {}
        }
        let state = ask(&host, "/").await;
        states.push((ask(&host, "/bookmark").await, state));
    }
    let bookmarks: Vec<_> = states.iter().map(|(bookmark, _)| bookmark).collect();
    assert!(bookmarks.is_sorted(), "{bookmarks:#?}");
    for number in 0..100 {
        let at = usize::try_from(random.below(states.len() as u64)).unwrap();
        let (bookmark, state) = &states[at];
        restore(&host, bookmark).await;
        assert_eq!(&ask(&host, "/").await, state, "{number}: state {at}");
    }
    close(host).await;
}

#[tokio::test]
async fn histories_are_kept_on_without_the_option_until_they_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path(), &HostOptions::default());
    assert!(!host.capabilities().time_travel);
    let error = host.get(&host.id("one"), "/bookmark").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    ask(&host, "/put/a/1").await;
    close(host).await;
    assert!(!folder.path().join("history").exists());

    let host = open(folder.path(), &kept());
    let bookmark = ask(&host, "/bookmark").await;
    let first = ask(&host, "/").await;
    close(host).await;
    let host = open(folder.path(), &HostOptions::default());
    assert!(host.capabilities().time_travel);
    ask(&host, "/put/a/2").await;
    restore(&host, &bookmark).await;
    assert_eq!(ask(&host, "/").await, first);
    close(host).await;

    let mut writer = CatalogWriter::open(folder.path(), "Notes").unwrap();
    assert!(writer.delete_history().unwrap());
    drop(writer);
    let host = open(folder.path(), &HostOptions::default());
    assert!(!host.capabilities().time_travel);
    ask(&host, "/put/a/3").await;
    close(host).await;
    let host = open(folder.path(), &kept());
    let error = host.get(&host.id("one"), &format!("/restore/{bookmark}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History);
    assert!(error.message().contains("a history that was deleted"), "{error}");
}

#[tokio::test]
async fn an_object_that_only_looked_has_neither_file_nor_history() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path(), &kept());
    ask(&host, "/").await;
    close(host).await;
    let files = |name: &str| std::fs::read_dir(folder.path().join(name)).into_iter().flatten().count();
    assert_eq!((files("objects"), files("history")), (0, 1), "the settings alone");
    let host = open(folder.path(), &kept());
    let empty = ask(&host, "/").await;
    let bookmark = ask(&host, "/bookmark").await; // from here on there is a state to come back to
    ask(&host, "/row/1/10").await;
    restore(&host, &bookmark).await;
    assert_eq!(ask(&host, "/").await, empty);
}

#[tokio::test]
async fn a_restore_that_was_asked_for_happens_with_the_next_start_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path(), &kept());
    ask(&host, "/alarm/1500").await;
    let bookmark = ask(&host, "/bookmark").await;
    ask(&host, "/quiet").await;
    ask(&host, &format!("/restore/{bookmark}")).await;
    let id = host.id("one");
    close(host).await;
    let asked = Catalog::open(folder.path(), "Notes").unwrap().history(&id).unwrap().unwrap();
    assert_eq!(asked.restore.unwrap().bookmark.as_str(), bookmark);

    let host = open(folder.path(), &kept());
    rings(folder.path(), &id).await;
    close(host).await;
}

/// Waits until the object is restored, and its restored alarm has run: nobody asks it.
async fn rings(folder: &Path, id: &ObjectId) {
    let catalog = Catalog::open(folder, "Notes").unwrap();
    let sql = "SELECT count(*) FROM _cf_KV WHERE key = CAST('rang' AS BLOB)";
    let has_rung = || catalog.query(id, sql, ()).ok().flatten().is_some_and(|rows| rows.one::<i64>().unwrap() == 1);
    until(|| has_rung() && is_restored(&catalog, id)).await;
}

fn is_restored(catalog: &Catalog, id: &ObjectId) -> bool {
    catalog.history(id).ok().flatten().is_some_and(|history| history.restore.is_none())
}

async fn until(holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the object was not restored, or its restored alarm did not run");
}

/// An object that is to be restored, and whose alarm has changed since.
async fn with_restore_and(change: &str, folder: &Path) -> ObjectId {
    let host = open(folder, &kept());
    ask(&host, "/alarm/3600000").await;
    let bookmark = ask(&host, "/bookmark").await;
    ask(&host, "/put/a/1").await;
    ask(&host, &format!("/restore/{bookmark}")).await;
    ask(&host, change).await;
    let id = host.id("one");
    close(host).await;
    id
}

#[tokio::test]
async fn a_restore_that_was_asked_for_outlives_a_change_of_the_alarm() {
    for change in ["/quiet", "/alarm/7200000"] {
        let folder = tempfile::tempdir().unwrap();
        let id = with_restore_and(change, folder.path()).await;
        let catalog = Catalog::open(folder.path(), "Notes").unwrap();
        let alarm = catalog.entry(&id).unwrap().unwrap().alarm;
        assert!(alarm.is_some_and(|at| at <= Utc::now()), "{change}: the next start wakes the object at {alarm:?}");
        drop(catalog);

        let host = open(folder.path(), &kept());
        let catalog = Catalog::open(folder.path(), "Notes").unwrap();
        until(|| is_restored(&catalog, &id)).await;
        close(host).await;
    }
}

#[tokio::test]
async fn a_restore_that_was_asked_for_happens_though_the_index_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let id = with_restore_and("/quiet", folder.path()).await;
    std::fs::remove_file(folder.path().join("index.db")).unwrap();
    let host = open(folder.path(), &kept());
    let catalog = Catalog::open(folder.path(), "Notes").unwrap();
    until(|| is_restored(&catalog, &id)).await;
    close(host).await;
}

#[tokio::test]
async fn a_restore_that_was_asked_for_happens_when_the_object_falls_asleep() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path(), &kept());
    ask(&host, "/alarm/1500").await;
    let bookmark = ask(&host, "/bookmark").await;
    ask(&host, "/quiet").await;
    ask(&host, &format!("/restore/{bookmark}")).await;
    let id = host.id("one");
    host.evict(&id).await.unwrap();
    rings(folder.path(), &id).await;
    close(host).await;
}

#[tokio::test]
async fn what_passes_the_bounds_is_older_than_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let options = kept().with_history(HistoryOptions::default().with_max_bytes(2000));
    let host = open(folder.path(), &options);
    ask(&host, "/put/a/1").await;
    let old = ask(&host, "/bookmark").await;
    let mut last = (old.clone(), ask(&host, "/").await);
    for number in 0..100 {
        last = (ask(&host, "/bookmark").await, ask(&host, "/").await);
        ask(&host, &format!("/put/k{number}/{number}")).await;
    }
    ask(&host, "/bookmark").await;
    let error = host.get(&host.id("one"), &format!("/restore/{old}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History);
    assert!(error.message().contains("older than the history"), "{error}");
    restore(&host, &last.0).await;
    assert_eq!(ask(&host, "/").await, last.1);
}

#[tokio::test]
async fn a_clock_that_is_set_ahead_for_a_while_makes_no_state_older() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = Arc::new(AtomicI64::new(0));
    let days = Arc::clone(&ahead);
    let clock = Clock::new(move || Utc::now() + TimeDelta::days(days.load(Ordering::SeqCst)));
    let host = open(folder.path(), &kept().with_clock(clock));
    let first = ask(&host, "/bookmark").await;
    let expected = ask(&host, "/").await;
    for by in [0, 365, 366, 0] {
        ahead.store(by, Ordering::SeqCst);
        ask(&host, &format!("/put/a/{by}")).await;
        ask(&host, "/bookmark").await; // with which the history takes the turn, and forgets what is too old
    }
    restore(&host, &first).await;
    assert_eq!(ask(&host, "/").await, expected);
    close(host).await;
}

fn history_file(folder: &Path, host: &LocalHost<Notes>) -> PathBuf {
    let id = host.id("one").to_string();
    folder.join("history").join(&id[..2]).join(format!("{id}.db"))
}

#[tokio::test]
async fn a_damaged_history_is_named_and_can_be_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path(), &kept());
    ask(&host, "/put/a/1").await;
    let bookmark = ask(&host, "/bookmark").await;
    let file = history_file(folder.path(), &host);
    close(host).await;
    std::fs::write(&file, vec![0x5a; 8192]).unwrap();
    let host = open(folder.path(), &kept());
    let error = host.get(&host.id("one"), "/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(error.message().contains("history") && error.message().contains(name), "{error}");
    host.get(&host.id("another"), "/put/a/1").await.unwrap();
    close(host).await;
    let catalog = Catalog::open(folder.path(), "Notes").unwrap();
    assert_eq!(catalog.history(&catalog.id("one")).unwrap_err().kind(), ErrorKind::Damaged);

    std::fs::remove_file(&file).unwrap();
    let host = open(folder.path(), &kept());
    assert!(ask(&host, "/").await.contains("(\"a\", 1)"));
    let error = host.get(&host.id("one"), &format!("/restore/{bookmark}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History);
}

#[tokio::test]
async fn a_tool_restores_by_time_and_bookmark_and_undoes_it() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path(), &kept());
    ask(&host, "/put/a/1").await;
    ask(&host, "/alarm/3600000").await;
    let first = ask(&host, "/").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let between = Utc::now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    ask(&host, "/put/a/2").await;
    ask(&host, "/quiet").await;
    let second = ask(&host, "/").await;
    let id = host.id("one");
    assert!(CatalogWriter::open(folder.path(), "Notes").unwrap_err().message().contains("stop it first"));
    close(host).await;

    let to = RestorePoint::Time(between);
    let writer = CatalogWriter::open(folder.path(), "Notes").unwrap();
    let restored = writer.restore(&id, &to).unwrap().unwrap();
    assert!(restored.previous_bookmark < restored.bookmark);
    assert!(writer.catalog().entry(&id).unwrap().unwrap().alarm.is_some(), "the index has the alarm");
    assert!(writer.restore(&writer.catalog().id("nobody"), &to).unwrap().is_none());
    let wrong = |to| writer.restore(&id, &to).unwrap_err().kind();
    assert_eq!(wrong(RestorePoint::Bookmark(Bookmark::new("yesterday"))), ErrorKind::History);
    assert_eq!(wrong(RestorePoint::Time(Utc::now() + TimeDelta::hours(1))), ErrorKind::History);
    assert_eq!(wrong(RestorePoint::Time(DateTime::UNIX_EPOCH)), ErrorKind::History);
    let history = writer.catalog().history(&id).unwrap().unwrap();
    assert!(history.restore.is_none() && history.newest.bookmark == restored.bookmark, "{history:?}");
    assert!(history.oldest.time <= between && history.bytes > 0);
    drop(writer);
    let host = open(folder.path(), &kept());
    assert_eq!(ask(&host, "/").await, first);
    close(host).await;

    let writer = CatalogWriter::open(folder.path(), "Notes").unwrap();
    writer.restore(&id, &RestorePoint::Bookmark(restored.previous_bookmark)).unwrap().unwrap();
    drop(writer);
    let host = open(folder.path(), &kept());
    assert_eq!(ask(&host, "/").await, second);
    close(host).await;
}

/// SQL of a tool is a commit like any other; an import puts another object in place, and a deletion forgets it.
#[tokio::test]
async fn tools_keep_histories_on_or_end_them() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path(), &kept());
    ask(&host, "/row/1/10").await;
    let bookmark = ask(&host, "/bookmark").await;
    let first = ask(&host, "/").await;
    let file = history_file(folder.path(), &host);
    let id = host.id("one");
    close(host).await;
    let writer = CatalogWriter::open(folder.path(), "Notes").unwrap();
    writer.execute(&id, "DELETE FROM rows", ()).unwrap().unwrap();
    let mut export = Vec::new();
    writer.catalog().export(None, &mut export, |_| {}).unwrap();
    drop(writer);
    let host = open(folder.path(), &kept());
    restore(&host, &bookmark).await;
    assert_eq!(ask(&host, "/").await, first);
    close(host).await;

    let writer = CatalogWriter::open(folder.path(), "Notes").unwrap();
    assert!(file.exists());
    writer.import(export.as_slice(), OnExisting::Replace, |_| {}).unwrap();
    assert!(!file.exists());
    drop(writer);
    let host = open(folder.path(), &kept());
    let error = host.get(&id, &format!("/restore/{bookmark}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History);
    ask(&host, "/bookmark").await;
    close(host).await;
    let writer = CatalogWriter::open(folder.path(), "Notes").unwrap();
    assert!(file.exists());
    assert_eq!(writer.delete(&[id]).unwrap(), 1);
    assert!(!file.exists());
}
