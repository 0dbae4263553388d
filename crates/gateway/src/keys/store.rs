//! The store of access keys and bearer tokens.
//!
//! | in the database | |
//! |---|---|
//! | `gateway_account` | the account's id, drawn once |
//! | `gateway_keys` | a row for each key: name, scope as JSON, times, uses; a hash, and the sealed secret access key |
//! | tables of the vault | the data keys that seal secrets, wrapped by the keyring |
//!
//! A copy of the database without the keyring verifies tokens, and signs nothing. Rows are never
//! deleted: events of the audit name their ids.
//!
//! Locks are synchronous, held for a few instructions and never across an await. `verified` has at most
//! an entry for each key that exists, as only tokens that were good enter it; `used` is emptied by each
//! [`KeyStore::write_uses`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use isobar_base::random;
use isobar_base::sync::IgnorePoison;
use isobar_db::migrations::{Migration, Migrator};
use isobar_db::vault::{self, Cell, Keyring, Vault};
use isobar_db::{Database, QueryableExt, Row, Statement};
use zeroize::Zeroizing;

use super::token::{Token, is_id};
use super::{AccessKey, AccessKeys, KeyScope, KeysError};

const SCHEMA: &str = include_str!("schema.sql");
/// Database of the vault's associated data.
const VAULT: &str = "gateway";
const COLUMNS: &str =
    "id, name, scope, secret_hash, secret, created_at, expires_at, revoked_at, uses, last_used_at FROM gateway_keys";

/// Access keys and bearer tokens in a database. Cheap to clone; clones share it.
///
/// A key is both: an access key of S3 and a bearer token of the REST API, with one scope. As with R2, the key's id is the access key
/// id, and the SHA-256 of the token is the secret access key. Neither is stored: a hash verifies the token, and the secret access key,
/// which signatures need, is sealed by the keyring.
///
/// A key is read for each request, which costs a local database some microseconds: what has been revoked, here or by another process, is
/// refused from the next request on. Uses are counted in memory and written by [`write_uses`](Self::write_uses).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use isobar_db::SqliteDatabase;
/// use isobar_db::vault::Keyring;
/// use isobar_gateway::keys::{KeyScope, KeyStore, NewKey, Permission, Verified};
///
/// let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
/// let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
/// let scope = KeyScope::new([Permission::R2Read]).with_bucket("photos");
/// let issued = keys.create(NewKey::new("backup", scope)).await?;
/// assert!(matches!(keys.verify(issued.token()).await?, Verified::Active(key) if key.name == "backup"));
/// keys.revoke(&issued.key.id).await?;
/// assert!(matches!(keys.verify(issued.token()).await?, Verified::Revoked(_)));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct KeyStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Arc<dyn Database>,
    vault: Vault,
    account: String,
    /// Hashes of tokens that were good, by the ids of their keys: guesses take no memory.
    verified: Mutex<HashMap<String, Bytes>>,
    used: Mutex<HashMap<String, Used>>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    secret_hash: Bytes,
    sealed: Bytes,
}

/// Uses that are not written yet.
#[derive(Debug, Clone, Copy)]
struct Used {
    count: u64,
    last: DateTime<Utc>,
}

/// A key, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Key {
    /// Id: 32 hexadecimal digits. It is the access key id of S3.
    pub id: String,
    /// Name, for people.
    pub name: String,
    /// Permissions, and the resources to which they are bound.
    pub scope: KeyScope,
    /// Time of its creation.
    pub created: DateTime<Utc>,
    /// Time from which it is refused; `None` where it does not expire.
    pub expires: Option<DateTime<Utc>>,
    /// Time of its revocation.
    pub revoked: Option<DateTime<Utc>>,
    /// Number of its uses that are written.
    pub uses: u64,
    /// Time of the last use that is written.
    pub last_used: Option<DateTime<Utc>>,
}

impl Key {
    /// Reports whether the key is refused at this time because of its age.
    ///
    /// A key without a time of expiry never is. Revocation is another matter: see
    /// [`revoked`](Self::revoked).
    #[must_use]
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// A key to be created.
///
/// ```
/// use isobar_gateway::keys::{KeyScope, NewKey, Permission};
///
/// let in_a_month = chrono::Utc::now() + chrono::TimeDelta::days(30);
/// let key = NewKey::new("ci", KeyScope::new([Permission::D1Write])).with_expires(in_a_month);
/// # drop(key);
/// ```
#[derive(Debug, Clone)]
pub struct NewKey {
    name: String,
    scope: KeyScope,
    expires: Option<DateTime<Utc>>,
}

impl NewKey {
    /// Returns a key that does not expire.
    pub fn new(name: impl Into<String>, scope: KeyScope) -> Self {
        Self { name: name.into(), scope, expires: None }
    }

