//! Work that blocks, on threads of its own.

use std::thread;

use tokio::sync::oneshot;

use super::lane::ended;
use crate::{Error, ErrorKind, Result};

/// Runs work on a thread of its own: it may take long, and no executor waits for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (answer, answered) = oneshot::channel();
    // The caller may have gone meanwhile, and the answer with it.
    let run = move || drop(answer.send(work()));
    thread::Builder::new().name("isobar-history".to_owned()).spawn(run).map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("cannot start a thread for the history: {error}")).with_source(error)
    })?;
    answered.await.unwrap_or_else(|_| Err(ended()))
}
