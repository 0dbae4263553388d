//! Options of `presign`.

use std::time::Duration;

use crate::{Error, ErrorKind, Key, Result};

/// The method that a presigned URL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresignMethod {
    /// Reading the object.
    Get,
    /// Writing the object.
    Put,
}

/// Options of [`ObjectStore::presign`](crate::ObjectStore::presign).
///
/// ```
/// use std::time::Duration;
///
/// use isobar_storage::{Key, PresignMethod, PresignOptions};
///
/// let key = Key::new("report.pdf").unwrap();
/// let options = PresignOptions::new(key, PresignMethod::Get, Duration::from_secs(3600));
/// assert!(options.expires < PresignOptions::LONGEST);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PresignOptions {
    /// The object.
    pub key: Key,
    /// The method.
    pub method: PresignMethod,
    /// For how long: one second to seven days.
    pub expires: Duration,
}

impl PresignOptions {
    /// The longest time that a URL is good for: seven days, as S3's.
    pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

    /// A URL for this method on this key, good for so long.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_storage::{Key, PresignMethod, PresignOptions};
    ///
    /// let upload = PresignOptions::new(Key::new("in/1.pdf").unwrap(), PresignMethod::Put, Duration::from_secs(600));
    /// assert_eq!(upload.method, PresignMethod::Put);
    /// ```
    #[must_use]
    pub fn new(key: Key, method: PresignMethod, expires: Duration) -> Self {
        Self { key, method, expires }
    }

    /// Refuses a time that no URL may be good for: for backends.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] below a second, and above [`LONGEST`](Self::LONGEST).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_storage::{ErrorKind, Key, PresignMethod, PresignOptions};
    ///
    /// let key = Key::new("report.pdf").unwrap();
    /// let mut options = PresignOptions::new(key, PresignMethod::Get, PresignOptions::LONGEST);
    /// assert!(options.check().is_ok());
    /// options.expires += Duration::from_secs(1);
    /// assert_eq!(options.check().unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// ```
    pub fn check(&self) -> Result<()> {
        if (Duration::from_secs(1)..=Self::LONGEST).contains(&self.expires) {
            return Ok(());
        }
        let message = format!("a presigned URL is good for one second to seven days, not for {:?}", self.expires);
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }
}
