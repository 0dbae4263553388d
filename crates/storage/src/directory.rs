//! A plain folder, to be read as a bucket: what other programs have put there.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};

use crate::local::blobs::file_range;
use crate::local::blocking;
use crate::sync::{is_path_below, md5_of_file};
use crate::{
    Body, Capabilities, Checksum, CopyOptions, Error, GetOptions, GetResult, Key, ListOptions, ListPage,
    MultipartOptions, ObjectMeta, ObjectStore, Part, PartInfo, PresignOptions, PutOptions, PutResult, Result, UploadId,
    content_type, rules,
};

/// Checksums that are remembered.
const REMEMBERED: usize = 65_536;

/// The files below a folder as the objects of a bucket, only to be read.
///
/// A file's key is its path below the folder with slashes; its content type is that of its name, its etag its md5, which is
/// made when it is first asked for and remembered until the file's size or time changes. Links are followed as long as they stay
/// within the folder; what no key can be - names that are no UTF-8 - is not there. Keys that are no path below the folder
/// (`..`, empty parts) are missing. Files are read as they are: one that is written meanwhile may come mixed, so writers
/// should rename. Every write is [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied).
#[derive(Clone)]
pub struct Directory {
    root: Arc<PathBuf>,
    known: Arc<Mutex<HashMap<PathBuf, Known>>>,
}

#[derive(Clone)]
struct Known {
    size: u64,
    written: SystemTime,
    md5: Checksum,
}

impl Directory {
    /// The files below this folder.
    ///
    /// # Errors
    /// When the folder is not there, or is none.
    pub async fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref().to_owned();
        let opened = blocking(move || {
            let failed = |error| Error::io(format_args!("cannot open {}", root.display()), error);
            let root = fs::canonicalize(&root).map_err(failed)?;
            fs::read_dir(&root).map_err(failed)?;
            Ok(Self { root: Arc::new(root), known: Arc::default() })
        });
        opened.await.map_err(|error| error.during("open"))
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        blocking(move || work(&this)).await.map_err(|error| error.during(operation))
    }

    /// The file of a key, if there is one below the folder.
    fn find(&self, key: &Key) -> Result<Option<(PathBuf, fs::Metadata)>> {
        if !is_path_below(key.as_str()) {
            return Ok(None);
        }
        let path = self.root.join(key.as_str());
        let absent = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
            )
        };
        // Where links lead, too.
        let real = match fs::canonicalize(&path) {
            Err(error) if absent(&error) => return Ok(None),
            real => real.map_err(|error| Error::io(path.display(), error))?,
        };
        if !real.starts_with(&*self.root) {
            return Ok(None);
        }
        let meta = fs::metadata(&real).map_err(|error| Error::io(path.display(), error))?;
        Ok(meta.is_file().then_some((real, meta)))
    }

    fn meta(&self, key: &Key, path: &Path, file: &fs::Metadata) -> Result<ObjectMeta> {
        let written = file.modified().map_err(|error| Error::io(path.display(), error))?;
        let md5 = self.md5(path, file.len(), written)?;
        let nanos = written.duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_nanos()).unwrap_or_default();
        let version = format!("{nanos:x}-{:x}", file.len());
        let uploaded = DateTime::<Utc>::from(written).trunc_subsecs(3);
        let mut meta = ObjectMeta::new(key.clone(), version, file.len(), md5.hex.clone(), uploaded);
        meta.http.content_type = content_type::from_key(key.as_str());
        meta.checksums = vec![md5];
        Ok(meta)
    }

    fn md5(&self, path: &Path, size: u64, written: SystemTime) -> Result<Checksum> {
        // A map, changed in single steps.
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(path).filter(|known| known.size == size && known.written == written) {
            return Ok(found.md5.clone());
        }
        let md5 = md5_of_file(path)?;
        let mut known = known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(path.to_owned(), Known { size, written, md5: md5.clone() });
        Ok(md5)
    }

    /// The names of all files, which a page is taken out of.
    fn names(&self) -> Result<BTreeSet<Key>> {
        let (mut names, mut folders) = (BTreeSet::new(), vec![((*self.root).clone(), String::new())]);
        while let Some((folder, prefix)) = folders.pop() {
            let failed = |error| Error::io(format_args!("cannot read {}", folder.display()), error);
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() {
                    folders.push((entry.path(), format!("{prefix}{name}/")));
                } else if let Ok(key) = Key::new(format!("{prefix}{name}")) {
                    names.insert(key); // links are looked at when they are asked for
                }
            }
        }
        Ok(names)
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
        write!(f, "Directory({})", self.root.display())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Directory {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Whoever writes into the folder does not say so.
    fn generation(&self) -> Option<u64> {
        None
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let key = key.clone();
        self.run("head", move |this| this.find(&key)?.map(|(path, file)| this.meta(&key, &path, &file)).transpose())
            .await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let key = key.clone();
        self.run("get", move |this| {
            let Some((path, _)) = this.find(&key)? else { return Ok(GetResult::Missing) };
            let failed = |error| Error::io(format_args!("cannot read {}", path.display()), error);
            let file = File::open(&path).map_err(failed)?;
            let meta = this.meta(&key, &path, &file.metadata().map_err(failed)?)?;
            if options.conditions.as_ref().is_some_and(|conditions| !conditions.hold(Some(&meta))) {
                return Ok(GetResult::ConditionFailed(meta));
            }
            let range = options.resolve_range(meta.size)?;
            Ok(GetResult::Object { meta, range, body: file_range(file, range).map_err(failed)? })
        })
        .await
    }

    async fn put(&self, _: &Key, _: Body, _: PutOptions) -> Result<PutResult> {
        rules::only_read("put")
    }

    async fn delete(&self, _: &[Key]) -> Result<()> {
        rules::only_read("delete")
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        self.run("list", move |this| this.page(&options)).await
    }

    async fn create_multipart(&self, _: &Key, _: MultipartOptions) -> Result<UploadId> {
        rules::only_read("createMultipartUpload")
    }

    async fn upload_part(&self, _: &Key, _: &UploadId, _: u16, _: Body) -> Result<Part> {
        rules::only_read("uploadPart")
    }

    async fn complete_multipart(&self, _: &Key, _: &UploadId, _: Vec<Part>) -> Result<ObjectMeta> {
        rules::only_read("completeMultipartUpload")
    }

    async fn abort_multipart(&self, _: &Key, _: &UploadId) -> Result<()> {
        rules::only_read("abortMultipartUpload")
    }

    async fn list_parts(&self, _: &Key, _: &UploadId) -> Result<Vec<PartInfo>> {
        rules::only_read("listParts")
    }

    async fn copy(&self, _: &Key, _: &Key, _: CopyOptions) -> Result<Option<PutResult>> {
        rules::only_read("copy")
    }

    async fn presign(&self, _: PresignOptions) -> Result<String> {
        rules::only_read("presign")
    }
}
