//! Encrypted values: a sealed value is useless without the keyring, and useless in any other cell.
//!
//! Three kinds of key, from the outside in. *Key-encryption keys* stand in the [`Keyring`], outside the database: in a file,
//! an environment variable or a secret binding. *Data keys* stand in the table `vault_keys`, wrapped by a key-encryption
//! key; values are sealed under the newest of them. The *index key*, wrapped alike, makes blind indexes: equal plain texts
//! of one column have equal indexes, and an index reveals nothing else.
//!
//! A sealed value is `version | algorithm | data key | nonce | ciphertext` under XChaCha20-Poly1305. The [`Cell`] it was
//! sealed for (database, table, column and primary key) is authenticated, so that a value copied into another row or column
//! does not open there.
//!
//! ```
//! use std::sync::Arc;
//! use isobar_db::{Database, QueryableExt, SqliteDatabase};
//! use isobar_db::vault::{self, Cell, Keyring, Vault};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let db = Arc::new(SqliteDatabase::memory().await?);
//! db.run_script(vault::SCHEMA).await?;
//! db.exec("INSERT INTO vault_columns (table_name, column_name) VALUES ('oauth_tokens', 'access_token')").await?;
//! let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
//! let vault = Vault::new(db, "business", keyring);
//! let cell = Cell::new("oauth_tokens", "access_token", 17);
//! let sealed = vault.seal(&cell, b"gho_secret").await?;
//! assert_eq!(vault.open(&cell, &sealed).await?.expose(), b"gho_secret");
//! assert!(vault.open(&Cell::new("oauth_tokens", "access_token", 18), &sealed).await.is_err());
//! # Ok(()) }
//! ```
//!
//! | lost or leaked | result |
//! |---|---|
//! | the database leaks | sealed values stay secret; blind indexes show which values are equal |
//! | the keyring leaks | whoever has both reads everything: rotate, then [`sweep`](Vault::sweep) |
//! | the keyring is lost | sealed values are lost; keep a copy apart from the backups |
//! | `vault_keys` is lost | the same; it is part of the database and of its backups |
//! | a sealed value is copied into another cell | it does not open there |
//! | an old value of the same cell is put back | it opens: the vault knows no versions |
//!
//! Rotation in full, without downtime: a new line first in the keyring, everywhere; [`rewrap`](Vault::rewrap),
//! [`rotate`](Vault::rotate), [`sweep`](Vault::sweep); then the old line goes. `isobar vault rotate` does the
//! middle part.

mod cipher;
mod column;
mod inventory;
mod keyring;
mod keys;
mod rebind;
mod secret;
mod sweep;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use isobar_base::sync::IgnorePoison;
use sha2::Sha256;

pub use column::Column;
pub use inventory::wrapping_keys;
pub use keyring::Keyring;
pub use rebind::Rebound;
pub use secret::Secret;
pub use sweep::{ColumnStatus, Progress, Status, Sweep};

use crate::{Database, Error, ErrorKind, Result, Value};
use cipher::Header;
use keys::{DataKeys, KeySource};

/// The tables that the vault needs, for a migration. A column of sealed values is declared by a row of `vault_columns`;
/// without one no value is sealed for it, because the sweep would not find it and would delete its keys.
pub const SCHEMA: &str = include_str!("schema.sql");

/// Place of a sealed value in the vault's database.
///
/// The key is authenticated with its kind: a value sealed for the integer 17 does not open for the text `"17"`.
/// Table and column are compared byte by byte, so write them as the row of `vault_columns` does.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell<'a> {
    table: &'a str,
    column: &'a str,
    key: Value,
}

impl<'a> Cell<'a> {
    /// The cell of this table, column and primary key.
    pub fn new(table: &'a str, column: &'a str, key: impl Into<Value>) -> Self {
        Self { table, column, key: key.into() }
    }
}

/// Seals and opens the values of one database.
///
/// Cheap to clone. The data keys are read when first needed, and again when a value names one that is not known.
#[derive(Debug, Clone)]
pub struct Vault {
    database: Arc<dyn Database>,
    name: Arc<str>,
    keyring: Arc<Keyring>,
    keys: Arc<Mutex<Option<Arc<DataKeys>>>>,
}

impl Vault {
    /// A vault on a database that has the tables of [`SCHEMA`]. The name is part of each value's associated data: it
    /// must not change when the database moves.
    pub fn new(database: Arc<dyn Database>, name: impl Into<Arc<str>>, keyring: Keyring) -> Self {
        Self { database, name: name.into(), keyring: Arc::new(keyring), keys: Arc::default() }
    }

