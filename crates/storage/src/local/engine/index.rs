//! The index as the store uses it: connections that read, and the commit thread's that writes.
//!
//! Readers take a connection from a list, or open one more; eight are kept. A connection whose transaction could not be ended, or
//! that met an error of SQLite's, is closed rather than kept. A read of a row together with its blobs' names is one transaction,
//! as a write between the two could have replaced them.
//!
//! Writes are closures that run within the commit thread's transaction: they check conditions there, so that a check and the
//! write that follows are one, across processes. A put of a small body without conditions is no closure: it goes straight into
//! the frame.
//!
//! **Damage.** An index in which SQLite finds damage is still read, as what is found in it is verified by its CRC. But what is
//! *not* found may be there all the same: from then on a missing key, a listing and every write are an error that names the
//! repair, and nothing is deleted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use isobar_base::fs::SqliteFile;
use isobar_base::sync::IgnorePoison;
use rusqlite::{Connection, params};

use super::changes::ChangeCounter;
use super::{busy_handler, compact, recover};
use crate::local::blobs::BlobPart;
use crate::local::commit::{After, Batch, Hooks, Wal, Writer};
use crate::local::disk::{Disk, make_private};
use crate::local::index::{Content, Result, TxError, check, replace, rows, schema, unusable, uploads};
use crate::local::packs::{Appender, Packs};
use crate::local::verify::Verify;
use crate::{
    Conditions, CopyOptions, Error, ErrorKind, Key, ListOptions, ListPage, ListUploadsOptions, MultipartOptions,
    ObjectMeta, Part, PartInfo, PutResult, UploadId, UploadInfo, rules,
};

/// A new body: bytes, or blobs that are durable.
#[derive(Debug, Clone)]
pub(in crate::local) enum NewBody {
    Small(Bytes),
    Blobs(Vec<BlobPart>),
}

/// Reading connections that are kept.
const READERS: usize = 8;
/// Pages of the log after which it is copied into the database: more of them were not quicker, and a short log is written over
/// again and again, which is quicker to sync than a file that grows.
const CHECKPOINT_PAGES: u32 = 1000;

/// One connection that writes, on a thread of its own, and as many that read as there are readers at once.
#[derive(Debug)]
pub(in crate::local) struct Index {
    path: PathBuf,
    pub(super) writer: Writer,
    readers: Mutex<Vec<Connection>>,
    changes: Arc<ChangeCounter>,
    /// Damage that was found when it was opened, or by a garbage collection.
    damage: OnceLock<String>,
}

impl Index {
    /// Opens the index, and replays frames that it has lost; `after` runs on the commit thread after every commit. A new index is made
    /// unless `refuse_files` finds packs or blobs.
    pub(in crate::local) fn open(
        path: &Path,
        disk: Arc<dyn Disk>,
        packs: Packs,
        refuse_files: impl Fn() -> crate::Result<()>,
        after: After,
    ) -> crate::Result<Self> {
        let named = |error| unusable(TxError::Sqlite(error), path);
        make_file(path, &*disk, &refuse_files)?;
        let mut connection = Connection::open(path).map_err(named)?;
        busy_handler::set(&mut connection).map_err(named)?;
        // Looked at before anything is set: another program's file stays as it is.
        schema::prepare(&mut connection, refuse_files).map_err(|error| unusable(error, path))?;
        drop(connection);
        let mut appender = Appender::new(packs);
        let mut writer = connect(path)?;
        writer.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(named)?;
        // What is committed is in a pack, or synced by the writer.
        writer.pragma_update(None, "synchronous", "NORMAL").map_err(named)?;
        recover::recover(&mut writer, &mut appender).map_err(|error| unusable(error, path))?;
        // Now, and not at the first use: an error of the disk is reported to handles that are open when it happens.
        let wal = Wal::open(SqliteFile::Wal.beside(path), disk)?;
        let damage = check::damage(&writer, path).map_or_else(OnceLock::new, OnceLock::from);
        let changes = Arc::new(ChangeCounter::new(connect(path)?));
        let ours = Arc::clone(&changes);
        let committed = Box::new(move || ours.note());
        let hooks = Hooks { before: compact::compact, after, committed };
        let writer = Writer::start(writer, appender, wal, hooks)?;
        Ok(Self { path: path.to_owned(), writer, readers: Mutex::default(), changes, damage })
    }

