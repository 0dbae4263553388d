//! Pieces of a history's files, each a file of its own: for a backup, whose objects do not grow.
//!
//! A log grows while commits come, and an object of a storage cannot: so each run of a backup cuts what is new into
//! pieces, of some 4 MiB, each with a header that says where it begins. Read in order they give the same states as
//! the file. Where a piece ends in the middle of a commit its name says so, and a restore does not end there.

use std::fs::File;
use std::io::{BufReader, Read, Take};

use super::fault;
use super::format::{BlockHead, BlockKind, Header, Kind, next_head};
use super::index::{Extent, read_header};
use super::position::Position;
use super::span::Point;
use crate::Result;

/// Bytes from which on a piece ends.
const PIECE: usize = 4 << 20;

/// A piece.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) header: Header,
    /// Its last frame, and the time of its last commit.
    pub(crate) end: Point,
    /// It ends with a commit.
    pub(crate) ends: bool,
    pub(crate) bytes: Vec<u8>,
}

/// A file that is cut into pieces.
pub(crate) struct Cutter {
    reader: Take<BufReader<File>>,
    file: Extent,
    /// The last frame that was cut, or passed over.
    at: Point,
    number: u32,
    parts: u32,
    /// The head that was read beyond the last piece.
    next: Option<BlockHead>,
}

impl Cutter {
    /// Cuts what a file has behind a position; all of a base.
    pub(crate) fn new(file: &Extent, after: Position) -> Result<Self> {
        let parts = if file.header.kind == Kind::Base { Self::open(file)?.count()? } else { 1 };
        let mut cutter = Self::open(file)?;
        cutter.parts = parts;
        if file.header.kind == Kind::Log {
            while cutter.next.is_some_and(|head| head.end() <= after) {
                cutter.take(None)?;
            }
        }
        Ok(cutter)
    }

    fn open(file: &Extent) -> Result<Self> {
        let failed = |error| fault::of_file("read", file.path(), error);
        let mut reader = file.reader()?;
        read_header(&mut reader).map_err(failed)?;
        let next = next_head(&mut reader).map_err(failed)?;
        let at = Point { position: file.header.start, time: file.header.time };
        Ok(Self { reader, file: file.clone(), at, number: 0, parts: 1, next })
    }

    fn count(mut self) -> Result<u32> {
        let mut parts = 0;
        while self.cut()?.is_some() {
            parts += 1;
        }
        Ok(parts)
    }

    /// Takes the block whose head was read, and reads the next head.
    fn take(&mut self, into: Option<&mut Vec<u8>>) -> Result<()> {
        let failed = |error| fault::of_file("read", self.file.path(), error);
        let Some(head) = self.next else { return Ok(()) };
        let mut payload = vec![0; head.payload_size()];
        self.reader.read_exact(&mut payload).map_err(failed)?;
        if let Some(into) = into.filter(|_| head.kind == BlockKind::Frames) {
            into.extend_from_slice(&head.to_bytes());
            into.extend_from_slice(&payload);
        }
        if self.file.header.kind == Kind::Log {
            self.at = Point { position: head.end(), time: self.at.time.max(head.times.1) };
        }
        self.next = next_head(&mut self.reader).map_err(failed)?;
        Ok(())
    }

    /// Cuts the next piece; `None` at the end.
    pub(crate) fn cut(&mut self) -> Result<Option<Piece>> {
        let part = if self.file.header.kind == Kind::Base { (self.number, self.parts) } else { (0, 1) };
        let header = Header { start: self.at.position, time: self.at.time, part, ..self.file.header };
        let mut bytes = header.to_bytes().to_vec();
        let empty = bytes.len();
        let mut ends = false;
        while let Some(head) = self.next {
            self.take(Some(&mut bytes))?;
            ends = head.ends;
            let is_long = bytes.len() >= PIECE;
            // A log's piece ends with a commit, unless that is too long for it.
            if is_long && (ends || self.file.header.kind == Kind::Base || bytes.len() >= 2 * PIECE) {
                break;
            }
        }
        if bytes.len() == empty {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Piece { header, end: self.at, ends, bytes }))
    }
}
