use std::fmt;
#[cfg(not(target_arch = "wasm32"))]
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, NaiveDate, Utc};
use hmac::{Hmac, KeyInit, Mac};
use isobar_base::random;
use isobar_base::sync::IgnorePoison;
use sha2::Sha256;

#[cfg(not(target_arch = "wasm32"))]
use super::salt_file;
use crate::{Error, ErrorKind, Result};

/// Bytes of the salt.
const SALT_BYTES: usize = 32;

/// Options of a [`DailyHash`].
///
/// ```
/// # #[cfg(not(target_arch = "wasm32"))] {
/// use isobar_analytics::layers::{DailyHash, DailyHashOptions};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let options = DailyHashOptions::default().with_file(folder.path().join("salt"));
/// let before = DailyHash::new(options.clone())?.hash(b"203.0.113.7")?;
/// // Another start of the program on the same day:
/// assert_eq!(DailyHash::new(options)?.hash(b"203.0.113.7")?, before);
/// # }
/// # Ok::<(), isobar_analytics::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct DailyHashOptions {
    /// File that keeps the salt of the day, so that a process that is started again has the same hashes until the day is over. Only its
    /// owner can read it (mode 0600). Default: none, the salt is only in memory.
    #[cfg(not(target_arch = "wasm32"))]
    pub file: Option<PathBuf>,
    clock: Option<Clock>,
}

type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

impl fmt::Debug for DailyHashOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = f.debug_struct("DailyHashOptions");
        #[cfg(not(target_arch = "wasm32"))]
        options.field("file", &self.file);
        options.finish_non_exhaustive()
    }
}

impl DailyHashOptions {
    /// Sets the file that keeps the salt of the day.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub fn with_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Sets the clock that says which day it is, for tests and simulations. Default: the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }
}

/// Pseudonyms that hold for a day: HMAC-SHA-256 of a value by a salt of the day, cut to 128 bits, as 32 hexadecimal digits. Clones share
/// the salt.
///
/// Visitors can be counted and followed within a day of UTC, and not beyond it. The salt is 32 bytes of the system's randomness. When the
/// day is over it is forgotten, in memory and in its file, and the day's hashes cannot be computed from values any more:
///
/// - The first value of another day begins that day's salt. Where values may not come for long, a timer calls
///   [`rotate`](Self::rotate). A file of a process that has ended is replaced when the next one starts, so remove it with the service.
/// - The file is replaced by a rename, and removed where that fails. Its old bytes are not overwritten, and backups may have copies: keep
///   it out of them. Nor is memory that had a salt: swap and core dumps may have it.
/// - It is not synced to the disk, as a point's writer waits for it once a day: after a power loss the day may get another salt.
/// - Processes that share a file share a salt, but for those that begin the same day in the same moment.
///
/// ```
/// use isobar_analytics::layers::{DailyHash, DailyHashOptions};
///
/// let visitors = DailyHash::new(DailyHashOptions::default())?;
/// let hash = visitors.hash(b"203.0.113.7 Mozilla/5.0")?;
/// assert_eq!(hash.len(), 32);
/// assert_eq!(hash, visitors.hash(b"203.0.113.7 Mozilla/5.0")?);
/// assert_ne!(hash, visitors.hash(b"203.0.113.8 Mozilla/5.0")?);
/// # Ok::<(), isobar_analytics::Error>(())
/// ```
#[derive(Clone)]
pub struct DailyHash {
    shared: Arc<Shared>,
}

struct Shared {
    #[cfg(not(target_arch = "wasm32"))]
    file: Option<PathBuf>,
    clock: Option<Clock>,
    /// `None` where the last one is over and no other one could be begun.
    salt: Mutex<Option<Salt>>,
}

struct Salt {
    day: NaiveDate,
    /// Keyed by the salt.
    mac: Hmac<Sha256>,
    /// The reason for which the salt is not in its file.
    unkept: Option<Error>,
}

