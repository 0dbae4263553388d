//! A database's write-ahead log as the journal follows it.
//!
//! A follower knows three numbers of a write-ahead log: its salts, the last frame that was taken, and for each page
//! the newest frame in the journal's current log, which is what the next difference is from. It learns that the log
//! has begun anew by its salts alone: SQLite writes the header before the first frame.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isobar_base::fs::SqliteFile;

use super::disk::{Disk, DiskFile};
use super::format::{FRAME_HEADER, WAL_HEADER, frame_offset};

/// How far the journal has followed the write-ahead log of one database's connection. Made by
/// [`Journal::follow`](super::Journal::follow).
///
/// Memory: 10 to 20 bytes for each page that has been written since the journal's log was last emptied.
#[derive(Debug)]
pub struct Follower {
    pub(super) name: String,
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    /// Salts of the write-ahead log that is followed.
    salts: [u8; 8],
    page_size: usize,
    /// Frames that are in the journal, or durable in the write-ahead log itself.
    frames: u32,
    /// The newest frame of each page in the journal's current log.
    pub(super) bases: HashMap<[u8; 4], u32>,
    /// The current log and the database's handle in it, if it has one there.
    pub(super) place: Option<(u64, u32)>,
    /// The batch with its newest frames.
    pub(super) batch: u64,
    /// Frames could not be captured: the database must not be checkpointed.
    pub(super) is_behind: bool,
}

/// New frames of a write-ahead log.
pub(super) struct NewFrames {
    /// The log's header, when it has begun anew.
    pub(super) header: Option<[u8; WAL_HEADER]>,
    /// Number of the first.
    pub(super) first: u32,
    pub(super) page_size: usize,
    pub(super) count: u32,
}

impl NewFrames {
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.count) * (self.page_size + FRAME_HEADER) as u64
    }
}

impl Follower {
    pub(super) fn new(name: &str, database: &Path) -> Self {
        Self {
            name: name.to_owned(),
            path: SqliteFile::Wal.beside(database),
            file: None,
            salts: [0; 8],
            page_size: 0,
            frames: 0,
            bases: HashMap::new(),
            place: None,
            batch: 0,
            is_behind: false,
        }
    }

    /// Returns the database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether frames could not be captured: the database must be closed, and not checkpointed.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Returns the number of the batch with the newest frames: they are durable when the journal's
    /// [`durable`](super::Journal::durable) has come to it. 0 before the first.
    #[must_use]
    pub fn batch(&self) -> u64 {
        self.batch
    }

    /// Returns the write-ahead log, once a commit was captured: its user may sync it ahead of a checkpoint, in another thread. Where
    /// that fails the journal [must be failed](super::Journal::fail).
    #[must_use]
    pub fn wal(&self) -> Option<Arc<dyn DiskFile>> {
        self.file.clone()
    }

    /// The write-ahead log. A second descriptor is safe for it: SQLite's locks are on the database and on shared memory.
    pub(super) fn file(&mut self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = disk.open(&self.path)?;
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Determines which of the frames are new. A write-ahead log that has begun anew shows by its salts.
    ///
    /// Reads at most two headers. Where the number of frames is not greater than before, or the next frame has other
    /// salts, the log has begun anew and everything in it is new.
    pub(super) fn news(&mut self, file: &dyn DiskFile, frames: u32) -> io::Result<NewFrames> {
        let mut begins_anew = self.frames == 0 || frames <= self.frames;
        if !begins_anew {
            let mut header = [0; FRAME_HEADER];
            file.read_at(&mut header, frame_offset(self.frames + 1, self.page_size))?;
            begins_anew = header[8..16] != self.salts;
        }
        let first = if begins_anew { 1 } else { self.frames + 1 };
        let mut header = None;
        if begins_anew {
            let mut read = [0; WAL_HEADER];
            file.read_at(&mut read, 0)?;
            let page_size = u32::from_be_bytes([read[8], read[9], read[10], read[11]]);
            if !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the write-ahead log has no header"));
            }
            self.page_size = page_size as usize;
            self.salts.copy_from_slice(&read[16..24]);
            self.bases.clear();
            self.frames = 0;
            header = Some(read);
        }
        Ok(NewFrames { header, first, page_size: self.page_size, count: frames + 1 - first })
    }

    /// Whether the frame belongs to the write-ahead log that is followed.
    pub(super) fn owns(&self, frame: &[u8]) -> bool {
        frame[8..16] == self.salts
    }

    /// Notes that the frames up to this one are kept.
    pub(super) fn advance(&mut self, frames: u32, batch: u64) {
        self.frames = frames;
        self.batch = batch;
    }

    /// As [`advance`](Self::advance), for frames that are not in the journal's log.
    pub(super) fn pass(&mut self, frames: u32, batch: u64) {
        self.bases.clear();
        self.advance(frames, batch);
    }

    /// Forgets what it has followed: the next capture begins at the first frame.
    pub(super) fn forget(&mut self) {
        self.frames = 0;
        self.bases.clear();
    }
}
