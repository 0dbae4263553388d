//! Failures of reading a columnar segment.

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

/// The reason for which a segment cannot be read on.
///
/// The difference decides what happens to the segment: damage sets it aside, and the read goes on; an error of the system ends the read, and the
/// next one may succeed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Its content is damaged.
    Damaged(String),
    /// Its object is missing in the archive.
    Missing,
    /// The system cannot read it now.
    Io(std::io::Error),
}

impl From<ParquetError> for Fault {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => match source.downcast::<std::io::Error>() {
                Ok(error) => Self::from(*error),
                Err(source) => Self::Damaged(source.to_string()),
            },
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => Self::from(error),
            ArrowError::ExternalError(source) => match source.downcast::<ParquetError>() {
                Ok(error) => Self::from(*error),
                Err(source) => Self::Damaged(source.to_string()),
            },
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => Self::Damaged(error.to_string()),
            std::io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Io(error),
        }
    }
}
