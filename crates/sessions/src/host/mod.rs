//! The native host: objects pinned to the threads of a small pool, one live instance per id.
//!
//! ```text
//! host.lock         held by the process that hosts the namespace
//! index.db          the objects, and when to wake them (alarms): made anew from the objects when it is missing or damaged
//! objects/ab/ab...  an object's SQLite database, once the object has stored something
//! history/          the objects' earlier states, where they are kept
//! journal/          the last turns of all objects, while the host runs: put back into the objects' files when it has not ended in order
//! ```

mod alarms;
mod backend;
#[cfg(feature = "catalog")]
mod catalog;
mod convert;
mod disk;
mod drain;
mod fault;
mod health;
mod history;
mod index;
mod log;
mod memory;
mod options;
mod rebuild;
mod recovery;
mod rules;
mod socket;
mod sockets;
mod state;
mod storage;
mod ticket;
mod waiting;
mod worker;

use std::fmt;
use std::fs::{File, TryLockError};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use isobar_base::sync::IgnorePoison;
use tokio::sync::{mpsc, oneshot};

use self::alarms::Alarms;
use self::health::Health;
use self::history::Histories;
use self::state::Shared;
use self::ticket::Ticket;
use self::worker::{Job, Worker};
use crate::pipe::Budget;
use crate::{
    Capabilities, Error, ErrorKind, IdScheme, ListedObject, ObjectId, Operation, Request, Response, Result,
    SessionNamespace, SessionObject, SocketDetails,
};

#[cfg(feature = "catalog")]
pub use catalog::backup;
#[cfg(feature = "catalog")]
pub use catalog::{
    AlarmCursor, AlarmDetails, AlarmListOptions, AlarmPage, Catalog, CatalogEntry, CatalogListOptions, CatalogPage,
    CatalogWriter, ExportReport, HistoryPoint, ImportReport, ObjectAlarm, ObjectDetails, ObjectHistory, OnExisting,
    QueryBounds, RestorePoint, RestoredObject, TableDetails, TimerDetails,
};
pub use memory::AwakeObjects;
pub use options::{Clock, HistoryOptions, HostOptions};

/// Name of the lock in a host's folder: a host has it exclusively, and so has a tool that changes objects; one that looks shares it,
/// for as long as it reads a file.
const LOCK: &str = "host.lock";
/// How long a host waits between two looks at a lock that is shared.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Threads of a host, their queues, and its alarms: common to both hosts.
struct Host {
    namespace: String,
    scheme: IdScheme,
    queues: Vec<mpsc::UnboundedSender<Job>>,
    shared: Arc<Shared>,
    /// Events in flight, and how many there may be.
    in_flight: Arc<AtomicUsize>,
    queue: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: Option<File>,
}

impl Host {
    fn start<O: SessionObject>(
        namespace: &str,
        root: Option<&Path>,
        options: &HostOptions,
        env: impl Fn() -> O::Env + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        let journal = options.journal()?;
        let lock = root.map(lock).transpose()?;
        let withheld =
            root.map(|root| recovery::recover(root, &*options.journal_disk)).transpose()?.unwrap_or_default();
        let health = Health::new(root.map(Path::to_owned), options.reserve).with_withheld(withheld);
        let health = Arc::new(health);
        let histories = Histories::open(root, options)?;
        let alarms = Alarms::open(root, options.clock.clone(), options.clock_check, &health)?;
        let shared = Arc::new(Shared {
            alarms: Arc::clone(&alarms),
            health,
            histories,
            outgoing: Budget::new(options.outgoing_bytes),
            socket_bytes: options.socket_bytes,
            incoming_bytes: options.incoming_bytes,
            awake: Arc::default(),
            pauses: AtomicUsize::new(0),
        });
        let scheme = IdScheme::new(namespace);
        let env = Arc::new(env);
        let root = root.map(Path::to_owned);
        let mut queues = Vec::new();
        let mut threads = Vec::new();
        for number in 0..options.threads.max(1) {
            let (queue, jobs) = mpsc::unbounded_channel();
            let env = Arc::clone(&env);
            let root = root.clone();
            let shared = Arc::clone(&shared);
            let options = options.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| {
                Error::new(ErrorKind::Internal, format!("cannot start a runtime for session objects: {error}"))
            })?;
            threads.push(spawn(format!("isobar-session-{number}"), move || {
                Worker::<O>::new(env(), root, number, shared, options, journal).run(&runtime, jobs);
            })?);
            queues.push(queue);
        }
        let wake_queues = queues.clone();
        threads.push(spawn("isobar-alarms".to_owned(), move || {
            alarms.run(
                &(Box::new(move |id, name| {
                    // A queue that is closed means that the host is being dropped.
                    drop(queue_of(&wake_queues, &id).send(Job::Alarm(ObjectId::from_parts(id, name))));
                }) as alarms::Wake),
            );
        })?);
        let threads = Mutex::new(threads);
        let namespace = namespace.to_owned();
        let in_flight = Arc::default();
        let queue = options.queue;
        Ok(Arc::new(Self { namespace, scheme, queues, shared, in_flight, queue, threads, _lock: lock }))
    }

    async fn fetch(&self, id: &ObjectId, request: Request) -> Result<Response> {
        // An id that another namespace has made would share no state with anything: refuse it.
        self.scheme.parse(&id.to_string())?;
        let ticket = Ticket::take(&self.in_flight, self.queue)?;
        self.ask(id, |reply| Job::Fetch(id.clone(), Box::new(request), reply, ticket)).await
    }

    fn list(&self) -> Result<Vec<ListedObject>> {
        let objects = self.shared.alarms.objects()?;
        let listed = |(id, name)| ListedObject::new(ObjectId::from_parts(id, name), self.shared.health.damage(&id));
        Ok(objects.into_iter().map(listed).collect())
    }

    async fn ask<T>(&self, id: &ObjectId, job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job) -> Result<T> {
        let stopped = || Error::new(ErrorKind::Reset, "the session host has stopped");
        let (reply, answer) = oneshot::channel();
        queue_of(&self.queues, id.as_bytes()).send(job(reply)).map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.shared.alarms.stop();
        for queue in &self.queues {
            drop(queue.send(Job::Stop));
        }
        let threads = std::mem::take(self.threads.get_mut().ignore_poison());
        let here = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != here) {
            drop(thread.join()); // a worker does not panic: its objects' panics are caught
        }
    }
}

