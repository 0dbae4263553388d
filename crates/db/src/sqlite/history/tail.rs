//! The end of a history, where commits are appended: the write-ahead log as far as it is archived.
//!
//! From SQLite's count of committed frames to blocks in the log: read in chunks of 64 frames, checked by their
//! checksums, gathered to whole commits, compressed in blocks of some megabyte. Blocks end with a commit unless
//! that commit is larger than one.
//!
//! After an error nothing is appended any more (`failure`): what the file has is not known, and opening it again
//! finds out.

use chrono::Utc;
use isobar_sqlite::{FRAME_HEADER, WalChain, WalHeader, frame_offset};

use super::fault;
use super::folder::Folder;
use super::follow::{Committed, WalFile, Watch};
use super::format::{self, BLOCK, BlockBuilder, Header, Kind, WalState};
use super::log::Log;
use super::marks::Marks;
use super::position::{HistoryId, Position};
use super::span::Point;
use super::stamp::Stamp;
use crate::{Error, Result};

/// Frames that are read at once.
const CHUNK: u32 = 64;
/// Bytes from which on a log is followed by another.
const LOG_BYTES: u64 = 8 << 20;

/// The end of a history.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) history: HistoryId,
    pub(super) page_size: u32,
    /// The newest state that is archived.
    pub(super) at: Point,
    /// The write-ahead log at that state.
    pub(super) wal: WalState,
    /// Its checksums; `None` where the log that is there now is another one, or empty.
    pub(super) chain: Option<WalChain>,
    pub(super) file: WalFile,
    pub(super) log: Log,
    /// Bytes of logs since the newest base, without the open one.
    pub(super) closed_bytes: u64,
    /// The failure after which it is unknown what the log has: nothing is appended until the history is opened again.
    pub(super) failure: Option<Error>,
}

impl Tail {
    /// Archives all that is committed. A commit whose time is not known is of now.
    pub(super) fn archive(&mut self, watch: &Watch, folder: &Folder, marks: &Marks) -> Result<()> {
        self.archive_as_of(watch, folder, marks, Utc::now().timestamp_micros())
    }

    /// Archives all that is committed. A commit whose time is not known is of this time.
    pub(super) fn archive_as_of(&mut self, watch: &Watch, folder: &Folder, marks: &Marks, time: i64) -> Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let archived = self.try_archive(watch, folder, marks, time);
        self.failure = archived.as_ref().err().cloned();
        archived
    }

    fn try_archive(&mut self, watch: &Watch, folder: &Folder, marks: &Marks, time: i64) -> Result<()> {
        let Some(Committed { header, frames, .. }) = watch.committed(&mut self.file)? else { return Ok(()) };
        if frames == 0 {
            return Ok(());
        }
        let is_same = header.salts() == self.wal.salts;
        let chain = match self.chain.filter(|_| is_same) {
            Some(chain) => chain,
            None => {
                // It has begun anew, after all of the one before was archived.
                self.at.position = Position::new(marks.generation(&header), 0);
                WalChain::new(&header)
            }
        };
        if frames > self.at.position.frame {
            self.copy(&header, chain, frames, marks, time)?;
            marks.reach(self.at.position);
        }
        if self.log.bytes >= LOG_BYTES {
            self.roll(folder)?;
        }
        Ok(())
    }

    /// Copies frames up to this one, with which a commit ends.
    fn copy(
        &mut self,
        header: &WalHeader,
        mut chain: WalChain,
        last: u32,
        marks: &Marks,
        unknown_time: i64,
    ) -> Result<()> {
        let frame_size = FRAME_HEADER + header.page_size();
        let generation = self.at.position.generation;
        let mut number = self.at.position.frame;
        // Whole commits, and the one that is being read.
        let mut block = BlockBuilder::default();
        let mut commit = BlockBuilder::default();
        let mut first = number + 1;
        let mut wal = self.wal;
        let mut chunk = Vec::new();
        while number < last {
            let count = CHUNK.min(last - number);
            chunk.resize(count as usize * frame_size, 0);
            self.file.read(&mut chunk, frame_offset(number + 1, header.page_size()))?;
            for bytes in chunk.chunks_exact(frame_size) {
                number += 1;
                let frame = chain.next(bytes).ok_or_else(|| {
                    fault::damaged(self.file.path(), &format!("the checksum of frame {number} is wrong"))
                })?;
                let end = (frame.pages != 0).then(|| {
                    let time = marks.take_time(Position::new(generation, number)).unwrap_or(unknown_time);
                    self.at.time = self.at.time.max(time);
                    (frame.pages, self.at.time)
                });
                self.log.push(&mut commit, frame.page, end, frame.bytes);
                if end.is_none() && commit.size() < BLOCK {
                    continue;
                }
                if block.size() + commit.size() > BLOCK && !block.is_empty() {
                    let next = first + block.count();
                    self.log.write(&mut block, Position::new(generation, first), wal)?;
                    first = next;
                }
                block.append(&mut commit);
                wal = WalState { salts: header.salts(), sums: chain.sums() };
                if end.is_none() {
                    // A part of a large commit.
                    self.log.write(&mut block, Position::new(generation, first), wal)?;
                    first = number + 1;
                }
            }
        }
        if !commit.is_empty() {
            return Err(fault::damaged(self.file.path(), "its last commit has no end"));
        }
        self.log.write(&mut block, Position::new(generation, first), wal)?;
        self.at.position.frame = last;
        self.wal = wal;
        self.chain = Some(chain);
        Ok(())
    }

    /// Header of a file that begins at the newest state.
    pub(super) fn header(&self, kind: Kind) -> Header {
        Header {
            kind,
            history: self.history,
            start: self.at.position,
            page_size: self.page_size,
            part: (0, 1),
            time: self.at.time,
            wal: self.wal,
        }
    }

    /// Goes on in a new log, unless this one is empty.
    pub(super) fn roll(&mut self, folder: &Folder) -> Result<()> {
        if self.log.is_empty() {
            return Ok(());
        }
        self.sync()?;
        let log = Log::create(folder, self.header(Kind::Log));
        let log = log.inspect_err(|error| self.failure = Some(error.clone()))?;
        self.closed_bytes += self.log.bytes;
        self.log = log;
        Ok(())
    }

    /// Makes what is archived durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.log.sync().inspect_err(|error| self.failure = Some(error.clone()))
    }

    /// Notes that the database's file has everything, as it is now.
    pub(super) fn rest(&mut self, stamp: Stamp) -> Result<()> {
        let block = format::rest(self.at.position, self.at.time, self.wal, stamp.as_bytes());
        let block = block.map_err(|error| fault::of_file("write", self.file.path(), error))?;
        self.log.append(&block)
    }
}
