//! The databases of a place, as a catalog.
//!
//! Clients name a database by its id, which is a UUID on Cloudflare. One of the configuration has its
//! `database_id`, so that the same configuration works here and there; any other gets one in
//! `d1/NAME.id`, which outlives restarts. A copy of a database under another name gets an id of its
//! own, as the file is beside it and not in it.
//!
//! # Locks
//!
//! `known` is a read-write lock over a small map, never held across an await: each query takes it to
//! read. `changing` is held while a database is opened, created or deleted, and the map is looked at
//! again under it. The order is `changing`, then `known`.
//!
//! # Deleting
//!
//! A database that a request holds is not deleted: the count of its `Arc` shows it. It leaves the map
//! first, so that no request opens it anew; then go the history, the file, its log and index, and the
//! id. Broken off after the file, the leftovers mean nothing, and an id without a database is used for
//! the next one of that name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use isobar_base::fs::{self, SqliteFile};
use isobar_base::random;
use isobar_base::sync::IgnorePoison;
use isobar_cloudflare::wrangler::Config;
use isobar_db::{Database, SqliteDatabase};
use isobar_gateway::catalog::{CatalogError, CatalogErrorKind, DatabaseCatalog, DatabaseInfo};
use isobar_http_serve::Platform;
use tokio::sync::Mutex;

use super::buckets::{created, unavailable};
use crate::place::checked;

/// The databases below a root: those that the application has open, and others, which are opened when they are first used.
///
/// A database has the id of the configuration; one without has an id in a file beside it (`NAME.id`), drawn when it is first seen.
#[derive(Debug)]
pub(super) struct LocalDatabases {
    folder: PathBuf,
    /// Names and ids of the configuration.
    configured: BTreeMap<String, Option<String>>,
    /// By name. A query looks here alone.
    known: RwLock<BTreeMap<String, Known>>,
    /// Held while one is opened, created or deleted.
    changing: Mutex<()>,
}

#[derive(Debug, Clone)]
struct Known {
    info: DatabaseInfo,
    /// `None` until it is first used.
    database: Option<Arc<dyn Database>>,
}

impl LocalDatabases {
    /// Takes the databases that the application has open.
    pub(super) fn open(root: &Path, config: &Config, platform: &Platform) -> Result<Self, Box<dyn std::error::Error>> {
        let configured = config.d1_databases.iter();
        let configured = configured.map(|one| (one.local_name().to_owned(), one.database_id.clone())).collect();
        let catalog =
            Self { folder: root.join("d1"), configured, known: RwLock::default(), changing: Mutex::default() };
        for one in &config.d1_databases {
            let name = one.local_name();
            let info = catalog.described(name)?;
            let database = Some(platform.database(&one.binding)?);
            catalog.known.write().ignore_poison().insert(name.to_owned(), Known { info, database });
        }
        Ok(catalog)
    }

    /// Looks for files that have come and gone.
    ///
    /// Called where a name or id is not known, and for lists: files may come and go by commands, or
    /// with an application beside this one.
    ///
    /// # Errors
    /// A folder that cannot be read; an id that cannot be written.
    fn scan(&self) -> Result<(), CatalogError> {
        let failed = |error: io::Error| unavailable("the databases cannot be listed", &self.folder, error);
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(".sqlite").filter(|name| checked(name).is_ok()).map(str::to_owned));
        }
        let mut known = self.known.write().ignore_poison();
        known.retain(|name, _| names.contains(name) || self.configured.contains_key(name));
        for name in names {
            if let Entry::Vacant(vacant) = known.entry(name) {
                let info = self.described(vacant.key()).map_err(failed)?;
                vacant.insert(Known { info, database: None });
            }
        }
        Ok(())
    }

    /// Looks up an id, or else a name. A name that is another one's id does not hide that.
    fn look(&self, id_or_name: &str) -> Option<Known> {
        let known = self.known.read().ignore_poison();
        let by_id = known.values().find(|known| known.info.id == id_or_name);
        by_id.or_else(|| known.get(id_or_name)).cloned()
    }

    /// Returns the entry of a database, and draws its id if it has none.
    fn described(&self, name: &str) -> io::Result<DatabaseInfo> {
        let id = match self.configured.get(name).cloned().flatten() {
            Some(id) => id,
            None => id_of(&self.id_file(name))?,
        };
        Ok(DatabaseInfo::new(id, name, created(&self.file(name))))
    }

    /// Path of a database's file.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.sqlite"))
    }

    /// Path of the file with a database's id.
    fn id_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.id"))
    }
}

#[async_trait]
impl DatabaseCatalog for LocalDatabases {
    async fn list(&self) -> Result<Vec<DatabaseInfo>, CatalogError> {
        self.scan()?;
        Ok(self.known.read().ignore_poison().values().map(|known| known.info.clone()).collect())
    }

    async fn find(&self, id_or_name: &str) -> Result<Option<DatabaseInfo>, CatalogError> {
        if let Some(known) = self.look(id_or_name) {
            return Ok(Some(known.info));
        }
        self.scan()?;
        Ok(self.look(id_or_name).map(|known| known.info))
    }