    /// Sets the time from which the key is refused.
    #[must_use]
    pub fn with_expires(mut self, expires: DateTime<Utc>) -> Self {
        self.expires = Some(expires);
        self
    }
}

/// A key that was created, with its secrets, which cannot be read again. Its debug output hides them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use isobar_db::{SqliteDatabase, vault::Keyring};
/// # use isobar_gateway::keys::{KeyScope, KeyStore, NewKey, Permission};
/// use sha2::{Digest, Sha256};
///
/// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
/// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
/// let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::R2Read]))).await?;
/// assert!(issued.token().starts_with("isobar_"));
/// // As with an API token of R2's: the secret is the hash of the token.
/// assert_eq!(issued.secret_access_key(), hex::encode(Sha256::digest(issued.token())));
/// assert!(!format!("{issued:?}").contains(issued.token()));
/// # Ok(()) }
/// ```
pub struct IssuedKey {
    /// The key.
    pub key: Key,
    token: Token,
}

impl IssuedKey {
    /// Returns the bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        self.token.text()
    }

    /// Returns the secret access key of S3.
    #[must_use]
    pub fn secret_access_key(&self) -> String {
        self.token.secret_access_key().to_string()
    }
}

impl std::fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedKey").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Outcome of [`KeyStore::verify`].
///
/// Doors answer all but the first alike; the audit tells them apart, as an operator wants to know whose
/// key is still in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// The token is a key's that may be used.
    Active(Key),
    /// The token is a key's that has expired.
    Expired(Key),
    /// The token is a key's that was revoked.
    Revoked(Key),
    /// The token is no key's.
    Unknown,
}

