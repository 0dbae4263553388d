//! The key-encryption keys, which the database never sees.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::cipher::KEY_BYTES;
use super::{Secret, sealed_error};
use crate::{Error, Result};

type Key = Zeroizing<[u8; KEY_BYTES]>;

/// Key-encryption keys by their names: the first wraps, all unwrap.
///
/// As text, one `name:key` a line (or with commas between), the key being 32 bytes in base64; empty lines and those that
/// start with `#` do not count. To rotate, put a new line first, run `isobar vault rotate`, and take the old line out.
///
/// ```
/// use isobar_db::vault::Keyring;
///
/// let old = Keyring::generate("2025")?;
/// let new = Keyring::generate("2026")?;
/// let text = [&new, &old].map(|line| line.expose_text().unwrap_or_default()).join("\n");
/// let keyring: Keyring = text.parse()?;
/// assert_eq!(keyring.names().collect::<Vec<_>>(), ["2026", "2025"], "the first one wraps");
/// assert_eq!(format!("{keyring:?}"), r#"["2026", "2025"]"#, "keys are never shown");
/// # Ok::<(), isobar_db::Error>(())
/// ```
#[derive(Clone)]
pub struct Keyring {
    keys: Vec<(String, Key)>,
}

impl Keyring {
    /// A line with a new random key, for a keyring's file or secret.
    ///
    /// ```
    /// use isobar_db::vault::Keyring;
    ///
    /// let line = Keyring::generate("2026-01")?;
    /// assert!(line.expose_text().is_some_and(|line| line.starts_with("2026-01:")));
    /// assert!(Keyring::generate("no spaces").is_err());
    /// # Ok::<(), isobar_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the name holds anything but letters, digits, `-`, `_` and `.`, or there is no randomness.
    pub fn generate(name: &str) -> Result<Secret> {
        check_name(name)?;
        let mut key = Key::default();
        isobar_base::random::fill(&mut *key)?;
        Ok(Secret::new(format!("{name}:{}", STANDARD.encode(*key))))
    }

    /// The keyring in a file. On Unix the file must be its owner's alone.
    ///
    /// ```
    /// use isobar_db::vault::Keyring;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("keyring");
    /// Keyring::generate("2026")?.write_new(&path)?; // its owner's alone
    /// assert_eq!(Keyring::from_file(&path)?.names().collect::<Vec<_>>(), ["2026"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Sealed`](crate::ErrorKind::Sealed) when it cannot be read, others may read it, or it holds no valid keyring.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_file(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let shown = path.display();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path)
                .map_err(|error| sealed_error(format!("cannot read the keyring {shown}: {error}")))?
                .permissions()
                .mode();
            if mode & 0o077 != 0 {
                return Err(sealed_error(format!("others may read the keyring {shown}: run chmod 600 on it")));
            }
        }
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| sealed_error(format!("cannot read the keyring {shown}: {error}")))?;
        text.parse().map_err(|error: Error| sealed_error(format!("the keyring {shown}: {}", error.message())))
    }

    /// The keyring in an environment variable.
    ///
    /// # Errors
    /// When it is not set or holds no valid keyring.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_env(name: &str) -> Result<Self> {
        let text = std::env::var(name).map(Zeroizing::new);
        let text = text.map_err(|_| sealed_error(format!("the environment variable {name} holds no keyring")))?;
        text.parse().map_err(|error: Error| sealed_error(format!("the variable {name}: {}", error.message())))
    }

    /// The keys' names, the wrapping one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn first(&self) -> (&str, &[u8; KEY_BYTES]) {
        let (name, key) = &self.keys[0]; // parsing refuses an empty keyring
        (name, key)
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8; KEY_BYTES]> {
        self.keys.iter().find(|(known, _)| known == name).map(|(_, key)| &**key)
    }
}

impl FromStr for Keyring {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut keys: Vec<(String, Key)> = Vec::new();
        // An error names the entry by its number: its text may be the key.
        let entries =
            text.split(['\n', ',']).map(str::trim).filter(|entry| !entry.is_empty() && !entry.starts_with('#'));
        for (number, entry) in (1..).zip(entries) {
            let (name, key) =
                entry.split_once(':').ok_or_else(|| sealed_error(format!("entry {number} is not name:key")))?;
            check_name(name)?;
            let key = STANDARD.decode(key.trim()).map(Zeroizing::new).ok();
            let key = key.and_then(|key| <[u8; KEY_BYTES]>::try_from(key.as_slice()).ok()).ok_or_else(|| {
                sealed_error(format!("the key {name:?} is not 32 bytes in base64; `isobar vault keygen` makes one"))
            })?;
            if keys.iter().any(|(known, _)| known == name) {
                return Err(sealed_error(format!("the key {name:?} is there twice")));
            }
            keys.push((name.to_owned(), Zeroizing::new(key)));
        }
        if keys.is_empty() {
            return Err(sealed_error("the keyring is empty; `isobar vault keygen` makes a key"));
        }
        Ok(Self { keys })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        // Not shown: with the colon misplaced, this might be the key.
        return Err(sealed_error("a key's name is 1 to 64 letters, digits, -, _ and ."));
    }
    Ok(())
}
