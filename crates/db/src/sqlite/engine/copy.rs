//! Copies of the whole database in memory.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::Engine;
use crate::sqlite::fault;
use crate::sqlite::lane::Slot;
use crate::{Error, ErrorKind, Result};

impl Engine {
    /// Returns a copy of the newest state.
    pub(in crate::sqlite) async fn copy(&self) -> Result<Connection> {
        let copy = |slot: &mut Slot| {
            let mut into = Connection::open_in_memory().map_err(|error| fault::of_open(&error))?;
            copy_pages(slot.connection()?.connection(), &mut into)?;
            Ok(into)
        };
        self.writer.run(self.shared.options.time_limit, copy).await
    }

    /// Puts a copy in place of what this database in memory holds.
    pub(in crate::sqlite) async fn replace(&self, copy: Connection) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let replace = move |slot: &mut Slot| {
            let connection = slot.connection()?;
            copy_pages(&copy, connection.connection_mut())?;
            shared.look(connection).map_err(|failure| fault::of(&failure))
        };
        self.writer.run(self.shared.options.time_limit, replace).await
    }
}

/// Copies all pages in one step, which is one state.
fn copy_pages(from: &Connection, into: &mut Connection) -> Result<()> {
    let failed = |error: rusqlite::Error| fault::of_open(&error);
    let backup = Backup::new(from, into).map_err(failed)?;
    match backup.step(-1).map_err(failed)? {
        StepResult::Done => Ok(()),
        _ => Err(Error::new(ErrorKind::Unavailable, "the database is busy, and was not copied: try again")),
    }
}
