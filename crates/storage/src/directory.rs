//! A plain folder, to be read as a bucket: what other programs have put there.
//!
//! For a site or assets that another program has written into a folder: it can be served, listed and synced by the code that works on
//! buckets. It has no index, so each operation asks the file system, and a listing walks the whole folder for every page: folders of some
//! ten thousand files are its measure. The md5 of a file, its etag, is remembered by size and time; 65,536 of them, then all are forgotten.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use isobar_base::sync::IgnorePoison;

use crate::files::{blocking, file_range};
use crate::rules::GetDecision;
use crate::sync::{is_path_below, md5_of_file};
use crate::walk::{Root, Walk, WalkOptions, plain};
use crate::{
    Body, Capabilities, Checksum, Conditions, CopyOptions, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, ObjectStore, Operation, Part, PartInfo, PresignOptions,
    PutOptions, PutResult, Result, UploadId, UploadInfo, content_type, rules,
};

/// Checksums that are remembered.
const REMEMBERED: usize = 65_536;

/// The files below a folder as the objects of a bucket, only to be read.
///
/// A file's key is its path below the folder with slashes; its content type is that of its name, its etag its md5, which is
/// made when it is first asked for and remembered until the file's size or time changes. Which files are there is decided by the
/// policy of every [walk](crate::walk): state and secrets are not, links that stay within the folder are followed, and FIFOs,
/// sockets and devices are not objects. A listing fails with the names of what cannot be an object: links that lead out, dangling
/// links, names that are not UTF-8, folders that cannot be read. Keys that are no path below the folder (`..`, empty parts) are
/// missing, and so is what a link out of the folder leads to. Files are read as they are: one that is written meanwhile may come
/// mixed, so writers should rename. It has no capability. Every write is [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied).
///
/// ```
/// use isobar_storage::directory::Directory;
/// use isobar_storage::{Key, ObjectStoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("index.html"), "<h1>Hi</h1>")?;
/// let site = Directory::open(folder.path()).await?;
/// let (meta, _) = site.read(&Key::new("index.html")?).await?.expect("the file is there");
/// assert_eq!(meta.http.content_type.as_deref(), Some("text/html; charset=utf-8"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Directory {
    root: Root,
    take: Take,
    known: Arc<Mutex<HashMap<PathBuf, Known>>>,
}

type Take = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Options of a [`Directory`]: the files of a folder that it shows.
///
/// ```
/// use isobar_storage::directory::{Directory, DirectoryOptions};
/// use isobar_storage::{Key, ObjectStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("notes.txt"), "")?;
/// let options = DirectoryOptions::default().with_take(|key| key.ends_with(".html"));
/// let pages = Directory::open_with(folder.path(), options).await?;
/// assert!(pages.head(&Key::new("notes.txt")?).await?.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct DirectoryOptions {
    /// Policy of the walk.
    pub walk: WalkOptions,
    /// Which files are objects, by their key; a [`Filter`](crate::sync::Filter) that is owned. Default: all.
    pub take: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self { walk: WalkOptions::default(), take: Arc::new(|_| true) }
    }
}

impl fmt::Debug for DirectoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { walk, take: _ } = self;
        f.debug_struct("DirectoryOptions").field("walk", walk).finish_non_exhaustive()
    }
}

impl DirectoryOptions {
    /// Policy of the walk: links that lead out, folders of state.
    ///
    /// ```
    /// use isobar_storage::directory::DirectoryOptions;
    /// use isobar_storage::walk::WalkOptions;
    ///
    /// let options = DirectoryOptions::default().with_walk(WalkOptions::default().with_follow_links(true));
    /// assert!(options.walk.follow_links);
    /// ```
    #[must_use]
    pub fn with_walk(mut self, walk: WalkOptions) -> Self {
        self.walk = walk;
        self
    }

    /// Which files are objects, by their keys. The others are missing, to a `get` too; what cannot be read among them is no error.
    ///
    /// ```
    /// use isobar_storage::directory::DirectoryOptions;
    ///
    /// let pages = DirectoryOptions::default().with_take(|key| key.ends_with(".html"));
    /// assert!((pages.take)("index.html") && !(pages.take)("index.html.bak"));
    /// ```
    #[must_use]
    pub fn with_take(mut self, take: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.take = Arc::new(take);
        self
    }
}

#[derive(Clone)]
struct Known {
    size: u64,
    written: SystemTime,
    md5: Checksum,
}

