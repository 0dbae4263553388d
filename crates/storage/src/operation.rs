//! The operations of the trait, by name.

use std::fmt;

/// An operation of [`ObjectStore`](crate::ObjectStore), by one name everywhere: in [errors](crate::Error::operation), in what
/// the layer `Observed` reports (feature `layers`) and in the scripts of `mock::MockStore` (feature `mock`).
///
/// The names are those of R2's binding where it has the operation: `get`, `createMultipartUpload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the trait's")]
pub enum Operation {
    Head,
    Get,
    Put,
    Delete,
    List,
    CreateMultipart,
    UploadPart,
    CompleteMultipart,
    AbortMultipart,
    ListParts,
    Copy,
    Presign,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Head,
        Self::Get,
        Self::Put,
        Self::Delete,
        Self::List,
        Self::CreateMultipart,
        Self::UploadPart,
        Self::CompleteMultipart,
        Self::AbortMultipart,
        Self::ListParts,
        Self::Copy,
        Self::Presign,
    ];

    /// The operation's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::List => "list",
            Self::CreateMultipart => "createMultipartUpload",
            Self::UploadPart => "uploadPart",
            Self::CompleteMultipart => "completeMultipartUpload",
            Self::AbortMultipart => "abortMultipartUpload",
            Self::ListParts => "listParts",
            Self::Copy => "copy",
            Self::Presign => "presign",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AsRef<str> for Operation {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

impl From<Operation> for &'static str {
    fn from(operation: Operation) -> Self {
        operation.name()
    }
}
