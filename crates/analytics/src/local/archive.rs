//! Places for segments that are too old for the disk.
//!
//! An archive is named by a trait of this crate, which knows no bucket: whoever opens the dataset has one of `isobar-storage`'s stores, or
//! another, behind it. Names are never used twice and objects never changed, so that a reader has the object that its snapshot names, or none.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::files::{self, read_at};
use crate::{Error, ErrorKind, Result};

/// The bytes of a segment that is put into an archive, in chunks of at most 1 MiB. Reading a chunk reads a file, and blocks for as long.
pub type ArchiveBody = BoxStream<'static, io::Result<Bytes>>;

/// A place for the old segments of one dataset: a prefix of a bucket, or a folder ([`FolderArchive`]).
///
/// A segment is one object, a Parquet file. Names have letters, digits, `-` and `.`; the dataset never uses one twice, and removes no object
/// that it has not put. So two datasets may not share a place only for this reason: a copy of a dataset's folder removes what the
/// original still reads. Objects must be durable when `put` returns, and be seen by every later `get`.
///
/// The methods are called by threads that block for their answers and that have no runtime: an implementation whose client needs one spawns
/// its work there. It has a thread of its own: dropping the last clone of a sink waits for the segment that is being moved. Limits of time are
/// the implementation's: a query waits for as long as `get` does.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::ops::Range;
/// use std::sync::Mutex;
///
/// use async_trait::async_trait;
/// use bytes::Bytes;
/// use futures_util::TryStreamExt;
/// use isobar_analytics::local::{ArchiveBody, ArchiveStore};
/// use isobar_analytics::{Error, ErrorKind, Result};
///
/// #[derive(Debug, Default)]
/// struct InMemory(Mutex<BTreeMap<String, Bytes>>);
///
/// #[async_trait]
/// impl ArchiveStore for InMemory {
///     fn location(&self) -> String {
///         "memory".to_owned()
///     }
///
///     async fn put(&self, name: &str, _bytes: u64, body: ArchiveBody) -> Result<()> {
///         let failed = |error: std::io::Error| Error::new(ErrorKind::Unavailable, error.to_string());
///         let chunks: Vec<Bytes> = body.try_collect().await.map_err(failed)?;
///         self.0.lock().unwrap().insert(name.to_owned(), chunks.concat().into());
///         Ok(())
///     }
///
///     async fn size(&self, name: &str) -> Result<Option<u64>> {
///         Ok(self.0.lock().unwrap().get(name).map(|object| object.len() as u64))
///     }
///
///     async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
///         let objects = self.0.lock().unwrap();
///         Ok(objects.get(name).map(|object| object.slice(range.start as usize..range.end as usize)))
///     }
///
///     async fn delete(&self, name: &str) -> Result<()> {
///         self.0.lock().unwrap().remove(name);
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait ArchiveStore: Debug + Send + Sync {
    /// Returns a text that names the place, such as `r2://old/visits`. The dataset keeps it, and refuses an archive with another one while
    /// it has segments there: objects that are sought in the wrong place would be missing.
    fn location(&self) -> String;

    /// Stores an object of this many bytes. Durable when it returns.
    ///
    /// # Errors
    /// Any kind. Then the object may be there or not; it is removed later.
    async fn put(&self, name: &str, bytes: u64, body: ArchiveBody) -> Result<()>;

    /// Returns the size of an object in bytes; `None` where there is none.
    ///
    /// # Errors
    /// Any kind. It is not an error that the object is missing.
    async fn size(&self, name: &str) -> Result<Option<u64>>;

    /// Returns a range of an object; `None` where there is none. Of an object that is shorter than the range, what it has.
    ///
    /// # Errors
    /// Any kind: a query that needs the range fails with it. It is not an error that the object is missing.
    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>>;

    /// Removes an object. It is not an error that it is missing.
    ///
    /// # Errors
    /// Any kind; it is tried again later.
    async fn delete(&self, name: &str) -> Result<()>;
}

/// An archive in a folder, for example on a larger disk or a network file system.
///
/// The folder is made by the first segment, which only its owner can read. An object is synced before it has its name.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use isobar_analytics::local::{CompactionOptions, FolderArchive, LocalOptions, LocalSink};
/// use isobar_analytics::{DataPoint, EventSink, EventSinkExt, ScanOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let archive = Arc::new(FolderArchive::new(folder.path().join("old")));
/// let options = LocalOptions::default().with_archive(archive);
/// let sink = LocalSink::open_with(folder.path().join("visits"), options)?;
/// sink.write(DataPoint::new().with_index("tenant-1"));
/// sink.compact(CompactionOptions::default()).await?;
/// let report = sink.archive(Duration::ZERO).await?;
/// assert_eq!((report.segments, report.points), (1, 1));
/// let events = sink.scan(ScanOptions::default()).await?.events;
/// assert_eq!(events[0].index(), b"tenant-1", "read from the archive");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct FolderArchive {
    folder: PathBuf,
}

