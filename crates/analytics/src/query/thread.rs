//! The threads of queries. A panic of one is an error of the query.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, ErrorKind, Result};

/// Size in bytes of the stack of a thread that runs a query: enough for the deepest expression. It takes memory as far as it is used.
const STACK_BYTES: usize = 32 << 20;

/// Runs the work of a query on a thread whose stack is large enough for it, and waits for its end.
pub(super) fn on_its_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = thread().spawn_scoped(scope, work).map_err(|error| no_thread(&error))?;
        thread.join().unwrap_or_else(|_| Err(panicked()))
    })
}

/// Runs a part of a query. Where it panics, what it has changed must not be used any more but for flags and counts.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

pub(super) fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "a thread of the query has panicked").during("query")
}

pub(super) fn thread() -> std::thread::Builder {
    std::thread::Builder::new().name("isobar-analytics-query".to_owned()).stack_size(STACK_BYTES)
}

pub(super) fn no_thread(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot start a thread: {error}")).during("query")
}
