//! Damaged files, missing ones, those who may read them, full disks, clocks that jump, and objects that were only looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use isobar_sessions::conformance::Probe;
use isobar_sessions::local::{Clock, HostOptions, LocalHost};
use isobar_sessions::{
    Body, Error, ErrorKind, Message, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt,
    SessionObject, WebSocket, socket_pair, websocket_response,
};
use serde_json::{Value, json};

pub(super) async fn try_act(host: &LocalHost<Probe>, name: &str, operations: Value) -> Result<Value> {
    host.post(&host.id(name), "/act", Body::from(operations.to_string())).await?.into_body().json().await
}

pub(super) async fn act(host: &LocalHost<Probe>, name: &str, operations: Value) -> Value {
    try_act(host, name, operations).await.unwrap()
}

pub(super) fn open(folder: &Path) -> LocalHost<Probe> {
    LocalHost::open(folder, "Probe", &options(), || ()).unwrap()
}

fn options() -> HostOptions {
    HostOptions::default().with_threads(1)
}

fn file(folder: &Path, host: &LocalHost<Probe>, name: &str) -> PathBuf {
    let hex = host.id(name).to_string();
    folder.join("objects").join(&hex[..2]).join(hex.clone() + ".db")
}

pub(super) fn put(key: &str) -> Value {
    json!([{"op": "put", "key": key, "value": 1}])
}

/// A room with a schema, and a message for whoever writes one.
struct Room(SessionContext);

impl SessionObject for Room {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context
            .sql()
            .exec("CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)", ())?;
        Ok(Self(context))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match request.uri().path() {
            "/socket" => {
                let (client, server) = socket_pair();
                self.0.accept_websocket(server, &[])?;
                Ok(websocket_response(client))
            }
            "/define" => {
                self.0.sql().exec("CREATE TABLE IF NOT EXISTS later (a)", ())?;
                Ok(Response::default())
            }
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(Response::default())
            }
            "/stalled" => {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Ok(Response::default())
            }
            _ if request.method() == http::Method::POST => {
                self.0.sql().exec("INSERT INTO messages (text) VALUES ('hello')", ())?;
                Ok(Response::default())
            }
            _ => {
                self.0.sql().exec("DELETE FROM messages WHERE text = 'none'", ())?; // a write that changes nothing
                let count: i64 = self.0.sql().exec("SELECT count(*) FROM messages", ())?.one()?;
                Ok(Response::new(Body::from(count.to_string())))
            }
        }
    }

    async fn message(&self, socket: &WebSocket, message: Message) -> Result<()> {
        socket.send(message)
    }
}

fn rooms(folder: &Path, options: &HostOptions) -> LocalHost<Room> {
    LocalHost::open(folder, "Room", options, || ()).unwrap()
}

async fn text(rooms: &LocalHost<Room>, name: &str) -> String {
    rooms.get(&rooms.id(name), "/").await.unwrap().into_body().text().await.unwrap()
}

