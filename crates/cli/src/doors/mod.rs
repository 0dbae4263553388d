//! Doors of `isobar serve`: listeners for clients that others wrote.
//!
//! | module | what it has |
//! |---|---|
//! | `buckets`, `databases`, `deploys`, `backups` | the place's resources as the catalogs of `isobar_gateway` |
//! | `keyring` | the store of keys, and the file that opens it |
//! | here | options, binding, opening and closing; the lines that are printed for clients |
//!
//! A door has a listener of its own, with the limits, proxies and TLS of the site's: what is meant for
//! operators is not reachable by the public address. All doors share one limit of failed attempts, one
//! store of keys and one audit.
//!
//! They are over every bucket and database of the place, not only over those of the configuration: what
//! the application has open is shared with it, and the others are opened at their first use and stay
//! open, so that a command such as `r2 bucket delete` finds them in use.
//!
//! # Closing
//!
//! Doors end with the process's signal, or before it when the site's server has failed. Then, in this
//! order: listeners end and requests in flight are waited for; the writer of uses writes once more,
//! since a request has counted until its end; the stores are closed by the caller. A door that fails
//! alone prints so and leaves the others open.

mod backups;
mod buckets;
mod databases;
mod deploys;
mod keyring;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Args;
use futures_util::future::join_all;
use isobar_cloudflare::wrangler::Config;
use isobar_gateway::explorer::ExplorerDoor;
use isobar_gateway::keys::{Audit, FailedAttempts, KeyStore, KeysError};
use isobar_gateway::lifecycle::LifecycleSweeper;
use isobar_gateway::rest::RestDoor;
use isobar_gateway::s3::S3Door;
use isobar_http_serve::Platform;
use isobar_http_serve::native::{LocalSessionCatalog, Server, ServerOptions, shutdown_signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::backups::LocalBackups;
use self::buckets::LocalBuckets;
use self::databases::LocalDatabases;
pub(crate) use self::deploys::SiteDeploys;
use crate::archive::{self, Archives};
use crate::place::Place;
use crate::{Outcome, say};

/// Time between two sweeps by the lifecycle rules of buckets.
const SWEPT: Duration = Duration::from_secs(60 * 60);
/// Time between two writes of the keys' uses.
const USES_WRITTEN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Doors {
    /// Serve Cloudflare's REST API v4 on this address, for wrangler, Cloudflare's SDKs and Drizzle;
    /// needs a key, see `isobar keys`
    ///
    /// For example --rest 127.0.0.1:8788. The lines that are printed have the URL and the account's id
    /// for CLOUDFLARE_API_BASE_URL and CLOUDFLARE_ACCOUNT_ID. Port 0 selects a free one. Beyond this
    /// machine use TLS: tokens are sent as they are.
    #[arg(long, value_name = "ADDRESS:PORT")]
    rest: Option<SocketAddr>,
    /// Serve R2's S3 API on this address, for aws, rclone and other clients of S3; needs a key, see
    /// `isobar keys`
    ///
    /// For example --s3 127.0.0.1:9000. The region is auto; buckets are named in the path.
    #[arg(long, value_name = "ADDRESS:PORT")]
    s3: Option<SocketAddr>,
    /// Serve the explorer on this address: a page over buckets, databases, session objects, datasets,
    /// requests and deploys, which only reads; it asks for the token of a key, see `isobar keys`
    ///
    /// For example --explorer 127.0.0.1:8789, to be opened in a browser. The browser keeps the token
    /// for as long as its tab is open.
    #[arg(long, value_name = "ADDRESS:PORT")]
    explorer: Option<SocketAddr>,
    /// Let the explorer write what the key allows: uploads, deletions, every statement, rollbacks, runs of
    /// backups
    ///
    /// Without it a key that may write reads only.
    #[arg(long, requires = "explorer")]
    explorer_write: bool,
    /// Show the backups of this target in the explorer: a folder, or r2://BUCKET/PREFIX of the account
    ///
    /// The keys of the bucket are those of `isobar d1 backup --remote`; S3_ENDPOINT selects another
    /// server. A bucket of this machine would be lost with it.
    ///
    /// A database of the configuration is in TARGET/d1/NAME, where `isobar d1 backup` puts it by that
    /// name, the objects of all classes are in TARGET/sessions. Whoever may read the data can have a
    /// backup verified; with --explorer-write a key may begin a run.
    #[arg(long, value_name = "TARGET", requires = "explorer")]
    backups: Option<String>,
    /// Keyring that seals the secrets of keys; by default the one beside them, else that of
    /// ISOBAR_KEYRING, else a new one beside them. Needs --rest, --s3 or --explorer
    ///
    /// Use the same for `isobar keys`.
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Binding of the dataset for events of refused requests; by default the first one of the
    /// configuration. Needs --rest, --s3 or --explorer
    ///
    /// They are in the log in any case.
    #[arg(long, value_name = "BINDING")]
    audit: Option<String>,
}

/// Doors whose listeners are bound.
///
/// Between binding and opening the rest of the server is set up: see the order in `serve`. Connections
/// wait in the kernel's queue.
#[derive(Debug)]
pub(crate) struct BoundDoors {
    rest: Option<Server>,
    s3: Option<Server>,
    explorer: Option<Server>,
    explorer_access: Access,
    backups: Option<String>,
    keyring: Option<PathBuf>,
    audit: Option<String>,
}

/// Access of the explorer, whatever a key allows.
///
/// It bounds every key: a page in a browser is the likeliest place for a mistake, or for a script that
/// another page has slipped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Doors that serve; they end with the process's signal, or when they are closed.
#[derive(Debug)]
pub(crate) struct OpenDoors {
    served: Vec<JoinHandle<()>>,
    /// Dropped to end the doors.
    open: watch::Sender<()>,
    writer: JoinHandle<Result<(), KeysError>>,
    /// Dropped to end the writer, after the last use.
    in_use: watch::Sender<()>,
}

impl Doors {
    /// Binds the listeners, which have the options of the application's.
    ///
    /// # Errors
    /// An address that is in use or not this machine's; an option that has no door to be for.
    pub(crate) async fn bind(&self, options: ServerOptions) -> Result<BoundDoors, Box<dyn Error>> {
        let is_closed = self.rest.is_none() && self.s3.is_none() && self.explorer.is_none();
        for (option, is_given) in [("--keyring", self.keyring.is_some()), ("--audit", self.audit.is_some())] {
            if is_given && is_closed {
                return Err(format!("{option} is for the doors: it needs --rest, --s3 or --explorer").into());
            }
        }
        let bind = async |address: Option<SocketAddr>| match address {
            Some(address) => Server::bind_with(address, options.clone()).await.map(Some),
            None => Ok(None),
        };
        Ok(BoundDoors {
            rest: bind(self.rest).await?,
            s3: bind(self.s3).await?,
            explorer: bind(self.explorer).await?,
            explorer_access: if self.explorer_write { Access::Write } else { Access::Read },
            backups: self.backups.clone(),
            keyring: self.keyring.clone(),
            audit: self.audit.clone(),
        })
    }
}

impl BoundDoors {
    /// Serves the doors beside the application, on its bindings and on the other buckets and databases of the place. Prints
    /// where they are.
    ///
    /// Returns `None` where no door was asked for, and then makes no store of keys.
    ///
    /// # Errors
    /// A store of keys that cannot be opened, a keyring that is not its own, a binding of `--audit`
    /// that does not exist, a target of `--backups` that cannot be opened.
    pub(crate) async fn open(
        self,
        place: &Place,
        config: &Config,
        platform: &Platform,
        site: Option<SiteDeploys>,
        archives: Archives,
    ) -> Result<Option<OpenDoors>, Box<dyn Error>> {
        let Self { rest, s3, explorer, explorer_access, backups, keyring, audit } = self;
        if rest.is_none() && s3.is_none() && explorer.is_none() {
            return Ok(None);
        }
        let keys = store(place, keyring).await?;
        let root = place.root(Some(config));
        let audit = audit_into(audit, config, platform)?;
        let backups = match backups {
            Some(target) => Some(Box::pin(LocalBackups::open(place, &root, config, target)).await?),
            None => None,
        };
        let buckets = Arc::new(buckets_of(&root, config, platform)?);
        // One limit for all doors: who guesses at one has guessed at the other.
        let attempts = Arc::new(FailedAttempts::default());
        let (open, opened) = watch::channel(());
        let mut served = vec![tokio::spawn(sweep(LifecycleSweeper::new(buckets.clone()), opened.clone()))];
        if let Some(server) = s3 {
            let door = S3Door::new(buckets.clone(), Arc::new(keys.clone())).with_audit(audit.clone());
            let door = door.with_attempts(Arc::clone(&attempts));
            announce_s3(&server.url())?;
            served.push(tokio::spawn(serve("S3", server, Router::new().fallback_service(door), opened.clone())));
        }
        if rest.is_some() || explorer.is_some() {
            let databases = LocalDatabases::open(&root, config, platform)?;
            let datasets = archive::datasets(root.join("analytics"), archives);
            let sessions = Arc::new(LocalSessionCatalog::new(root.join("sessions")));
            let program = config.name.as_deref().unwrap_or("isobar");
            let door = RestDoor::new(keys.clone())
                .with_buckets(buckets)
                .with_databases(Arc::new(databases))
                .with_datasets(Arc::new(datasets))
                .with_sessions(program, sessions.clone())
                .with_attempts(attempts)
                .with_audit(audit);
            if let Some(server) = explorer {
                announce_explorer(&server.url(), explorer_access)?;
                let explorer = explorer_over(door.clone(), explorer_access, config, site, backups);
                let router = explorer.with_sessions(sessions).into_router();
                served.push(tokio::spawn(serve("the explorer", server, router, opened.clone())));
            }
            if let Some(server) = rest {
                announce(&server.url(), keys.account_id(), config)?;
                served.push(tokio::spawn(serve("the REST API", server, door.into_router(), opened)));
            }
        }
        let (in_use, used) = watch::channel(());
        let writer = tokio::spawn(write_uses(keys, used));
        Ok(Some(OpenDoors { served, open, writer, in_use }))
    }
}

impl OpenDoors {
    /// Ends the doors, waits for requests in flight, and writes what was counted.
    ///
    /// # Errors
    /// Uses that cannot be written, and doors that have panicked. All doors are closed whatever fails.
    pub(crate) async fn close(self) -> Outcome {
        let Self { served, open, writer, in_use } = self;
        drop(open);
        let ended = join_all(served).await;
        drop(in_use);
        writer.await??;
        for ended in ended {
            ended?;
        }
        Ok(())
    }
}

/// Returns the buckets below a root, those of the configuration as the application has them open.
fn buckets_of(root: &Path, config: &Config, platform: &Platform) -> Result<LocalBuckets, Box<dyn Error>> {
    let mut bound = BTreeMap::new();
    for bucket in &config.r2_buckets {
        bound.insert(bucket.local_name().to_owned(), platform.bucket(&bucket.binding)?);
    }
    Ok(LocalBuckets::new(root, bound))
}

/// Returns the audit, with its dataset, which is printed: it is one that the application writes to,
/// too.
///
/// # Errors
/// A binding that the configuration does not have.
fn audit_into(binding: Option<String>, config: &Config, platform: &Platform) -> Result<Audit, Box<dyn Error>> {
    let first = config.analytics_engine_datasets.first().map(|dataset| dataset.binding.clone());
    let Some(binding) = binding.or(first) else {
        say!("refused requests are logged; with a dataset in the configuration they are events, too");
        return Ok(Audit::new());
    };
    let sink = platform.dataset(&binding)?;
    say!("refused requests are logged, and events of the dataset {binding} (--audit chooses another)");
    Ok(Audit::new().with_sink(sink))
}

/// Opens the store of keys of a place, and creates it where it is missing.
///
/// `isobar keys` and a server use it at once: SQLite orders their writes.
///
/// # Errors
/// A keyring that others may read, that is missing, or that is not the one of the secrets; a folder
/// that cannot be made private.
pub(crate) async fn store(place: &Place, file: Option<PathBuf>) -> Result<KeyStore, Box<dyn Error>> {
    let folder = place.make_root(place.config()?.as_ref())?.join("keys");
    // Boxed, since it is part of large commands.
    Box::pin(keyring::open(&folder, file)).await
}

/// Whether this place has a store of keys. Looking creates none.
pub(crate) fn has_keys(place: &Place) -> Result<bool, Box<dyn Error>> {
    Ok(place.root(place.config()?.as_ref()).join("keys").join("keys.sqlite").exists())
}

/// The explorer over what the REST door serves, the requests of the application, the site's deploys, and backups.
fn explorer_over(
    door: RestDoor,
    access: Access,
    config: &Config,
    site: Option<SiteDeploys>,
    backups: Option<LocalBackups>,
) -> ExplorerDoor {
    let mut explorer = ExplorerDoor::new(door);
    if access == Access::Write {
        explorer = explorer.with_writes();
    }
    // The dataset that the application is observed in.
    if let Some(dataset) = config.analytics_engine_datasets.first() {
        explorer = explorer.with_requests(dataset.local_name());
    }
    if let Some(site) = site {
        explorer = explorer.with_deploys(Arc::new(site));
    }
    if let Some(backups) = backups {
        explorer = explorer.with_backups(Arc::new(backups));
    }
    explorer
}

/// Serves a door until the process's signal, or until the doors are closed. Its failure is printed: the
/// site goes on without it.
async fn serve(name: &str, server: Server, door: Router, mut open: watch::Receiver<()>) {
    let end = async move {
        tokio::select! {
            () = shutdown_signal() => {}
            _ = open.changed() => {} // its sender is dropped
        }
    };
    if let Err(error) = server.serve_door(door, end).await {
        eprintln!("error: {name} is no longer served: {error}");
    }
}

/// Carries out the lifecycle rules of buckets until the doors are closed.
async fn sweep(sweeper: LifecycleSweeper, mut open: watch::Receiver<()>) {
    tokio::select! {
        () = sweeper.run(SWEPT) => {}
        _ = open.changed() => {} // its sender is dropped
    }
}

/// Writes the uses of keys from time to time, and once more when the last one was counted.
async fn write_uses(keys: KeyStore, mut in_use: watch::Receiver<()>) -> Result<(), KeysError> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(USES_WRITTEN) => {}
            _ = in_use.changed() => return keys.write_uses().await,
        }
        if let Err(error) = keys.write_uses().await {
            eprintln!("warning: the uses of keys cannot be written: {error}");
        }
    }
}

