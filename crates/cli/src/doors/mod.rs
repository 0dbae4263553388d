//! Doors of `isobar serve`: listeners for clients that others wrote.

mod buckets;
mod databases;
mod keyring;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Args;
use isobar_analytics::query::LocalDatasets;
use isobar_cloudflare::wrangler::Config;
use isobar_gateway::keys::{Audit, FailedAttempts, KeyStore};
use isobar_gateway::rest::RestDoor;
use isobar_gateway::s3::S3Door;
use isobar_http_serve::Platform;
use isobar_http_serve::native::{Server, ServerOptions, shutdown_signal};
use tokio::task::JoinHandle;

use self::buckets::LocalBuckets;
use self::databases::LocalDatabases;
use crate::place::Place;
use crate::{Outcome, say};

/// Time between two writes of the keys' uses.
const USES_WRITTEN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Doors {
    /// Serve Cloudflare's REST API v4 on this address, for wrangler, Cloudflare's SDKs and Drizzle; needs a key, see
    /// `isobar keys`
    #[arg(long, value_name = "ADDRESS:PORT")]
    rest: Option<SocketAddr>,
    /// Serve R2's S3 API on this address, for aws, rclone and other clients of S3; needs a key, see `isobar keys`
    #[arg(long, value_name = "ADDRESS:PORT")]
    s3: Option<SocketAddr>,
    /// Keyring that seals the secrets of keys; by default one that is created beside them
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
}

/// Doors whose listeners are bound.
#[derive(Debug)]
pub(crate) struct BoundDoors {
    rest: Option<Server>,
    s3: Option<Server>,
    keyring: Option<PathBuf>,
}

/// Doors that serve; they end with the process's signal.
#[derive(Debug)]
pub(crate) struct OpenDoors {
    keys: KeyStore,
    served: Vec<JoinHandle<()>>,
    writer: JoinHandle<()>,
}

impl Doors {
    /// Binds the listeners, which have the options of the application's.
    pub(crate) async fn bind(&self, options: ServerOptions) -> Result<BoundDoors, Box<dyn Error>> {
        let rest = match self.rest {
            Some(address) => Some(Server::bind_with(address, options.clone()).await?),
            None => None,
        };
        let s3 = match self.s3 {
            Some(address) => Some(Server::bind_with(address, options).await?),
            None => None,
        };
        Ok(BoundDoors { rest, s3, keyring: self.keyring.clone() })
    }
}

impl BoundDoors {
    /// Serves the doors beside the application, on its bindings and on the other buckets and databases of the place. Prints
    /// where they are.
    pub(crate) async fn open(
        self,
        place: &Place,
        config: &Config,
        platform: &Platform,
    ) -> Result<Option<OpenDoors>, Box<dyn Error>> {
        let Self { rest, s3, keyring } = self;
        if rest.is_none() && s3.is_none() {
            return Ok(None);
        }
        let keys = store(place, keyring).await?;
        let root = place.root(Some(config));
        let mut audit = Audit::new();
        if let Some(dataset) = config.analytics_engine_datasets.first() {
            audit = audit.with_sink(platform.dataset(&dataset.binding)?);
        }
        let mut buckets = BTreeMap::new();
        for bucket in &config.r2_buckets {
            buckets.insert(bucket.local_name().to_owned(), platform.bucket(&bucket.binding)?);
        }
        let buckets = Arc::new(LocalBuckets::new(&root, buckets));
        // One limit for both doors: who guesses at one has guessed at the other.
        let attempts = Arc::new(FailedAttempts::default());
        let mut served = Vec::new();
        if let Some(server) = s3 {
            let door = S3Door::new(buckets.clone(), Arc::new(keys.clone())).with_audit(audit.clone());
            let door = door.with_attempts(Arc::clone(&attempts));
            announce_s3(&server.url())?;
            served.push(tokio::spawn(serve("S3", server, Router::new().fallback_service(door))));
        }
        if let Some(server) = rest {
            let databases = LocalDatabases::open(&root, config, platform)?;
            let datasets = LocalDatasets::open(root.join("analytics"));
            let door = RestDoor::new(keys.clone())
                .with_buckets(buckets)
                .with_databases(Arc::new(databases))
                .with_datasets(Arc::new(datasets))
                .with_attempts(attempts)
                .with_audit(audit);
            announce(&server.url(), keys.account_id(), config)?;
            served.push(tokio::spawn(serve("the REST API", server, door.into_router())));
        }
        let writer = tokio::spawn(write_uses(keys.clone()));
        Ok(Some(OpenDoors { keys, served, writer }))
    }
}

impl OpenDoors {
    /// Waits for requests in flight, and writes what was counted.
    pub(crate) async fn close(self) -> Outcome {
        let Self { keys, served, writer } = self;
        for served in served {
            served.await?;
        }
        writer.abort();
        Ok(keys.write_uses().await?)
    }
}

/// Opens the store of keys of a place, and creates it where it is missing.
pub(crate) async fn store(place: &Place, file: Option<PathBuf>) -> Result<KeyStore, Box<dyn Error>> {
    let folder = place.make_root(place.config()?.as_ref())?.join("keys");
    // Boxed, since it is part of large commands.
    Box::pin(keyring::open(&folder, file)).await
}

async fn serve(name: &str, server: Server, door: Router) {
    if let Err(error) = server.serve_door(door, shutdown_signal()).await {
        eprintln!("error: {name} is no longer served: {error}");
    }
}

async fn write_uses(keys: KeyStore) {
    loop {
        tokio::time::sleep(USES_WRITTEN).await;
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

/// Prints the endpoint, and a line for each client.
fn announce(url: &str, account: &str, config: &Config) -> Outcome {
    let base = format!("{url}/client/v4");
    say!("REST API on {base} (account {account})");
    say!("  keys      isobar keys create --scope r2:read,r2:write,d1:write");
    say!(
        "  wrangler  CLOUDFLARE_API_BASE_URL={base} CLOUDFLARE_ACCOUNT_ID={account} CLOUDFLARE_API_TOKEN=TOKEN wrangler d1 list"
    );
    let id = config.d1_databases.first().and_then(|database| database.database_id.as_deref()).unwrap_or("DATABASE_ID");
    say!(
        "  Drizzle   drizzle((sql, params, method) => fetch('{base}/accounts/{account}/d1/database/{id}/raw', ...)), see the guide"
    );
    Ok(())
}
