//! The crate's error: kind, operation, message, source, R2's code where there is one.

use std::error::Error as StdError;
use std::fmt;

use isobar_base::error::Parts;
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
use isobar_base::io::Class;
use isobar_base::random::NoRandomness;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kind of an error, for code that decides by it.
///
/// | the caller should | kinds |
/// |---|---|
/// | try again later | [`Unavailable`](Self::Unavailable) |
/// | send it again, whole | [`BadDigest`](Self::BadDigest), [`Body`](Self::Body) |
/// | change the request | [`InvalidKey`](Self::InvalidKey), [`MetadataTooLarge`](Self::MetadataTooLarge), [`InvalidListLimit`](Self::InvalidListLimit), [`InvalidRange`](Self::InvalidRange), [`UnequalParts`](Self::UnequalParts), [`PartTooSmall`](Self::PartTooSmall), [`TooLarge`](Self::TooLarge), [`InvalidArgument`](Self::InvalidArgument) |
/// | send the part, or begin the upload, again | [`InvalidPart`](Self::InvalidPart), [`NoSuchUpload`](Self::NoSuchUpload) |
/// | do it in another way | [`Unsupported`](Self::Unsupported) |
/// | fetch the operator | [`PermissionDenied`](Self::PermissionDenied), [`StorageFull`](Self::StorageFull), [`Corrupt`](Self::Corrupt), [`Internal`](Self::Internal) |
///
/// A missing object and a condition that does not hold are results, not errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is empty or longer than 1024 bytes (10020).
    InvalidKey,
    /// The custom metadata is larger than 8192 bytes (10012).
    MetadataTooLarge,
    /// A listing's limit is not within 1..=1000 (10022).
    InvalidListLimit,
    /// The body's checksum is not the one given (10037).
    BadDigest,
    /// The range starts at or after the end, or asks for no byte (10039).
    InvalidRange,
    /// The parts of a multipart upload, all but the last, are not of one size, or the last is larger (10048).
    UnequalParts,
    /// A part that is not the last is smaller than 5 MiB (10011).
    PartTooSmall,
    /// A part was never uploaded, or has been overwritten since (10025).
    InvalidPart,
    /// The multipart upload does not exist, or is over (10024).
    NoSuchUpload,
    /// The body is larger than a single put may be (100100).
    TooLarge,
    /// The caller's arguments contradict each other or the rules.
    InvalidArgument,
    /// The body ended before or after its announced length, or its source failed.
    Body,
    /// The backend lacks the capability; see [`Capabilities`](crate::Capabilities).
    Unsupported,
    /// The operation is refused: file permissions, credentials.
    PermissionDenied,
    /// The disk or the account is full.
    StorageFull,
    /// Stored data is damaged or contradicts itself; bytes that are known to be wrong are never returned.
    Corrupt,
    /// The backend cannot be reached, is busy, or failed for the moment.
    Unavailable,
    /// Anything else (10001).
    Internal,
}

/// An error of an object store. It displays as R2's do: `<operation>: <message> (<code>)`.
///
/// ```
/// use isobar_storage::{Error, ErrorKind, Operation};
///
/// let error = Error::new(ErrorKind::Unavailable, "the disk is busy").during(Operation::Get);
/// assert_eq!(error.to_string(), "get: the disk is busy");
/// assert!(error.is_retryable());
/// ```
///
/// Cloning is cheap: source and texts are shared or short. It is one type for all backends, so that code over `dyn ObjectStore` decides by
/// the [`kind`](Self::kind) and need not know which it has.
#[derive(Debug, Clone)]
pub struct Error {
    parts: Parts<ErrorKind>,
    code: Option<u32>,
}

