//! A file in memory (`memfd_create(2)`) in which each offset is written once.
//!
//! The file grows without end but takes only the memory of the bodies that are referenced: a range that is no longer referenced
//! becomes a hole, and no range is reused. So bytes that the kernel has yet to send never become those of another body. This
//! requires that holes remove whole pages: of a larger page a hole would zero a part while it is being sent. So there is no arena
//! where the system may use huge pages for files in memory.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use isobar_storage::{Error, ErrorKind};
use rustix::buffer::spare_capacity;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create, sendfile};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};
use rustix::net::{SendFlags, send};
use rustix::process::{Resource, getrlimit};

/// Size of a write in bytes: an eviction waits for it.
const SLICE: usize = 256 * 1024;

/// The bodies of one cache.
#[derive(Debug)]
pub(crate) struct Arena {
    file: Arc<File>,
    /// Offset of the next body in bytes; always at the start of a page.
    end: AtomicU64,
    page: usize,
}

/// The file in memory, which lives as long as a range of it.
#[derive(Debug)]
struct File {
    fd: OwnedFd,
    /// Set when a hole could not be made: nothing more is stored, as its memory would never be freed.
    leaks: AtomicBool,
}

/// A range of a body in the kernel's memory.
#[derive(Debug, Clone)]
pub struct Region {
    place: Arc<Place>,
    range: Range<usize>,
}

/// The pages of a body, freed when the last reference is dropped.
#[derive(Debug)]
struct Place {
    file: Arc<File>,
    offset: u64,
    length: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(_error) = make_hole(&self.file.fd, self.offset, self.length) {
            self.file.leaks.store(true, Ordering::Relaxed);
            #[cfg(feature = "tracing")]
            tracing::warn!(error = %_error, "the memory of evicted responses cannot be freed; new responses are cached as plain bytes");
        }
    }
}

/// Frees the pages of a range, which then reads as zeros.
fn make_hole(file: &OwnedFd, offset: u64, length: u64) -> Result<(), Errno> {
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    retry_on_intr(|| fallocate(file, hole, offset, length))
}

impl Arena {
    /// Creates an arena. `None` where the system has no such files, cannot make holes in them, may use huge pages for them, or
    /// limits the length of files: this one only grows.
    pub(crate) fn new() -> Option<Self> {
        if getrlimit(Resource::Fsize).current.is_some() || may_have_huge_pages() {
            return None;
        }
        let page = rustix::param::page_size();
        let fd = memfd_create("isobar-site", MemfdFlags::CLOEXEC).ok()?;
        // Some systems have the call but do not support holes.
        pwrite(&fd, &[0], 0).ok()?;
        make_hole(&fd, 0, page as u64).ok()?;
        let file = Arc::new(File { fd, leaks: AtomicBool::new(false) });
        Some(Self { file, end: AtomicU64::new(page as u64), page })
    }

    /// Writes a body at the end of the file.
    ///
    /// # Errors
    /// The error of `pwrite(2)`; `Unsupported` after a hole could not be made. The caller keeps plain bytes instead.
    pub(super) fn put(&self, bytes: &[u8]) -> io::Result<Region> {
        if self.file.leaks.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let length = bytes.len().next_multiple_of(self.page) as u64;
        let offset = self.end.fetch_add(length, Ordering::Relaxed);
        // From here on an early return frees the pages that were written.
        let place = Place { file: Arc::clone(&self.file), offset, length };
        let mut written = 0;
        while written < bytes.len() {
            let slice = &bytes[written..bytes.len().min(written + SLICE)];
            written += retry_on_intr(|| pwrite(&self.file.fd, slice, offset + written as u64))?;
        }
        Ok(Region { place: Arc::new(place), range: 0..bytes.len() })
    }
}

/// Whether files in memory may have huge pages, by the settings of each size and the general one.
fn may_have_huge_pages() -> bool {
    let settings = Path::new("/sys/kernel/mm/transparent_hugepage");
    let sizes = std::fs::read_dir(settings).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = std::iter::once(settings.to_owned()).chain(sizes).map(|folder| folder.join("shmem_enabled"));
    files.filter_map(|file| std::fs::read_to_string(file).ok()).any(|setting| gives_unasked(&setting))
}

/// Whether a setting, its choice in brackets, gives huge pages to files that did not ask for them. `inherit` refers to the general
/// setting; an unknown choice counts as yes.
fn gives_unasked(setting: &str) -> bool {
    !["[never]", "[advise]", "[deny]", "[inherit]"].iter().any(|small| setting.contains(small))
}

impl Region {
    /// Returns its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Returns the memory of the whole body, in bytes, also for a part of it: the pages are freed together.
    pub(super) fn weight(&self) -> usize {
        self.place.length as usize // it was a slice's
    }

    /// Removes the first `count` bytes, or all of them if there are fewer.
    pub(super) fn advance(&mut self, count: usize) {
        self.range.start = (self.range.start + count).min(self.range.end);
    }

