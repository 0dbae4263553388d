//! The way back: images of earlier states, and restores that are asked for.
//!
//! A restore is a commit like any other, by which the database takes an earlier state. Between asking for it and its commit stands the end
//! of a generation, so that the state before is known by a bookmark that is given out before that state is: the last of its generation. The
//! order makes a crash harmless: the request is durable first; the end of the generation is noted before the restore's commit, and only
//! once, however often that is tried; the request is taken back when the commit is durable.

use rusqlite::{TransactionBehavior, params};

use super::bookmark::Position;
use super::store::{PageHistory, signed, unsigned};
use super::writer::{DIFFERENCE, WHOLE};
use super::{HistoryError, Result};
use crate::journal::delta;

impl PageHistory {
    /// Turns the image of the database's file in its newest state into that of an earlier one.
    ///
    /// # Errors
    /// SQLite's; [`HistoryError::Damaged`] where the history does not fit the image. The image is rubbish then.
    pub fn rewind(&self, image: &mut Vec<u8>, to: u64) -> Result<()> {
        let state = self.state()?;
        let size = state.page_size as usize;
        let sql = "SELECT number, pages FROM commits WHERE number > ?1 ORDER BY number DESC";
        let mut commits = self.connection.prepare(sql)?;
        let mut undo = self.connection.prepare("SELECT page, sum, change FROM undo WHERE number = ?1")?;
        let mut commits = commits.query([signed(to)])?;
        let mut expected = state.newest.number;
        while let Some(commit) = commits.next()? {
            let number: i64 = commit.get(0)?;
            if unsigned(number) != expected {
                return Err(HistoryError::Damaged(format!("the history has lost its commit {expected}")));
            }
            expected -= 1;
            image.resize(commit.get::<_, u32>(1)? as usize * size, 0);
            let mut rows = undo.query([number])?;
            while let Some(row) = rows.next()? {
                let page: u32 = row.get(0)?;
                let change = row.get_ref(2)?.as_blob().unwrap_or_default();
                let misfit = || {
                    let message = format!("the history does not fit its database: page {page} before commit {number}");
                    HistoryError::Damaged(message)
                };
                let start = (page as usize).checked_sub(1).ok_or_else(misfit)? * size;
                let older = image.get_mut(start..start + size).ok_or_else(misfit)?;
                let sum: u32 = row.get(1)?;
                turn_back(older, change).filter(|()| crc32fast::hash(older) == sum).ok_or_else(misfit)?;
            }
        }
        if expected != to {
            return Err(HistoryError::Damaged(format!("the history has lost its commit {expected}")));
        }
        Ok(())
    }

    /// Asks for the restore of a state, durably. Returns the position of the state before the restore, whichever that will be. A restore
    /// that was asked for before, and not done, is taken back.
    ///
    /// # Errors
    /// SQLite's.
    pub fn ask_restore(&mut self, number: u64) -> Result<Position> {
        let generation = self.state()?.generation;
        let sql = "UPDATE history SET restore = ?1, restore_generation = generation";
        self.connection.execute(sql, [signed(number)])?;
        Ok(Position::end_of(generation))
    }

    /// Begins the restore that was asked for: the newest state is the last of its generation. Returns the number of the state that is to be
    /// restored; `None` where none was asked for.
    ///
    /// ```
    /// use isobar_sqlite::history::{Beginning, PageHistory, WalMark};
    ///
    /// let mut history = PageHistory::memory(&Beginning { page_size: 4096, mark: WalMark::default(), time: 0 })?;
    /// assert_eq!(history.begin_restore()?, None);
    /// let undo = history.ask_restore(0)?;
    /// assert_eq!(history.begin_restore()?, Some(0));
    /// // ... the database takes that state, and what it commits by that is archived ...
    /// history.end_restore()?;
    /// assert_eq!(history.begin_restore()?, None);
    /// assert!(history.position(history.state()?.newest.number)? <= undo);
    /// # Ok::<(), isobar_sqlite::history::HistoryError>(())
    /// ```
    ///
    /// # Errors
    /// SQLite's.
    pub fn begin_restore(&mut self) -> Result<Option<u64>> {
        let Some(number) = self.state()?.restore else { return Ok(None) };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO generations SELECT generation, number FROM history WHERE restore_generation = generation",
            params![],
        )?;
        let sql = "UPDATE history SET generation = generation + 1 WHERE restore_generation = generation";
        transaction.execute(sql, params![])?;
        transaction.commit()?;
        Ok(Some(number))
    }

    /// Ends the restore, when its commit is durable.
    ///
    /// # Errors
    /// SQLite's.
    pub fn end_restore(&mut self) -> Result<()> {
        let sql = "UPDATE history SET restore = NULL, restore_generation = NULL WHERE restore IS NOT NULL";
        self.connection.execute(sql, params![])?;
        Ok(())
    }
}

/// Applies a change to the page after its commit; `None` where it does not fit.
fn turn_back(page: &mut [u8], change: &[u8]) -> Option<()> {
    let (form, mut rest) = change.split_first()?;
    match *form {
        WHOLE if rest.len() == page.len() => {
            page.copy_from_slice(rest);
            Some(())
        }
        DIFFERENCE => delta::apply(page, &mut rest),
        _ => None,
    }
}