    /// Checks that the keyring is the one with which the database was made. It opens every wrapped key, and makes and changes
    /// nothing; a database without keys and without sealed values fits every keyring.
    ///
    /// A database without the vault's tables is refused: once they are lost nothing shows what was sealed. Check after the migration
    /// that makes them.
    ///
    /// Where there are no keys, blobs in the form of sealed values count in declared columns alone: elsewhere they may be
    /// users' own bytes.
    ///
    /// A platform calls this at its start, and does not start where it fails. Where the keyring itself is missing,
    /// [`wrapping_keys`] shows whether a new one may be made.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_db::vault::{self, Keyring, Vault};
    /// use isobar_db::{ErrorKind, QueryableExt, SqliteDatabase};
    ///
    /// let db = Arc::new(SqliteDatabase::memory().await?);
    /// let keyring = |line: &vault::Secret| line.expose_text().unwrap_or_default().parse::<Keyring>();
    /// let line = Keyring::generate("2026")?;
    /// let missing = Vault::new(db.clone(), "business", keyring(&line)?).check().await.unwrap_err();
    /// assert_eq!(missing.kind(), ErrorKind::Sealed, "the tables are not there yet");
    ///
    /// db.run_script(vault::SCHEMA).await?;
    /// let vault = Vault::new(db.clone(), "business", keyring(&line)?);
    /// vault.check().await?;
    /// vault.blind_index("users", "email", b"ada@example.com").await?; // makes the keys
    ///
    /// let other = Keyring::generate("2026")?;
    /// assert!(Vault::new(db, "business", keyring(&other)?).check().await.is_err(), "another key of the same name");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Sealed`] where a table of [`SCHEMA`] is missing, the keyring lacks a key or has another one of its name, or
    /// values are sealed and their keys are not in the database; as [`Queryable::query`](crate::Queryable::query).
    pub async fn check(&self) -> Result<()> {
        if let Some(table) = inventory::missing_table(&*self.database).await? {
            return Err(sealed_error(format!(
                "the vault's table {table} is not there: apply the migration that makes it (vault::SCHEMA) to a new database, and \
                 restore one that had it from a backup"
            )));
        }
        if self.has_keys().await? {
            return Ok(());
        }
        let sealed = inventory::sealed_columns(&*self.database).await?;
        let Some(column) = sealed.first() else { return Ok(()) };
        // Another process may have made the keys, and sealed, since the look above: keys come before values.
        if self.has_keys().await? { Ok(()) } else { Err(keys::keys_are_gone(column)) }
    }

    /// Returns whether the database has its keys, and opens them by the keyring.
    async fn has_keys(&self) -> Result<bool> {
        Ok(keys::read(&*self.database, &self.source()).await?.is_some())
    }

    /// Seals a value for its cell, under the active data key. The first use makes the keys.
    ///
    /// The sealed value is 46 bytes longer than the plain one. Two seals of one value differ, as each draws a nonce of
    /// its own; for equality there is [`blind_index`](Self::blind_index).
    ///
    /// # Errors
    /// As [`Queryable::query`](crate::Queryable::query); [`ErrorKind::Sealed`] when the column is not declared or a wrapped
    /// key does not open.
    pub async fn seal(&self, cell: &Cell<'_>, plain: &[u8]) -> Result<Bytes> {
        let keys = match self.keys().await? {
            keys if keys.declares(cell.table, cell.column) => keys,
            _ => self.reload().await?, // declared by a migration since
        };
        if !keys.declares(cell.table, cell.column) {
            return Err(sealed_error(format!("vault_columns does not declare {}.{}", cell.table, cell.column)));
        }
        let (id, key) = keys.active();
        cipher::seal(key, Header::new(id), &self.associated(cell), plain)
    }

