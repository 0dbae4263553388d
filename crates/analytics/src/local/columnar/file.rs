//! Reading a file by blocks that are compared with their checksums, and writing one with them.
//!
//! Parquet's own checksums cover a page each, are optional, and leave out the footer; a bit that has flipped in a dictionary or an offset would
//! be a wrong answer or a panic of the decoder. So each 128 KiB of the file has a CRC32 in the manifest, and a range is read with the rest of its
//! blocks: a small read costs at most two blocks more. A segment is a file of the dataset's folder, or an object of its archive.
//!
//! The decoder asks for a page at a time, of some kilobytes, and for those of several columns in turn: the blocks that were read last are kept,
//! so that each is read and compared once. Where they are enough for the columns, the next one is read into the memory of the oldest.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use isobar_base::sync::IgnorePoison;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::object::{ObjectFile, damaged};
use crate::local::files::read_at;
use crate::local::manifest::{BLOCK, Entry};
use crate::local::snapshot::SegmentFile;

/// Most blocks of a file that are kept after they were read: one of each column, and more than half as many again.
const KEPT_BLOCKS: usize = 64;

/// A file whose blocks are compared with their checksums when they are read.
#[derive(Debug, Clone)]
pub(super) struct CheckedFile {
    source: Source,
    bytes: u64,
    sums: Arc<[u32]>,
    /// The first error that was not one of the content: on their way through the decoder errors lose their kinds.
    failure: Arc<Mutex<Option<io::Error>>>,
}

#[derive(Debug, Clone)]
enum Source {
    File(Arc<FileBlocks>),
    Object(Arc<ObjectFile>),
}

/// A file of the dataset's folder, and the blocks that were read of it last.
#[derive(Debug)]
struct FileBlocks {
    file: Arc<File>,
    bytes: u64,
    /// Number of blocks that are kept.
    most: AtomicUsize,
    /// By number, the one that was used last at the end.
    kept: Mutex<VecDeque<(u64, Bytes)>>,
}

impl CheckedFile {
    /// Takes an open file and what the manifest says of it. `None` where that has no checksum for each block.
    pub(super) fn new(file: &SegmentFile, entry: &Entry) -> Option<Self> {
        let digits = entry.sums.as_bytes().chunks(8).map(|digits| std::str::from_utf8(digits).ok());
        let sums: Option<Arc<[u32]>> = digits.map(|digits| u32::from_str_radix(digits?, 16).ok()).collect();
        let sums = sums.filter(|sums| sums.len() as u64 == entry.bytes.div_ceil(BLOCK as u64))?;
        let source = match file {
            SegmentFile::Local(file) => Source::File(Arc::new(FileBlocks {
                file: Arc::clone(file),
                bytes: entry.bytes,
                most: AtomicUsize::new(KEPT_BLOCKS),
                kept: Mutex::default(),
            })),
            SegmentFile::Archived(object) => Source::Object(Arc::new(ObjectFile::new(object, entry.bytes))),
        };
        Some(Self { source, bytes: entry.bytes, sums, failure: Arc::default() })
    }

    /// Says which ranges will be read of this many columns, so that an object is fetched by few requests, and few blocks of a file are kept.
    pub(super) fn plan(&self, ranges: impl FnOnce() -> Vec<Range<u64>>, columns: usize) {
        match &self.source {
            Source::File(file) => file.most.store((2 * columns).clamp(4, KEPT_BLOCKS), Ordering::Relaxed),
            Source::Object(object) => object.plan(ranges(), columns),
        }
    }

