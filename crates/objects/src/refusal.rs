//! Work that ends early: refused, which its sender learns, or failed, which fails the event.

use isobar_sessions::Error;

/// Reason for which something was not done.
#[derive(Debug)]
pub(crate) enum Stop<R> {
    /// It was refused; `R` is for its sender.
    Refused(R),
    /// It failed, and the event with it.
    Failed(Error),
}

/// Result of work that may be refused.
pub(crate) type Done<T, R> = Result<T, Stop<R>>;

impl<R> Stop<R> {
    /// Returns the answer to a refusal.
    ///
    /// # Errors
    /// The failure, if it is one.
    pub(crate) fn answered<T>(self, answer: impl FnOnce(R) -> T) -> isobar_sessions::Result<T> {
        match self {
            Self::Refused(refused) => Ok(answer(refused)),
            Self::Failed(error) => Err(error),
        }
    }
}

impl<R> From<Error> for Stop<R> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