    /// Returns a part of the region, cut at its end.
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        let at = |position: usize| (self.range.start + position).min(self.range.end);
        Self { place: Arc::clone(&self.place), range: at(range.start)..at(range.end) }
    }

    /// Takes up to `limit` bytes off the front.
    pub(crate) fn take(&mut self, limit: usize) -> Result<Bytes, Error> {
        let taken = self.read(0..self.len().min(limit))?;
        self.advance(taken.len());
        Ok(taken)
    }

    /// Copies a range of the region.
    ///
    /// # Errors
    /// `Internal` where the file in memory cannot be read.
    pub(super) fn read(&self, range: Range<usize>) -> Result<Bytes, Error> {
        let Self { place, range } = self.slice(range);
        let offset = place.offset + range.start as u64;
        let length = range.len();
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let from = offset + bytes.len() as u64;
            let read = retry_on_intr(|| pread(&place.file.fd, spare_capacity(&mut bytes), from)).map_err(lost)?;
            if read == 0 {
                return Err(lost(Errno::IO));
            }
        }
        // The vector may have a larger capacity.
        bytes.truncate(length);
        Ok(bytes.into())
    }

    /// Sends `head` to a socket, or, where it is empty, as much of this region as the socket accepts. Returns the number of bytes
    /// that were sent. The kernel holds the head back to send it together with the body.
    ///
    /// When the client has closed the connection `sendfile` raises SIGPIPE, which Rust programs ignore by default.
    ///
    /// # Errors
    ///
    /// The errors of `send(2)` and `sendfile(2)`; `WouldBlock` while the socket's buffer is full.
    pub fn send(&self, socket: impl AsFd, head: &[u8]) -> io::Result<usize> {
        let sent = retry_on_intr(|| {
            if !head.is_empty() {
                return send(&socket, head, SendFlags::MORE | SendFlags::NOSIGNAL);
            }
            let mut from = self.place.offset + self.range.start as u64;
            sendfile(&socket, &self.place.file.fd, Some(&mut from), self.len())
        });
        Ok(sent?)
    }
}

/// Returns the error of a file in memory that cannot be read.
fn lost(error: Errno) -> Error {
    Error::new(ErrorKind::Internal, format!("the cached body cannot be read from memory: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// An arena for the tests, if the system supports one.
    fn arena() -> Option<Arena> {
        let arena = Arena::new();
        let is_limited = getrlimit(Resource::Fsize).current.is_some() || may_have_huge_pages();
        assert_eq!(arena.is_none(), is_limited, "an arena exists exactly where files are unlimited and pages small");
        arena
    }

    #[test]
    fn huge_pages_are_detected_in_every_setting() {
        for setting in ["always inherit within_size advise [never]", "always [inherit] within_size advise never"] {
            assert!(!gives_unasked(setting), "{setting}");
        }
        for setting in ["[always] never", "always [within_size] never", "always never deny [force]", "[new]", ""] {
            assert!(gives_unasked(setting), "{setting}");
        }
    }

    #[test]
    fn arena_stores_nothing_more_after_a_hole_failed() {
        let Some(arena) = arena() else { return };
        let region = arena.put(&[1; 10_000]).unwrap();
        // The file descriptor is open for reading only.
        let path = format!("/proc/self/fd/{}", arena.file.fd.as_raw_fd());
        let fd = std::fs::File::open(path).unwrap().into();
        let file = Arc::new(File { fd, leaks: AtomicBool::new(false) });
        let place = Place { file: Arc::clone(&file), offset: region.place.offset, length: region.place.length };
        drop(place);
        let broken = Arena { file, end: AtomicU64::new(0), page: arena.page };
        assert_eq!(broken.put(&[1; 10_000]).unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert!(arena.put(&[1; 10_000]).is_ok());
    }

    fn held(arena: &Arena) -> u64 {
        std::fs::File::from(arena.file.fd.try_clone().unwrap()).metadata().unwrap().blocks() * 512
    }

    #[test]
    fn dropped_bodies_free_their_memory_and_their_ranges_are_not_reused() {
        let Some(arena) = arena() else { return };
        let first = arena.put(&[1; 10_000]).unwrap();
        let second = arena.put(&[2; 10_000]).unwrap();
        let part = first.slice(5_000..6_000);
        drop(first);
        assert_eq!(held(&arena), 2 * pages(&arena));
        drop(part);
        assert_eq!(held(&arena), pages(&arena));
        let third = arena.put(&[3; 10_000]).unwrap();
        assert!(third.place.offset > second.place.offset);
        assert_eq!(second.read(0..10_000).unwrap(), vec![2; 10_000]);
    }

    /// Memory that bodies of 10,000 bytes take, in pages.
    fn pages(arena: &Arena) -> u64 {
        10_000_usize.next_multiple_of(arena.page) as u64
    }

    #[test]
    fn bytes_in_flight_do_not_change() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        let Some(arena) = arena() else { return };
        let region = arena.put(&[1; 1 << 20]).unwrap();
        let mut sent = region.send(&sender, b"head").unwrap();
        assert_eq!(sent, 4);
        // Fill the socket's buffer, drop the region, and store others.
        while let Ok(count) = region.slice(sent - 4..region.len()).send(&sender, b"") {
            sent += count;
            if sent == region.len() + 4 {
                break;
            }
        }
        drop((region, sender));
        let _others: Vec<_> = (0..16).map(|_| arena.put(&[2; 1 << 16]).unwrap()).collect();
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), sent);
        assert!(received.starts_with(b"head") && received[4..].iter().all(|byte| *byte == 1));
    }
}
