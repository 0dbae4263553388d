//! A file in memory (`memfd_create(2)`), written once at each place.
//!
//! It grows for ever and holds no more than what is kept: a place that nobody keeps becomes a hole, and no place is used twice.
//! So what the kernel still has to send of an answer never becomes another's bytes. That holds where a hole takes whole pages
//! away: of a page larger than itself it would wipe a part, under whoever is being sent it. So there is no arena where the
//! system may use such pages for files in memory.

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

/// As much as is written at once, in bytes: an eviction waits for it.
const SLICE: usize = 256 * 1024;

/// The bodies of one cache.
#[derive(Debug)]
pub(crate) struct Arena {
    file: Arc<File>,
    /// Where the next body goes; always at the beginning of a page.
    end: AtomicU64,
    page: usize,
}

#[derive(Debug)]
struct File {
    fd: OwnedFd,
    /// A hole could not be made: nothing more is put, for it would never go.
    leaks: AtomicBool,
}

/// Some of a body that lies in the kernel's memory.
#[derive(Debug, Clone)]
pub struct Region {
    place: Arc<Place>,
    range: Range<usize>,
}

/// Where a body lies: whole pages, its own as long as it is kept.
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
            tracing::warn!(error = %_error, "memory of the site's cache does not come back; answers are kept as plain bytes");
        }
    }
}

fn make_hole(file: &OwnedFd, offset: u64, length: u64) -> Result<(), Errno> {
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    retry_on_intr(|| fallocate(file, hole, offset, length))
}

impl Arena {
    /// `None` where the system has no such file, cannot make holes in it, may use huge pages for it, or lets files grow to a
    /// limit: this one's end is only ever further away.
    pub(crate) fn new() -> Option<Self> {
        if getrlimit(Resource::Fsize).current.is_some() || may_have_huge_pages() {
            return None;
        }
        let page = rustix::param::page_size();
        let fd = memfd_create("isobar-site", MemfdFlags::CLOEXEC).ok()?;
        // Not every system that has the call can do it.
        pwrite(&fd, &[0], 0).ok()?;
        make_hole(&fd, 0, page as u64).ok()?;
        let file = Arc::new(File { fd, leaks: AtomicBool::new(false) });
        Some(Self { file, end: AtomicU64::new(page as u64), page })
    }

    pub(super) fn put(&self, bytes: &[u8]) -> io::Result<Region> {
        if self.file.leaks.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let length = bytes.len().next_multiple_of(self.page) as u64;
        let offset = self.end.fetch_add(length, Ordering::Relaxed);
        // From here on what is written of it becomes a hole again if the rest cannot be.
        let place = Place { file: Arc::clone(&self.file), offset, length };
        let mut written = 0;
        while written < bytes.len() {
            let slice = &bytes[written..bytes.len().min(written + SLICE)];
            written += retry_on_intr(|| pwrite(&self.file.fd, slice, offset + written as u64))?;
        }
        Ok(Region { place: Arc::new(place), range: 0..bytes.len() })
    }
}

/// Whether files in memory may have pages larger than the system's: by one of these settings, of each size and of all.
fn may_have_huge_pages() -> bool {
    let settings = Path::new("/sys/kernel/mm/transparent_hugepage");
    let sizes = std::fs::read_dir(settings).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = std::iter::once(settings.to_owned()).chain(sizes).map(|folder| folder.join("shmem_enabled"));
    files.filter_map(|file| std::fs::read_to_string(file).ok()).any(|setting| gives_unasked(&setting))
}

/// Whether a setting, its choice in brackets, gives such pages to who has not asked for them. What a size inherits is the setting
/// of all; a choice that is not known may.
fn gives_unasked(setting: &str) -> bool {
    !["[never]", "[advise]", "[deny]", "[inherit]"].iter().any(|small| setting.contains(small))
}

impl Region {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    pub(super) fn weight(&self) -> usize {
        self.place.length as usize // it was a slice's
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.range.start = (self.range.start + count).min(self.range.end);
    }

    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        let at = |position: usize| (self.range.start + position).min(self.range.end);
        Self { place: Arc::clone(&self.place), range: at(range.start)..at(range.end) }
    }

    /// Takes as much as `limit` bytes off the front.
    pub(crate) fn take(&mut self, limit: usize) -> Result<Bytes, Error> {
        let taken = self.read(0..self.len().min(limit))?;
        self.advance(taken.len());
        Ok(taken)
    }

    pub(super) fn read(&self, range: Range<usize>) -> Result<Bytes, Error> {
        let Self { place, range } = self.slice(range);
        let (offset, length) = (place.offset + range.start as u64, range.len());
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let from = offset + bytes.len() as u64;
            let read = retry_on_intr(|| pread(&place.file.fd, spare_capacity(&mut bytes), from)).map_err(lost)?;
            if read == 0 {
                return Err(lost(Errno::IO));
            }
        }
        // A vector may have had room for more.
        bytes.truncate(length);
        Ok(bytes.into())
    }

    /// Sends `head` to a socket, or, where there is none, what the socket takes of this; how much that was. The head waits in
    /// the kernel for what follows it.
    ///
    /// Where the client has gone `sendfile` raises SIGPIPE, which Rust's programs ignore unless they were told otherwise.
    ///
    /// # Errors
    ///
    /// Those of `send(2)` and `sendfile(2)`; `WouldBlock` where the socket takes nothing now.
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

fn lost(error: Errno) -> Error {
    Error::new(ErrorKind::Internal, format!("what was kept in memory cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// One for the tests, where the system lets there be one.
    fn arena() -> Option<Arena> {
        let arena = Arena::new();
        let is_limited = getrlimit(Resource::Fsize).current.is_some() || may_have_huge_pages();
        assert_eq!(arena.is_none(), is_limited, "there is no reason for none");
        arena
    }

    #[test]
    fn huge_pages_are_noticed_whatever_gives_them() {
        for setting in ["always inherit within_size advise [never]", "always [inherit] within_size advise never"] {
            assert!(!gives_unasked(setting), "{setting}");
        }
        for setting in ["[always] never", "always [within_size] never", "always never deny [force]", "[new]", ""] {
            assert!(gives_unasked(setting), "{setting}");
        }
    }

    #[test]
    fn where_a_hole_cannot_be_made_nothing_more_is_put() {
        let Some(arena) = arena() else { return };
        let region = arena.put(&[1; 10_000]).unwrap();
        // Nothing can be changed through what is open to be read alone.
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
    fn what_nobody_keeps_takes_no_memory_and_its_place_is_never_anothers() {
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

    /// What 10,000 bytes take.
    fn pages(arena: &Arena) -> u64 {
        10_000_usize.next_multiple_of(arena.page) as u64
    }

    #[test]
    fn what_is_on_its_way_stays_what_it_was() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        let Some(arena) = arena() else { return };
        let region = arena.put(&[1; 1 << 20]).unwrap();
        let mut sent = region.send(&sender, b"head").unwrap();
        assert_eq!(sent, 4);
        // As much as the socket takes; then it is forgotten, and others are put.
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