    /// Opens a value that was sealed for this cell.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use isobar_db::vault::{self, Cell, Keyring, Vault};
    /// # use isobar_db::{ErrorKind, QueryableExt, SqliteDatabase};
    /// # let db = Arc::new(SqliteDatabase::memory().await?);
    /// # db.run_script(vault::SCHEMA).await?;
    /// # db.run_script("INSERT INTO vault_columns (table_name, column_name) VALUES ('tokens', 'token')").await?;
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let vault = Vault::new(db, "business", keyring);
    /// let cell = Cell::new("tokens", "token", 1);
    /// let mut sealed = vault.seal(&cell, b"secret").await?.to_vec();
    /// assert_eq!(vault.open(&cell, &sealed).await?.expose_text(), Some("secret"));
    /// if let Some(last) = sealed.last_mut() {
    ///     *last ^= 1; // one bit is another one
    /// }
    /// assert_eq!(vault.open(&cell, &sealed).await.unwrap_err().kind(), ErrorKind::Sealed);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Sealed`] when it was sealed for another cell, was changed, or its key is not there any more; as
    /// [`seal`](Self::seal).
    pub async fn open(&self, cell: &Cell<'_>, sealed: &[u8]) -> Result<Secret> {
        let header = Header::read(sealed)?;
        let keys = match self.keys().await? {
            keys if keys.get(header.key).is_some() => keys,
            _ => self.reload().await?, // made by another process since
        };
        let key = keys.get(header.key).ok_or_else(|| {
            sealed_error(format!("the value is sealed under the data key {}, which is not there", header.key))
        })?;
        cipher::open(key, header, &self.associated(cell), sealed)
    }

    /// The blind index of a value: equal for equal values of one column, as 64 hex digits, and of no use without the
    /// keyring. Store it beside the sealed value to look for it. The index reveals which rows are equal.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use isobar_db::vault::{self, Keyring, Vault};
    /// # use isobar_db::{QueryableExt, SqliteDatabase};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let db = Arc::new(SqliteDatabase::memory().await?);
    /// # db.run_script(vault::SCHEMA).await?;
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let vault = Vault::new(db, "business", keyring);
    /// let index = vault.blind_index("users", "email", b"ada@example.com").await?;
    /// assert_eq!(index.len(), 64);
    /// assert_eq!(index, vault.blind_index("users", "email", b"ada@example.com").await?);
    /// assert_ne!(index, vault.blind_index("users", "phone", b"ada@example.com").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// It survives rotations, so columns of indexes need not be filled again.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub async fn blind_index(&self, table: &str, column: &str, plain: &[u8]) -> Result<String> {
        let mac = self.keyed("isobar blind index", &[table, column], plain).await?;
        Ok(mac.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// An authentication code of a message for one purpose (HMAC-SHA256): for signed links and pseudonyms. It stays the
    /// same through rotations, and codes of two purposes are unrelated. Compare codes in constant time.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use isobar_db::vault::{self, Keyring, Vault};
    /// # use isobar_db::{QueryableExt, SqliteDatabase};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let db = Arc::new(SqliteDatabase::memory().await?);
    /// # db.run_script(vault::SCHEMA).await?;
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// # let vault = Vault::new(db, "business", keyring);
    /// let code = vault.mac("download link", b"/reports/7?until=1790000000").await?;
    /// assert_eq!(code, vault.mac("download link", b"/reports/7?until=1790000000").await?);
    /// assert_ne!(code, vault.mac("unsubscribe link", b"/reports/7?until=1790000000").await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub async fn mac(&self, purpose: &str, message: &[u8]) -> Result<[u8; 32]> {
        self.keyed("isobar mac", &[purpose], message).await
    }

    /// HMAC under a subkey of the index key, one for each context.
    async fn keyed(&self, kind: &str, context: &[&str], message: &[u8]) -> Result<[u8; 32]> {
        let keys = self.keys().await?;
        let mut info = Vec::new();
        for part in [kind, &*self.name].iter().chain(context) {
            prefixed(&mut info, part.as_bytes());
        }
        let mut subkey = zeroize::Zeroizing::new([0; 32]);
        let hkdf = Hkdf::<Sha256>::new(None, keys.index());
        hkdf.expand(&info, &mut *subkey).expect("32 bytes are within HKDF's 255 blocks");
        let mut mac = Hmac::<Sha256>::new_from_slice(&*subkey).expect("HMAC takes keys of every length");
        mac.update(message);
        Ok(mac.finalize().into_bytes().into())
    }

