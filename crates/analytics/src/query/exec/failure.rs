//! Failures of functions.

use crate::Error;
use crate::query::position::{Position, error_at};

/// The reason for which a function has no value.
#[derive(Debug)]
pub(in crate::query) enum Failure {
    /// It has none for its arguments.
    Arguments(String),
    /// The query has ended meanwhile.
    Ended(Error),
}

impl Failure {
    /// Returns the error of a function that stands at this place.
    pub(in crate::query) fn at(self, position: Position) -> Error {
        match self {
            Self::Arguments(message) => error_at(position, message),
            Self::Ended(error) => error,
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Arguments(message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ended(error)
    }
}
