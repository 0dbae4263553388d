//! Commits that a history takes, and those that it forgets.
//!
//! ```text
//! change   0, the page before the commit     where the commit has cut the page off
//!          1, a difference                   turns the page after the commit into the one before
//! ```
//! `sum` is the CRC-32 of the page before: a difference that does not fit the page that it is applied to does not go unnoticed.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::log::{DatabaseFiles, LogReader, LoggedCommit, WalMark, page_size};
use super::store::{HistoryState, PageHistory, signed, unsigned};
use super::{HistoryBounds, HistoryError, Result};
use crate::journal::delta;

/// Form of a change: the whole page.
pub(super) const WHOLE: u8 = 0;
/// Form of a change: a difference from the page after the commit.
pub(super) const DIFFERENCE: u8 = 1;
/// Bytes that a row of `undo`, or one of `commits`, takes beside its change.
const ROW: u64 = 24;

impl PageHistory {
    /// Takes what the write-ahead log has beyond what was taken before, durably; nothing where it has no more. All of it is durable already,
    /// and none of it is copied into the database's file yet.
    ///
    /// `times` has the number of frames after commits, and their times in milliseconds since 1970, in order; a commit that is not among
    /// them is taken for one of the next time, and else of `now`. Then what passes the bounds is forgotten.
    ///
    /// # Errors
    /// SQLite's and the system's; [`HistoryError::Damaged`] where the log is not the one that the history knows. The history is as it was.
    pub fn archive(
        &mut self,
        files: &DatabaseFiles<'_>,
        times: &[(u32, i64)],
        now: i64,
        bounds: HistoryBounds,
    ) -> Result<()> {
        let state = self.state()?;
        let Some(mut log) = LogReader::open(files, state.mark)? else { return Ok(()) };
        check_page_size(&state, log.page_size())?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writer = Writer::new(&transaction, state);
        let mut times = times.iter().peekable();
        while let Some(commit) = log.next_commit()? {
            while times.next_if(|(frames, _)| *frames < commit.last).is_some() {}
            let time = times.peek().map_or(now, |(_, time)| *time);
            writer.take_logged(&log, &commit, time)?;
            log.pass(commit);
        }
        if writer.has_written() {
            writer.finish(log.mark(), now, bounds)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// Takes a commit of a database without a write-ahead log, by the images of its file before and after; nothing where they are equal.
    ///
    /// ```
    /// use isobar_sqlite::history::{Beginning, HistoryBounds, PageHistory, WalMark};
    /// use isobar_sqlite::image_of;
    ///
    /// let beginning = Beginning { page_size: 4096, mark: WalMark::default(), time: 0 };
    /// let mut history = PageHistory::memory(&beginning)?;
    /// let connection = rusqlite::Connection::open_in_memory()?;
    /// connection.execute_batch("CREATE TABLE t (a)")?;
    /// let before = image_of(&connection)?;
    /// connection.execute_batch("INSERT INTO t VALUES (1)")?;
    /// let after = image_of(&connection)?;
    /// history.record(&before, &after, 10, HistoryBounds::default())?;
    ///
    /// let mut image = after.clone();
    /// history.rewind(&mut image, 0)?;
    /// assert!(image == before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// SQLite's; [`HistoryError::Damaged`] for images with pages of another size. The history is as it was.
    pub fn record(&mut self, before: &[u8], after: &[u8], now: i64, bounds: HistoryBounds) -> Result<()> {
        if before == after {
            return Ok(());
        }
        let state = self.state()?;
        let size = state.page_size as usize;
        check_page_size(&state, page_size(after)? as usize)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writer = Writer::new(&transaction, state);
        let mut newer = after.chunks(size);
        writer.begin();
        for (number, older) in (1..).zip(before.chunks(size)) {
            writer.page(number, newer.next(), older)?;
        }
        writer.end(now, u32::try_from(before.len() / size).unwrap_or(u32::MAX))?;
        writer.finish(state.mark, now, bounds)?;
        transaction.commit()?;
        Ok(())
    }
}

fn check_page_size(state: &HistoryState, size: usize) -> Result<()> {
    if size == state.page_size as usize {
        return Ok(());
    }
    let message = format!("the database has pages of {size} bytes, and in its history they have {}", state.page_size);
    Err(HistoryError::Damaged(message))
}

/// Commits that are being taken, in one transaction.
struct Writer<'t> {
    connection: &'t Connection,
    state: HistoryState,
    /// Bytes of the commit that is being taken.
    bytes: u64,
    first: u64,
    change: Vec<u8>,
}

impl<'t> Writer<'t> {
    fn new(connection: &'t Connection, state: HistoryState) -> Self {
        Self { connection, state, bytes: 0, first: state.newest.number, change: Vec::new() }
    }

    fn has_written(&self) -> bool {
        self.state.newest.number > self.first
    }

