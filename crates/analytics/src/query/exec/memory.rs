//! The memory of a query, which is counted before it is taken.

use std::cell::Cell;

use crate::query::vector::{Rows, Vector};
use crate::{Error, ErrorKind, Result};

/// The memory of a query: its limit, and how much of it is taken. What is read from a dataset at once counts besides: a batch, which its
/// source bounds.
#[derive(Debug)]
pub(in crate::query) struct Memory {
    limit: usize,
    taken: Cell<usize>,
}

impl Memory {
    /// Creates a memory of this many bytes, none of which is taken.
    pub(in crate::query) fn new(limit: usize) -> Self {
        Self { limit, taken: Cell::new(0) }
    }

    /// Takes bytes until the end of the query.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] where the limit does not allow them: then none is taken.
    pub(in crate::query) fn take(&self, bytes: usize) -> Result<()> {
        let taken = self.taken.get().saturating_add(bytes);
        if taken > self.limit {
            let message = format!(
                "the query needs more than {} bytes of memory; select fewer rows or columns, group by fewer values, or set a LIMIT",
                self.limit
            );
            return Err(Error::new(ErrorKind::MemoryLimit, message).during("query"));
        }
        self.taken.set(taken);
        Ok(())
    }

    /// Returns a share that has taken nothing yet.
    pub(in crate::query) fn share(&self) -> Share<'_> {
        Share { memory: self, bytes: 0 }
    }
}

/// A part of the memory that is taken; given back when it is dropped.
#[derive(Debug)]
pub(in crate::query) struct Share<'m> {
    memory: &'m Memory,
    bytes: usize,
}

impl<'m> Share<'m> {
    /// Returns the number of bytes taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// As [`Memory::take`].
    pub(super) fn grow(&mut self, bytes: usize) -> Result<()> {
        self.memory.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives bytes back, so that not more than this many stay.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.memory.taken.set(self.memory.taken.get() - back);
    }

    /// Takes over what another share has.
    pub(super) fn add(&mut self, mut other: Share<'m>) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// A vector, and the memory that it takes.
#[derive(Debug)]
pub(super) struct Held<'m> {
    pub(super) vector: Vector,
    pub(super) share: Share<'m>,
}

/// Rows, and the memory that they take.
#[derive(Debug)]
pub(super) struct HeldRows<'m> {
    pub(super) rows: Rows,
    pub(super) share: Share<'m>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_taken_within_the_limit_and_given_back() {
        let memory = Memory::new(100);
        let mut one = memory.share();
        one.grow(60).unwrap();
        let mut two = memory.share();
        assert_eq!(two.grow(41).unwrap_err().kind(), ErrorKind::MemoryLimit);
        assert_eq!(two.grow(usize::MAX).unwrap_err().kind(), ErrorKind::MemoryLimit);
        two.grow(40).unwrap();
        one.shrink_to(10);
        one.shrink_to(50);
        assert_eq!((one.bytes(), memory.taken.get()), (10, 50));
        one.add(two);
        assert_eq!((one.bytes(), memory.taken.get()), (50, 50));
        drop(one);
        memory.take(100).unwrap();
        assert!(memory.take(1).is_err());
    }
}