impl KeyStore {
    /// Opens the store in a database of its own, and creates its tables where they are missing.
    ///
    /// Two processes may open one database at once, and share the account and the keys.
    ///
    /// # Errors
    /// [`KeysError`] where the database cannot be read or written, or the keyring is not the one of its secrets.
    pub async fn open(database: Arc<dyn Database>, keyring: Keyring) -> Result<Self, KeysError> {
        let migrations = [Migration::new("0001_vault.sql", vault::SCHEMA), Migration::new("0002_keys.sql", SCHEMA)];
        Migrator::default().apply(&*database, &migrations).await.map_err(failed)?;
        let vault = Vault::new(Arc::clone(&database), VAULT, keyring);
        vault.check().await.map_err(failed)?;
        let own = random::hex_id().map_err(|error| KeysError::new(error.to_string()))?;
        let create = Statement::new("INSERT OR IGNORE INTO gateway_account (one, id) VALUES (1, ?)").bind(own);
        database.query(create).await.map_err(failed)?;
        let account = database.prepare("SELECT id FROM gateway_account").one().await.map_err(failed)?;
        let inner = Inner { database, vault, account, verified: Mutex::default(), used: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the id of the account, which clients name in their requests: 32 hexadecimal digits, drawn once.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::keys::KeyStore;
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// let url = format!("/client/v4/accounts/{}/d1/database", keys.account_id());
    /// assert_eq!(keys.account_id().len(), 32);
    /// # drop(url);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn account_id(&self) -> &str {
        &self.inner.account
    }

    /// Creates a key.
    ///
    /// The key is durable when this returns. Its secrets are in the returned value alone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// use isobar_gateway::keys::{AccessKeys, KeyScope, KeyStore, NewKey, Permission};
    ///
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::R2Read]))).await?;
    /// // The same key as S3's door finds it.
    /// let found = keys.find(&issued.key.id).await?.expect("it was created");
    /// assert_eq!(found.secret(), issued.secret_access_key());
    ///
    /// let error = keys.create(NewKey::new("idle", KeyScope::default())).await.unwrap_err();
    /// assert_eq!(error.to_string(), "access keys: a key needs a permission");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`KeysError`] for a scope without a permission, a name that is empty or has more than 200 characters, or where the store
    /// cannot be written.
    pub async fn create(&self, new: NewKey) -> Result<IssuedKey, KeysError> {
        let NewKey { name, scope, expires } = new;
        if scope.permissions.is_empty() {
            return Err(KeysError::new("a key needs a permission"));
        }
        if name.is_empty() || name.chars().count() > 200 {
            return Err(KeysError::new("the name of a key has 1 to 200 characters"));
        }
        let id = random::hex_id().map_err(|error| KeysError::new(error.to_string()))?;
        let token = Token::generate(&id).map_err(|error| KeysError::new(error.to_string()))?;
        let secret = token.secret_access_key();
        let sealed = self.inner.vault.seal(&cell(&id), secret.as_bytes()).await.map_err(failed)?;
        let scope_text = serde_json::to_string(&scope).expect("a scope has only texts, which JSON can write");
        let created = Utc::now();
        let sql = "INSERT INTO gateway_keys (id, name, scope, secret_hash, secret, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let insert = Statement::new(sql).bind(&id).bind(&name).bind(scope_text).bind(&token.hash()[..]);
        let insert = insert.bind(sealed).bind(text(created)).bind(expires.map(text));
        self.inner.database.query(insert).await.map_err(failed)?;
        let key = self.read(&id).await?.ok_or_else(|| KeysError::new("the new key cannot be read"))?;
        Ok(IssuedKey { key: key.key, token })
    }

    /// Returns every key, the newest first.
    ///
    /// Revoked and expired keys are among them. All are read at once: a store has tens of keys, not
    /// millions.
    ///
    /// # Errors
    /// [`KeysError`] where the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Key>, KeysError> {
        let sql = format!("SELECT {COLUMNS} ORDER BY created_at DESC, id");
        let rows = self.inner.database.query(Statement::new(sql).rows_only()).await.map_err(failed)?.rows;
        rows.iter().map(|row| Ok(entry(row)?.key)).collect()
    }

    /// Revokes a key. Returns whether there is one of this id.
    ///
    /// It is durable when this returns, and for good; the time of the first revocation stays.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::keys::{KeyScope, KeyStore, NewKey, Permission};
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// # let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::R2Read]))).await?;
    /// assert!(keys.revoke(&issued.key.id).await?);
    /// assert!(!keys.revoke("0123456789abcdef0123456789abcdef").await?, "there is no such key");
    /// assert!(keys.list().await?[0].revoked.is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`KeysError`] where the store cannot be written.
    pub async fn revoke(&self, id: &str) -> Result<bool, KeysError> {
        let sql = "UPDATE gateway_keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?";
        let revoke = Statement::new(sql).bind(text(Utc::now())).bind(id);
        Ok(self.inner.database.query(revoke).await.map_err(failed)?.meta.changes > 0)
    }

    /// Verifies a bearer token. It does not count as a use: see [`note_use`](AccessKeys::note_use).
    ///
    /// # Errors
    /// [`KeysError`] where the store cannot be read.
    pub async fn verify(&self, token: &str) -> Result<Verified, KeysError> {
        let Some(token) = Token::parse(token) else { return Ok(Verified::Unknown) };
        let Some(Entry { key, secret_hash, .. }) = self.read(token.id()).await? else { return Ok(Verified::Unknown) };
        if !token.matches(&secret_hash) {
            return Ok(Verified::Unknown);
        }
        if key.revoked.is_some() {
            return Ok(Verified::Revoked(key));
        }
        if key.is_expired(Utc::now()) {
            return Ok(Verified::Expired(key));
        }
        self.inner.verified.lock().ignore_poison().entry(key.id.clone()).or_insert(secret_hash);
        Ok(Verified::Active(key))
    }

    /// Reports whether a token is one that was good when this process verified it, without asking the database. It may have been revoked
    /// since.
    ///
    /// A door asks this for an address that is blocked: somebody else's failures must not lock out a
    /// client that has shown a good token.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::keys::{KeyScope, KeyStore, NewKey, Permission};
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// # let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::R2Read]))).await?;
    /// assert!(!keys.remembers(issued.token()));
    /// keys.verify(issued.token()).await?;
    /// assert!(keys.remembers(issued.token()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn remembers(&self, token: &str) -> bool {
        let Some(token) = Token::parse(token) else { return false };
        let verified = self.inner.verified.lock().ignore_poison();
        verified.get(token.id()).is_some_and(|secret_hash| token.matches(secret_hash))
    }

    /// Writes the uses that were counted since the last call: call it every few seconds, and at the end of the process.
    ///
    /// Uses whose write has failed are written by the next call, and so are those of a call whose future is dropped; where the database
    /// has written them all the same, they count twice.
    ///
    /// # Errors
    /// [`KeysError`] where the store cannot be written.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use isobar_db::{SqliteDatabase, vault::Keyring};
    /// # use isobar_gateway::keys::{AccessKeys, KeyScope, KeyStore, NewKey, Permission};
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let keys = KeyStore::open(Arc::new(SqliteDatabase::memory().await?), keyring).await?;
    /// # let issued = keys.create(NewKey::new("ci", KeyScope::new([Permission::R2Read]))).await?;
    /// keys.note_use(&issued.key.id); // as doors do
    /// assert_eq!(keys.list().await?[0].uses, 0);
    /// keys.write_uses().await?;
    /// assert_eq!(keys.list().await?[0].uses, 1);
    /// # Ok(()) }
    /// ```
    pub async fn write_uses(&self) -> Result<(), KeysError> {
        let used = std::mem::take(&mut *self.inner.used.lock().ignore_poison());
        if used.is_empty() {
            return Ok(());
        }
        let mut unwritten = Unwritten { store: self, used };
        let sql = "UPDATE gateway_keys SET uses = uses + ?1, last_used_at = max(coalesce(last_used_at, ''), ?2) WHERE id = ?3";
        let update = |(id, used): (&String, &Used)| {
            let count = i64::try_from(used.count).unwrap_or(i64::MAX);
            Statement::new(sql).bind(count).bind(text(used.last)).bind(id)
        };
        let updates = unwritten.used.iter().map(update).collect();
        self.inner.database.batch(updates).await.map_err(failed)?;
        unwritten.used.clear();
        Ok(())
    }

    /// Adds uses to those that are not written: one of a request, or those of a write that has failed.
    fn add_uses(&self, id: String, more: Used) {
        let mut used = self.inner.used.lock().ignore_poison();
        let entry = used.entry(id).or_insert(Used { count: 0, last: more.last });
        entry.count += more.count;
        entry.last = entry.last.max(more.last);
    }

    /// Reads a key with its hash and its sealed secret.
    async fn read(&self, id: &str) -> Result<Option<Entry>, KeysError> {
        let statement = Statement::new(format!("SELECT {COLUMNS} WHERE id = ?")).bind(id).rows_only();
        let rows = self.inner.database.query(statement).await.map_err(failed)?.rows;
        rows.first().map(entry).transpose()
    }
}

