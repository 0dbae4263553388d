//! Memory for the files of imports and exports, which all of them share.
//!
//! A file is reserved before its bytes are in memory, and given back by `Drop`, whichever way it ends:
//! an upload that breaks off, a job that is swept, a door that is dropped. So the bound holds at any
//! moment, and no path has to remember it.
//!
//! A counter, not a semaphore: a client that gets no room is told so at once. Waiting would hold its
//! connection, and its bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Bytes that are taken.
#[derive(Debug, Default)]
pub(super) struct Room {
    used: AtomicUsize,
}

/// Bytes of the room, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    room: Arc<Room>,
    bytes: usize,
}

/// The files of all imports and exports have as many bytes as they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Room {
    /// Takes bytes, if all together have at most `most` then.
    ///
    /// # Errors
    /// [`Full`]; then nothing is taken.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize, most: usize) -> Result<Reserved, Full> {
        let mut reserved = Reserved { room: Arc::clone(self), bytes: 0 };
        reserved.grow(bytes, most)?;
        Ok(reserved)
    }
}

impl Reserved {
    /// Takes more bytes, or none.
    fn grow(&mut self, bytes: usize, most: usize) -> Result<(), Full> {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= most);
        self.room.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Full)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives bytes back, down to this many.
    fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.room.used.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// Reason for which a file takes no more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has as many as a file may.
    TooLong,
    /// There is no room.
    Full,
}

/// A file that is being received or written. Its bytes are reserved before they are kept.
#[derive(Debug)]
pub(super) struct NewFile {
    bytes: Vec<u8>,
    reserved: Reserved,
    /// Most bytes of the file.
    longest: usize,
    /// Most bytes of all files.
    most: usize,
}

impl NewFile {
    /// Begins an empty file, which takes no room yet.
    pub(super) fn new(room: &Arc<Room>, longest: usize, most: usize) -> Self {
        Self { bytes: Vec::new(), reserved: Reserved { room: Arc::clone(room), bytes: 0 }, longest, most }
    }

    /// Most bytes that the file may have.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Refused`]; then the file is as it was.
    pub(super) fn push(&mut self, more: &[u8]) -> Result<(), Refused> {
        let length = self.bytes.len() + more.len();
        if length > self.longest {
            return Err(Refused::TooLong);
        }
        let capacity = self.bytes.capacity();
        if length > capacity {
            // Twice as many, so that appending copies little; not more than the file may ever have, nor than there is room for.
            let next = (2 * capacity).clamp(length, self.longest);
            let grown = self.reserved.grow(next - capacity, self.most);
            let next = match grown {
                Ok(()) => next,
                Err(Full) => {
                    self.reserved.grow(length - capacity, self.most).map_err(|Full| Refused::Full)?;
                    length
                }
            };
            self.bytes.reserve_exact(next - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// Returns the file. The last of its clones gives the room back.
    pub(super) fn finish(mut self) -> Bytes {
        self.bytes.shrink_to_fit();
        self.reserved.shrink_to(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for NewFile {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_share_the_room_while_they_come_and_are_kept() {
        let room = Arc::<Room>::default();
        let mut first = NewFile::new(&room, 100, 150);
        for _ in 0..10 {
            first.push(&[1; 10]).unwrap();
        }
        assert_eq!(first.push(&[1]), Err(Refused::TooLong));
        let mut second = NewFile::new(&room, 100, 150);
        second.push(&[2; 50]).unwrap();
        assert_eq!(second.push(&[2]), Err(Refused::Full));
        drop(second);
        let kept = first.finish();
        let clone = kept.slice(10..);
        assert_eq!(room.used.load(Ordering::Relaxed), 100);
        drop(kept);
        assert_eq!(room.reserve(51, 150).unwrap_err(), Full);
        drop(clone);
        assert!(room.reserve(150, 150).is_ok());
        assert_eq!(room.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn file_that_is_shorter_than_its_memory_gives_the_rest_back() {
        let room = Arc::<Room>::default();
        let mut file = NewFile::new(&room, 1000, 1000);
        for _ in 0..33 {
            file.push(&[0; 10]).unwrap();
        }
        assert!(room.used.load(Ordering::Relaxed) > 330, "it was to grow");
        assert_eq!(file.finish().len(), 330);
        assert_eq!(room.used.load(Ordering::Relaxed), 0);
    }
}
