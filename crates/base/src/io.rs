//! The class of an I/O error, by which each crate chooses the kind of its own error.

use std::io;

/// Class of an I/O error, for code that decides what its caller can do.
///
/// ```
/// use isobar_base::io::Class;
///
/// let full = std::io::Error::from(std::io::ErrorKind::QuotaExceeded);
/// assert_eq!(Class::of(&full), Class::Full);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// File permissions or a read-only file system refuse the operation.
    Denied,
    /// The disk or the user's quota is full.
    Full,
    /// The same operation may succeed later: it was interrupted or timed out, or memory or file descriptors are short.
    Temporary,
    /// Any other error.
    Other,
}

impl Class {
    /// Returns the error's class.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => Self::Denied,
            Kind::StorageFull | Kind::QuotaExceeded => Self::Full,
            Kind::Interrupted | Kind::TimedOut | Kind::OutOfMemory => Self::Temporary,
            // ENFILE, EMFILE: too many files are open just now. std has no kind for them.
            _ if cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24)) => Self::Temporary,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_class_by_which_a_caller_decides() {
        let of = |kind: io::ErrorKind| Class::of(&kind.into());
        assert_eq!(of(io::ErrorKind::PermissionDenied), Class::Denied);
        assert_eq!(of(io::ErrorKind::ReadOnlyFilesystem), Class::Denied);
        assert_eq!(of(io::ErrorKind::StorageFull), Class::Full);
        assert_eq!(of(io::ErrorKind::QuotaExceeded), Class::Full);
        assert_eq!(of(io::ErrorKind::Interrupted), Class::Temporary);
        assert_eq!(of(io::ErrorKind::TimedOut), Class::Temporary);
        assert_eq!(of(io::ErrorKind::OutOfMemory), Class::Temporary);
        assert_eq!(of(io::ErrorKind::NotFound), Class::Other);
    }

    #[test]
    #[cfg(unix)]
    fn too_many_open_files_are_temporary() {
        assert_eq!(Class::of(&io::Error::from_raw_os_error(23)), Class::Temporary);
        assert_eq!(Class::of(&io::Error::from_raw_os_error(24)), Class::Temporary);
        assert_eq!(Class::of(&io::Error::from_raw_os_error(5)), Class::Other, "EIO");
    }
}
