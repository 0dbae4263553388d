//! The account's own buckets: their objects over S3, the buckets themselves over the REST API.
//!
//! wrangler sends objects through the REST API, in one request each and with a limit on their size.
//! Over S3 there are multipart uploads, conditions and listings by pages, so that `r2 sync` and
//! `deploy` are the same code as locally, and any S3 server will do (`S3_ENDPOINT`).
//!
//! | variable | for | default |
//! |---|---|---|
//! | `CLOUDFLARE_ACCOUNT_ID` | endpoint of R2, REST API | none: required without `S3_ENDPOINT` |
//! | `R2_ACCESS_KEY_ID`, `R2_SECRET_ACCESS_KEY` | objects | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` |
//! | `AWS_SESSION_TOKEN` | objects, by temporary credentials | none |
//! | `S3_ENDPOINT` | another server than R2 | R2's, by account and jurisdiction |
//! | `AWS_REGION` | another server than R2 | `auto` |
//! | `CLOUDFLARE_API_TOKEN` | bucket commands | none: required |
//!
//! An empty variable counts as one that is not set. Secrets are read from the environment alone: an
//! option would show them in the list of processes and in the shell's history.

use std::error::Error;

use clap::Args;
use http::Method;
use isobar_cloudflare::client::{Account, Idempotency};
use isobar_storage::cloudflare::{S3Bucket, S3Config};
use serde::Deserialize;
use serde_json::json;

/// The buckets to use: local ones, or the account's.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Where {
    /// Use the buckets of this machine (default)
    ///
    /// It exists so that scripts can say it, and for compatibility with wrangler.
    #[arg(long)]
    local: bool,
    /// Use the account's buckets: objects over S3 (R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY,
    /// CLOUDFLARE_ACCOUNT_ID in the environment; S3_ENDPOINT selects another server), bucket commands
    /// over the REST API (CLOUDFLARE_API_TOKEN)
    ///
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY will do in place of R2's; AWS_SESSION_TOKEN is sent
    /// where it is set, and AWS_REGION (default: auto) to another server.
    #[arg(long, conflicts_with = "local")]
    remote: bool,
    /// Jurisdiction of a bucket of the account: eu, fedramp
    ///
    /// It is a part of the endpoint for objects. Bucket commands refuse it: create and delete such a
    /// bucket in the dashboard.
    #[arg(long, short = 'J', value_name = "NAME", requires = "remote")]
    jurisdiction: Option<String>,
}

impl Where {
    /// Whether the account's buckets are meant.
    pub(crate) fn is_remote(&self) -> bool {
        self.remote
    }

    /// Returns the same options with `remote` set.
    ///
    /// For `local:` and `remote:` before the name of a bucket in `r2 sync`, which outrank the option.
    pub(crate) fn with_remote(&self, remote: bool) -> Self {
        Self { remote, ..self.clone() }
    }

    /// Returns the jurisdiction. It becomes a part of a host name, so that only letters, digits and
    /// hyphens are let through: a dot or a slash would send the account's keys to another host.
    fn jurisdiction(&self) -> Result<Option<&str>, String> {
        match self.jurisdiction.as_deref() {
            Some(name) if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
                Err(format!("invalid jurisdiction {name:?}: use a name such as eu"))
            }
            name => Ok(name),
        }
    }
}

/// Opens a bucket of the account with the key of the environment.
///
/// Does not connect: a bucket that does not exist, or a wrong key, fails at the first operation.
///
/// # Errors
/// A variable that is missing, by its name; an endpoint that is not a URL.
pub(crate) fn bucket(name: &str, place: &Where) -> Result<S3Bucket, Box<dyn Error>> {
    Ok(S3Bucket::new(s3_config(name, place)?)?)
}

/// Returns the endpoint and key of a remote bucket, from the environment.
fn s3_config(bucket: &str, place: &Where) -> Result<S3Config, Box<dyn Error>> {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let needed = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| read(name));
        found.ok_or(format!("a remote bucket needs {} (or {}) in the environment", names[0], names[1]))
    };
    let id = needed(["R2_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"])?;
    let secret = needed(["R2_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"])?;
    let config = match read("S3_ENDPOINT") {
        Some(endpoint) => {
            S3Config::new(endpoint, bucket, id, secret).with_region(read("AWS_REGION").unwrap_or("auto".to_owned()))
        }
        None => {
            let account = needed(["CLOUDFLARE_ACCOUNT_ID", "S3_ENDPOINT"])?;
            let mut config = S3Config::r2(&account, bucket, id, secret);
            if let Some(jurisdiction) = place.jurisdiction()? {
                config.endpoint = format!("https://{account}.{jurisdiction}.r2.cloudflarestorage.com");
            }
            config
        }
    };
    Ok(match read("AWS_SESSION_TOKEN") {
        Some(token) => config.with_session_token(token),
        None => config,
    })
}

/// A bucket of the account, as the REST API returns it.
#[derive(Debug, Deserialize)]
pub(crate) struct RemoteBucket {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) creation_date: Option<String>,
}

/// Returns the account of the environment. Fails with a jurisdiction, for which the client sends no header.
fn account(place: &Where) -> Result<Account, Box<dyn Error>> {
    match place.jurisdiction()? {
        None => Ok(Account::from_env()?),
        Some(_) => {
            Err("--jurisdiction works for objects only; create and delete such a bucket in the dashboard".into())
        }
    }
}

/// Lists the account's buckets by name.
///
/// Pages of 1,000, R2's limit, from the name of the last one on.
///
/// # Errors
/// Those of [`account`] and of the REST API.
pub(crate) async fn buckets(place: &Where) -> Result<Vec<RemoteBucket>, Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Listed {
        buckets: Vec<RemoteBucket>,
    }
    let account = account(place)?;
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/r2/buckets?per_page=1000{after}");
        let Listed { buckets } = account.call(Idempotency::Idempotent, Method::GET, &path, None).await?;
        let count = buckets.len();
        let last = buckets.last().map(|bucket| bucket.name.clone());
        all.extend(buckets);
        match last {
            Some(last) if count == 1000 => after = format!("&start_after={last}"),
            _ => return Ok(all),
        }
    }
}

/// Creates a bucket of the account.
///
/// It is sent once: a request whose answer was lost is not repeated, since the second would say that
/// the bucket exists.
///
/// # Errors
/// Those of [`account`] and of the REST API, such as a name that is taken or has characters that R2
/// refuses.
pub(crate) async fn create(
    name: &str,
    storage_class: Option<&str>,
    location: Option<&str>,
    place: &Where,
) -> Result<(), Box<dyn Error>> {
    let mut body = json!({"name": name});
    if let Some(class) = storage_class {
        body["storageClass"] = json!(class);
    }
    if let Some(location) = location {
        body["locationHint"] = json!(location);
    }
    Ok(account(place)?
        .call::<serde_json::Value>(Idempotency::Once, Method::POST, "/r2/buckets", Some(&body))
        .await
        .map(drop)?)
}

/// Deletes an empty bucket of the account.
///
/// It is sent once. R2 refuses a bucket that has objects.
///
/// # Errors
/// Those of [`account`] and of the REST API.
pub(crate) async fn delete(name: &str, place: &Where) -> Result<(), Box<dyn Error>> {
    let path = format!("/r2/buckets/{name}");
    Ok(account(place)?.call::<serde_json::Value>(Idempotency::Once, Method::DELETE, &path, None).await.map(drop)?)
}
