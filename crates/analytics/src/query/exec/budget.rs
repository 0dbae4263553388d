//! The memory and the time of a query. Memory is counted before it is taken.
//!
//! Every allocation that grows with the data has a [`Share`]: rows in a sorter, groups, states, vectors of expressions. A share takes its bytes
//! from the budget first, and gives them back when it is dropped, so that no path forgets them. Counted is what a value needs (a text's
//! bytes, a map entry's slot), not what the allocator gives; a bound before a function is applied may be too high, and is corrected after it.
//!
//! Several threads may run a query, so that the count is an atomic number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::query::vector::{Rows, Vector};
use crate::{Error, ErrorKind, Result};

/// The bounds of a query, and how much of its memory is taken. What is read from a dataset at once counts besides: a batch, which its
/// source bounds.
#[derive(Debug)]
pub(in crate::query) struct Budget {
    memory_bytes: usize,
    taken: AtomicUsize,
    time_limit: Option<Duration>,
    deadline: Option<Instant>,
    is_cancelled: Arc<AtomicBool>,
}

impl Budget {
    /// Creates a budget of this many bytes, none of which is taken, and of this time from now on; a time that the clock does not reach is
    /// no limit.
    pub(in crate::query) fn new(
        memory_bytes: usize,
        time_limit: Option<Duration>,
        is_cancelled: Arc<AtomicBool>,
    ) -> Self {
        let deadline = time_limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { memory_bytes, taken: AtomicUsize::new(0), time_limit, deadline, is_cancelled }
    }

    /// Fails where the query is cancelled or its time is over.
    ///
    /// Called between batches, between functions, and every 65,536 steps of a `LIKE`: the longest time between two checks is that of one function
    /// over 8,192 rows.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`], [`ErrorKind::TimedOut`].
    pub(in crate::query) fn check(&self) -> Result<()> {
        if self.is_cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, "the query was cancelled").during("query"));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let limit = self.time_limit.unwrap_or_default();
            let message =
                format!("the query has taken longer than {limit:?}; select fewer rows, by timestamp or index1");
            return Err(Error::new(ErrorKind::TimedOut, message).during("query"));
        }
        Ok(())
    }

    /// Takes bytes until the end of the query.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] where the limit does not allow them: then none is taken.
    pub(in crate::query) fn take(&self, bytes: usize) -> Result<()> {
        let within = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.memory_bytes);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok() {
            return Ok(());
        }
        let message = format!(
            "the query needs more than {} bytes of memory; select fewer rows or columns, group by fewer values, or set a LIMIT",
            self.memory_bytes
        );
        Err(Error::new(ErrorKind::MemoryLimit, message).during("query"))
    }

    /// Returns a share that has taken nothing yet.
    pub(in crate::query) fn share(&self) -> Share<'_> {
        Share { budget: self, bytes: 0 }
    }
}

/// A part of the memory that is taken; given back when it is dropped.
#[derive(Debug)]
pub(in crate::query) struct Share<'m> {
    budget: &'m Budget,
    bytes: usize,
}

impl<'m> Share<'m> {
    /// Fails where the query is over.
    ///
    /// # Errors
    /// As [`Budget::check`].
    pub(super) fn check(&self) -> Result<()> {
        self.budget.check()
    }

    /// Returns the number of bytes taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// As [`Budget::take`].
    pub(super) fn grow(&mut self, bytes: usize) -> Result<()> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives bytes back, so that not more than this many stay.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.budget.taken.fetch_sub(back, Ordering::Relaxed);
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
        let budget = Budget::new(100, None, Arc::default());
        let mut one = budget.share();
        one.grow(60).unwrap();
        let mut two = budget.share();
        assert_eq!(two.grow(41).unwrap_err().kind(), ErrorKind::MemoryLimit);
        assert_eq!(two.grow(usize::MAX).unwrap_err().kind(), ErrorKind::MemoryLimit);
        two.grow(40).unwrap();
        one.shrink_to(10);
        one.shrink_to(50);
        assert_eq!((one.bytes(), budget.taken.load(Ordering::Relaxed)), (10, 50));
        one.add(two);
        assert_eq!((one.bytes(), budget.taken.load(Ordering::Relaxed)), (50, 50));
        drop(one);
        budget.take(100).unwrap();
        assert!(budget.take(1).is_err());
    }
}
