//! Objects that are awake, under a limit of their memory.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isobar_sessions::local::{AwakeObjects, HostOptions, LocalHost};
use isobar_sessions::{
    Body, Message, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject,
    WebSocket, socket_pair, websocket_response,
};

/// Bytes that an instance declares.
const DECLARED: usize = 1 << 20;

/// Instances as the test sees them.
#[derive(Debug, Default)]
struct Instances {
    /// Number of starts of each object.
    starts: BTreeMap<String, usize>,
    live: usize,
}

/// Object that counts, and whose instance says that it is large.
struct Large {
    context: SessionContext,
    instances: Arc<Mutex<Instances>>,
    /// In memory alone.
    note: Cell<u64>,
}

impl SessionObject for Large {
    type Env = Arc<Mutex<Instances>>;

    async fn start(context: SessionContext, instances: Self::Env) -> Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, pad BLOB)", ())?;
        {
            let mut instances = instances.lock().unwrap();
            *instances.starts.entry(context.id().name().unwrap_or_default().to_owned()).or_default() += 1;
            instances.live += 1;
        }
        Ok(Self { context, instances, note: Cell::new(0) })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match request.uri().path() {
            "/socket" => {
                let (client, server) = socket_pair();
                self.context.accept_websocket(server, &[])?;
                return Ok(websocket_response(client));
            }
            "/add" => {
                self.context.sql().exec("INSERT INTO rows (pad) VALUES (randomblob(3000))", ())?;
            }
            "/fill" => {
                let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
                           INSERT INTO rows (pad) SELECT randomblob(4000) FROM n";
                self.context.sql().exec(sql, ())?;
            }
            "/slow" => {
                self.note.set(17);
                tokio::time::sleep(Duration::from_millis(100)).await;
                return Ok(Response::new(Body::from(self.note.get().to_string())));
            }
            _ => {}
        }
        Ok(Response::new(Body::from(self.count()?.to_string())))
    }

    async fn message(&self, socket: &WebSocket, _: Message) -> Result<()> {
        socket.send(self.count()?.to_string())
    }

    fn memory(&self) -> usize {
        DECLARED
    }
}

impl Large {
    fn count(&self) -> Result<u64> {
        self.context.sql().exec("SELECT count(*) FROM rows", ())?.one()
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        self.instances.lock().unwrap().live -= 1;
    }
}

fn open(folder: &Path, options: &HostOptions) -> (LocalHost<Large>, Arc<Mutex<Instances>>) {
    let instances: Arc<Mutex<Instances>> = Arc::default();
    let env = Arc::clone(&instances);
    (LocalHost::open(folder, "Large", options, move || Arc::clone(&env)).unwrap(), instances)
}

/// Options under which memory alone lets objects sleep.
fn options(awake_bytes: usize) -> HostOptions {
    let options = HostOptions::default().with_awake_bytes(awake_bytes).with_open_objects(1000);
    options.with_idle(Duration::from_secs(3600)).with_threads(1)
}

async fn number(host: &LocalHost<Large>, object: &str, path: &str) -> u64 {
    let answer = host.get(&host.id(object), path).await.unwrap();
    answer.into_body().text().await.unwrap().parse().unwrap()
}