    /// Whether writes are still taken.
    ///
    /// # Errors
    /// The one that each write gets, once a sync has failed, or of a damaged index.
    pub(in crate::local) fn health(&self) -> crate::Result<()> {
        self.check_damage()?;
        self.writer.health()
    }

    /// An error of an index that is known to be damaged: what it does not find may be there, so that nothing may be put into its
    /// place, listed without it, or deleted as if it were not.
    fn check_damage(&self) -> crate::Result<()> {
        let Some(what) = self.damage.get() else { return Ok(()) };
        let message = format!(
            "{} is damaged ({what}): make it again out of the packs (isobar r2 fsck BUCKET --rebuild)",
            self.path.display()
        );
        Err(Error::new(ErrorKind::Corrupt, message))
    }

    /// Checks the whole file, which takes some 3 s for 1 GiB.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where it is damaged: each further write gets the same.
    pub(in crate::local) fn check_whole(&self) -> crate::Result<()> {
        if let Some(damage) = self.read(|connection| Ok(check::damage_of(connection)))? {
            drop(self.damage.set(damage)); // the first one stays
        }
        self.check_damage()
    }

    /// Returns a number that changes when anything may have changed.
    pub(in crate::local) fn changes(&self) -> u64 {
        self.changes.count()
    }

    pub(in crate::local) fn head(&self, key: &Key) -> crate::Result<Option<ObjectMeta>> {
        let found = self.read(|connection| rows::find(connection, key))?;
        if found.is_none() {
            self.check_damage()?;
        }
        Ok(found)
    }

    pub(in crate::local) fn get(&self, key: &Key) -> crate::Result<Option<(ObjectMeta, Content)>> {
        let found = self.read(|connection| rows::find_with_content(connection, key))?;
        if found.is_none() {
            self.check_damage()?;
        }
        Ok(found)
    }

    /// Stores the row and its body if the conditions hold and `is_there` finds the segments; whether they did.
    pub(in crate::local) async fn put(
        &self,
        meta: ObjectMeta,
        body: NewBody,
        conditions: Option<Conditions>,
        is_there: impl Fn(&[BlobPart]) -> crate::Result<()> + Send + 'static,
    ) -> crate::Result<bool> {
        let body = match (body, &conditions) {
            (NewBody::Small(body), None) => return self.writer.put(meta, body).await.map(|()| true),
            (body, _) => body,
        };
        self.writer
            .write(move |batch| {
                if let Some(conditions) = &conditions
                    && !conditions.hold(rows::find(batch, &meta.key)?.as_ref())
                {
                    return Ok(false);
                }
                let content = match &body {
                    NewBody::Small(bytes) => Content::Packed(batch.log(&meta, bytes)?),
                    NewBody::Blobs(segments) => {
                        is_there(segments)?;
                        Content::Blobs(segments.clone(), Some(batch.name(&meta, segments)?))
                    }
                };
                replace(batch, &meta, &content, meta.uploaded)?;
                Ok(true)
            })
            .await
    }

    pub(in crate::local) async fn delete(&self, keys: Vec<Key>, now: DateTime<Utc>) -> crate::Result<()> {
        self.check_damage()?;
        self.writer.write(move |batch| keys.iter().try_for_each(|key| remove(batch, key, now).map(drop))).await
    }

    /// Removes an object if it is of this version still; whether it was.
    pub(in crate::local) async fn delete_version(
        &self,
        key: Key,
        version: String,
        now: DateTime<Utc>,
    ) -> crate::Result<bool> {
        self.check_damage()?;
        self.writer
            .write(move |batch| {
                let is_same = rows::find(batch, &key)?.is_some_and(|meta| meta.version == version);
                if is_same { remove(batch, &key, now) } else { Ok(false) }
            })
            .await
    }

