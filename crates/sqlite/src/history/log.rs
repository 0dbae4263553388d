//! Commits of a write-ahead log, with the pages before and after each.
//!
//! The page before a commit is in an earlier frame of the same log or, without one, in the database's file, which the log's frames have
//! not reached yet: nothing is copied into it before it is in the history.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::HistoryError;
use crate::journal::DiskFile;
use crate::{FRAME_HEADER, WAL_HEADER, WalChain, WalHeader, frame_offset};

/// How far a write-ahead log is known: its salts and the number of its frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalMark {
    pub(super) salts: [u8; 8],
    pub(super) frames: u32,
}

/// A database's file and its write-ahead log, open beside SQLite.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseFiles<'f> {
    /// The write-ahead log; `None` where there is none.
    pub wal: Option<&'f dyn DiskFile>,
    /// The database's file. On Unix it must be closed after SQLite's connection only, which would lose its locks.
    pub database: &'f dyn DiskFile,
}

impl DatabaseFiles<'_> {
    /// Returns the size of the database's pages in bytes.
    ///
    /// # Errors
    /// The file cannot be read, or is not a database.
    pub fn page_size(&self) -> io::Result<u32> {
        let mut bytes = [0; 18];
        self.database.read_at(&mut bytes, 0)?;
        page_size(&bytes)
    }

    /// Returns the end of the write-ahead log: of all that is committed in it.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn mark(&self) -> Result<WalMark, HistoryError> {
        let Some(mut log) = LogReader::open(self, WalMark::default())? else { return Ok(WalMark::default()) };
        while let Some(commit) = log.next_commit()? {
            log.pass(commit);
        }
        Ok(log.mark())
    }
}

/// Returns the size of pages in bytes, by the beginning of a database's file: 18 bytes or more.
///
/// ```
/// use isobar_sqlite::history::page_size;
/// use isobar_sqlite::image_of;
///
/// let connection = rusqlite::Connection::open_in_memory()?;
/// connection.execute_batch("PRAGMA page_size = 1024; CREATE TABLE t (a)")?;
/// assert_eq!(page_size(&image_of(&connection)?)?, 1024);
/// assert!(page_size(b"not a database").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`InvalidData`](io::ErrorKind::InvalidData) for what is not a database.
pub fn page_size(file: &[u8]) -> io::Result<u32> {
    let size = match file.get(16..18) {
        Some([0, 1]) => 65_536,
        Some([high, low]) => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let is_size = size.is_power_of_two() && (512..=65_536).contains(&size);
    is_size.then_some(size).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file is not a database"))
}

/// A commit in a write-ahead log.
#[derive(Debug)]
pub(super) struct LoggedCommit {
    /// Number of its last frame.
    pub(super) last: u32,
    /// Pages of the database before and after it.
    pub(super) before: u32,
    pub(super) after: u32,
    /// The last frame of each page that it has written.
    pub(super) pages: BTreeMap<u32, u32>,
}

/// Reads a write-ahead log behind a mark.
#[derive(Debug)]
pub(super) struct LogReader<'f> {
    wal: &'f dyn DiskFile,
    database: &'f dyn DiskFile,
    salts: [u8; 8],
    chain: WalChain,
    page_size: usize,
    /// The newest frame of each page, of the commits that are passed.
    newest: HashMap<u32, u32>,
    /// Pages of the database after the commits that are passed.
    pages: u32,
    /// Pages in the database's file.
    file_pages: u32,
    /// Number of the next frame.
    next: u32,
    /// Number of the last frame that the file has room for.
    end: u32,
    frame: Vec<u8>,
}

impl<'f> LogReader<'f> {
    /// Opens the log at a mark, or at its beginning if it has begun anew since. `None` where there is no log.
    pub(super) fn open(files: &DatabaseFiles<'f>, mark: WalMark) -> Result<Option<Self>, HistoryError> {
        let Some(wal) = files.wal else { return Ok(None) };
        let length = wal.length()?;
        let mut header = [0; WAL_HEADER];
        if length < WAL_HEADER as u64 {
            return Ok(None);
        }
        wal.read_at(&mut header, 0)?;
        let Some(header) = WalHeader::parse(&header) else { return Ok(None) };
        let page_size = header.page_size();
        let frames = (length - WAL_HEADER as u64) / (FRAME_HEADER + page_size) as u64;
        let file_pages = u32::try_from(files.database.length()? / page_size as u64).unwrap_or(u32::MAX);
        let mut log = Self {
            wal,
            database: files.database,
            salts: header.salts(),
            chain: WalChain::new(&header),
            page_size,
            newest: HashMap::new(),
            pages: file_pages,
            file_pages,
            next: 1,
            end: u32::try_from(frames).unwrap_or(u32::MAX),
            frame: vec![0; FRAME_HEADER + page_size],
        };
        if header.salts() == mark.salts {
            log.skip(&header, mark.frames)?;
        }
        Ok(Some(log))
    }

    /// Passes the frames up to this one, which ends a commit.
    fn skip(&mut self, header: &WalHeader, frames: u32) -> Result<(), HistoryError> {
        let lost = || HistoryError::Damaged("the write-ahead log has less than the history took from it".to_owned());
        if frames > self.end {
            return Err(lost());
        }
        let mut frame = [0; FRAME_HEADER];
        for number in 1..=frames {
            self.wal.read_at(&mut frame, frame_offset(number, self.page_size))?;
            self.newest.insert(word(&frame, 0), number);
        }
        if frames > 0 {
            self.chain = WalChain::after(header, &frame).ok_or_else(lost)?;
            self.pages = word(&frame, 4);
            self.next = frames + 1;
        }
        Ok(())
    }

    pub(super) fn page_size(&self) -> usize {
        self.page_size
    }

    /// The end of the commits that are passed.
    pub(super) fn mark(&self) -> WalMark {
        WalMark { salts: self.salts, frames: self.next - 1 }
    }

    /// Reads the next commit. What follows the last whole one does not count.
    pub(super) fn next_commit(&mut self) -> io::Result<Option<LoggedCommit>> {
        let mut chain = self.chain;
        let mut pages = BTreeMap::new();
        for number in self.next..=self.end {
            self.wal.read_at(&mut self.frame, frame_offset(number, self.page_size))?;
            let Some(frame) = chain.next(&self.frame) else { return Ok(None) };
            pages.insert(frame.page, number);
            if frame.pages != 0 {
                let after = frame.pages;
                self.chain = chain;
                return Ok(Some(LoggedCommit { last: number, before: self.pages, after, pages }));
            }
        }
        Ok(None)
    }

    /// Passes a commit: the next one is after it.
    pub(super) fn pass(&mut self, commit: LoggedCommit) {
        self.next = commit.last + 1;
        self.pages = commit.after;
        self.newest.extend(commit.pages);
    }

    /// Reads the page of a frame.
    pub(super) fn read_frame(&self, frame: u32, page: &mut [u8]) -> io::Result<()> {
        self.wal.read_at(page, frame_offset(frame, self.page_size) + FRAME_HEADER as u64)
    }

    /// Reads a page as the commits that are passed have left it. One that was never written is empty.
    pub(super) fn read_page(&self, number: u32, page: &mut [u8]) -> io::Result<()> {
        match self.newest.get(&number) {
            Some(frame) => self.read_frame(*frame, page),
            None if number <= self.file_pages => {
                self.database.read_at(page, u64::from(number - 1) * self.page_size as u64)
            }
            None => {
                page.fill(0);
                Ok(())
            }
        }
    }
}

fn word(bytes: &[u8; FRAME_HEADER], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