fn queue_of<'a>(queues: &'a [mpsc::UnboundedSender<Job>], id: &[u8; 32]) -> &'a mpsc::UnboundedSender<Job> {
    // The head is uniformly distributed: an HMAC, or random.
    &queues[usize::from(u16::from_le_bytes([id[0], id[1]])) % queues.len()]
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("cannot start a thread: {error}")).with_source(error))
}

/// Makes the folder ours: two hosts would mean two live instances of an object.
fn lock(root: &Path) -> Result<File> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Storage, format!("cannot open the session folder {}: {error}", root.display()))
            .with_source(error)
    };
    isobar_base::fs::create_dir(root).map_err(failed)?;
    let file = disk::create_file(&root.join(LOCK), false).map_err(failed)?;
    if !acquire(&file).map_err(failed)? {
        let message =
            format!("another process hosts the session objects in {}, or changes them: stop it first", root.display());
        return Err(Error::new(ErrorKind::Storage, message));
    }
    disk::tighten_host(root);
    Ok(file)
}

/// Takes the lock; `false` when a process has it for good. One that only looks is waited for.
fn acquire(file: &File) -> std::io::Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match file.try_lock_shared() {
            Ok(()) => file.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

macro_rules! namespace {
    ($host:ident) => {
        impl<O: SessionObject> $host<O> {
            /// Returns the number of objects that are awake, and their memory.
            #[must_use]
            pub fn awake(&self) -> AwakeObjects {
                self.host.shared.awake.awake()
            }
        }

        impl<O: SessionObject> Clone for $host<O> {
            fn clone(&self) -> Self {
                Self { host: Arc::clone(&self.host), object: PhantomData }
            }
        }

        impl<O: SessionObject> fmt::Debug for $host<O> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($host), self.host.namespace)
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<O: SessionObject> SessionNamespace for $host<O> {
            fn capabilities(&self) -> Capabilities {
                Capabilities::new(true, true).with_time_travel(self.host.shared.histories.is_some())
            }
            fn id_from_name(&self, name: &str) -> ObjectId {
                self.host.scheme.from_name(name)
            }
            fn unique_id(&self) -> Result<ObjectId> {
                self.host.scheme.unique()
            }
            fn parse_id(&self, text: &str) -> Result<ObjectId> {
                self.host.scheme.parse(text)
            }
            async fn fetch(&self, id: &ObjectId, request: Request) -> Result<Response> {
                self.host.fetch(id, request).await.map_err(|error| error.during(Operation::Fetch))
            }
            async fn list(&self) -> Result<Vec<ListedObject>> {
                self.host.list().map_err(|error| error.during(Operation::List))
            }
            async fn health(&self) -> Result<()> {
                self.host.shared.health.check().map_err(|error| error.during(Operation::Health))
            }
            async fn evict(&self, id: &ObjectId) -> Result<()> {
                let evicted = self.host.ask(id, |reply| Job::Evict(id.clone(), reply)).await;
                evicted.map_err(|error| error.during(Operation::Evict))
            }
            async fn sockets(&self, id: &ObjectId) -> Result<Vec<SocketDetails>> {
                let listed = self.host.ask(id, |reply| Job::Sockets(id.clone(), reply)).await;
                listed.map_err(|error| error.during(Operation::Sockets))
            }
            async fn drain(&self, limit: Duration) -> Result<()> {
                self.host.drain(limit).await.map_err(|error| error.during(Operation::Drain))
            }
        }
    };
}