impl Directory {
    /// The files below this folder. Links in its path are followed once, now.
    ///
    /// # Errors
    /// When the folder is not there, or is none, or is inside a state folder.
    ///
    /// ```
    /// use isobar_storage::directory::Directory;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// assert!(Directory::open(folder.path().join("missing")).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(root: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(root, DirectoryOptions::default()).await
    }

    /// As [`open`](Self::open), with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(root: impl AsRef<Path>, options: DirectoryOptions) -> Result<Self> {
        let root = root.as_ref().to_owned();
        let DirectoryOptions { walk, take } = options;
        let root = blocking(move || Root::open(&root, &walk)).await?;
        Ok(Self { root, take, known: Arc::default() })
    }

    /// Walks the folder: what is there, and what is left out and why.
    ///
    /// # Errors
    /// As a listing's: what cannot be read, and what is [refused](crate::walk).
    ///
    /// ```
    /// use isobar_storage::directory::Directory;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("index.html"), "<h1>Hi</h1>")?;
    /// std::fs::write(folder.path().join(".env"), "TOKEN=secret")?;
    /// let walked = Directory::open(folder.path()).await?.walk().await?;
    /// assert_eq!(walked.files["index.html"].size, 11);
    /// assert_eq!(walked.left_out[0].to_string(), ".env (a secret)");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn walk(&self) -> Result<Walk> {
        let this = self.clone();
        blocking(move || this.taken()).await
    }

    fn taken(&self) -> Result<Walk> {
        let mut walk = self.root.walk()?;
        walk.refuse(&*self.take)?;
        walk.files.retain(|name, _| (self.take)(name));
        Ok(walk)
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        blocking(move || work(&this)).await.map_err(|error| error.during(operation))
    }

    /// The file of a key, if there is one below the folder.
    fn find(&self, key: &Key) -> Result<Option<(PathBuf, fs::Metadata)>> {
        if !is_path_below(key.as_str()) || !(self.take)(key.as_str()) {
            return Ok(None);
        }
        self.root.find(key.as_str()).map_err(|error| plain(self.root.path().join(key.as_str()).display(), error))
    }

    fn meta(&self, key: &Key, path: &Path, file: &fs::Metadata) -> Result<ObjectMeta> {
        let written = file.modified().map_err(|error| plain(path.display(), error))?;
        let md5 = self.md5(key, path, file.len(), written)?;
        let nanos = written.duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_nanos()).unwrap_or_default();
        let version = format!("{nanos:x}-{:x}", file.len());
        let uploaded = DateTime::<Utc>::from(written).trunc_subsecs(3);
        let mut meta = ObjectMeta::new(key.clone(), version, file.len(), md5.hex.clone(), uploaded);
        meta.http.content_type = content_type::from_key(key.as_str());
        meta.checksums = vec![md5];
        Ok(meta)
    }

    fn md5(&self, key: &Key, path: &Path, size: u64, written: SystemTime) -> Result<Checksum> {
        // A map, changed in single steps.
        let known = || self.known.lock().ignore_poison();
        if let Some(found) = known().get(path).filter(|known| known.size == size && known.written == written) {
            return Ok(found.md5.clone());
        }
        let md5 = md5_of_file(&self.root, key.as_str())?;
        let mut known = known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(path.to_owned(), Known { size, written, md5: md5.clone() });
        Ok(md5)
    }

    /// The names of all files, which a page is taken out of.
    fn names(&self) -> Result<BTreeSet<Key>> {
        self.taken()?.files.into_keys().map(Key::new).collect()
    }

    fn page(&self, options: &ListOptions) -> Result<ListPage> {
        let names = self.names()?;
        rules::list_page(options, |start, limit| {
            let from = if start.inclusive { Bound::Included(&*start.bytes) } else { Bound::Excluded(&*start.bytes) };
            let mut objects = Vec::new();
            for key in names.range::<[u8], _>((from, Bound::Unbounded)) {
                if objects.len() == limit {
                    break;
                }
                if let Some((path, file)) = self.find(key)? {
                    objects.push(self.meta(key, &path, &file)?);
                }
            }
            Ok(objects)
        })
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({})", self.root.path().display())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Directory {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Returns `None`: a change of the folder is not noticed.
    fn generation(&self) -> Option<u64> {
        None
    }
    fn health(&self) -> Result<()> {
        Ok(())
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let key = key.clone();
        self.run(Operation::Head, move |this| {
            this.find(&key)?.map(|(path, file)| this.meta(&key, &path, &file)).transpose()
        })
        .await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let key = key.clone();
        self.run(Operation::Get, move |this| {
            let Some((path, _)) = this.find(&key)? else { return Ok(GetResult::Missing) };
            let failed = |error| plain(format_args!("cannot read {}", path.display()), error);
            let file = this.root.open_file(key.as_str())?;
            let meta = this.meta(&key, &path, &file.metadata().map_err(failed)?)?;
            Ok(match rules::decide_get(Some(meta), &options)? {
                GetDecision::Missing => GetResult::Missing,
                GetDecision::ConditionFailed(meta) => GetResult::ConditionFailed(meta),
                GetDecision::Read(meta, range) => GetResult::Object { meta, range, body: file_range(file, range) },
            })
        })
        .await
    }

    async fn put(&self, _: &Key, _: Body, _: PutOptions) -> Result<PutResult> {
        rules::only_read(Operation::Put)
    }

    async fn delete(&self, _: &[Key]) -> Result<()> {
        rules::only_read(Operation::Delete)
    }

    async fn delete_version(&self, _: &Key, _: &str) -> Result<bool> {
        rules::only_read(Operation::Delete)
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        self.run(Operation::List, move |this| this.page(&options)).await
    }

    async fn create_multipart(&self, _: &Key, _: MultipartOptions) -> Result<UploadId> {
        rules::only_read(Operation::CreateMultipart)
    }

    async fn upload_part(&self, _: &Key, _: &UploadId, _: u16, _: Body) -> Result<Part> {
        rules::only_read(Operation::UploadPart)
    }

    async fn complete_multipart(&self, _: &Key, _: &UploadId, _: Vec<Part>) -> Result<ObjectMeta> {
        rules::only_read(Operation::CompleteMultipart)
    }

    async fn complete_multipart_if(&self, _: &Key, _: &UploadId, _: Vec<Part>, _: Conditions) -> Result<PutResult> {
        rules::only_read(Operation::CompleteMultipart)
    }

    async fn abort_multipart(&self, _: &Key, _: &UploadId) -> Result<()> {
        rules::only_read(Operation::AbortMultipart)
    }

    async fn list_parts(&self, _: &Key, _: &UploadId) -> Result<Vec<PartInfo>> {
        rules::only_read(Operation::ListParts)
    }

    async fn list_uploads(&self, _: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        rules::only_read(Operation::ListUploads)
    }

    async fn copy(&self, _: &Key, _: &Key, _: CopyOptions) -> Result<Option<PutResult>> {
        rules::only_read(Operation::Copy)
    }

    async fn presign(&self, _: PresignOptions) -> Result<String> {
        rules::only_read(Operation::Presign)
    }
}
