//! Copies of the whole database in memory.

use std::sync::Arc;

use isobar_sqlite::copy_pages;
use rusqlite::Connection;

use super::Engine;
use crate::Result;
use crate::sqlite::fault;
use crate::sqlite::lane::Slot;

impl Engine {
    /// Returns a copy of the newest state.
    pub(in crate::sqlite) async fn copy(&self) -> Result<Connection> {
        let copy = |slot: &mut Slot| {
            let mut into = Connection::open_in_memory().map_err(|error| fault::of_open(&error))?;
            let copied = copy_pages(slot.connection()?.connection(), &mut into, || false);
            copied.map_err(|error| fault::of_open(&error))?;
            Ok(into)
        };
        self.writer.run(self.shared.options.time_limit, copy).await
    }

    /// Puts a copy in place of what this database in memory holds.
    pub(in crate::sqlite) async fn replace(&self, copy: Connection) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let replace = move |slot: &mut Slot| {
            let connection = slot.connection()?;
            let copied = copy_pages(&copy, connection.connection_mut(), || false);
            copied.map_err(|error| fault::of_open(&error))?;
            shared.look(connection).map_err(|failure| fault::of(&failure))
        };
        self.writer.run(self.shared.options.time_limit, replace).await
    }
}