    pub(in crate::local) fn list(&self, options: &ListOptions) -> crate::Result<ListPage> {
        self.check_damage()?;
        let is_bare = !options.include_http && !options.include_custom;
        let columns = if is_bare { rows::COLUMNS_BARE } else { rows::COLUMNS };
        self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            rules::list_page(options, |start, limit| {
                let operator = if start.inclusive { ">=" } else { ">" };
                let sql = format!("SELECT {columns} FROM objects WHERE key {operator} ? ORDER BY key LIMIT ?");
                let mut statement = transaction.prepare_cached(&sql)?;
                let rows = statement.query_map(params![start.bytes, limit as i64], rows::object)?;
                rows.map(|row| Ok(row??)).collect()
            })
        })
    }

    pub(in crate::local) async fn copy(
        &self,
        from: Key,
        to: Key,
        options: CopyOptions,
        now: DateTime<Utc>,
    ) -> crate::Result<Option<PutResult>> {
        self.writer
            .write(move |batch| {
                let CopyOptions { source_conditions, conditions } = &options;
                let Some((mut meta, content)) = rows::find_with_content(batch, &from)? else { return Ok(None) };
                if source_conditions.as_ref().is_some_and(|conditions| !conditions.hold(Some(&meta))) {
                    return Ok(Some(PutResult::ConditionFailed));
                }
                if let Some(conditions) = conditions
                    && !conditions.hold(rows::find(batch, &to)?.as_ref())
                {
                    return Ok(Some(PutResult::ConditionFailed));
                }
                meta.key = to.clone();
                meta.version = rules::random_id()?;
                meta.uploaded = now;
                let content = match content {
                    Content::Packed(place) => {
                        let body = batch.body(place)?;
                        if place.crc.is_none() {
                            Verify::whole(&meta, &body)?;
                        }
                        Content::Packed(batch.log(&meta, &body)?)
                    }
                    // Blobs are immutable, so the copy names the same ones.
                    Content::Blobs(segments, _) => {
                        let pack = batch.name(&meta, &segments)?;
                        Content::Blobs(segments, Some(pack))
                    }
                };
                replace(batch, &meta, &content, now)?;
                Ok(Some(PutResult::Stored(meta)))
            })
            .await
    }

    pub(in crate::local) async fn create_upload(
        &self,
        id: UploadId,
        key: Key,
        options: MultipartOptions,
        now: DateTime<Utc>,
    ) -> crate::Result<()> {
        self.writer.write(move |transaction| uploads::create(transaction, &id, &key, &options, now)).await
    }

    pub(in crate::local) fn check_upload(&self, key: &Key, upload: &UploadId, now: DateTime<Utc>) -> crate::Result<()> {
        self.read(|connection| uploads::open(connection, key, upload, now).map(drop))
    }

    pub(in crate::local) async fn put_part(
        &self,
        (key, upload): (Key, UploadId),
        now: DateTime<Utc>,
        part: Part,
        md5: String,
        segment: BlobPart,
        is_there: impl Fn(&[BlobPart]) -> crate::Result<()> + Send + 'static,
    ) -> crate::Result<()> {
        self.writer
            .write(move |transaction| {
                is_there(std::slice::from_ref(&segment))?;
                uploads::put_part(transaction, &key, &upload, now, &part, &md5, &segment)
            })
            .await
    }

    pub(in crate::local) fn list_parts(
        &self,
        key: &Key,
        upload: &UploadId,
        now: DateTime<Utc>,
    ) -> crate::Result<Vec<PartInfo>> {
        self.read(|connection| uploads::list_parts(connection, key, upload, now))
    }

    pub(in crate::local) fn list_uploads(
        &self,
        options: &ListUploadsOptions,
        now: DateTime<Utc>,
    ) -> crate::Result<Vec<UploadInfo>> {
        let limit = rules::check_limit(options.limit)?;
        self.read(|connection| uploads::list(connection, options, limit, now))
    }

    pub(in crate::local) async fn complete_upload(
        &self,
        key: Key,
        upload: UploadId,
        parts: Vec<Part>,
        conditions: Option<Conditions>,
        now: DateTime<Utc>,
    ) -> crate::Result<PutResult> {
        self.writer
            .write(move |batch| {
                let (meta, segments) = uploads::completed(batch, &key, &upload, &parts, now)?;
                if let Some(conditions) = &conditions
                    && !conditions.hold(rows::find(batch, &key)?.as_ref())
                {
                    uploads::close(batch, &upload, now)?;
                    return Ok(PutResult::ConditionFailed);
                }
                let pack = batch.name(&meta, &segments)?;
                replace(batch, &meta, &Content::Blobs(segments, Some(pack)), now)?;
                uploads::close(batch, &upload, now)?;
                batch.changes_more(); // the end of the upload
                Ok(PutResult::Stored(meta))
            })
            .await
    }

    pub(in crate::local) async fn abort_upload(
        &self,
        key: Key,
        upload: UploadId,
        now: DateTime<Utc>,
    ) -> crate::Result<()> {
        self.writer.write(move |transaction| uploads::abort(transaction, &key, &upload, now)).await
    }

    pub(in crate::local) async fn expire_uploads(&self, now: DateTime<Utc>) -> crate::Result<u64> {
        self.writer.write(move |transaction| uploads::expire(transaction, now)).await
    }

    /// Runs `work` on a connection that no one else has, and keeps that for the next reader. It blocks: callers are on a blocking thread. As
    /// SQLite's log has a snapshot for each reader, neither waits for a writer, nor a writer for it.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> crate::Result<T> {
        let idle = lock(&self.readers).pop();
        let connection = idle.map_or_else(|| connect(&self.path), Ok)?;
        let result = work(&connection);
        // One whose transaction could not be ended, or that SQLite has had trouble with, is not used again.
        if !connection.is_autocommit() || matches!(result, Err(TxError::Sqlite(_))) {
            return Ok(result?);
        }
        let mut readers = lock(&self.readers);
        if readers.len() < READERS {
            readers.push(connection);
        }
        drop(readers);
        Ok(result?)
    }
}

