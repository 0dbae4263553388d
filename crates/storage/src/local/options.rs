//! How a local store works.

use std::sync::Arc;

use super::disk::{Disk, SystemDisk};
use crate::signed::Signer;
use crate::{Clock, system_clock};

/// Options of [`LocalStore::open_with`](super::LocalStore::open_with).
///
/// ```
/// use isobar_storage::local::{LocalOptions, LocalStore};
/// use isobar_storage::{Key, ObjectStoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// // Puts that would leave less than 16 MiB of the disk free are refused.
/// let options = LocalOptions::default().with_reserve_bytes(16 << 20);
/// let store = LocalStore::open_with(folder.path().join("bucket"), options).await?;
/// store.write(&Key::new("notes.md")?, "# Notes").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Source of the time. Default: the system's clock.
    pub clock: Clock,
    /// The disk that blobs, packs and folders are written to. Default: [`SystemDisk`].
    pub disk: Arc<dyn Disk>,
    /// Whether what is read is compared with its checksums. Default: true.
    pub verify_on_read: bool,
    /// Signer of URLs. Default: none, and `presign` is unsupported.
    pub signer: Option<Signer>,
    /// Bytes of small bodies in one file. Default: 32 MiB.
    pub pack_bytes: u64,
    /// Bytes of the disk that puts leave free. Default: 64 MiB, at most a twentieth of the file system; 0: none.
    pub reserve_bytes: u64,
}

/// Large enough that a file's beginning and end cost nothing, small enough that one in use and one in store are bearable.
const PACK_BYTES: u64 = 32 * 1024 * 1024;

/// Room for what deletions write, and a log of the index that is copied into it.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            clock: system_clock(),
            disk: Arc::new(SystemDisk),
            verify_on_read: true,
            signer: None,
            pack_bytes: PACK_BYTES,
            reserve_bytes: RESERVE_BYTES,
        }
    }
}

impl std::fmt::Debug for LocalOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { clock: _, disk, verify_on_read, signer, pack_bytes, reserve_bytes } = self;
        f.debug_struct("LocalOptions")
            .field("disk", disk)
            .field("verify_on_read", verify_on_read)
            .field("signer", signer)
            .field("pack_bytes", pack_bytes)
            .field("reserve_bytes", reserve_bytes)
            .finish_non_exhaustive()
    }
}

impl LocalOptions {
    /// Takes the time from this clock: of writes, of the days of uploads, of the age of garbage.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use isobar_storage::local::{LocalOptions, LocalStore};
    /// use isobar_storage::{Key, ObjectStoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("a time in range");
    /// let options = LocalOptions::default().with_clock(Arc::new(move || at));
    /// let store = LocalStore::open_with(folder.path(), options).await?;
    /// assert_eq!(store.write(&Key::new("a")?, "1").await?.uploaded, at);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Writes blobs, packs and folders to this disk.
    #[must_use]
    pub fn with_disk(mut self, disk: impl Disk + 'static) -> Self {
        self.disk = Arc::new(disk);
        self
    }

    /// Signs URLs with this: [`ObjectStore::presign`](crate::ObjectStore::presign).
    #[must_use]
    pub fn with_signer(mut self, signer: Signer) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Compares bodies with their CRC-32 as they are read: damaged bytes fail with [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt), in whole
    /// bodies and in ranges, before they are handed out; a body that is streamed ends with the error. Default: on.
    ///
    /// It costs a CRC of the bytes that are read. A range of a large body that was verified within the last 60 s, in a file whose times
    /// have not changed since, is not summed again. Large bodies that isobar stored before index version 4 have no CRC: they are
    /// compared by md5 where they are read whole, once in 60 s. Small ones get their CRC when the store is upgraded.
    ///
    /// ```
    /// use isobar_storage::local::LocalStore;
    /// use isobar_storage::{ErrorKind, Key, ObjectStoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let store = LocalStore::open(folder.path()).await?;
    /// store.write(&Key::new("a")?, "the body").await?;
    /// // A failing disk turns a bit over.
    /// let pack = folder.path().join("packs/000000000001.pack");
    /// let mut bytes = std::fs::read(&pack)?;
    /// let at = bytes.windows(8).position(|bytes| bytes == b"the body").expect("a small body is in a pack");
    /// bytes[at] ^= 1;
    /// std::fs::write(&pack, bytes)?;
    /// assert_eq!(store.read(&Key::new("a")?).await.unwrap_err().kind(), ErrorKind::Corrupt);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_verify_on_read(mut self, verify: bool) -> Self {
        self.verify_on_read = verify;
        self
    }

    /// Refuses puts, parts and copies with [`ErrorKind::StorageFull`](crate::ErrorKind::StorageFull) that would leave less than this
    /// many bytes of the file system free, before they fail half way; deletions are taken. Default: 64 MiB, and never more than a
    /// twentieth of the file system. 0: no reserve.
    ///
    /// ```
    /// use isobar_storage::local::LocalOptions;
    ///
    /// assert_eq!(LocalOptions::default().reserve_bytes, 64 << 20);
    /// assert_eq!(LocalOptions::default().with_reserve_bytes(0).reserve_bytes, 0);
    /// ```
    #[must_use]
    pub fn with_reserve_bytes(mut self, bytes: u64) -> Self {
        self.reserve_bytes = bytes;
        self
    }

    /// Keeps about this many bytes of small bodies in one file (what is written at once is not divided), and as many ready for more
    /// where much is written: 32 MiB by default; less in a new store, whose first files have an eighth, a quarter and half of that.
    /// Processes on one store need not agree. Few bytes make many files.
    ///
    /// ```
    /// use isobar_storage::local::LocalOptions;
    ///
    /// // For a store of a few small objects.
    /// assert_eq!(LocalOptions::default().with_pack_bytes(4 << 20).pack_bytes, 4 << 20);
    /// ```
    #[must_use]
    pub fn with_pack_bytes(mut self, bytes: u64) -> Self {
        self.pack_bytes = bytes;
        self
    }
}
