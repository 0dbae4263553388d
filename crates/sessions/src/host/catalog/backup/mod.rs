//! Backup of the objects of a [`LocalHost`](crate::local::LocalHost) into any storage, while the host goes on, and the way back.
//!
//! A run copies each object at one moment of its own: an object is consistent, two objects may be of different moments. It puts what has
//! changed since the run before: an object whose file and log have other sizes, times or inodes is read, and of its database those blocks
//! of 4 MiB are put that the run before does not have. So a run costs a look at each file and a list of all objects, some 300 bytes each;
//! where nothing has changed, the look alone. An object that has changed is copied into the system's folder of temporary files first, unless
//! it is small and no host runs: a host can start while the target is waited for. Memory is bounded: some blocks in flight, and 1 MiB of
//! the list.
//!
//! The last thing that a run puts is its manifest, once everything else is durable: one that is broken off replaces nothing, and the next one
//! goes on with what it has put. Everything has a checksum, which [`verify`] and [`restore`] compare. A restored object has all that its database
//! had: rows, keys, timers, its alarm. Open WebSockets end with their host, and are in no backup.
//!
//! The objects are not encrypted: who may read the target may read them.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use isobar_sessions::backup::{Backup, FolderTarget, RestoreOptions, restore, verify};
//! use isobar_sessions::local::{HostOptions, LocalHost};
//! # use isobar_sessions::{Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject};
//! # struct Counter(SessionContext);
//! # impl SessionObject for Counter {
//! #     type Env = ();
//! #     async fn start(context: SessionContext, _: ()) -> Result<Self> {
//! #         Ok(Self(context))
//! #     }
//! #     async fn fetch(&self, _: Request) -> Result<Response> {
//! #         let count = self.0.kv().get::<u64>("count")?.unwrap_or_default() + 1;
//! #         self.0.kv().put("count", &count)?;
//! #         Ok(Response::new(count.to_string().into()))
//! #     }
//! # }
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let counters = LocalHost::<Counter>::open(folder.join("here"), "Counter", &HostOptions::default(), || ())?;
//! counters.get(&counters.id("/home"), "/").await?;
//!
//! let target = Arc::new(FolderTarget::new(folder.join("backup")));
//! let backup = Backup::new(folder.join("here"), "Counter", target.clone());
//! assert_eq!(backup.run().await?.objects, 1); // again and again: each run puts what is new
//!
//! assert!(verify(&*target, "Counter", None).await?.problems.is_empty());
//! restore(&*target, folder.join("there"), "Counter", &RestoreOptions::default()).await?;
//! let restored = LocalHost::<Counter>::open(folder.join("there"), "Counter", &HostOptions::default(), || ())?;
//! let answer = restored.get(&restored.id("/home"), "/").await?;
//! assert_eq!(answer.into_body().text().await?, "2");
//! # Ok(()) }
//! ```

mod digests;
mod fetch;
mod format;
mod lists;
mod prune;
mod remote;
mod restore;
mod run;
mod runs;
mod stamp;
mod target;
mod types;
mod verify;

pub use restore::restore;
pub use run::Backup;
pub use runs::runs;
pub use target::{BackupTarget, FolderTarget};
pub use types::{BackupOptions, BackupReport, BackupRun, RestoreOptions, RestoreReport, VerifyReport};
pub use verify::verify;