#[async_trait]
impl AccessKeys for KeyStore {
    async fn find(&self, access_key_id: &str) -> Result<Option<AccessKey>, KeysError> {
        if !is_id(access_key_id) {
            return Ok(None);
        }
        let Some(entry) = self.read(access_key_id).await?.filter(|entry| entry.key.revoked.is_none()) else {
            return Ok(None);
        };
        let secret = self.inner.vault.open(&cell(access_key_id), &entry.sealed).await.map_err(failed)?;
        let secret = secret.expose_text().map(|text| Zeroizing::new(text.to_owned()));
        let secret = secret.ok_or_else(|| KeysError::new("a secret access key is not text"))?;
        let key = AccessKey::new(access_key_id, secret.as_str(), entry.key.scope.buckets());
        Ok(Some(match entry.key.expires {
            Some(expires) => key.with_expires(expires),
            None => key,
        }))
    }

    fn note_use(&self, access_key_id: &str) {
        self.add_uses(access_key_id.to_owned(), Used { count: 1, last: Utc::now() });
    }
}

/// Uses that are being written. Those that are left when it is dropped are counted again.
struct Unwritten<'s> {
    store: &'s KeyStore,
    used: HashMap<String, Used>,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        self.used.drain().for_each(|(id, used)| self.store.add_uses(id, used));
    }
}

/// The place for which a key's secret is sealed: a row that is copied over another one's does not open.
fn cell(id: &str) -> Cell<'_> {
    Cell::new("gateway_keys", "secret", id)
}

/// Reads a row.
fn entry(row: &Row) -> Result<Entry, KeysError> {
    let time = |column: &str| -> Result<Option<DateTime<Utc>>, KeysError> { row.get(column).map_err(failed) };
    let scope: String = row.get("scope").map_err(failed)?;
    let scope = serde_json::from_str(&scope)
        .map_err(|error| KeysError::new(format!("the scope of a key cannot be read: {error}")).with_source(error))?;
    let key = Key {
        id: row.get("id").map_err(failed)?,
        name: row.get("name").map_err(failed)?,
        scope,
        created: row.get("created_at").map_err(failed)?,
        expires: time("expires_at")?,
        revoked: time("revoked_at")?,
        uses: row.get("uses").map_err(failed)?,
        last_used: time("last_used_at")?,
    };
    let secret_hash = row.get("secret_hash").map_err(failed)?;
    Ok(Entry { key, secret_hash, sealed: row.get("secret").map_err(failed)? })
}

/// A time as it is stored: RFC 3339 to the millisecond, in UTC, which sorts as text.
fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An error of the database or the vault.
fn failed(error: isobar_db::Error) -> KeysError {
    KeysError::new(error.to_string()).with_source(error)
}