    fn take_logged(&mut self, log: &LogReader<'_>, commit: &LoggedCommit, time: i64) -> Result<()> {
        let mut newer = vec![0; log.page_size()];
        let mut older = vec![0; log.page_size()];
        self.begin();
        for (number, frame) in commit.pages.range(..=commit.after.min(commit.before)) {
            log.read_frame(*frame, &mut newer)?;
            log.read_page(*number, &mut older)?;
            self.page(*number, Some(&newer), &older)?;
        }
        for number in commit.after + 1..=commit.before {
            log.read_page(number, &mut older)?;
            self.page(number, None, &older)?;
        }
        self.end(time, commit.before)
    }

    fn begin(&mut self) {
        self.bytes = ROW;
        self.state.newest.number += 1;
    }

    /// Takes what turns a page back into the one before the commit. `newer` is `None` where the commit has cut it off.
    fn page(&mut self, number: u32, newer: Option<&[u8]>, older: &[u8]) -> Result<()> {
        self.change.clear();
        match newer {
            Some(newer) if newer == older => return Ok(()),
            Some(newer) => {
                self.change.push(DIFFERENCE);
                delta::encode(newer, older, &mut self.change);
            }
            None => {
                self.change.push(WHOLE);
                self.change.extend_from_slice(older);
            }
        }
        self.bytes += ROW + self.change.len() as u64;
        let mut insert = self.connection.prepare_cached("INSERT INTO undo VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute(params![signed(self.state.newest.number), number, crc32fast::hash(older), self.change])?;
        Ok(())
    }

    /// Ends a commit, before which the database had so many pages.
    fn end(&mut self, time: i64, pages: u32) -> Result<()> {
        let mut insert = self.connection.prepare_cached("INSERT INTO commits VALUES (?1, ?2, ?3, ?4)")?;
        insert.execute(params![signed(self.state.newest.number), time, pages, signed(self.bytes)])?;
        self.state.newest.time = time;
        self.state.bytes += self.bytes;
        Ok(())
    }

    /// Writes the new extent, after what passes the bounds is forgotten.
    fn finish(mut self, mark: WalMark, now: i64, bounds: HistoryBounds) -> Result<()> {
        let until = self.beyond(now, bounds)?;
        if until > self.state.oldest.number {
            self.forget(until)?;
        }
        let HistoryState { newest, oldest, bytes, .. } = self.state;
        let sql = "UPDATE history SET salts = ?1, frames = ?2, number = ?3, time = ?4, oldest = ?5, oldest_time = ?6, bytes = ?7";
        self.connection.execute(
            sql,
            params![
                mark.salts,
                mark.frames,
                signed(newest.number),
                newest.time,
                signed(oldest.number),
                oldest.time,
                signed(bytes)
            ],
        )?;
        Ok(())
    }

    /// The commit up to which commits pass the bounds. One behind the state that is to be restored does not.
    fn beyond(&self, now: i64, bounds: HistoryBounds) -> Result<u64> {
        let newest = self.state.newest.number;
        let age = i64::try_from(bounds.max_age.as_millis()).unwrap_or(i64::MAX);
        let sql = "SELECT number FROM commits WHERE time > ?1 ORDER BY number LIMIT 1";
        let young = self.connection.query_row(sql, [now.saturating_sub(age)], |row| row.get(0)).optional()?;
        let mut until = young.map_or(newest, |number| unsigned(number).saturating_sub(1));
        let restore = self.last_restore()?;
        let mut left = self.state.bytes.saturating_sub(restore.map_or(0, |(_, bytes)| bytes));
        let mut commits = self.connection.prepare("SELECT number, bytes FROM commits ORDER BY number")?;
        let mut rows = commits.query([])?;
        while left > bounds.max_bytes
            && let Some(row) = rows.next()?
        {
            let number = unsigned(row.get(0)?);
            if restore.is_none_or(|(restored, _)| restored != number) {
                left = left.saturating_sub(unsigned(row.get(1)?));
            }
            until = until.max(number);
        }
        Ok(self.state.restore.map_or(until, |asked| until.min(asked)))
    }

    /// Number and bytes of the commit by which the last restore was done, which do not count: it could not be undone where it alone is
    /// larger than the bound.
    fn last_restore(&self) -> Result<Option<(u64, u64)>> {
        let sql = "SELECT number, bytes FROM commits WHERE number = (SELECT max(last) + 1 FROM generations)";
        let found = self.connection.query_row(sql, [], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))));
        Ok(found.optional()?)
    }

    fn forget(&mut self, until: u64) -> Result<()> {
        let until_sql = signed(until);
        let (bytes, time): (i64, i64) = self.connection.query_row(
            "SELECT sum(bytes), (SELECT time FROM commits WHERE number = ?1) FROM commits WHERE number <= ?1",
            [until_sql],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        for sql in [
            "DELETE FROM undo WHERE number <= ?1",
            "DELETE FROM commits WHERE number <= ?1",
            "DELETE FROM generations WHERE last < ?1",
        ] {
            self.connection.execute(sql, [until_sql])?;
        }
        self.state.bytes = self.state.bytes.saturating_sub(unsigned(bytes));
        self.state.oldest.number = until;
        self.state.oldest.time = time;
        Ok(())
    }
}
