//! The command `isobar keys`.
//!
//! Keys are for the doors of `isobar serve` (see `doors`): one key is an access key of S3 and a bearer
//! token at once. They are kept in a database of their own below the root, `keys/keys.sqlite`, whose
//! secrets are sealed by a keyring.
//!
//! A running server needs no restart: it reads a key for each request, so that a new key works at once,
//! and a revoked one is refused from the next request on. `uses` and `last used` lag by up to 10 s, the
//! interval at which a server writes them.
//!
//! A key cannot be changed: its scope is what its owner was told. Create another, hand it over, and
//! revoke the first. Revoked and expired keys stay in the list, since the audit's events name them.
//!
//! On Cloudflare, tokens are made in the dashboard, or over its API.

use std::error::Error;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::{Args, Subcommand};
use isobar_gateway::keys::{Key, KeyScope, NewKey, Permission};
use serde_json::json;

use crate::duration::duration;
use crate::place::Place;
use crate::{Outcome, doors, say, table};

#[derive(Debug, Subcommand)]
#[command(
    after_help = "A key is both an access key of S3 and a bearer token, of Cloudflare's REST API and of the explorer. Its secrets are \
shown when it is created, and never again.

Examples:
  isobar keys create --scope r2:read,r2:write,d1:write
  isobar keys create --name backup --scope r2:read --bucket STORAGE --prefix static/ --expires 30d --json
  isobar keys list
  isobar keys revoke 0123456789abcdef0123456789abcdef"
)]
pub(crate) enum Keys {
    /// Create a key, and print its secrets
    Create(Create),
    /// List keys with their scopes and uses
    List(Listed),
    /// Revoke a key for good
    Revoke {
        /// The key's id, which is its access key id
        id: String,
        #[command(flatten)]
        opened: Opened,
    },
}

/// The keyring of the store.
#[derive(Debug, Args)]
pub(crate) struct Opened {
    /// Keyring that seals the secrets of keys; by default the one beside them, else that of ISOBAR_KEYRING, else a new one beside them
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Permissions, with commas between: r2:read, r2:write, d1:read, d1:write, analytics:read,
    /// sessions:read
    ///
    /// r2:write does not include r2:read; d1:write includes d1:read. sessions:read is for every session
    /// object of this place, with all that it has stored.
    #[arg(long, required = true, value_delimiter = ',')]
    scope: Vec<Permission>,
    /// Name for people
    ///
    /// 1 to 200 characters; it appears in `isobar keys list`. Names need not be unique.
    #[arg(long, default_value = "key")]
    name: String,
    /// Bind the key to this bucket, by its name or binding; may be given several times
    ///
    /// A bound key creates and deletes no buckets, and does not learn which others there are.
    #[arg(long, value_name = "NAME")]
    bucket: Vec<String>,
    /// Bind the key to object keys with this prefix
    ///
    /// It is compared letter by letter: static/ is a folder, static also matches statics.html. The key
    /// creates and deletes no buckets.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Bind the key to this database, by its name or binding; may be given several times
    ///
    /// A bound key creates and deletes no databases, and does not learn which others there are.
    #[arg(long, value_name = "NAME")]
    database: Vec<String>,
    /// Bind the key to this dataset, by its name or binding; may be given several times
    #[arg(long, value_name = "NAME")]
    dataset: Vec<String>,
    /// Time from which the key is refused: 90m, 12h, 30d, or a time (2027-01-01T00:00:00Z); by default never
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<DateTime<Utc>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    opened: Opened,
}

#[derive(Debug, Args)]
pub(crate) struct Listed {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    opened: Opened,
}

impl Keys {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Create(create) => create.run(place).await,
            Self::List(listed) => listed.run(place).await,
            Self::Revoke { id, opened } => {
                if !doors::has_keys(place)? || !doors::store(place, opened.keyring).await?.revoke(&id).await? {
                    return Err(format!("there is no key {id}; `isobar keys list` lists them").into());
                }
                say!("revoked the key {id}");
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, place: &Place) -> Outcome {
        let scope = self.bound_scope(place)?;
        note_unknown(&scope, place)?;
        let keys = doors::store(place, self.opened.keyring).await?;
        let new = NewKey::new(self.name, scope);
        let new = match self.expires {
            Some(expires) => new.with_expires(expires),
            None => new,
        };
        let issued = keys.create(new).await?;
        let secrets = [
            ("account_id", keys.account_id().to_owned()),
            ("access_key_id", issued.key.id.clone()),
            ("secret_access_key", issued.secret_access_key()),
            ("token", issued.token().to_owned()),
        ];
        if self.json {
            let secrets: serde_json::Map<_, _> =
                secrets.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
            say!("{}", serde_json::to_string_pretty(&secrets)?);
            return Ok(());
        }
        for (name, value) in secrets {
            say!("{name:<18}{value}");
        }
        Ok(())
    }

