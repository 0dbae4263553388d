//! The words of `fsck` and of the rebuild: options, findings, and the problems that there are.

use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;

/// Options of [`LocalStore::fsck`](crate::local::LocalStore::fsck).
///
/// ```
/// use isobar_storage::local::{FsckOptions, LocalStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let store = LocalStore::open(folder.path().join("bucket")).await?;
/// let report = store.fsck(FsckOptions::default().with_repair(true), |_| {}).await?;
/// for finding in &report.findings {
///     println!("{}: {:?}", finding.problem, finding.repaired);
/// }
/// assert!(report.is_clean() && !report.has_loss());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct FsckOptions {
    /// Whether large bodies are read and compared with their checksums, not only their lengths; small ones are in any case. Default:
    /// true.
    pub bodies: bool,
    /// Whether problems are repaired, as far as they can be. Default: false.
    pub repair: bool,
    /// Whether no other process uses the store, so that unfinished blobs belong to no write in flight, however young. Default: false.
    pub exclusive: bool,
}

impl Default for FsckOptions {
    fn default() -> Self {
        Self { bodies: true, repair: false, exclusive: false }
    }
}

impl FsckOptions {
    /// Whether large bodies are read. Without it a check takes about as long as reading the index and the packs, and finds of a large body
    /// only that it is missing or of another length.
    ///
    /// ```
    /// use isobar_storage::local::{FsckOptions, LocalStore};
    /// use isobar_storage::{Key, ObjectStoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let store = LocalStore::open(folder.path()).await?;
    /// store.write(&Key::new("a")?, vec![0; 100_000]).await?;
    /// let report = store.fsck(FsckOptions::default().with_bodies(false), |_| {}).await?;
    /// assert_eq!((report.objects, report.bytes, report.findings.len()), (1, 100_000, 0));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_bodies(mut self, bodies: bool) -> Self {
        self.bodies = bodies;
        self
    }

    /// Whether to repair what can be ([`Problem`] says what). Without it nothing is changed.
    ///
    /// ```
    /// use isobar_storage::local::FsckOptions;
    ///
    /// assert!(!FsckOptions::default().repair && FsckOptions::default().with_repair(true).repair);
    /// ```
    #[must_use]
    pub fn with_repair(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// Whether no other process uses the store. It is the caller's word and not checked: with it, blobs of another process's writes in flight
    /// are orphans.
    ///
    /// ```
    /// use isobar_storage::local::FsckOptions;
    ///
    /// assert!(!FsckOptions::default().exclusive && FsckOptions::default().with_exclusive(true).exclusive);
    /// ```
    #[must_use]
    pub fn with_exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }
}

/// Report of [`LocalStore::fsck`](crate::local::LocalStore::fsck).
///
/// A store is sound when it is [clean](Self::is_clean) without a repair. [`has_loss`](Self::has_loss) says whether an object is
/// damaged or gone: then a backup is needed, and the findings name the keys. In JSON it is what `isobar r2 fsck --json` prints.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Fsck {
    /// Objects that were looked at.
    pub objects: u64,
    /// Bytes in their bodies.
    pub bytes: u64,
    /// Multipart uploads in flight.
    pub uploads: u64,
    /// The problems, and the repairs.
    pub findings: Vec<Finding>,
    /// Foreign files in the store's folders of blobs and packs; they are left alone.
    pub foreign: Vec<PathBuf>,
}

impl Fsck {
    /// Whether every problem was repaired, or there was none.
    ///
    /// ```
    /// use isobar_storage::local::Fsck;
    ///
    /// let nothing_found = Fsck::default();
    /// assert!(nothing_found.is_clean() && !nothing_found.has_loss());
    /// ```
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired.is_some())
    }

    /// Whether an object was lost or damaged, repaired or not.
    #[must_use]
    pub fn has_loss(&self) -> bool {
        self.findings.iter().any(|finding| finding.problem.is_loss())
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The problem.
    #[serde(flatten)]
    pub problem: Problem,
    /// The repair; `None` where nothing was repaired.
    pub repaired: Option<String>,
}

