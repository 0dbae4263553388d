//! Files that several readers read at positions of their own.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// Reads at a position, without moving one that others share. Returns the number of bytes.
pub(super) fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_at(file, into, at);
    #[cfg(windows)]
    return std::os::windows::fs::FileExt::seek_read(file, into, at);
}

/// A part of a file that is read from its beginning to its end.
#[derive(Debug)]
pub(super) struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Part {
    /// Reads the first bytes of a file.
    pub(super) fn first(file: Arc<File>, bytes: u64) -> Self {
        Self { file, at: 0, end: bytes }
    }

    /// Returns the number of bytes that are still to be read.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left()).unwrap_or(usize::MAX).min(into.len());
        let read = read_at(&self.file, &mut into[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
