//! Bases: copies of the whole database, page by page.
//!
//! The snapshot's transaction is begun while no one can write, so that its position is known; the copying goes on
//! afterwards, beside writes. The pages are copied by SQLite's backup into a temporary file first, since a
//! transaction that is open for long would keep the log from being copied.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isobar_base::fs::parent;
use isobar_sqlite::copy_pages;
use isobar_sqlite::journal::Disk;
use rusqlite::Connection;

use super::fault;
use super::folder::Folder;
use super::format::{BLOCK, BlockBuilder, HEADER, Header, Kind};
use super::position::Position;
use super::span::Point;
use crate::Result;

/// A base that is whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base {
    pub(super) start: Point,
    pub(super) bytes: u64,
}

/// A snapshot of the database, which a transaction keeps, on its way into a base.
#[derive(Debug)]
pub(super) struct Snapshot {
    connection: Connection,
    header: Header,
}

impl Snapshot {
    pub(super) fn new(connection: Connection, header: Header) -> Self {
        Self { connection, header }
    }

    /// Writes the base, durably, unless `must_stop` says so meanwhile. Where it fails, nothing is left of it.
    pub(super) fn write(self, folder: &Folder, must_stop: impl Fn() -> bool) -> Result<Base> {
        let Self { connection, header } = self;
        let copy = Temporary::new(folder)?;
        let failed = |error: rusqlite::Error| fault::of_sqlite("copy the database", &error);
        let mut into = Connection::open(&copy.path).map_err(failed)?;
        into.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").map_err(failed)?;
        copy_pages(&connection, &mut into, &must_stop).map_err(failed)?;
        drop(into);
        // The log may be copied into the file from here on.
        drop(connection);
        let path = folder.file(Kind::Base, header.start);
        let bytes = write(folder, &path, header, &copy.path, must_stop).map_err(|error| {
            // On a disk that is full, each try would take some more of it.
            drop(folder.disk.remove(&path));
            fault::of_file("write", &path, error)
        })?;
        Ok(Base { start: Point { position: header.start, time: header.time }, bytes })
    }
}

/// A file that is removed when it is not needed any more.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Temporary {
    /// An empty file, its owner's alone.
    pub(super) fn new(folder: &Folder) -> Result<Self> {
        let path = folder.temporary()?;
        let disk = Arc::clone(&folder.disk);
        disk.create(&path).map_err(|error| fault::of_file("create", &path, error))?;
        Ok(Self { path, disk })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left is removed when the history is opened next.
        drop(self.disk.remove(&self.path));
    }
}

/// Writes the pages of a database's file. Returns the bytes of the base.
fn write(folder: &Folder, path: &Path, header: Header, copy: &Path, must_stop: impl Fn() -> bool) -> io::Result<u64> {
    let copy = File::open(copy)?;
    let pages = copy.metadata()?.len() / u64::from(header.page_size);
    let mut copy = BufReader::with_capacity(BLOCK, copy);
    let pages = u32::try_from(pages).map_err(io::Error::other)?;
    if path.exists() {
        // One that could not be finished.
        folder.disk.remove(path)?;
    }
    let file = folder.disk.create(path)?;
    file.write_at(&header.to_bytes(), 0)?;
    let mut offset = HEADER as u64;
    let mut block = BlockBuilder::default();
    let mut page = vec![0; header.page_size as usize];
    let mut first = 1;
    for number in 1..=pages {
        copy.read_exact(&mut page)?;
        let end = (number == pages).then_some((pages, header.time));
        block.push(number, end, &page, None);
        if block.size() >= BLOCK || end.is_some() {
            let (_, bytes) = block.seal(Position::new(header.start.generation, first), header.wal)?;
            file.write_at(&bytes, offset)?;
            offset += bytes.len() as u64;
            first = number + 1;
            if must_stop() {
                return Err(io::Error::other("the database is closed"));
            }
        }
    }
    file.sync()?;
    folder.disk.sync_folder(parent(path))?;
    Ok(offset)
}