fn files_under(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { files_under(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn reading_an_object_creates_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let rooms = rooms(folder.path(), &options());
    let objects = folder.path().join("objects");
    let mut socket = rooms.connect(&rooms.id("watched"), "/socket").await.unwrap();
    for name in ["a", "b", "watched"] {
        assert_eq!(text(&rooms, name).await, "0");
    }
    assert_eq!(files_under(&objects), 0);
    assert_eq!(rooms.list().await.unwrap(), []);
    rooms.post(&rooms.id("a"), "/", Body::empty()).await.unwrap();
    assert!(files_under(&objects) >= 1);
    assert_eq!(rooms.list().await.unwrap().len(), 1);
    for name in ["a", "b"] {
        rooms.evict(&rooms.id(name)).await.unwrap();
    }
    assert_eq!((text(&rooms, "a").await, text(&rooms, "b").await), ("1".into(), "0".into()));
    socket.send("still here").unwrap();
    assert_eq!(socket.receive().await, Some(Ok("still here".into())));
}

#[tokio::test]
async fn a_definition_made_by_an_event_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let rooms = rooms(folder.path(), &options());
    rooms.get(&rooms.id("a"), "/define").await.unwrap();
    assert_eq!(rooms.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_object_reports_its_damage_and_the_others_work() {
    let folder = tempfile::tempdir().unwrap();
    let (damaged, emptied, missing) = {
        let host = open(folder.path());
        for name in ["damaged", "emptied", "missing", "sound"] {
            act(&host, name, json!([{"op": "put", "key": "k", "value": name}, {"op": "set alarm", "in": 300}])).await;
        }
        let file = |name| file(folder.path(), &host, name);
        (file("damaged"), file("emptied"), file("missing"))
    };
    let garbage = vec![0; 20_000];
    std::fs::write(&damaged, &garbage).unwrap();
    std::fs::write(&emptied, b"").unwrap();
    std::fs::remove_file(&missing).unwrap();
    let host = open(folder.path());
    for (name, path) in [("damaged", &damaged), ("emptied", &emptied), ("missing", &missing)] {
        for operations in [json!([{"op": "get", "key": "k"}]), put("new")] {
            let error = try_act(&host, name, operations).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{name}: {error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            assert!(!error.is_retryable());
        }
    }
    // The sound one is served, and its alarm runs.
    let entries = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}]);
    let ran = async {
        while act(&host, "sound", entries.clone()).await[0]["ok"]["rows"] != json!([[1]]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), ran).await.expect("the sound object's alarm runs");
    assert_eq!(std::fs::read(&damaged).unwrap(), garbage, "a damaged file is left as it is");
    assert!(!missing.exists() && std::fs::read(&emptied).unwrap().is_empty());
    let listed = host.list().await.unwrap();
    let mut told: Vec<_> =
        listed.iter().filter(|object| object.damage.is_some()).filter_map(|object| object.id.name()).collect();
    told.sort_unstable();
    assert_eq!(told, ["damaged", "emptied", "missing"]);
    host.health().await.unwrap();
}

#[tokio::test]
async fn an_index_that_is_missing_or_damaged_is_made_anew_from_the_objects() {
    for damage in [None, Some(vec![b'x'; 9000])] {
        let folder = tempfile::tempdir().unwrap();
        {
            let host = open(folder.path());
            act(&host, "Ada", json!([{"op": "put", "key": "k", "value": 1}, {"op": "set alarm", "in": 400}])).await;
            act(&host, "Bob", put("k")).await;
        }
        let index = folder.path().join("index.db");
        match &damage {
            Some(bytes) => std::fs::write(&index, bytes).unwrap(),
            None => std::fs::remove_file(&index).unwrap(),
        }
        let host = open(folder.path());
        let mut names: Vec<_> =
            host.list().await.unwrap().iter().filter_map(|object| object.id.name().map(str::to_owned)).collect();
        names.sort();
        assert_eq!(names, ["Ada", "Bob"]);
        let entries = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}]);
        let ran = async {
            while act(&host, "Ada", entries.clone()).await[0]["ok"]["rows"] != json!([[1]]) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(15), ran).await.expect("the alarm is not lost with the index");
        if let Some(bytes) = damage {
            assert_eq!(std::fs::read(folder.path().join("index.db.damaged-1")).unwrap(), bytes);
        }
    }
}

#[tokio::test]
async fn an_index_whose_making_broke_off_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    {
        let host = open(folder.path());
        act(&host, "Ada", json!([{"op": "put", "key": "k", "value": 1}, {"op": "set alarm", "in": 400}])).await;
    }
    // As a process leaves it that is killed between making the index and filling it.
    let index = rusqlite::Connection::open(folder.path().join("index.db")).unwrap();
    index.execute_batch("DELETE FROM objects; PRAGMA user_version = 0").unwrap();
    drop(index);
    let host = open(folder.path());
    assert_eq!(host.list().await.unwrap().len(), 1);
    let entries = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}]);
    let ran = async {
        while act(&host, "Ada", entries.clone()).await[0]["ok"]["rows"] != json!([[1]]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), ran).await.expect("the alarm is not lost");
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fn walk(folder: &Path, each: &mut dyn FnMut(&Path)) {
        each(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, each) } else { each(&path) }
        }
    }
    let check = |root: &Path| {
        walk(root, &mut |path| assert_eq!(mode(path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display()));
    };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("state/sessions");
    let host = open(&root);
    act(&host, "a", json!([{"op": "put", "key": "k", "value": 1}, {"op": "set alarm", "in": 3_600_000}])).await;
    check(&root); // with the logs of an open database
    drop(host);
    walk(&root, &mut |path| {
        let loose = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(loose)).unwrap();
    });
    let host = open(&root);
    check(&root);
    act(&host, "a", put("k")).await;
    check(&root);
}