impl Error {
    /// An error of this kind, with Cloudflare's code for it; the operation is filled in by the backend ([`during`](Self::during)).
    ///
    /// ```
    /// use isobar_storage::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::InvalidRange, "the object has 10 bytes");
    /// assert_eq!(error.to_string(), "the object has 10 bytes (10039)");
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { parts: Parts::new(kind, message), code: default_code(kind) }
    }

    /// Names the operation, an [`Operation`](crate::Operation) or one of the backend's own (`fsck`), unless a deeper layer has
    /// already done so.
    ///
    /// ```
    /// use isobar_storage::{Error, ErrorKind, Operation};
    ///
    /// let error = Error::new(ErrorKind::Corrupt, "a row is damaged").during("fsck").during(Operation::Get);
    /// assert_eq!(error.operation(), "fsck");
    /// ```
    #[must_use]
    pub fn during(mut self, operation: impl Into<&'static str>) -> Self {
        self.parts.name_operation(operation);
        self
    }

    /// Attaches the cause.
    ///
    /// ```
    /// use std::error::Error as _;
    ///
    /// use isobar_storage::{Error, ErrorKind};
    ///
    /// let cause = std::io::Error::other("no route to host");
    /// let error = Error::new(ErrorKind::Unavailable, "the bucket cannot be reached").with_source(cause);
    /// assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("no route to host"));
    /// ```
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.parts.set_source(source);
        self
    }

    /// Overrides Cloudflare's code: the same kind has different codes in different operations.
    ///
    /// ```
    /// use isobar_storage::rules;
    ///
    /// // An upload that never was: 10024 to a part, 10001 to a completion.
    /// assert_eq!(rules::no_such_upload().code(), Some(10024));
    /// assert_eq!(rules::unknown_upload().code(), Some(10001));
    /// assert_eq!(rules::no_such_upload().kind(), rules::unknown_upload().kind());
    /// ```
    #[must_use]
    pub fn with_code(mut self, code: u32) -> Self {
        self.code = Some(code);
        self
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.parts.kind()
    }

    /// The name of the operation that failed: that of an [`Operation`](crate::Operation), or one of the backend's own.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.parts.operation()
    }

    /// Returns the message, without the operation and the code.
    #[must_use]
    pub fn message(&self) -> &str {
        self.parts.message()
    }

    /// Cloudflare's code, where R2 has one for this.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        self.code
    }

    /// Whether the same call may succeed later, without a change of the request: [`ErrorKind::Unavailable`] alone. A write that failed so may
    /// have been done; [`Retried`](crate::layers) repeats those for which that does no harm.
    ///
    /// ```
    /// use isobar_storage::{Error, ErrorKind};
    ///
    /// assert!(!Error::new(ErrorKind::StorageFull, "no space left on device").is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// The error of a body's source: this crate's own as it is, any other as [`ErrorKind::Body`].
    pub(crate) fn of_body(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(error) => *error,
            Err(error) => Self::new(ErrorKind::Body, format!("the body's source failed: {error}")).with_source(error),
        }
    }

    /// Says it in other words.
    #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
    pub(crate) fn with_message(mut self, message: impl Into<String>) -> Self {
        self.parts.set_message(message);
        self
    }

    /// Shows no code: what failed is not R2's.
    #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
    pub(crate) fn without_code(mut self) -> Self {
        self.code = None;
        self
    }

    /// An I/O error, with what was being done to which path.
    #[cfg(all(feature = "local", not(target_arch = "wasm32")))]
    pub(crate) fn io(what: impl fmt::Display, error: std::io::Error) -> Self {
        let kind = match Class::of(&error) {
            Class::Denied => ErrorKind::PermissionDenied,
            Class::Full => ErrorKind::StorageFull,
            Class::Temporary => ErrorKind::Unavailable,
            Class::Other => ErrorKind::Internal,
        };
        Self::new(kind, format!("{what}: {error}")).with_source(error)
    }
}

impl From<NoRandomness> for Error {
    fn from(error: NoRandomness) -> Self {
        Self::new(ErrorKind::Internal, error.to_string()).with_source(error)
    }
}

fn default_code(kind: ErrorKind) -> Option<u32> {
    Some(match kind {
        ErrorKind::InvalidKey => 10020,
        ErrorKind::MetadataTooLarge => 10012,
        ErrorKind::InvalidListLimit => 10022,
        ErrorKind::BadDigest => 10037,
        ErrorKind::InvalidRange => 10039,
        ErrorKind::UnequalParts => 10048,
        ErrorKind::PartTooSmall => 10011,
        ErrorKind::InvalidPart => 10025,
        ErrorKind::NoSuchUpload => 10024,
        ErrorKind::TooLarge => 100_100,
        ErrorKind::Internal => 10001,
        _ => return None,
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.parts, f)?;
        self.code.map_or(Ok(()), |code| write!(f, " ({code})"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.parts.source()
    }
}