    async fn open(&self, id: &str) -> Result<Option<Arc<dyn Database>>, CatalogError> {
        match self.look(id) {
            Some(Known { database: Some(database), .. }) => return Ok(Some(database)),
            Some(_) => {}
            None => return Ok(None),
        }
        let _changing = self.changing.lock().await;
        let Some(Known { info, database }) = self.look(id) else { return Ok(None) };
        if let Some(database) = database {
            return Ok(Some(database)); // opened while this one waited
        }
        let file = self.file(&info.name);
        if !file.exists() {
            // Opening it would make an empty one in its place.
            self.known.write().ignore_poison().remove(&info.name);
            return Err(unavailable(
                format!("the database {} is gone", info.name),
                &file,
                "there is no such file any more",
            ));
        }
        let opened = SqliteDatabase::open(&file).await;
        let what = || format!("the database {} cannot be opened", info.name);
        let opened: Arc<dyn Database> = Arc::new(opened.map_err(|error| unavailable(what(), &file, error))?);
        let known = Known { info: info.clone(), database: Some(Arc::clone(&opened)) };
        self.known.write().ignore_poison().insert(info.name, known);
        Ok(Some(opened))
    }

    async fn create(&self, name: &str) -> Result<DatabaseInfo, CatalogError> {
        checked(name).map_err(|message| CatalogError::new(CatalogErrorKind::InvalidName, message))?;
        let _changing = self.changing.lock().await;
        self.scan()?;
        if self.known.read().ignore_poison().contains_key(name) {
            let message = format!("A database with the name {name} already exists");
            return Err(CatalogError::new(CatalogErrorKind::AlreadyExists, message));
        }
        let file = self.file(name);
        let what = || format!("the database {name} cannot be created");
        let opened = SqliteDatabase::open(&file).await.map_err(|error| unavailable(what(), &file, error))?;
        let info = self.described(name).map_err(|error| unavailable(what(), &file, error))?;
        let known = Known { info: info.clone(), database: Some(Arc::new(opened)) };
        self.known.write().ignore_poison().insert(name.to_owned(), known);
        Ok(info)
    }

    async fn delete(&self, id: &str) -> Result<(), CatalogError> {
        let _changing = self.changing.lock().await;
        let Some(Known { info, .. }) = self.look(id) else {
            return Err(CatalogError::new(CatalogErrorKind::NotFound, format!("The database {id} could not be found")));
        };
        let name = &info.name;
        if self.configured.contains_key(name) {
            let message = format!("the database {name} is a binding of this server's configuration, and in use");
            return Err(CatalogError::new(CatalogErrorKind::Unsupported, message));
        }
        {
            let mut known = self.known.write().ignore_poison();
            let database = known.get(name).and_then(|known| known.database.as_ref());
            if database.is_some_and(|database| Arc::strong_count(database) > 1) {
                return Err(CatalogError::new(CatalogErrorKind::Unavailable, "the database is in use: try again"));
            }
            known.remove(name);
        }
        let failed = |path: &Path, error| unavailable(format!("the database {name} cannot be deleted"), path, error);
        // The database before its log, which means nothing without it.
        let file = self.file(name);
        SqliteDatabase::delete_history(&file).map_err(|error| unavailable("its history stays", &file, error))?;
        let beside = SqliteFile::all_beside(&file);
        for path in [file].into_iter().chain(beside).chain([self.id_file(name)]) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path, error)),
                _ => {}
            }
        }
        fs::sync_dir(&self.folder).map_err(|error| failed(&self.folder, error))
    }
}

/// The id in a file, or a new one, which is then there for good.
///
/// Two processes that draw at once both write a whole file, and the later rename stays; the id that the
/// first one has told a client is then gone. It takes a database that neither has seen before, in the
/// same moment.
fn id_of(file: &Path) -> io::Result<String> {
    match std::fs::read_to_string(file) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let id = uuid(random::bytes().map_err(io::Error::other)?);
    fs::create_dir(fs::parent(file))?;
    // Written beside and moved, so that a crash leaves no part of an id.
    let part = file.with_extension(format!("id.{}", std::process::id()));
    let mut written = fs::private_file().write(true).create(true).truncate(true).open(&part)?;
    writeln!(written, "{id}")?;
    written.sync_all()?;
    std::fs::rename(&part, file)?;
    fs::sync_dir(fs::parent(file))?;
    Ok(id)
}

/// Makes random bytes a UUID of RFC 9562, version 4: four bits of version, two of variant.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_stay() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d1/name.id");
        let id = id_of(&file).unwrap();
        assert_eq!(id_of(&file).unwrap(), id);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
    fn catalog(home: &Path) -> LocalDatabases {
        LocalDatabases {
            folder: home.join("d1"),
            configured: BTreeMap::new(),
            known: RwLock::default(),
            changing: Mutex::default(),
        }
    }

    #[tokio::test]
    async fn damaged_and_missing_databases_are_named_to_clients_and_their_paths_to_operators() {
        use std::error::Error;

        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("d1/orders.sqlite");
        drop(SqliteDatabase::open(&file).await.unwrap());
        let databases = catalog(home.path());
        let id = databases.find("orders").await.unwrap().unwrap().id;
        std::fs::write(&file, "not a database, and longer than the head of one is".repeat(20)).unwrap();
        let damaged = databases.open(&id).await.unwrap_err();
        std::fs::remove_file(&file).unwrap();
        let missing = databases.open(&id).await.unwrap_err();
        for (error, words) in
            [(damaged, "the database orders cannot be opened"), (missing, "the database orders is gone")]
        {
            assert_eq!(error.to_string(), words);
            let cause = error.source().unwrap().to_string();
            assert!(cause.contains(&file.display().to_string()), "{cause}");
        }
        assert!(!file.exists(), "no empty one is made in its place");
        assert!(databases.find("orders").await.unwrap().is_none());
    }
}
