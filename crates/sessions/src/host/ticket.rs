//! A place among the events of a host: how many may be in flight is bounded.
//!
//! A request takes a place before it enters a thread's queue, and keeps it until its answer is sent, or its caller has gone
//! and its job is dropped. The count is one for all threads, without a lock: it may pass the limit for a moment by requests
//! that are refused. Alarms and messages of sockets take none: alarms are bounded by the objects, messages by their bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, ErrorKind, Result};

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket(Arc<AtomicUsize>);

impl Ticket {
    /// Takes one of `limit` places.
    ///
    /// # Errors
    /// [`ErrorKind::Overloaded`] when all are taken.
    pub(super) fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Result<Self> {
        let ticket = Self(Arc::clone(taken));
        if taken.fetch_add(1, Ordering::Relaxed) < limit {
            return Ok(ticket);
        }
        Err(Error::new(
            ErrorKind::Overloaded,
            "the session host is overloaded: too many requests are queued; try again",
        ))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