/// Removes an object, and has the frame say so; whether it was there.
pub(super) fn remove(batch: &mut Batch<'_>, key: &Key, now: DateTime<Utc>) -> Result<bool> {
    let was_there = rows::remove(batch, key, now)?;
    if was_there {
        batch.log_deletion(key)?;
    }
    Ok(was_there)
}

/// Makes an empty file where there is none, readable by its owner alone: SQLite gives its log the same mode.
fn make_file(path: &Path, disk: &dyn Disk, refuse_files: &dyn Fn() -> crate::Result<()>) -> crate::Result<()> {
    let refused = refuse_files();
    // Looked for afterwards: who has made packs meanwhile has made the index first.
    if path.exists() {
        make_private(path);
        SqliteFile::all_beside(path).iter().for_each(|path| make_private(path));
        return Ok(());
    }
    refused?;
    match disk.create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop).map_err(|error| Error::io(format_args!("cannot create {}", path.display()), error)),
    }
}

/// A connection with the settings of all: the log, full syncs (which the writer lowers for itself), no functions out of a damaged schema, 8 MiB
/// of cache, and on Apple's systems syncs that reach the disk.
fn connect(path: &Path) -> crate::Result<Connection> {
    let open = || {
        let mut connection = Connection::open(path)?;
        busy_handler::set(&mut connection)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -8192;
             PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;",
        )?;
        Ok::<_, rusqlite::Error>(connection)
    };
    busy_handler::retry(open).map_err(|error| unusable(TxError::Sqlite(error), path))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A list of idle connections, changed in single steps.
    mutex.lock().ignore_poison()
}
