//! More work than a host has room for: bounded queues under load, handlers that never return, a folder in use, descriptors used up.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::{
    Body, Error, ErrorKind, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt,
    SessionObject,
};

/// Runs this test in a process of its own, with this folder. Returns what the process has said.
fn in_child(test: &str, folder: &Path) -> String {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("overload::{test}"), "--nocapture"])
        .env(FOLDER, folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&child.stderr));
    said
}

/// Set in the process of a test that runs in one of its own.
const FOLDER: &str = "ISOBAR_OVERLOAD_FOLDER";

/// Events in flight, and the most that there were.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
    most_on_one: AtomicUsize,
}

/// Object whose events take a moment.
struct Crowd {
    context: SessionContext,
    gauge: Arc<Gauge>,
    now: Cell<usize>,
}

impl SessionObject for Crowd {
    type Env = Arc<Gauge>;

    async fn start(context: SessionContext, gauge: Arc<Gauge>) -> Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS events (n INTEGER PRIMARY KEY)", ())?;
        Ok(Self { context, gauge, now: Cell::new(0) })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match request.uri().path() {
            "/count" => {}
            "/never" => {
                self.gauge.now.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            _ => {
                self.now.set(self.now.get() + 1);
                self.gauge.most_on_one.fetch_max(self.now.get(), Ordering::SeqCst);
                let now = self.gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
                self.gauge.most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(3)).await;
                self.context.sql().exec("INSERT INTO events DEFAULT VALUES", ())?;
                self.gauge.now.fetch_sub(1, Ordering::SeqCst);
                self.now.set(self.now.get() - 1);
            }
        }
        let count: i64 = self.context.sql().exec("SELECT count(*) FROM events", ())?.one()?;
        Ok(Response::new(Body::from(count.to_string())))
    }
}

fn open(folder: &Path, options: &HostOptions) -> (LocalHost<Crowd>, Arc<Gauge>) {
    let gauge: Arc<Gauge> = Arc::default();
    let env = Arc::clone(&gauge);
    (LocalHost::open(folder, "Crowd", options, move || Arc::clone(&env)).unwrap(), gauge)
}

async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), held).await.expect("it comes to hold");
}

async fn count(host: &LocalHost<Crowd>, object: &str) -> usize {
    let answer = host.get(&host.id(object), "/count").await.unwrap();
    answer.into_body().text().await.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_in_flight_stay_within_their_bounds_under_load_and_each_is_answered_once() {
    const CALLERS: usize = 100;
    const CALLS: usize = 30;
    const OBJECTS: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    // The start of an object is an event, too.
    let (host, gauge) = open(folder.path(), &HostOptions::default().with_threads(2).with_events(8).with_queue(32));
    for object in 0..OBJECTS {
        count(&host, &object.to_string()).await;
    }
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let host = host.clone();
            tokio::spawn(async move {
                let mut errors = Vec::new();
                for call in 0..CALLS {
                    // Half of the calls are for one object.
                    let object = if call % 2 == 0 { 0 } else { (caller + call) % OBJECTS };
                    errors.extend(host.get(&host.id(&object.to_string()), "/").await.err());
                }
                errors
            })
        })
        .collect();
    let mut errors = Vec::new();
    for caller in callers {
        errors.extend(caller.await.unwrap());
    }
    assert!(errors.iter().all(|error| error.is_overloaded() && error.is_retryable()), "{errors:?}");
    let of_object = errors.iter().filter(|error| error.message().starts_with("Durable Object is overloaded")).count();
    let of_host = errors.iter().filter(|error| error.message().starts_with("the session host is overloaded")).count();
    assert!(of_object > 0 && of_host > 0 && of_object + of_host == errors.len(), "{of_object} {of_host}");
    let most = gauge.most.load(Ordering::SeqCst);
    let most_on_one = gauge.most_on_one.load(Ordering::SeqCst);
    assert!((1..=32).contains(&most) && (1..=8).contains(&most_on_one), "{most} on all, {most_on_one} on one");
    assert_eq!(gauge.now.load(Ordering::SeqCst), 0);
    let mut counted = 0;
    for object in 0..OBJECTS {
        counted += count(&host, &object.to_string()).await;
    }
    assert_eq!(counted + errors.len(), CALLERS * CALLS, "what was not refused happened once");
}

#[tokio::test]
async fn handlers_that_never_return_are_bounded_and_hold_up_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::default().with_threads(1).with_events(4).with_idle(Duration::from_millis(20));
    let (host, gauge) = open(folder.path(), &options);
    count(&host, "stuck").await;
    let never = || {
        let host = host.clone();
        tokio::spawn(async move { host.get(&host.id("stuck"), "/never").await.map(drop) })
    };
    let mut callers: Vec<_> = (0..3).map(|_| never()).collect();
    until(|| gauge.now.load(Ordering::SeqCst) == 3).await; // the start, which is an event too, has ended
    assert_eq!(count(&host, "stuck").await, 0, "the object itself goes on");
    assert_eq!(count(&host, "another").await, 0);
    callers.push(never());
    until(|| gauge.now.load(Ordering::SeqCst) == 4).await;
    let error: Error = host.get(&host.id("stuck"), "/count").await.map(drop).unwrap_err();
    assert!(error.is_overloaded(), "its events are used up: {error}");
    assert_eq!(count(&host, "another").await, 0, "others are served");
    for caller in callers {
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap(); // the host ends
    assert_eq!(count(&open(folder.path(), &options).0, "stuck").await, 0);
}

