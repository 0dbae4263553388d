//! Earlier states of objects: looked for at any time, restored while no host runs.

use std::slice;

use chrono::{DateTime, Utc};
use isobar_sqlite::history::{HistoryError, PageHistory, Point};

use super::reader::open_unchanged;
use super::snapshot::Snapshot;
use super::writer::{Indexed, is_there};
use super::{Catalog, CatalogWriter, time};
use crate::host::disk;
use crate::host::history::{self, Histories, kind_of};
use crate::host::options::{Clock, HistoryOptions};
use crate::host::storage::Storage;
use crate::{Bookmark, Error, ErrorKind, ObjectId, Result};

/// A state in an object's history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryPoint {
    /// Its bookmark.
    pub bookmark: Bookmark,
    /// Time of the turn that made it; of the oldest state, one at which the object was known to be in it.
    pub time: DateTime<Utc>,
}

/// Extent of an object's history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectHistory {
    /// The oldest state that can be restored.
    pub oldest: HistoryPoint,
    /// The newest one that the history has. What a running host, or one that has not ended in order, has written since is to follow.
    pub newest: HistoryPoint,
    /// Bytes of differences between states.
    pub bytes: u64,
    /// State that the object asks to be in when it next starts. Default: `None`, none.
    pub restore: Option<HistoryPoint>,
}

/// State that is to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestorePoint {
    /// The state of a bookmark.
    Bookmark(Bookmark),
    /// The state at a time.
    Time(DateTime<Utc>),
}

/// Result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoredObject {
    /// The state after it.
    pub bookmark: Bookmark,
    /// The state before it, which undoes it.
    pub previous_bookmark: Bookmark,
}

impl Catalog {
    /// Returns whether the host keeps histories of its objects.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] and [`ErrorKind::Damaged`] when the settings of the histories cannot be read.
    pub fn keeps_history(&self) -> Result<bool> {
        Ok(Histories::find(&self.root, Clock::default())?.is_some())
    }

    /// Returns the extent of an object's history; `None` where it has none yet.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`], [`ErrorKind::Damaged`], and [`ErrorKind::Overloaded`] when a host writes to it all the time.
    pub fn history(&self, id: &ObjectId) -> Result<Option<ObjectHistory>> {
        self.look_back(id, |history| {
            let state = history.state()?;
            let shown = |point: Point| -> std::result::Result<_, HistoryError> {
                let bookmark = Bookmark::new(history.position(point.number)?.bookmark(state.id));
                Ok(HistoryPoint { bookmark, time: time(point.time) })
            };
            let restore = state.restore.map(|number| history.point_of(number)).transpose()?.map(shown).transpose()?;
            Ok(ObjectHistory {
                oldest: shown(state.oldest)?,
                newest: shown(state.newest)?,
                bytes: state.bytes,
                restore,
            })
        })
    }

    /// Returns the bookmark of an object's state at a time; `None` where it has no history yet.
    ///
    /// # Errors
    /// [`ErrorKind::History`] for a time in the future, or before the history's beginning; as [`history`](Self::history).
    pub fn bookmark_for_time(&self, id: &ObjectId, at: DateTime<Utc>) -> Result<Option<Bookmark>> {
        let now = Clock::default().millis();
        self.look_back(id, |history| {
            let point = history.at(at.timestamp_millis(), now)?;
            let id = history.state()?.id;
            Ok(Bookmark::new(history.position(point.number)?.bookmark(id)))
        })
    }

    fn look_back<T>(
        &self,
        id: &ObjectId,
        look: impl FnOnce(&PageHistory) -> std::result::Result<T, HistoryError>,
    ) -> Result<Option<T>> {
        let guard = self.guard()?;
        let path = disk::object_file(&self.root.join(history::FOLDER), id.as_bytes());
        let Some(snapshot) = Snapshot::take(&path, guard.is_live)? else { return Ok(None) };
        let open = || PageHistory::look(open_unchanged(snapshot.file())?);
        let looked = open().and_then(|history| history.as_ref().map(look).transpose());
        looked.map_err(|error| {
            let kind = kind_of(&error);
            let message = match kind {
                ErrorKind::History => error.to_string(),
                _ => format!("the history {} cannot be read: {error}", path.display()),
            };
            Error::new(kind, message).with_source(error)
        })
    }
}

impl CatalogWriter {
    /// Keeps histories of all objects from now on, within these bounds: by this writer, and by every host in the folder.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use isobar_sessions::local::{CatalogWriter, HistoryOptions};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let mut writer = CatalogWriter::create(folder.path(), "Room")?;
    /// writer.keep_history(HistoryOptions::default())?;
    /// assert!(writer.catalog().keeps_history()?);
    /// assert!(writer.delete_history()? && !writer.catalog().keeps_history()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] and [`ErrorKind::StorageFull`] when that cannot be written.
    pub fn keep_history(&mut self, options: HistoryOptions) -> Result<()> {
        history::keep(&self.catalog.root, options)?;
        self.histories = Histories::find(&self.catalog.root, Clock::default())?;
        Ok(())
    }

    /// Deletes the histories of all objects, and keeps none from now on. Returns whether there were some.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] when they cannot be deleted.
    pub fn delete_history(&mut self) -> Result<bool> {
        self.histories = None;
        history::delete(&self.catalog.root)
    }

    /// Restores an earlier state of an object: tables, keys and alarm. Returns `None` where there is no such object. Broken off, it has
    /// happened, or the object's next start does it, or it has not.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where no histories are kept; [`ErrorKind::History`] for a bookmark that means no state of the object, and for
    /// a time in the future or before the history; [`ErrorKind::Damaged`], [`ErrorKind::Storage`] and [`ErrorKind::StorageFull`] when the
    /// object's file or its history fails.
    pub fn restore(&self, id: &ObjectId, to: &RestorePoint) -> Result<Option<RestoredObject>> {
        self.health.check_withheld(id.as_bytes())?;
        let path = self.catalog.file(id);
        if !is_there(&path) {
            return Ok(None);
        }
        if self.histories.is_none() {
            let message = "no history of these objects is kept: `isobar sessions time-travel enable` begins one";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let mut storage = Storage::open(&path, &self.health, None, self.histories.as_ref(), || Ok(true))?;
        let bookmark = match to {
            RestorePoint::Bookmark(bookmark) => bookmark.clone(),
            RestorePoint::Time(at) => storage.bookmark(Some(at.timestamp_millis()))?,
        };
        let previous_bookmark = storage.ask_restore(&bookmark)?;
        let earlier = storage.prepare_restore()?;
        let earlier = earlier.ok_or_else(|| Error::new(ErrorKind::Internal, "the history forgot the restore"))?;
        let made = Some(Clock::default().millis());
        let object = Indexed { id: *id.as_bytes(), name: None, alarm: earlier.due, made };
        self.announce(slice::from_ref(&object))?;
        storage.restore(&earlier)?;
        storage.end_restore()?;
        let bookmark = storage.bookmark(None)?;
        drop(storage);
        self.conclude(&[object])?;
        Ok(Some(RestoredObject { bookmark, previous_bookmark }))
    }
}