/// Hosts the objects of one class in a folder: one SQLite file each, durable before anything leaves, alarms that survive
/// a restart. One process at a time may host a folder. Clones share the host.
///
/// Divergences from Durable Objects: a call to something outside the object - a bucket, another object - does not wait for
/// what was written before it, unless [`SessionContext::durable`](crate::SessionContext::durable) is awaited first; SQL gives all rows at once, key-value pairs are JSON, rows read are counted with feature `row-counts` alone,
/// and earlier states are kept where [`HostOptions::history`] says so.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_sessions::local::{HostOptions, LocalHost};
/// # use isobar_sessions::{Request, Response, SessionContext, SessionObject};
/// use isobar_sessions::{Result, SessionNamespaceExt};
/// # struct Counter(SessionContext);
/// # impl SessionObject for Counter {
/// #     type Env = ();
/// #     async fn start(context: SessionContext, _: ()) -> Result<Self> {
/// #         Ok(Self(context))
/// #     }
/// #     async fn fetch(&self, _: Request) -> Result<Response> {
/// #         let count = self.0.kv().get::<u64>("count")?.unwrap_or_default() + 1;
/// #         self.0.kv().put("count", &count)?;
/// #         Ok(Response::new(count.to_string().into()))
/// #     }
/// # }
///
/// let folder = tempfile::tempdir()?;
/// let open = || LocalHost::<Counter>::open(folder.path(), "Counter", &HostOptions::default(), || ());
/// let counters = open()?;
/// counters.get(&counters.id("/home"), "/").await?;
/// drop(counters);
///
/// // Another start of the program: the object goes on from its file.
/// let counters = open()?;
/// let response = counters.get(&counters.id("/home"), "/").await?;
/// assert_eq!(response.into_body().text().await?, "2");
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "local")]
pub struct LocalHost<O: SessionObject> {
    host: Arc<Host>,
    object: PhantomData<fn() -> O>,
}

#[cfg(feature = "local")]
impl<O: SessionObject> LocalHost<O> {
    /// Opens the namespace in this folder, and creates it if there is none. `env` is called once on each thread of the host.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] when the folder cannot be used, or another process hosts it; [`ErrorKind::Damaged`] when acknowledged
    /// turns are missing in the journal that a crash has left; [`ErrorKind::InvalidArgument`] for an option out of its range.
    pub fn open(
        root: impl AsRef<Path>,
        namespace: &str,
        options: &HostOptions,
        env: impl Fn() -> O::Env + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(Self { host: Host::start::<O>(namespace, Some(root.as_ref()), options, env)?, object: PhantomData })
    }
}

#[cfg(feature = "local")]
namespace!(LocalHost);

/// Hosts the objects of one class in memory: everything but durability. Clones share the host. It is what tests and examples run
/// on; an object cannot tell it from [`LocalHost`], except that nothing outlives it.
///
/// ```
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
///
/// /// Says hello to whoever its environment names.
/// struct Greeter(String);
///
/// impl SessionObject for Greeter {
///     type Env = String;
///
///     async fn start(_: SessionContext, name: String) -> Result<Self> {
///         Ok(Self(name))
///     }
///
///     async fn fetch(&self, _: Request) -> Result<Response> {
///         Ok(Response::new(format!("Hello, {}!", self.0).into()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let greeters = MemoryHost::<Greeter>::new("Greeter", || "Ada".to_owned())?;
/// let answer = greeters.get(&greeters.id("any"), "/").await?;
/// assert_eq!(answer.into_body().text().await?, "Hello, Ada!");
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "memory")]
pub struct MemoryHost<O: SessionObject> {
    host: Arc<Host>,
    object: PhantomData<fn() -> O>,
}

#[cfg(feature = "memory")]
impl<O: SessionObject> MemoryHost<O> {
    /// Creates an empty namespace with one thread, on which `env` is called once.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when no thread can be started; [`ErrorKind::InvalidArgument`] for an option out of its range.
    pub fn new(namespace: &str, env: impl Fn() -> O::Env + Send + Sync + 'static) -> Result<Self> {
        Self::with_options(namespace, &HostOptions::default().with_threads(1), env)
    }

    /// Creates an empty namespace with options; `env` is called once on each thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
    /// use isobar_sessions::memory::{HostOptions, MemoryHost};
    /// # struct Any;
    /// # impl SessionObject for Any {
    /// #     type Env = ();
    /// #     async fn start(_: SessionContext, _: ()) -> Result<Self> { Ok(Self) }
    /// #     async fn fetch(&self, _: Request) -> Result<Response> { Ok(Response::default()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// // Two threads, and objects that hibernate almost at once: for a test of what survives it.
    /// let options = HostOptions::default().with_threads(2).with_idle(Duration::from_millis(20));
    /// let host = MemoryHost::<Any>::with_options("Any", &options, || ())?;
    /// assert_eq!(host.get(&host.id("a"), "/").await?.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(
        namespace: &str,
        options: &HostOptions,
        env: impl Fn() -> O::Env + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(Self { host: Host::start::<O>(namespace, None, options, env)?, object: PhantomData })
    }
}

#[cfg(feature = "memory")]
namespace!(MemoryHost);
