//! A bucket of isobar-storage as an archive, with a record of what is asked of it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use isobar_analytics::local::{ArchiveBody, ArchiveStore};
use isobar_analytics::{Error, ErrorKind, Result};
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;
use isobar_storage::{
    Body, ErrorKind as StorageErrorKind, GetOptions, GetResult, Key, ListOptions, ObjectStore, ObjectStoreExt,
    PutOptions,
};

/// A prefix of a bucket. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    memory: MemoryStore,
    mock: MockStore,
    /// The ranges that were fetched, by the names of their objects.
    fetched: Mutex<Vec<(String, Range<u64>)>>,
    /// Whether the next `put` is done, and its answer lost.
    loses_answer: AtomicBool,
    /// Whether a bit flips on the way of everything that is fetched.
    flips: AtomicBool,
    hook: Mutex<Hook>,
}

type OnRequest = Box<dyn FnMut(&Bucket) + Send>;

/// Called before and after each operation that changes an object, and before each look at its size.
#[derive(Default)]
struct Hook(Option<OnRequest>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Bucket {
    const PREFIX: &'static str = "old/visits/";

    pub(super) fn new() -> Self {
        let memory = MemoryStore::new();
        let mock = MockStore::new(memory.clone());
        let shared = Shared {
            memory,
            mock,
            fetched: Mutex::default(),
            loses_answer: AtomicBool::new(false),
            flips: AtomicBool::new(false),
            hook: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A bucket with these objects.
    pub(super) async fn of(objects: &BTreeMap<String, Bytes>) -> Self {
        let bucket = Self::new();
        for (name, bytes) in objects {
            bucket.replace(name, bytes.clone()).await;
        }
        bucket
    }

    pub(super) fn archive(&self) -> Arc<dyn ArchiveStore> {
        Arc::new(self.clone())
    }

    pub(super) fn script(&self) -> &isobar_testkit::Script<isobar_storage::Error> {
        self.shared.mock.script()
    }

    pub(super) fn lose_next_answer(&self) {
        self.shared.loses_answer.store(true, Ordering::SeqCst);
    }

    pub(super) fn flip_bits(&self, flips: bool) {
        self.shared.flips.store(flips, Ordering::SeqCst);
    }

    pub(super) fn set_hook(&self, hook: impl FnMut(&Bucket) + Send + 'static) {
        *self.shared.hook.lock().unwrap() = Hook(Some(Box::new(hook)));
    }

    /// Takes the ranges that were fetched since the last call.
    pub(super) fn take_fetched(&self) -> Vec<(String, Range<u64>)> {
        std::mem::take(&mut self.shared.fetched.lock().unwrap())
    }

    /// All objects, past the mock.
    pub(super) async fn objects(&self) -> BTreeMap<String, Bytes> {
        let mut objects = BTreeMap::new();
        for object in self.shared.memory.list(ListOptions::default()).await.unwrap().objects {
            let (_, bytes) = self.shared.memory.read(&object.key).await.unwrap().unwrap();
            objects.insert(object.key.as_str().strip_prefix(Self::PREFIX).unwrap().to_owned(), bytes);
        }
        objects
    }

    /// Puts an object in place of the one that is there, past the mock.
    pub(super) async fn replace(&self, name: &str, bytes: Bytes) {
        self.shared.memory.write(&Self::key(name), bytes).await.unwrap();
    }

    /// Removes an object, past the mock.
    pub(super) async fn lose(&self, name: &str) {
        self.shared.memory.delete(&[Self::key(name)]).await.unwrap();
    }

    fn key(name: &str) -> Key {
        Key::new(format!("{}{name}", Self::PREFIX)).unwrap()
    }

    fn call_hook(&self) {
        if let Hook(Some(hook)) = &mut *self.shared.hook.lock().unwrap() {
            hook(self);
        }
    }
}

fn failed(error: isobar_storage::Error) -> Error {
    let kind = match error.kind() {
        StorageErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

#[async_trait]
impl ArchiveStore for Bucket {
    fn location(&self) -> String {
        "r2://old/visits".to_owned()
    }

    async fn put(&self, name: &str, bytes: u64, body: ArchiveBody) -> Result<()> {
        self.call_hook();
        let body = Body::wrap_stream(bytes, body);
        let put = self.shared.mock.put(&Self::key(name), body, PutOptions::default()).await;
        put.map_err(failed)?.stored().expect("there is no condition");
        self.call_hook();
        if self.shared.loses_answer.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the connection was closed"));
        }
        Ok(())
    }

    async fn size(&self, name: &str) -> Result<Option<u64>> {
        self.call_hook();
        let meta = self.shared.mock.head(&Self::key(name)).await.map_err(failed)?;
        Ok(meta.map(|meta| meta.size))
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        self.shared.fetched.lock().unwrap().push((name.to_owned(), range.clone()));
        let part = isobar_storage::Range::From { offset: range.start, length: Some(range.end - range.start) };
        let options = GetOptions::default().with_range(part);
        let got = match self.shared.mock.get(&Self::key(name), options).await {
            Err(error) if error.kind() == StorageErrorKind::InvalidRange => return Ok(Some(Bytes::new())),
            got => got.map_err(failed)?,
        };
        let GetResult::Object { body, .. } = got else { return Ok(None) };
        let bytes = body.bytes().await.map_err(failed)?;
        if self.shared.flips.load(Ordering::SeqCst) {
            let mut flipped = bytes.to_vec();
            flipped[0] ^= 1;
            return Ok(Some(flipped.into()));
        }
        Ok(Some(bytes))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.call_hook();
        self.shared.mock.delete(&[Self::key(name)]).await.map_err(failed)?;
        self.call_hook();
        Ok(())
    }
}

/// Copies the files of a folder, but for folders in it.
pub(super) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
