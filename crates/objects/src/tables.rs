//! Tables that the first write makes: looking at an object that was never written to leaves nothing behind.
//!
//! `CREATE TABLE IF NOT EXISTS` at the start of an object would be a write, by which a native host makes a file and a Durable
//! Object an entry that is billed. So a read first asks whether the tables are there, and takes their absence for an empty
//! object; the answer is remembered once it is yes.

use std::cell::Cell;
use std::rc::Rc;

use isobar_sessions::{Result, SessionContext};

/// The tables of an object of some kind in the database of one object. Clones know the same.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    schema: &'static str,
    /// A table that exists when all do.
    probe: &'static str,
    are_there: Rc<Cell<bool>>,
    /// Whether this instance has run the schema: a newer one adds to what an older version has made.
    are_made: Rc<Cell<bool>>,
}

impl Tables {
    /// Creates the tables' description from their schema, and the name of the one that the schema creates last.
    pub(crate) fn new(schema: &'static str, probe: &'static str) -> Self {
        Self { schema, probe, are_there: Rc::default(), are_made: Rc::default() }
    }

    /// Whether the object has been written to: before, there is nothing to be read.
    pub(crate) fn are_there(&self, context: &SessionContext) -> Result<bool> {
        if !self.are_there.get() {
            let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?";
            let count: i64 = context.sql().exec(sql, (self.probe,))?.one()?;
            self.are_there.set(count > 0);
        }
        Ok(self.are_there.get())
    }

    /// Makes what is missing: before the first write of an instance.
    pub(crate) fn make(&self, context: &SessionContext) -> Result<()> {
        if !self.are_made.get() {
            context.sql().exec(self.schema, ())?;
            self.are_made.set(true);
            self.are_there.set(true);
        }
        Ok(())
    }

    /// Notes that the tables are gone, with all that was in the database.
    #[cfg(feature = "chat")]
    pub(crate) fn forget(&self) {
        self.are_made.set(false);
        self.are_there.set(false);
    }
}