    /// Takes the first error that was not one of the content.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        self.failure.lock().ignore_poison().take()
    }

    /// Reads all of it.
    pub(super) fn verify(&self) -> io::Result<()> {
        let mut at = 0;
        while at < self.bytes {
            let length = (self.bytes - at).min(8 * BLOCK as u64);
            self.read(at, length as usize)?;
            at += length;
        }
        Ok(())
    }

    /// Reads a range, and with it the rest of the blocks that it is in.
    fn read(&self, start: u64, length: usize) -> io::Result<Bytes> {
        self.read_checked(start, length).map_err(|error| {
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
                return error;
            }
            let copy = io::Error::new(error.kind(), error.to_string());
            self.failure.lock().ignore_poison().get_or_insert(error);
            copy
        })
    }

    fn read_checked(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.bytes);
        let end = end.ok_or_else(|| damaged("a range is beyond the end"))?;
        match &self.source {
            Source::File(file) => file.read(start..end, |at, block| self.check(at, block)),
            Source::Object(object) => {
                let aligned_start = start / BLOCK as u64 * BLOCK as u64;
                let aligned_end = (end.div_ceil(BLOCK as u64) * BLOCK as u64).min(self.bytes);
                let blocks = object.read(aligned_start..aligned_end, |at, blocks| self.check(at, blocks))?;
                let within = (start - aligned_start) as usize;
                Ok(blocks.slice(within..within + length))
            }
        }
    }

    /// Compares whole blocks, from this position on, with their checksums.
    fn check(&self, start: u64, blocks: &[u8]) -> io::Result<()> {
        let first = (start / BLOCK as u64) as usize;
        for (block, sum) in blocks.chunks(BLOCK).zip(&self.sums[first..]) {
            if crc32fast::hash(block) != *sum {
                return Err(damaged("a block does not match its checksum"));
            }
        }
        Ok(())
    }
}

impl FileBlocks {
    /// Reads a range that is within the file. A range of one block is a part of it, without a copy.
    fn read(&self, range: Range<u64>, check: impl Fn(u64, &[u8]) -> io::Result<()>) -> io::Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let size = BLOCK as u64;
        let first = range.start / size;
        let last = (range.end - 1) / size;
        let within = |block: u64| {
            let start = block * size;
            (range.start.max(start) - start) as usize..(range.end.min(start + size) - start) as usize
        };
        if first == last {
            return Ok(self.block(first, &check)?.slice(within(first)));
        }
        let mut joined = Vec::with_capacity((range.end - range.start) as usize);
        for block in first..=last {
            joined.extend_from_slice(&self.block(block, &check)?[within(block)]);
        }
        Ok(joined.into())
    }

    /// Returns a block: a kept one, or a newly read one that matches its checksum.
    fn block(&self, number: u64, check: impl Fn(u64, &[u8]) -> io::Result<()>) -> io::Result<Bytes> {
        let mut kept = self.kept.lock().ignore_poison();
        if let Some(at) = kept.iter().rposition(|(other, _)| *other == number)
            && let Some(found) = kept.remove(at)
        {
            let block = found.1.clone();
            kept.push_back(found);
            return Ok(block);
        }
        let mut block = BytesMut::new();
        while kept.len() >= self.most.load(Ordering::Relaxed)
            && let Some((_, oldest)) = kept.pop_front()
        {
            // Its memory, unless a page of it is still being read.
            block = oldest.try_into_mut().unwrap_or_default();
        }
        let start = number * BLOCK as u64;
        block.resize((self.bytes - start).min(BLOCK as u64) as usize, 0);
        read_block(&self.file, &mut block, start)?;
        check(start, &block)?;
        let block = block.freeze();
        kept.push_back((number, block.clone()));
        Ok(block)
    }
}

