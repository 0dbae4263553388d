//! Images: a database's file as it was at a point, made out of a base and the logs behind it.
//!
//! Pages are written to their places in the file, snapshot first, then every frame of the logs in order up to the
//! wanted commit; differences are applied to the page that is there. Every block is checked before it counts. The
//! result is a plain database without a write-ahead log, which SQLite opens as it is.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isobar_sqlite::journal::{Disk, DiskFile, SystemDisk};

use super::fault;
use super::format::{BlockKind, Frames, Header, Kind, next_head, read_payload};
use super::index::{Plan, follows, read_header};
use super::position::Position;
use crate::Result;

/// Offset of the two versions of the file's format: 2 for a database with a write-ahead log, 1 for one without.
const FORMAT: u64 = 18;

/// An image that is being made.
///
/// Memory: one block, some megabytes. The file is rubbish until [`finish`](Self::finish) has succeeded.
#[derive(Debug)]
pub(crate) struct Image {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    page_size: u32,
    /// The last frame.
    last: Option<Position>,
    /// The state up to which it has frames.
    reached: Option<Position>,
    /// Pages after the last commit.
    pages: u32,
    /// The newest commit that goes into it.
    until: Position,
}

impl Image {
    /// An image in an empty file, with commits up to this one.
    pub(crate) fn new(path: &Path, until: Position) -> Result<Self> {
        let file = SystemDisk.open(path).map_err(|error| fault::of_file("open", path, error))?;
        Ok(Self { path: path.to_owned(), file, page_size: 0, last: None, reached: None, pages: 0, until })
    }

    /// Adds a file of the history, or a part of one. They come in order, a base first. `name` is for errors.
    pub(crate) fn add(&mut self, name: &Path, reader: &mut impl Read) -> Result<()> {
        let header = read_header(reader).map_err(|error| fault::of_file("read", name, error))?;
        let header = header.ok_or_else(|| fault::damaged(name, "its header is not whole"))?;
        self.begin(name, &header)?;
        loop {
            let head = next_head(reader).map_err(|error| fault::of_file("read", name, error))?;
            let Some(head) = head else { return Ok(()) };
            let is_of_log = header.kind == Kind::Log;
            if is_of_log && Position::new(head.generation, head.first) > self.until {
                self.reached = Some(self.until);
                return Ok(());
            }
            let payload = read_payload(reader, &head).map_err(|error| fault::of_file("read", name, error))?;
            let payload = payload.ok_or_else(|| fault::damaged(name, "a block's checksum is wrong"))?;
            if !self.last.is_some_and(|last| follows(&head, last)) {
                return Err(fault::damaged(name, "a block does not follow the one before"));
            }
            if head.kind == BlockKind::Frames {
                let frames = Frames::of(head, &payload, header.page_size);
                let frames = frames.ok_or_else(|| fault::damaged(name, "a block does not fit its head"))?;
                let until = if is_of_log { self.until } else { Position::new(u32::MAX, u32::MAX) };
                self.apply(&frames, head.generation, until)
                    .map_err(|error| fault::of_file("write", &self.path, error))?;
                self.last = Some(head.end());
                self.reached = self.last.filter(|_| is_of_log).map(|end| end.min(self.until)).or(self.reached);
            }
        }
    }

    fn begin(&mut self, name: &Path, header: &Header) -> Result<()> {
        match (header.kind, self.last) {
            (Kind::Base, _) if header.part.0 == 0 => {
                self.page_size = header.page_size;
                self.last = Some(Position::new(header.start.generation, 0));
                self.reached = Some(header.start);
            }
            (Kind::Base, Some(_)) => {}
            (Kind::Log, Some(_)) if self.reached != Some(header.start) => {
                return Err(fault::damaged(name, "it does not follow what is before it"));
            }
            // Behind a base, whose frames were counted by page.
            (Kind::Log, Some(_)) => self.last = Some(header.start),
            (_, None) => return Err(fault::damaged(name, "there is no base before it")),
        }
        if header.page_size != self.page_size {
            return Err(fault::damaged(name, "its pages have another size"));
        }
        Ok(())
    }

    fn apply(&mut self, frames: &Frames, generation: u32, until: Position) -> io::Result<()> {
        let size = u64::from(self.page_size);
        let mut page = vec![0; self.page_size as usize];
        for frame in frames.iter().take_while(|frame| Position::new(generation, frame.number) <= until) {
            let offset = u64::from(frame.page.saturating_sub(1)) * size;
            if frame.is_difference {
                self.file.read_at(&mut page, offset)?;
                page.iter_mut().zip(frame.bytes).for_each(|(byte, changed)| *byte ^= changed);
            } else {
                page.copy_from_slice(frame.bytes);
            }
            self.file.write_at(&page, offset)?;
            if frame.pages != 0 {
                self.pages = frame.pages;
            }
        }
        Ok(())
    }

    /// Ends the image, durably: a database without a write-ahead log.
    pub(crate) fn finish(self) -> Result<()> {
        let finish = || -> io::Result<()> {
            if self.pages == 0 || self.reached.is_none_or(|reached| reached < self.until) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the history ends before its last commit"));
            }
            self.file.write_at(&[1, 1], FORMAT)?;
            let file = File::options().write(true).open(&self.path)?;
            file.set_len(u64::from(self.pages) * u64::from(self.page_size))?;
            file.sync_all()
        };
        finish().map_err(|error| fault::of_file("write", &self.path, error))
    }
}

impl Plan<'_> {
    /// Makes the image in an empty file.
    pub(crate) fn build(&self, path: &Path) -> Result<()> {
        let mut image = Image::new(path, self.point.position)?;
        for file in [self.base].into_iter().chain(self.logs.iter().copied()) {
            image.add(file.path(), &mut file.reader()?)?;
        }
        image.finish()
    }
}