    /// The scope, with the names of what it is bound to in place of their bindings.
    ///
    /// A resource without a permission that concerns it is an error: the key would be weaker than its
    /// creator thinks, and the fault would be looked for elsewhere.
    fn bound_scope(&self, place: &Place) -> Result<KeyScope, Box<dyn Error>> {
        let config = place.config()?.unwrap_or_default();
        let buckets = config.r2_buckets.iter().map(|one| (one.binding.as_str(), one.local_name()));
        let databases = config.d1_databases.iter().map(|one| (one.binding.as_str(), one.local_name()));
        let datasets = config.analytics_engine_datasets.iter().map(|one| (one.binding.as_str(), one.local_name()));
        let mut scope = KeyScope::new(self.scope.iter().copied()).with_prefix(&*self.prefix);
        scope.buckets = named(&self.bucket, buckets);
        scope.databases = named(&self.database, databases);
        scope.datasets = named(&self.dataset, datasets);
        let needs = |bound: bool, permissions: &[Permission]| {
            bound && !permissions.iter().any(|permission| scope.has(*permission))
        };
        let r2 = [Permission::R2Read, Permission::R2Write];
        if needs(!scope.buckets.is_empty() || !scope.prefix.is_empty(), &r2) {
            return Err("--bucket and --prefix need r2:read or r2:write in --scope".into());
        }
        if needs(!scope.databases.is_empty(), &[Permission::D1Read, Permission::D1Write]) {
            return Err("--database needs d1:read or d1:write in --scope".into());
        }
        if needs(!scope.datasets.is_empty(), &[Permission::AnalyticsRead]) {
            return Err("--dataset needs analytics:read in --scope".into());
        }
        Ok(scope)
    }
}

/// Prints a note for each resource of a scope that is neither here nor in the configuration: it may be misspelt, or created later.
///
/// # Errors
/// A name that no resource can have.
fn note_unknown(scope: &KeyScope, place: &Place) -> Outcome {
    let config = place.config()?;
    let root = place.root(config.as_ref());
    let note = |kind: &str, name: &str| {
        eprintln!("note: the key is bound to the {kind} {name}, which is neither here nor in the configuration");
    };
    for name in &scope.buckets {
        if !place.configured(name)? && !place.is_here(name)? {
            note("bucket", name);
        }
    }
    for name in &scope.databases {
        let mut known = config.iter().flat_map(|config| &config.d1_databases);
        // Ids are not looked up: those of databases outside the configuration are in files of their own.
        let is_id = name.len() == 36 && name.matches('-').count() == 4;
        let is_known = is_id || known.any(|one| one.local_name() == name);
        if !is_known && !root.join("d1").join(format!("{name}.sqlite")).exists() {
            note("database", name);
        }
    }
    for name in &scope.datasets {
        let mut known = config.iter().flat_map(|config| &config.analytics_engine_datasets);
        if !known.any(|one| one.local_name() == name) && !place.dataset_folder(name)?.is_dir() {
            note("dataset", name);
        }
    }
    Ok(())
}

/// Names, those of bindings replaced by what is bound.
fn named<'a>(given: &[String], bindings: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let bindings: Vec<_> = bindings.collect();
    let name = |given: &String| {
        let bound = bindings.iter().find(|(binding, _)| binding == given);
        bound.map_or_else(|| given.clone(), |(_, name)| (*name).to_owned())
    };
    given.iter().map(name).collect()
}

impl Listed {
    async fn run(self, place: &Place) -> Outcome {
        let keys = match doors::has_keys(place)? {
            true => doors::store(place, self.opened.keyring).await?.list().await?,
            false => Vec::new(),
        };
        if self.json {
            say!("{}", serde_json::to_string_pretty(&keys)?);
            return Ok(());
        }
        let headings = ["ID", "NAME", "SCOPE", "BOUND TO", "STATE", "USES", "LAST USED"].map(String::from);
        table::print(&headings, &keys.iter().map(row).collect::<Vec<_>>())
    }
}

/// A line of the list. An expired key that was revoked, too, is revoked.
fn row(key: &Key) -> Vec<String> {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let scope: Vec<&str> = key.scope.permissions.iter().map(|permission| permission.name()).collect();
    let resources = [&key.scope.buckets, &key.scope.databases, &key.scope.datasets];
    let mut bound: Vec<String> = resources.into_iter().flatten().cloned().collect();
    bound.extend((!key.scope.prefix.is_empty()).then(|| format!("{}*", key.scope.prefix)));
    let state = match (key.revoked, key.expires) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(_)) if key.is_expired(Utc::now()) => "expired".to_owned(),
        (None, Some(expires)) => format!("until {}", time(expires)),
        (None, None) => "active".to_owned(),
    };
    let last = key.last_used.map(time).unwrap_or_default();
    vec![key.id.clone(), key.name.clone(), scope.join(","), bound.join(","), state, key.uses.to_string(), last]
}

/// A time from now on (`30d`), or a time.
///
/// The time from now on is a positive number with `m`, `h` or `d`; minutes, hours, days of 24 hours. A
/// time is RFC 3339, with its offset. A time in the past is accepted, and the key is expired from the
/// start.
///
/// # Errors
/// Any other form, and a time beyond the calendar.
fn expiry(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let invalid = || format!("{text:?} is neither like 90m, 12h or 30d nor a time like 2027-01-01T00:00:00Z");
    let time = duration(text, &["m", "h", "d"]).filter(|time| !time.is_zero());
    let time = time.and_then(|time| TimeDelta::from_std(time).ok());
    time.and_then(|time| Utc::now().checked_add_signed(time)).ok_or_else(invalid)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_a_time_or_from_now_on() {
        let days = expiry("30d").unwrap() - Utc::now();
        assert!(days > TimeDelta::days(29) && days <= TimeDelta::days(30));
        assert!(expiry("90m").is_ok() && expiry("12h").is_ok());
        assert_eq!(expiry("2027-01-01T00:00:00Z").unwrap().timestamp(), 1_798_761_600);
        for wrong in ["", "d", "0d", "-1d", "30", "30y", "1é", "99999999999999d", "9223372036854775807m"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bindings_stand_for_their_names() {
        let bindings = [("STORAGE", "assets"), ("OTHER", "other")];
        let given = ["STORAGE", "plain"].map(str::to_owned);
        assert_eq!(named(&given, bindings.into_iter()), ["assets", "plain"]);
    }
}