#[tokio::test]
async fn folder_of_a_live_process_is_refused_and_free_when_that_has_ended() {
    const TEST: &str = "folder_of_a_live_process_is_refused_and_free_when_that_has_ended";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let opened = LocalHost::<Crowd>::open(Path::new(&folder), "Crowd", &HostOptions::default(), Arc::default);
        match opened {
            Ok(host) => println!("opened with {}", count(&host, "a").await),
            Err(error) => println!("refused as {:?}: {error}", error.kind()),
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (host, _) = open(folder.path(), &HostOptions::default());
    host.get(&host.id("a"), "/").await.unwrap();
    let said = in_child(TEST, folder.path());
    assert!(said.contains("refused as Storage: another process hosts the session objects in"), "{said}");
    host.get(&host.id("a"), "/").await.unwrap(); // and the live one is not disturbed
    drop(host);
    let said = in_child(TEST, folder.path());
    assert!(said.contains("opened with 2"), "{said}");
}

/// Whether the only thread of a host in this folder has both logs of its journal. Until then another thread, which makes the second
/// one, has descriptors that it gives back at any time.
#[cfg(target_os = "linux")]
fn has_journal(folder: &Path) -> bool {
    let is_written = std::fs::metadata(folder.join("journal/0-b.log")).is_ok_and(|log| log.len() == 1 << 20);
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let mut threads = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(name);
    is_written && threads.all(|name| name.trim_end() != "isobar-journal")
}

/// In a process of its own, which has few descriptors.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn descriptors_that_are_used_up_fail_events_and_lose_nothing() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const TEST: &str = "descriptors_that_are_used_up_fail_events_and_lose_nothing";
    let Some(folder) = std::env::var_os(FOLDER) else {
        let folder = tempfile::tempdir().unwrap();
        in_child(TEST, folder.path());
        return;
    };
    let folder = Path::new(&folder);
    let options = HostOptions::default().with_threads(1).with_open_objects(100).with_idle(Duration::from_secs(3600));
    let (host, _) = open(folder, &options);
    let tight = |free: usize| format!("with {free} free");
    let others: Vec<_> = (0..8).map(tight).chain(["asleep".to_owned()]).collect();
    host.get(&host.id("awake"), "/").await.unwrap();
    host.get(&host.id("awake"), "/").await.unwrap(); // opens the write-ahead log
    for object in &others {
        host.get(&host.id(object), "/").await.unwrap();
        host.evict(&host.id(object)).await.unwrap();
    }
    until(|| has_journal(folder)).await;
    let allowed = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..allowed }).unwrap();
    let mut taken = Vec::new();
    let take_all = |taken: &mut Vec<_>| taken.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
    take_all(&mut taken);
    // An object that is open goes on; one that must be opened, or made, fails and is not taken for damaged.
    host.get(&host.id("awake"), "/").await.unwrap();
    for object in ["asleep", "new"] {
        let error = host.get(&host.id(object), "/").await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{object}: {error}");
    }
    assert_eq!(count(&host, "awake").await, 3);
    // With a few the file may be opened, and its write-ahead log not.
    let mut acknowledged = Vec::new();
    for free in 0..8 {
        taken.truncate(taken.len() - free);
        let answer = host.get(&host.id(&tight(free)), "/").await;
        acknowledged.push(answer.is_ok());
        drop(answer);
        host.evict(&host.id(&tight(free))).await.unwrap();
        take_all(&mut taken);
    }
    println!("acknowledged with 0 to 7 free descriptors: {acknowledged:?}");
    drop(taken);
    for object in ["awake", "asleep", "new"] {
        host.get(&host.id(object), "/").await.unwrap();
    }
    host.health().await.unwrap();
    assert!(host.list().await.unwrap().iter().all(|object| object.damage.is_none()));
    drop(host);
    let (host, _) = open(folder, &options);
    for (object, counted) in [("awake", 4), ("asleep", 2), ("new", 1)] {
        assert_eq!(count(&host, object).await, counted, "{object}");
    }
    assert!(acknowledged.contains(&true) && acknowledged.contains(&false), "{acknowledged:?}");
    for (free, acknowledged) in acknowledged.into_iter().enumerate() {
        let counted = count(&host, &tight(free)).await;
        assert!(counted > usize::from(acknowledged) && counted <= 2, "with {free} free: {counted}");
    }
}