/// Prints the endpoint of S3, and a line for each client.
fn announce_s3(url: &str) -> Outcome {
    say!("S3 on {url} (region auto)");
    say!("  keys      isobar keys create --scope r2:read,r2:write");
    say!(
        "  aws       AWS_ACCESS_KEY_ID=ID AWS_SECRET_ACCESS_KEY=SECRET AWS_DEFAULT_REGION=auto aws --endpoint-url {url} s3 ls"
    );
    say!(
        "  rclone    rclone --s3-provider Other --s3-endpoint {url} --s3-access-key-id ID --s3-secret-access-key SECRET lsd :s3:"
    );
    Ok(())
}

/// Prints the address of the explorer, and how to sign in.
fn announce_explorer(url: &str, access: Access) -> Outcome {
    let (mode, scope) = match access {
        Access::Read => ("read-only", "r2:read,d1:read,sessions:read,analytics:read"),
        Access::Write => ("writable", "r2:read,r2:write,d1:write,sessions:read,analytics:read"),
    };
    say!("explorer on {url} ({mode})");
    say!("  token     isobar keys create --scope {scope}");
    Ok(())
}

/// Prints the endpoint, and a line for each client.
fn announce(url: &str, account: &str, config: &Config) -> Outcome {
    let base = format!("{url}/client/v4");
    say!("REST API on {base} (account {account})");
    say!("  keys      isobar keys create --scope r2:read,r2:write,d1:write");
    say!(
        "  wrangler  CLOUDFLARE_API_BASE_URL={base} CLOUDFLARE_ACCOUNT_ID={account} CLOUDFLARE_API_TOKEN=TOKEN wrangler d1 list"
    );
    let id = config.d1_databases.first().and_then(|database| database.database_id.as_deref()).unwrap_or("DATABASE_ID");
    say!("  Drizzle   {}", drizzle(&format!("{base}/accounts/{account}/d1/database/{id}/raw")));
    Ok(())
}

/// Returns the call of `drizzle-orm/sqlite-proxy` for a database, with the word TOKEN in the token's place.
fn drizzle(url: &str) -> String {
    format!(
        "drizzle(async (sql, params, method) => {{ const request = {{ method: 'POST', headers: {{ Authorization: 'Bearer TOKEN' }}, body: \
         JSON.stringify({{ sql, params }}) }}; const answer = await (await fetch('{url}', request)).json(); if (!answer.success) throw \
         new Error(answer.errors[0].message); const {{ rows }} = answer.result[0].results; return {{ rows: method === 'get' ? rows[0] : \
         rows }}; }})"
    )
}