impl fmt::Debug for DailyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DailyHash").finish_non_exhaustive()
    }
}

impl DailyHash {
    /// Begins the day: with the salt of the file where that is of today, else with a new one.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] where the file cannot be accessed, or others than its owner may read it; [`ErrorKind::Corrupt`]
    /// where it is not a file of a salt, or a symbolic link; [`ErrorKind::StorageFull`]; [`ErrorKind::Internal`] where the system has no randomness.
    pub fn new(options: DailyHashOptions) -> Result<Self> {
        let shared = Shared {
            #[cfg(not(target_arch = "wasm32"))]
            file: options.file,
            clock: options.clock,
            salt: Mutex::new(None),
        };
        let hash = Self { shared: Arc::new(shared) };
        hash.rotate()?;
        Ok(hash)
    }

    /// Returns the hash of a value: 32 hexadecimal digits in lower case.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where another day has begun and the system has no randomness for its salt. A file that cannot be written is
    /// not an error here: see [`rotate`](Self::rotate).
    pub fn hash(&self, value: &[u8]) -> Result<String> {
        let mut mac = self.shared.with_salt(|salt| salt.mac.clone())?;
        mac.update(value);
        let hash: [u8; 32] = mac.finalize().into_bytes().into();
        Ok(hex::encode(&hash[..16]))
    }

    /// Forgets the salt of a day that is over, and begins another one. Does nothing else while the day lasts.
    ///
    /// # Errors
    /// As [`new`](Self::new): the reason for which the salt of the day is not in its file. It is in memory then, so that
    /// [`hash`](Self::hash) goes on, but a process that is started again has other hashes. The salt of the day before is removed from the
    /// file also then, unless the file cannot be read or removed.
    pub fn rotate(&self) -> Result<()> {
        self.shared.with_salt(|salt| salt.unkept.clone())?.map_or(Ok(()), Err)
    }
}

impl Shared {
    /// Calls a function with the salt of today.
    fn with_salt<T>(&self, use_salt: impl FnOnce(&Salt) -> T) -> Result<T> {
        // A salt is replaced as a whole.
        let mut salt = self.salt.lock().ignore_poison();
        // Under the lock, so that no thread comes with the day before.
        let today = self.clock.as_ref().map_or_else(Utc::now, |now| now()).date_naive();
        // A clock that went back begins a day, too, and does not bring back its salt: nothing here has it any more.
        if let Some(salt) = salt.as_ref().filter(|salt| salt.day == today) {
            return Ok(use_salt(salt));
        }
        *salt = None;
        let begun = &*salt.insert(self.begin(today)?);
        Ok(use_salt(begun))
    }

    fn begin(&self, day: NaiveDate) -> Result<Salt> {
        let (salt, unkept) = self.load_or_create(day)?;
        #[cfg(feature = "tracing")]
        if let Some(error) = &unkept {
            tracing::warn!(%error, "the salt of the day is only in memory");
        }
        let mac = Hmac::<Sha256>::new_from_slice(&salt).expect("HMAC takes keys of every length");
        Ok(Salt { day, mac, unkept })
    }

    /// Returns the salt of a day, with the reason for which it is not in the file.
    #[cfg(not(target_arch = "wasm32"))]
    fn load_or_create(&self, day: NaiveDate) -> Result<([u8; SALT_BYTES], Option<Error>)> {
        let new = random_salt()?;
        let Some(file) = &self.file else { return Ok((new, None)) };
        match salt_file::load_or_create(file, day, new) {
            Ok(salt) => Ok((salt, None)),
            Err(error) => Ok((new, Some(error.during("salt")))),
        }
    }

    #[cfg(target_arch = "wasm32")]
    fn load_or_create(&self, _: NaiveDate) -> Result<([u8; SALT_BYTES], Option<Error>)> {
        Ok((random_salt()?, None))
    }
}

fn random_salt() -> Result<[u8; SALT_BYTES]> {
    random::bytes().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()).during("salt"))
}
