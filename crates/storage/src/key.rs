//! Keys: the names of objects.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result, limits};

/// The name of an object in a bucket: 1 to 1024 bytes of UTF-8, compared byte by byte.
///
/// Stricter than workerd's simulator in one thing: it takes an empty key, which no URL or path can name.
///
/// `/` has no meaning to a store: `a` and `a/b` coexist, and `..` is a name like any other. Cheap to clone.
///
/// ```
/// use isobar_storage::{ErrorKind, Key};
///
/// let key: Key = "photos/2026/chair.jpg".parse()?;
/// assert_eq!(key.as_str(), "photos/2026/chair.jpg");
/// // `/` means nothing to the store: these are two names.
/// assert_ne!(Key::new("a/b")?, Key::new("a//b")?);
/// // 1 to 1,024 bytes of UTF-8.
/// assert_eq!(Key::new("").unwrap_err().kind(), ErrorKind::InvalidKey);
/// assert!(Key::new("ü".repeat(513)).is_err());
/// # Ok::<_, isobar_storage::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Arc<str>);

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] when it is empty or longer than [`limits::KEY_BYTES`].
    ///
    /// ```
    /// use isobar_storage::Key;
    ///
    /// // Nothing is resolved, decoded or cut: the key is the text.
    /// assert_eq!(Key::new("/a/../b%20c")?.as_str(), "/a/../b%20c");
    /// let error = Key::new("k".repeat(1025)).unwrap_err();
    /// assert_eq!(error.code(), Some(10020));
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    pub fn new(key: impl AsRef<str>) -> Result<Self> {
        let key = key.as_ref();
        match key.len() {
            1..=limits::KEY_BYTES => Ok(Self(key.into())),
            bytes => Err(Error::new(
                ErrorKind::InvalidKey,
                format!(
                    "The specified object name is not valid. It has {bytes} bytes, and may have 1 to {}.",
                    limits::KEY_BYTES
                ),
            )),
        }
    }

    /// The key as text.
    ///
    /// ```
    /// use isobar_storage::Key;
    ///
    /// let key = Key::new("a.txt")?;
    /// assert!(key.as_str().ends_with(".txt"));
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key as the path of a URL: what RFC 3986 2.3 leaves as it is, and the slashes between its parts.
#[cfg(any(feature = "signed", all(feature = "cloudflare-http", not(target_arch = "wasm32"))))]
pub(crate) fn url_path(key: &str) -> impl fmt::Display + '_ {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
    utf8_percent_encode(key, PATH)
}

impl FromStr for Key {
    type Err = Error;
    fn from_str(key: &str) -> Result<Self> {
        Self::new(key)
    }
}

impl TryFrom<String> for Key {
    type Error = Error;
    fn try_from(key: String) -> Result<Self> {
        Self::new(key)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0.to_string()
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Keys order as their bytes do, so a map of them can be entered at any bytes.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", &*self.0)
    }
}