    /// Makes a new data key, under which values are sealed from now on, here at once and elsewhere when the process next
    /// reads the keys. Old values open as before; [`sweep`](Self::sweep) seals them anew. Returns the new key's id.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_db::vault::{self, Cell, Keyring, Vault};
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = Arc::new(SqliteDatabase::memory().await?);
    /// db.run_script(vault::SCHEMA).await?;
    /// db.run_script("CREATE TABLE tokens (id INTEGER PRIMARY KEY, token BLOB);
    ///     INSERT INTO vault_columns (table_name, column_name) VALUES ('tokens', 'token');").await?;
    /// # let keyring: Keyring = Keyring::generate("2026")?.expose_text().unwrap_or_default().parse()?;
    /// let vault = Vault::new(db.clone(), "business", keyring);
    /// let sealed = vault.seal(&Cell::new("tokens", "token", 1), b"secret").await?;
    /// db.prepare("INSERT INTO tokens VALUES (1, ?)").bind(sealed).run().await?;
    ///
    /// let before = vault.status().await?.active_key;
    /// assert!(vault.rotate().await? > before);
    /// assert_eq!(vault.status().await?.columns[0].outdated, 1);
    /// let sweep = vault.sweep(|_| ()).await?;
    /// assert_eq!((sweep.sealed, sweep.failed.len()), (1, 0));
    /// assert_eq!(vault.status().await?.columns[0].current, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`seal`](Self::seal); [`ErrorKind::Sealed`] when a declared column is not there: no key is made then.
    pub async fn rotate(&self) -> Result<u32> {
        inventory::check_declared(&*self.database).await?; // or the sweep would fail, and every try would leave a key
        self.keys().await?; // the keyring fits the database, or nothing is added to it
        keys::add(&*self.database, &self.source(), keys::Purpose::Data).await?;
        Ok(self.reload().await?.active().0)
    }

    /// Wraps every key anew under the keyring's first key-encryption key, so that the others can be removed. Returns how
    /// many changed.
    ///
    /// Sealed values are not touched: the data keys stay the same, wrapped by another key. It may break off anywhere
    /// and be started again.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_db::vault::{self, Keyring, Vault, wrapping_keys};
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = Arc::new(SqliteDatabase::memory().await?);
    /// db.run_script(vault::SCHEMA).await?;
    /// let old = Keyring::generate("2025")?;
    /// let keyring: Keyring = old.expose_text().unwrap_or_default().parse()?;
    /// Vault::new(db.clone(), "business", keyring).mac("any use", b"").await?; // makes the keys
    /// assert_eq!(wrapping_keys(&*db).await?, ["2025"]);
    ///
    /// let new = Keyring::generate("2026")?;
    /// let both: Keyring = [&new, &old].map(|line| line.expose_text().unwrap_or_default()).join("\n").parse()?;
    /// assert_eq!(Vault::new(db.clone(), "business", both).rewrap().await?, 2, "the data key and the index key");
    /// assert_eq!(wrapping_keys(&*db).await?, ["2026"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub async fn rewrap(&self) -> Result<u64> {
        keys::rewrap(&*self.database, &self.source()).await
    }

    /// The keys as they were read last. They are kept until a value names one that is not among them: another process
    /// may have rotated.
    async fn keys(&self) -> Result<Arc<DataKeys>> {
        let known = self.keys.lock().ignore_poison().clone();
        match known {
            Some(keys) => Ok(keys),
            None => self.reload().await,
        }
    }

    async fn reload(&self) -> Result<Arc<DataKeys>> {
        let keys = Arc::new(keys::load(&*self.database, &self.source()).await?);
        *self.keys.lock().ignore_poison() = Some(Arc::clone(&keys));
        Ok(keys)
    }

    fn source(&self) -> KeySource<'_> {
        KeySource { keyring: &self.keyring, name: &self.name }
    }

    /// A value's associated data: each part with its length before it, so that no two cells have the same.
    fn associated(&self, cell: &Cell<'_>) -> Vec<u8> {
        let mut associated = Vec::new();
        for part in [&*self.name, cell.table, cell.column, cell.key.type_name()] {
            prefixed(&mut associated, part.as_bytes());
        }
        match &cell.key {
            Value::Null => {}
            Value::Integer(integer) => prefixed(&mut associated, &integer.to_be_bytes()),
            Value::Real(real) => prefixed(&mut associated, &real.to_be_bytes()),
            Value::Text(text) => prefixed(&mut associated, text.as_bytes()),
            Value::Blob(bytes) => prefixed(&mut associated, bytes),
        }
        associated
    }
}

fn prefixed(to: &mut Vec<u8>, part: &[u8]) {
    to.extend_from_slice(&(part.len() as u64).to_be_bytes());
    to.extend_from_slice(part);
}

/// An error of the vault. Its message must not contain plain text or keys.
fn sealed_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Sealed, message)
}