/// A problem of a store.
///
/// | problem | loss | with [`repair`](FsckOptions::repair) |
/// |---|---|---|
/// | [`Index`](Self::Index) | yes | nothing at all; [`rebuild`](crate::local::LocalStore::rebuild) the index |
/// | [`Row`](Self::Row) | yes | only reported |
/// | [`Body`](Self::Body) | yes | the object is removed, and what is left of it kept in `lost` |
/// | [`Orphan`](Self::Orphan) | no | removed |
/// | [`Upload`](Self::Upload) | no | aborted |
/// | [`Count`](Self::Count) | no | counted anew |
/// | [`Pack`](Self::Pack) | no | removed |
/// | [`Header`](Self::Header) | no | only reported |
/// | [`Unowned`](Self::Unowned) | no | removed |
/// | [`Frame`](Self::Frame) | yes | only a rebuild finds it, and keeps the pack in `lost` |
/// | [`Unnamed`](Self::Unnamed) | no | only a rebuild finds it, and keeps the blob in `lost` |
/// | [`Uncertain`](Self::Uncertain) | no | only a rebuild finds it |
///
/// In JSON the name is in kebab case beside the fields:
///
/// ```
/// use isobar_storage::local::Problem;
///
/// let problem = Problem::Count { pack: 3 };
/// assert_eq!(serde_json::to_string(&problem).unwrap(), r#"{"problem":"count","pack":3}"#);
/// assert_eq!(problem.to_string(), "pack 3 has another number of bytes in use than the index says");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Problem {
    /// The index is damaged as a file.
    Index {
        /// SQLite's message.
        what: String,
    },
    /// An object's row cannot be read.
    Row {
        /// Its key.
        key: String,
        /// Description of the damage.
        what: String,
    },
    /// An object's body is missing, of another length, or of another checksum.
    Body {
        /// Its key.
        key: String,
        /// Description of the damage.
        what: String,
    },
    /// A blob that nothing names: what a crash leaves.
    Orphan {
        /// The blob.
        blob: String,
        /// Its bytes.
        size: u64,
    },
    /// A multipart upload past its seven days.
    Upload {
        /// The upload.
        upload: String,
        /// Key of the object that it was for.
        key: String,
        /// When it was begun.
        created: DateTime<Utc>,
    },
    /// A pack with a wrong count of bytes in use: its garbage would not be removed.
    Count {
        /// The pack.
        pack: u64,
    },
    /// A pack that nothing names any more: what a crash leaves.
    Pack {
        /// The pack.
        pack: u64,
        /// Its bytes.
        size: u64,
    },
    /// The header of a frame is damaged, or metadata in it: the objects are read as before, by the index, but a rebuild may not
    /// find all of them. Copy them to another store, or keep a copy of the index.
    Header {
        /// The pack.
        pack: u64,
        /// Where in it the frame begins.
        position: u64,
    },
    /// A part of a pack that is no frame, or one that is damaged or does not belong there. Only [`LocalStore::rebuild`](crate::local::LocalStore::rebuild) reports it.
    Frame {
        /// The pack.
        pack: u64,
        /// Where in it.
        position: u64,
        /// Description of the damage.
        what: String,
    },
    /// A blob that no frame names. Only [`LocalStore::rebuild`](crate::local::LocalStore::rebuild) reports it.
    Unnamed {
        /// The blob.
        blob: String,
        /// Its bytes on the disk.
        size: u64,
    },
    /// Objects that are as this pack says, and may have been deleted since: the deletion would not be in the packs, which only versions
    /// before index version 5 have written, or is in a damaged frame. Only [`LocalStore::rebuild`](crate::local::LocalStore::rebuild) reports it.
    Uncertain {
        /// The pack.
        pack: u64,
        /// The objects' keys.
        keys: Vec<String>,
    },
    /// Segments and parts in the index that belong to no object and no upload.
    Unowned {
        /// How many.
        count: u64,
    },
}

impl Problem {
    /// Whether an object was lost or damaged.
    ///
    /// ```
    /// use isobar_storage::local::Problem;
    ///
    /// assert!(Problem::Index { what: "a page is damaged".into() }.is_loss());
    /// assert!(!Problem::Orphan { blob: "00".repeat(16), size: 40_000 }.is_loss());
    /// ```
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Index { .. } | Self::Row { .. } | Self::Body { .. } | Self::Frame { .. })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { what } => write!(f, "the index is damaged: {what}"),
            Self::Row { key, what } => write!(f, "{key}: its row cannot be read: {what}"),
            Self::Body { key, what } => write!(f, "{key}: {what}"),
            Self::Orphan { blob, size } => write!(f, "blob {blob} ({size} bytes) belongs to no object"),
            Self::Upload { upload, key, created } => {
                write!(f, "{key}: upload {upload} was begun on {} and never ended", created.format("%Y-%m-%d"))
            }
            Self::Count { pack } => write!(f, "pack {pack} has another number of bytes in use than the index says"),
            Self::Pack { pack, size } => write!(f, "pack {pack} ({size} bytes) has nothing of any object"),
            Self::Header { pack, position } => {
                write!(
                    f,
                    "pack {pack} at {position}: the header of a frame is damaged; a rebuild may not find what is in it"
                )
            }
            Self::Frame { pack, position, what } => write!(f, "pack {pack} at {position}: {what}"),
            Self::Unnamed { blob, size } => write!(f, "blob {blob} ({size} bytes) is named by no frame"),
            Self::Uncertain { pack, keys } => {
                let some = keys.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
                let more = if keys.len() > 3 { ", ..." } else { "" };
                write!(
                    f,
                    "pack {pack}: {} objects may have been deleted since, and the packs do not say so: {some}{more}",
                    keys.len()
                )
            }
            Self::Unowned { count } => write!(f, "{count} segments or parts in the index belong to nothing"),
        }
    }
}