async fn until(host: &LocalHost<Large>, holds: impl Fn(AwakeObjects) -> bool) {
    for _ in 0..2000 {
        if holds(host.awake()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not come to hold: {:?}", host.awake());
}

#[tokio::test]
async fn idle_objects_hibernate_beyond_their_memory_and_lose_nothing() {
    const OBJECTS: u64 = 40;
    let cap = 8 * DECLARED;
    let folder = tempfile::tempdir().unwrap();
    let (host, instances) = open(folder.path(), &options(cap).with_threads(2));
    let name = |object: u64| format!("object {object}");
    let mut sockets = Vec::new();
    for object in 0..OBJECTS {
        sockets.push(host.connect(&host.id(&name(object)), "/socket").await.unwrap());
    }
    let mut model = vec![0; OBJECTS as usize];
    let mut random = 7_u64;
    for _ in 0..400 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let object = (random >> 33) % OBJECTS;
        let expected = &mut model[object as usize];
        if (random >> 60) < 12 {
            *expected += 1;
            assert_eq!(number(&host, &name(object), "/add").await, *expected);
        } else {
            assert_eq!(number(&host, &name(object), "/").await, *expected);
        }
        // The object of the last event sleeps, or another one, behind the answer.
        let awake = host.awake();
        assert!(awake.bytes <= cap + 3 * DECLARED, "{awake:?}");
    }
    until(&host, |awake| awake.bytes <= cap && awake.objects > 3).await;
    let live = instances.lock().unwrap().live;
    assert!(live <= 8, "{live} instances of {DECLARED} bytes");
    for (object, socket) in sockets.iter_mut().enumerate() {
        socket.send("count").unwrap(); // wakes its object
        assert_eq!(socket.receive().await, Some(Ok(Message::from(model[object].to_string()))));
    }
    until(&host, |awake| awake.bytes <= cap).await;
    drop(sockets);
    drop(host);
    let (host, _) = open(folder.path(), &options(cap));
    for object in 0..OBJECTS {
        assert_eq!(number(&host, &name(object), "/").await, model[object as usize]);
    }
}

#[tokio::test]
async fn least_recently_used_idle_object_hibernates_first() {
    let folder = tempfile::tempdir().unwrap();
    let (host, instances) = open(folder.path(), &options(4 * DECLARED)); // room for three, with their databases
    for object in ["a", "b", "c", "a", "d"] {
        number(&host, object, "/add").await;
    }
    until(&host, |awake| awake.objects == 3).await;
    for object in ["a", "d", "c"] {
        number(&host, object, "/").await;
    }
    let starts = |object: &str| instances.lock().unwrap().starts[object];
    assert_eq!(["a", "b", "c", "d"].map(starts), [1, 1, 1, 1]);
    number(&host, "b", "/").await;
    assert_eq!(starts("b"), 2, "it was asleep");
}

#[tokio::test]
async fn busy_object_stays_awake_beyond_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (host, instances) = open(folder.path(), &options(0));
    let answers = futures_util::future::join(number(&host, "busy", "/slow"), async {
        for _ in 0..10 {
            number(&host, "another", "/add").await;
        }
    });
    assert_eq!(answers.await.0, 17, "what the instance had in memory");
    until(&host, |awake| awake == AwakeObjects::default()).await;
    assert_eq!(instances.lock().unwrap().live, 0);
    assert_eq!(number(&host, "another", "/").await, 10);
}

#[tokio::test]
async fn memory_of_a_database_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (host, _) = open(folder.path(), &options(64 << 20));
    number(&host, "a", "/add").await; // it has a file from here on
    let before = host.awake();
    assert!(before.objects == 1 && (DECLARED..DECLARED + 400_000).contains(&before.bytes), "{before:?}");
    number(&host, "a", "/fill").await;
    let after = host.awake();
    assert!(after.objects == 1 && after.bytes > before.bytes + 300_000, "{before:?} {after:?}");
    host.evict(&host.id("a")).await.unwrap();
    assert_eq!(host.awake(), AwakeObjects::default());
}

/// Bytes of the process that are in memory.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "measures the memory of the process, so it runs alone"]
async fn counted_memory_is_near_that_of_the_process() {
    const OBJECTS: usize = 1000;
    let folder = tempfile::tempdir().unwrap();
    let (host, _) = open(folder.path(), &options(4 << 30).with_open_objects(2 * OBJECTS));
    number(&host, "first", "/add").await;
    let before = (resident(), host.awake().bytes);
    for object in 0..OBJECTS {
        for _ in 0..10 {
            number(&host, &object.to_string(), "/add").await;
        }
    }
    let taken = resident() - before.0;
    let counted = host.awake().bytes - before.1 - OBJECTS * DECLARED; // which is not there
    println!("an awake object takes {} bytes, and counts as {}", taken / OBJECTS, counted / OBJECTS);
    assert!(counted > taken / 2 && counted < taken * 2, "{counted} of {taken}");
}
