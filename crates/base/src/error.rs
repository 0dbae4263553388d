//! The parts that the errors of isobar's abstractions have in common, so that each says the same things in the same way.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Cause of an error, as [`Parts`] keeps it.
pub type Source = Box<dyn StdError + Send + Sync>;

/// Kind, operation, message and source of an error. A crate's own `Error` holds them, and adds what only it has: a code of
/// Cloudflare's, the SQL, the position.
///
/// They display as `<operation>: <message>`, and as the message alone where no operation is named.
///
/// ```
/// use isobar_base::error::Parts;
///
/// #[derive(Debug, Clone, Copy, PartialEq)]
/// enum ErrorKind {
///     Unavailable,
/// }
///
/// let mut parts = Parts::new(ErrorKind::Unavailable, "the disk is busy");
/// parts.name_operation("flush");
/// parts.name_operation("close"); // a deeper layer has named it already
/// assert_eq!(parts.to_string(), "flush: the disk is busy");
/// assert_eq!((parts.kind(), parts.operation(), parts.message()), (ErrorKind::Unavailable, "flush", "the disk is busy"));
/// ```
#[derive(Debug, Clone)]
pub struct Parts<K> {
    kind: K,
    operation: &'static str,
    // Boxed and shared: an error stays small, and can be cloned.
    message: Box<str>,
    source: Option<Arc<Source>>,
}

impl<K: Copy> Parts<K> {
    /// Creates the parts of an error of this kind, without an operation and a source.
    pub fn new(kind: K, message: impl Into<String>) -> Self {
        Self { kind, operation: "", message: message.into().into_boxed_str(), source: None }
    }

    /// Names the operation that failed, unless a deeper layer has done so already.
    pub fn name_operation(&mut self, operation: impl Into<&'static str>) {
        if self.operation.is_empty() {
            self.operation = operation.into();
        }
    }

    /// Replaces the message.
    pub fn set_message(&mut self, message: impl Into<String>) {
        self.message = message.into().into_boxed_str();
    }

    /// Attaches the cause.
    pub fn set_source(&mut self, source: impl Into<Source>) {
        self.source = Some(Arc::new(source.into()));
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> K {
        self.kind
    }

    /// Returns the name of the operation that failed; empty where none is named.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Returns the message, without the operation.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the cause, in the form that [`StdError::source`] has.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| &**source as _)
    }
}

impl<K> fmt::Display for Parts<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            "" => f.write_str(&self.message),
            operation => write!(f, "{operation}: {}", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_alone_is_shown_where_no_operation_is_named() {
        let mut parts = Parts::new((), "no data for 60 s");
        assert_eq!(parts.to_string(), "no data for 60 s");
        parts.name_operation("read");
        parts.set_message("no data for 61 s");
        assert_eq!(parts.to_string(), "read: no data for 61 s");
    }

    #[test]
    fn the_source_keeps_its_type_and_is_shared_by_clones() {
        let mut parts = Parts::new((), "no");
        assert!(parts.source().is_none());
        parts.set_source(std::io::Error::from(std::io::ErrorKind::StorageFull));
        let source = parts.clone();
        let source = source.source().and_then(|source| source.downcast_ref::<std::io::Error>());
        assert_eq!(source.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull));
    }
}
