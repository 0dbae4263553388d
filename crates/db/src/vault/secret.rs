//! Plain bytes, kept out of logs and overwritten when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// Plain bytes of a sealed value. They appear in no debug output, and are overwritten when dropped.
///
/// ```
/// use isobar_db::vault::Secret;
///
/// let secret = Secret::new("gho_secret");
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert_eq!(secret.expose_text(), Some("gho_secret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret.
    pub fn new(plain: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(plain.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Writes the secret into a new file that its owner alone may read, durably.
    ///
    /// On Unix its mode is 0600. A line end is added, which [`Keyring::from_file`](super::Keyring::from_file) does not
    /// mind.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn write_new(&self, path: impl AsRef<std::path::Path>) -> std::io::Result<()> {
        use std::io::Write;

        use isobar_base::fs;

        let mut file = fs::private_file().write(true).create_new(true).open(path.as_ref())?;
        file.write_all(&self.0)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::sync_dir(fs::parent(path.as_ref())) // the name, too, is there after a power loss
    }

    /// The bytes as text, where they are UTF-8.
    #[must_use]
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
