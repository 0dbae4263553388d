//! Buffers of reads that are used again, so that a body which is read often costs no pages of memory each time.
//!
//! An allocator may give the pages of a large block back to the system when it is freed, and the next read of that length then has
//! them mapped and zeroed anew. So what a read has filled comes back here when the last [`Bytes`] of it is dropped, and a read of
//! about the same length takes it. A body that is held for long (by a cache, say) keeps its buffer, and nothing else waits for it. One
//! list serves the whole process, so that its bound does not grow with the number of stores.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use isobar_base::sync::IgnorePoison;

/// Capacities in bytes of the buffers that are kept: smaller ones are quick to allocate, larger ones would fill the list.
const LEAST_BYTES: usize = 64 * 1024;
const MOST_BYTES: usize = 1024 * 1024;
/// Largest number of bytes in buffers that nothing uses.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

static UNUSED: Unused = Unused::new();

/// Returns an empty buffer with room for this many bytes, and at most an eighth more.
pub(crate) fn take(length: usize) -> Vec<u8> {
    UNUSED.take(length)
}

/// Returns what a read has filled, whose buffer comes back when the last of it is dropped.
pub(crate) fn into_bytes(buffer: Vec<u8>) -> Bytes {
    UNUSED.lend(buffer)
}

/// The buffers that nothing uses, the newest last.
struct Unused(Mutex<VecDeque<Vec<u8>>>);

impl Unused {
    const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    fn take(&self, length: usize) -> Vec<u8> {
        if (LEAST_BYTES..=MOST_BYTES).contains(&length) {
            let mut unused = self.0.lock().ignore_poison();
            let fits = |buffer: &Vec<u8>| (length..=length + length / 8).contains(&buffer.capacity());
            // The newest first: its bytes are in the processor's cache.
            let found = unused.iter().rposition(fits);
            if let Some(buffer) = found.and_then(|at| unused.remove(at)) {
                return buffer;
            }
        }
        Vec::with_capacity(length)
    }

    fn lend(&'static self, buffer: Vec<u8>) -> Bytes {
        if (LEAST_BYTES..=MOST_BYTES).contains(&buffer.capacity()) {
            Bytes::from_owner(Lent { buffer, home: self })
        } else {
            buffer.into()
        }
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut evicted = Vec::new(); // freed after the lock is
        let mut unused = self.0.lock().ignore_poison();
        unused.push_back(buffer);
        while unused.iter().map(Vec::capacity).sum::<usize>() > KEPT_BYTES {
            evicted.extend(unused.pop_front());
        }
    }
}

/// A filled buffer that [`Bytes`] use.
struct Lent {
    buffer: Vec<u8>,
    home: &'static Unused,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_body_gives_its_buffer_to_a_read_of_about_its_length_alone() {
        static HOME: Unused = Unused::new();
        let length = 700_000;
        let mut buffer = HOME.take(length);
        buffer.resize(length, 7);
        let place = buffer.as_ptr();
        let bytes = HOME.lend(buffer);
        let part = bytes.slice(10..20);
        drop(bytes);
        assert!(HOME.0.lock().ignore_poison().is_empty(), "a part of it is still used");
        assert_eq!(part, [7; 10][..]);
        drop(part);
        HOME.take(length / 2);
        assert_eq!(HOME.0.lock().ignore_poison().len(), 1, "it is twice as long as asked for");
        let again = HOME.take(length - 1);
        assert!(again.as_ptr() == place && again.is_empty());
        assert!(HOME.0.lock().ignore_poison().is_empty(), "it is taken");
    }

    #[test]
    fn unused_buffers_are_bounded_and_neither_small_nor_huge() {
        static HOME: Unused = Unused::new();
        let bodies: Vec<Bytes> = (0..20).map(|_| HOME.lend(vec![1; MOST_BYTES])).collect();
        drop(bodies);
        assert_eq!(HOME.0.lock().ignore_poison().len(), KEPT_BYTES / MOST_BYTES);
        drop(HOME.lend(vec![1; MOST_BYTES + 1]));
        drop(HOME.lend(vec![1; LEAST_BYTES - 1]));
        let unused = HOME.0.lock().ignore_poison();
        assert!(unused.iter().all(|buffer| buffer.capacity() == MOST_BYTES));
    }
}
