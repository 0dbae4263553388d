//! Restoring in place: an image is made, and becomes the database's newest state in one transaction.
//!
//! [`Recorder::prepare`] makes the image beside the database; [`Ready::copy_into`] copies it over by SQLite's
//! backup, which holds the write lock and is one transaction: readers see the old state until it commits.

use isobar_sqlite::copy_pages;
use rusqlite::{Connection, OpenFlags};

use super::base::Temporary;
use super::fault;
use super::index::Limit;
use super::position::{Position, of_bookmark};
use super::recorder::Recorder;
use super::span::time;
use crate::{Bookmark, Error, ErrorKind, Restored, Result};

/// The error of a database that is not restored.
pub(in crate::sqlite) fn not_restored(error: &rusqlite::Error) -> Error {
    fault::of_sqlite("restore the database", error)
}

/// An image that is ready.
#[derive(Debug)]
pub(in crate::sqlite) struct Ready {
    image: Temporary,
    page_size: u32,
}

impl Recorder {
    /// Finds the bookmark of a time, in microseconds since 1970; of the newest state without one.
    pub(in crate::sqlite) fn find(&self, at: Option<i64>) -> Result<Bookmark> {
        let newest = self.settle()?;
        let index = self.index()?;
        let point = match at {
            None => newest,
            Some(at) if at > chrono::Utc::now().timestamp_micros() => {
                return Err(fault::no_point(format!("the time {} is in the future", time(at).to_rfc3339())));
            }
            Some(at) => index.find(Limit::Time(at))?,
        };
        Ok(point.position.bookmark(index.history))
    }

    /// Makes the image of a bookmark's state.
    pub(in crate::sqlite) fn prepare(&self, to: &Bookmark) -> Result<Ready> {
        self.settle()?;
        let index = self.index()?;
        let point = index.find(Limit::At(of_bookmark(to, index.history)?))?;
        let plan = index.plan(point)?;
        let image = Temporary::new(self.folder())?;
        plan.build(&image.path)?;
        Ok(Ready { image, page_size: plan.base.header.page_size })
    }

    /// Names the states before and after the commit at this position, once it is archived.
    pub(in crate::sqlite) fn restored(&self, commit: Position) -> Result<Restored> {
        self.settle()?;
        let index = self.index()?;
        let before = index.find(Limit::Before(commit))?;
        Ok(Restored::new(commit.bookmark(index.history), before.position.bookmark(index.history)))
    }
}

impl Ready {
    /// Returns the image's path, for tests that look into it.
    #[cfg(test)]
    pub(in crate::sqlite) fn path(&self) -> &std::path::Path {
        &self.image.path
    }

    /// Refuses a database that cannot take the image.
    pub(in crate::sqlite) fn check(&self, into: &Connection) -> Result<()> {
        let page_size: u32 = into.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(|e| not_restored(&e))?;
        if page_size != self.page_size {
            let message =
                format!("the database has pages of {page_size} bytes, and then it had pages of {}", self.page_size);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(())
    }

    /// Makes the image the newest state of a database, in one transaction. Statements that are kept prepared are prepared anew after it.
    pub(in crate::sqlite) fn copy_into(
        &self,
        into: &mut Connection,
        must_stop: impl Fn() -> bool,
    ) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let image = Connection::open_with_flags(&self.image.path, flags)?;
        copy_pages(&image, into, must_stop)
    }
}