fn read_block(file: &File, block: &mut [u8], start: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < block.len() {
        match read_at(file, &mut block[filled..], start + filled as u64)? {
            0 => return Err(damaged("the file is shorter than it was")),
            read => filled += read,
        }
    }
    Ok(())
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for CheckedFile {
    type T = BufReader<CheckedPart>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::with_capacity(BLOCK, CheckedPart { file: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.read(start, length).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// The rest of a file from a position on.
#[derive(Debug)]
pub(super) struct CheckedPart {
    file: CheckedFile,
    at: u64,
}

impl Read for CheckedPart {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.file.bytes.saturating_sub(self.at);
        // To the end of the block, which is read as a whole.
        let left = left.min(BLOCK as u64 - self.at % BLOCK as u64);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        into[..length].copy_from_slice(&self.file.read(self.at, length)?);
        self.at += length as u64;
        Ok(length)
    }
}

/// A writer that computes the checksums of blocks.
///
/// The sums are hexadecimal text as they are in the manifest, eight digits a block.
#[derive(Debug)]
pub(super) struct SummingFile {
    pub(super) file: File,
    pub(super) bytes: u64,
    sums: String,
    block: crc32fast::Hasher,
}

impl SummingFile {
    pub(super) fn new(file: File) -> Self {
        Self { file, bytes: 0, sums: String::new(), block: crc32fast::Hasher::new() }
    }

    /// Returns the checksums of all blocks, for the manifest.
    pub(super) fn into_sums(mut self) -> String {
        if !self.bytes.is_multiple_of(BLOCK as u64) {
            self.end_block();
        }
        self.sums
    }

    fn end_block(&mut self) {
        let sum = std::mem::take(&mut self.block).finalize();
        self.sums.push_str(&format!("{sum:08x}"));
    }
}

impl Write for SummingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BLOCK - (self.bytes % BLOCK as u64) as usize;
        let written = self.file.write(&bytes[..bytes.len().min(room)])?;
        self.block.update(&bytes[..written]);
        self.bytes += written as u64;
        if written > 0 && self.bytes.is_multiple_of(BLOCK as u64) {
            self.end_block();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_once_while_they_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let blocks = KEPT_BLOCKS as u64 + 1;
        std::fs::write(&path, vec![7; blocks as usize * BLOCK]).unwrap();
        let file = FileBlocks {
            file: Arc::new(File::open(&path).unwrap()),
            bytes: blocks * BLOCK as u64,
            most: AtomicUsize::new(KEPT_BLOCKS),
            kept: Mutex::default(),
        };
        let read = Mutex::new(Vec::new());
        let check = |start: u64, block: &[u8]| {
            read.lock().unwrap().push(start / BLOCK as u64);
            assert_eq!(block.len(), BLOCK);
            Ok(())
        };
        let size = BLOCK as u64;
        assert_eq!(file.read(size - 1..size + 2, check).unwrap(), [7; 3][..]);
        assert_eq!(file.read(0..2 * size, check).unwrap().len(), 2 * BLOCK);
        assert_eq!(*read.lock().unwrap(), [0, 1]);
        file.read(2 * size..blocks * size, check).unwrap();
        file.read(size..size + 1, check).unwrap();
        file.read(0..1, check).unwrap();
        let read = read.into_inner().unwrap();
        assert_eq!((read.len() as u64, read.last()), (blocks + 1, Some(&0)), "the block that was used least has gone");
    }

    #[test]
    fn every_flipped_byte_is_found_where_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7] {
            let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let mut writer = SummingFile::new(File::create(&path).unwrap());
            content.chunks(50_000).for_each(|chunk| writer.write_all(chunk).unwrap());
            let entry = Entry {
                number: 1,
                rows: 0,
                bytes: size as u64,
                from: 0,
                until: 0,
                sums: writer.into_sums(),
                indexes: None,
                object: None,
            };
            let file = || SegmentFile::Local(Arc::new(File::open(&path).unwrap()));
            let open = || CheckedFile::new(&file(), &entry).unwrap();
            open().verify().unwrap();
            assert_eq!(open().get_bytes(0, size).unwrap(), content);
            let mut read = Vec::new();
            open().get_read(0).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
            for at in [0, size / 2, size.saturating_sub(1)].into_iter().filter(|at| *at < size) {
                assert_eq!(open().get_bytes(at as u64, 1).unwrap()[0], content[at]);
                let mut damaged = content.clone();
                damaged[at] ^= 1;
                std::fs::write(&path, &damaged).unwrap();
                assert!(open().get_bytes(at as u64, 1).is_err());
                std::fs::write(&path, &content).unwrap();
            }
            assert!(open().get_bytes(size as u64, 1).is_err());
        }
    }
}