impl FolderArchive {
    /// Names a folder. A path that is not absolute is one of the current folder, now.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        Self { folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()) }
    }

    /// Writes a new file of the body's bytes, and makes it durable.
    async fn write(&self, temporary: &Path, bytes: u64, mut body: ArchiveBody) -> Result<()> {
        let failed = |error| Error::io(temporary, error);
        let file = isobar_base::fs::private_file().write(true).create(true).truncate(true).open(temporary);
        let mut file = file.map_err(failed)?;
        let mut written = 0;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(failed)?;
            file.write_all(&chunk).map_err(failed)?;
            written += chunk.len() as u64;
        }
        if written != bytes {
            let message = format!("{}: {written} bytes were given of {bytes}", temporary.display());
            return Err(Error::new(ErrorKind::Internal, message));
        }
        files::sync(&file, temporary).map_err(failed)
    }
}

#[async_trait]
impl ArchiveStore for FolderArchive {
    fn location(&self) -> String {
        self.folder.display().to_string()
    }

    async fn put(&self, name: &str, bytes: u64, body: ArchiveBody) -> Result<()> {
        isobar_base::fs::create_dir(&self.folder).map_err(|error| Error::io(&self.folder, error))?;
        let path = self.folder.join(name);
        let temporary = self.folder.join(format!("{name}.tmp"));
        let written = self.write(&temporary, bytes, body).await;
        let named = written.and_then(|()| files::rename(&temporary, &path).map_err(|error| Error::io(&path, error)));
        if named.is_err() {
            drop(fs::remove_file(&temporary));
            return named;
        }
        files::sync_dir(&self.folder)
    }

    async fn size(&self, name: &str) -> Result<Option<u64>> {
        let path = self.folder.join(name);
        found(&path, fs::metadata(&path)).map(|found| found.map(|meta| meta.len()))
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        let path = self.folder.join(name);
        let Some(file) = found(&path, File::open(&path))? else { return Ok(None) };
        let mut read = vec![0; (range.end - range.start) as usize];
        let mut filled = 0;
        while filled < read.len() {
            let count = read_at(&file, &mut read[filled..], range.start + filled as u64);
            match count.map_err(|error| Error::io(&path, error))? {
                0 => break,
                count => filled += count,
            }
        }
        read.truncate(filled);
        Ok(Some(read.into()))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        // With what an upload that was killed has left.
        drop(fs::remove_file(self.folder.join(format!("{name}.tmp"))));
        let path = self.folder.join(name);
        match found(&path, fs::remove_file(&path))? {
            Some(()) => files::sync_dir(&self.folder),
            None => Ok(()),
        }
    }
}

/// Converts the absence of a file to `None`.
fn found<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// Waits for a future on this thread.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[test]
    fn folder_archive_has_whole_objects_only() {
        let folder = tempfile::tempdir().unwrap();
        let archive = FolderArchive::new(folder.path().join("old"));
        let body = |chunks: &[&'static [u8]]| {
            let chunks: Vec<io::Result<Bytes>> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
            stream::iter(chunks).boxed()
        };
        block_on(archive.delete("a")).unwrap();
        assert_eq!(block_on(archive.get("a", 0..1)).unwrap(), None);
        block_on(archive.put("a", 4, body(&[b"abc"]))).unwrap_err();
        assert_eq!(block_on(archive.size("a")).unwrap(), None);
        block_on(archive.put("a", 4, body(&[b"ab", b"cd"]))).unwrap();
        assert_eq!(block_on(archive.size("a")).unwrap(), Some(4));
        assert_eq!(block_on(archive.get("a", 1..3)).unwrap().unwrap(), "bc");
        assert_eq!(block_on(archive.get("a", 2..9)).unwrap().unwrap(), "cd");
        block_on(archive.delete("a")).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("old")).unwrap().count(), 0);
    }

    #[test]
    fn block_on_waits_for_another_thread() {
        let (sender, receiver) = futures_channel::oneshot::channel();
        let thread = std::thread::spawn(move || sender.send(7));
        assert_eq!(block_on(receiver), Ok(7));
        thread.join().unwrap().unwrap();
    }
}