#[tokio::test]
async fn a_disk_below_the_reserve_refuses_writes_and_serves_reads() {
    let folder = tempfile::tempdir().unwrap();
    {
        let host = open(folder.path());
        act(&host, "a", json!([{"op": "put", "key": "k", "value": "kept"}, {"op": "set alarm", "in": 100}])).await;
    }
    {
        let host = LocalHost::<Room>::open(folder.path().join("rooms"), "Room", &options(), || ()).unwrap();
        host.post(&host.id("a"), "/", Body::empty()).await.unwrap();
    }
    let full = options().with_reserve(u64::MAX);
    let rooms = rooms(&folder.path().join("rooms"), &full);
    let error = rooms.post(&rooms.id("a"), "/", Body::empty()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    let error = rooms.post(&rooms.id("new"), "/", Body::empty()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert_eq!(text(&rooms, "new").await, "0");
    let error = rooms.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[tokio::test]
async fn a_full_database_fails_its_event_alone_and_the_next_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    act(&host, "a", put("before")).await;
    // A value that is too large fails by itself; so does one in a transaction, which is undone.
    let large = "x".repeat(5 << 20);
    let error = try_act(
        &host,
        "a",
        json!([{"op": "transaction", "do": [
        {"op": "put", "key": "undone", "value": 1}, {"op": "put", "key": "large", "value": large}]}]),
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("SQLITE_TOOBIG"), "{error}");
    let got = act(&host, "a", json!([{"op": "get", "key": "before"}, {"op": "get", "key": "undone"}])).await;
    assert_eq!(got, json!([1, null]));
}

#[tokio::test]
async fn alarm_is_not_delayed_by_a_clock_that_was_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = Arc::new(AtomicI64::new(0));
    let clock = {
        let ahead = Arc::clone(&ahead);
        Clock::new(move || -> DateTime<Utc> { Utc::now() + chrono::Duration::days(ahead.load(Ordering::Relaxed)) })
    };
    let options = options().with_clock(clock).with_clock_check(Duration::from_millis(20));
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ()).unwrap();
    act(&host, "a", put("k")).await;
    ahead.store(365, Ordering::Relaxed);
    // The probe takes the true time: on this clock, a year ahead, an alarm in the past; so it is told a year and a bit.
    let in_a_year = 365 * 86_400_000i64 + 3000;
    act(&host, "a", json!([{"op": "set alarm", "in": in_a_year}])).await;
    let entries = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}]);
    assert_ne!(act(&host, "a", entries.clone()).await[0]["ok"]["rows"], json!([[1]]));
    ahead.store(0, Ordering::Relaxed);
    let ran = async {
        while act(&host, "a", entries.clone()).await[0]["ok"]["rows"] != json!([[1]]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), ran).await.expect("the alarm runs three seconds later, not a year");
    // And after a restart: what was set on the wrong clock is still known by the time of its making.
    ahead.store(365, Ordering::Relaxed);
    act(&host, "b", json!([{"op": "set alarm", "in": in_a_year}])).await;
    drop(host);
    ahead.store(0, Ordering::Relaxed);
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ()).unwrap();
    let ran = async {
        while act(&host, "b", entries.clone()).await[0]["ok"]["rows"] != json!([[1]]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), ran).await.expect("the alarm runs after the restart");
}

/// A clock that is this many minutes ahead of the system's.
fn shifted(minutes: &Arc<AtomicI64>) -> Clock {
    let minutes = Arc::clone(minutes);
    Clock::new(move || Utc::now() + chrono::Duration::minutes(minutes.load(Ordering::Relaxed)))
}

/// Waits until the object's alarm has run this many times.
async fn alarms_ran(host: &LocalHost<Probe>, object: &str, times: usize) {
    let entries = json!([{"op": "caught", "do": {"op": "sql", "sql": "SELECT count(*) FROM alarms"}}]);
    let ran = async {
        while act(host, object, entries.clone()).await[0]["ok"]["rows"] != json!([[times]]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ran).await.expect("the alarm runs");
}

#[tokio::test]
async fn alarm_does_not_wait_for_an_hour_that_the_clock_jumps_backwards() {
    let folder = tempfile::tempdir().unwrap();
    let minutes: Arc<AtomicI64> = Arc::default();
    let options = options().with_clock(shifted(&minutes)).with_clock_check(Duration::from_millis(20));
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ()).unwrap();
    act(&host, "a", json!([{"op": "set alarm", "in": 700}])).await;
    act(&host, "dormant", json!([{"op": "set alarm", "in": 700}])).await;
    host.evict(&host.id("dormant")).await.unwrap();
    minutes.store(-60, Ordering::Relaxed);
    alarms_ran(&host, "a", 1).await;
    alarms_ran(&host, "dormant", 1).await;
}

#[tokio::test]
async fn alarms_come_right_again_when_the_clock_jumps_a_year_forward_and_back() {
    const YEAR: i64 = 365 * 24 * 60;
    let folder = tempfile::tempdir().unwrap();
    let minutes: Arc<AtomicI64> = Arc::default();
    let options = options().with_clock(shifted(&minutes)).with_clock_check(Duration::from_millis(20));
    let host = LocalHost::<Probe>::open(folder.path(), "Probe", &options, || ()).unwrap();
    act(&host, "in a month", json!([{"op": "set alarm", "in": 30 * 86_400_000i64}])).await;
    act(&host, "in two years", json!([{"op": "set alarm", "in": 730 * 86_400_000i64}])).await;
    minutes.store(YEAR, Ordering::Relaxed);
    alarms_ran(&host, "in a month", 1).await; // its time has come, by the clock
    minutes.store(0, Ordering::Relaxed);
    act(&host, "soon", json!([{"op": "set alarm", "in": 100}])).await;
    alarms_ran(&host, "soon", 1).await;
    act(&host, "in a month", json!([{"op": "set alarm", "in": 100}])).await;
    alarms_ran(&host, "in a month", 2).await;
    let left = act(&host, "in two years", json!([{"op": "alarm"}])).await[0].as_i64().unwrap();
    assert!((729..=730).contains(&(left / 86_400_000)), "{left} ms are left of two years");
}

#[tokio::test]
async fn more_objects_than_may_be_awake_are_served_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let rooms = rooms(folder.path(), &options().with_open_objects(4));
    let mut sockets = Vec::new();
    for number in 0..40 {
        let id = rooms.id(&format!("room {number}"));
        rooms.post(&id, "/", Body::empty()).await.unwrap();
        sockets.push(rooms.connect(&id, "/socket").await.unwrap());
    }
    #[cfg(target_os = "linux")]
    {
        let held = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let here = folder.path().join("objects");
        let held = held.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(&here))).count();
        assert!(held <= 4 * 3, "{held} descriptors are open");
    }
    for socket in &mut sockets {
        socket.send("hello").unwrap(); // wakes its room
        assert_eq!(socket.receive().await, Some(Ok("hello".into())));
    }
    // Many at once, more than may be awake: they wait for each other.
    let slow = (0..12).map(|number| {
        let id = rooms.id(&format!("room {number}"));
        let rooms = rooms.clone();
        async move { rooms.get(&id, "/slow").await.map(drop) }
    });
    futures_util::future::try_join_all(slow).await.unwrap();
}

#[tokio::test]
async fn object_beyond_the_limit_is_refused_as_retryable() {
    let folder = tempfile::tempdir().unwrap();
    let options = options().with_open_objects(1).with_wait(Duration::from_millis(100));
    let rooms = rooms(folder.path(), &options);
    let stalled = tokio::spawn({
        let rooms = rooms.clone();
        async move { rooms.get(&rooms.id("stalled"), "/stalled").await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error: Error = rooms.get(&rooms.id("another"), "/").await.unwrap_err();
    assert!(error.is_overloaded() && error.is_retryable() && error.to_string().contains("try again"), "{error}");
    stalled.abort();
}

#[tokio::test]
async fn events_beyond_the_hosts_queue_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rooms = rooms(folder.path(), &options().with_queue(8));
    let id = rooms.id("busy");
    let answers = futures_util::future::join_all((0..20).map(|_| rooms.get(&id, "/slow"))).await;
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 12);
    assert!(refused.iter().all(Error::is_overloaded));
    rooms.get(&id, "/").await.unwrap();
}

/// Runs in a process of its own, where files may not grow: a write then fails as on a broken disk (EFBIG).
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_failed_commit_ends_its_event_alone() {
    const CHILD: &str = "ISOBAR_TEST_OF_FAILED_COMMITS";
    if std::env::var_os(CHILD).is_some() {
        return fail_commits().await;
    }
    // The signal that comes with the error would end the process.
    let child = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact faults::a_failed_commit_ends_its_event_alone"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&child.stderr));
}

#[cfg(target_os = "linux")]
async fn fail_commits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let allowed = getrlimit(Resource::Fsize);
    let limit = |current: Option<u64>| setrlimit(Resource::Fsize, Rlimit { current, ..allowed }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let host = open(folder.path());
    act(&host, "a", put("before")).await;
    limit(Some(200 * 1024));
    let large = json!([{"op": "put", "key": "large", "value": "x".repeat(300_000)}]);
    for _ in 0..3 {
        let error = try_act(&host, "a", large.clone()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::StorageFull), "{error}");
        assert!(error.to_string().contains(".db"), "{error}");
        // The object works on, as its last commit has left it.
        let got = act(&host, "a", json!([{"op": "get", "key": "before"}, {"op": "get", "key": "large"}])).await;
        assert_eq!(got, json!([1, null]));
    }
    // The index of objects fails, too, and is whole afterwards.
    limit(Some(1024));
    let failed = try_act(&host, "new", put("k")).await.unwrap_err();
    assert!(matches!(failed.kind(), ErrorKind::Storage | ErrorKind::StorageFull), "{failed}");
    limit(allowed.current);
    for name in ["a", "new", "another"] {
        act(&host, name, put("after")).await;
        assert_eq!(act(&host, name, json!([{"op": "get", "key": "after"}])).await, json!([1]));
    }
    act(&host, "a", large).await;
    host.health().await.unwrap();
    drop(host);
    let host = open(folder.path());
    assert_eq!(act(&host, "a", json!([{"op": "get", "key": "before"}])).await, json!([1]));
    assert_eq!(host.list().await.unwrap().len(), 3);
}
