use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use isobar_base::backoff::Backoff;
use isobar_base::random;

use crate::{
    Body, Capabilities, Conditions, CopyOptions, Error, GetOptions, GetResult, Key, ListOptions, ListPage,
    ListUploadsOptions, MultipartOptions, ObjectMeta, ObjectStore, Part, PartInfo, PresignOptions, PutOptions,
    PutResult, Result, UploadId, UploadInfo,
};

/// Timer of the runtime: resolves after the given time.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_storage::layers::Sleep;
///
/// let sleep: Sleep = std::sync::Arc::new(|time: Duration| Box::pin(tokio::time::sleep(time)));
/// # drop(sleep);
/// ```
pub type Sleep = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// A store that tries again what has failed for the moment ([`Error::is_retryable`]), after ever longer waits with jitter.
///
/// Reads, and writes that have the same effect when repeated, are retried: `head`, `get` (to the start of its body), `list`,
/// `delete`, and an unconditional `put` or a part whose body is in memory. An operation that may have been done without an answer is not: a
/// conditional write, `copy`, the beginning and the end of uploads; nor is a body that streams, which is gone once it was read.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use isobar_storage::layers::{Retried, RetryOptions};
/// use isobar_storage::memory::MemoryStore;
///
/// let options =
///     RetryOptions::default().with_attempts(6).with_backoff(Duration::from_millis(50), Duration::from_secs(2));
/// // On tokio: `Arc::new(|time| Box::pin(tokio::time::sleep(time)))`.
/// let store = Retried::new(MemoryStore::new(), options, Arc::new(|_| Box::pin(async {})));
/// # drop(store); }
/// ```
#[derive(Clone)]
pub struct Retried<S> {
    inner: S,
    options: RetryOptions,
    sleep: Sleep,
}

/// How [`Retried`] tries again.
///
/// ```
/// use isobar_storage::layers::RetryOptions;
///
/// let options = RetryOptions::default().with_attempts(2);
/// assert_eq!((options.attempts, options.base.as_millis()), (2, 100));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RetryOptions {
    /// Attempts in all. Default: 4; 1 retries nothing.
    pub attempts: u32,
    /// Longest wait after the first attempt; it doubles with each. Default: 100 ms.
    pub base: Duration,
    /// Longest wait after any attempt. Default: 5 s.
    pub cap: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self { attempts: 4, base: Duration::from_millis(100), cap: Duration::from_secs(5) }
    }
}

impl RetryOptions {
    /// Attempts in all: 1 retries nothing, and 0 is as 1.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use std::sync::Arc;
    ///
    /// use isobar_storage::layers::{Retried, RetryOptions};
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::mock::MockStore;
    /// use isobar_storage::{Error, ErrorKind, Key, ObjectStore, Operation};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let mock = MockStore::new(MemoryStore::new());
    /// for _ in 0..2 {
    ///     mock.script().fail_next(Operation::Head, Error::new(ErrorKind::Unavailable, "busy"));
    /// }
    /// let options = RetryOptions::default().with_attempts(2);
    /// let store = Retried::new(mock, options, Arc::new(|_| Box::pin(async {})));
    /// let error = store.head(&Key::new("a")?).await.unwrap_err();
    /// assert_eq!(error.to_string(), "head: busy (after 2 attempts)");
    /// assert!(store.head(&Key::new("a")?).await?.is_none());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the longest first wait, and the longest wait of all. Each wait is drawn between nothing and its longest (full jitter), so that
    /// clients that failed together do not come back together.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_storage::layers::RetryOptions;
    ///
    /// let options = RetryOptions::default().with_backoff(Duration::from_millis(20), Duration::from_secs(1));
    /// assert_eq!((options.base, options.cap), (Duration::from_millis(20), Duration::from_secs(1)));
    /// ```
    #[must_use]
    pub fn with_backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.base = base;
        self.cap = cap;
        self
    }
}

impl<S: ObjectStore> Retried<S> {
    /// This store, tried again after waits of `sleep`: `Arc::new(|time| Box::pin(tokio::time::sleep(time)))`. The timer is a parameter, as
    /// the layer works on any runtime and inside Workers, and a test need not wait.
    pub fn new(inner: S, options: RetryOptions, sleep: Sleep) -> Self {
        Self { inner, options, sleep }
    }

    async fn retry<T, F: Future<Output = Result<T>> + Send>(&self, mut attempt: impl FnMut() -> F + Send) -> Result<T> {
        let mut tried = 1;
        loop {
            match attempt().await {
                Err(error) if error.is_retryable() && tried < self.options.attempts => {
                    (self.sleep)(self.wait(tried)).await;
                    tried += 1;
                }
                Err(error) if tried > 1 => return Err(after(error, tried)),
                outcome => return outcome,
            }
        }
    }

    /// Any time up to twice the longest of the wait before: who failed together does not come again together.
    fn wait(&self, tried: u32) -> Duration {
        let backoff = Backoff::new(self.options.base, self.options.cap);
        // Without randomness it is the longest.
        backoff.jittered(tried, random::fraction().unwrap_or(1.0))
    }
}

fn after(error: Error, attempts: u32) -> Error {
    let message = format!("{} (after {attempts} attempts)", error.message());
    let told = Error::new(error.kind(), message).during(error.operation());
    let told = match error.code() {
        Some(code) => told.with_code(code),
        None => told,
    };
    told.with_source(error)
}

impl<S: fmt::Debug> fmt::Debug for Retried<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retried").field("inner", &self.inner).field("options", &self.options).finish_non_exhaustive()
    }
}

/// A body that can be sent again.
fn repeatable(body: Body) -> Result<Bytes, Body> {
    match body.as_bytes() {
        Some(bytes) => Ok(bytes.clone()),
        None => Err(body),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for Retried<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn generation(&self) -> Option<u64> {
        self.inner.generation()
    }
    fn health(&self) -> Result<()> {
        self.inner.health()
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.retry(|| self.inner.head(key)).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.retry(|| self.inner.get(key, options.clone())).await
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        if options.conditions.is_some() {
            return self.inner.put(key, body, options).await;
        }
        match repeatable(body) {
            Ok(bytes) => self.retry(|| self.inner.put(key, bytes.clone().into(), options.clone())).await,
            Err(body) => self.inner.put(key, body, options).await,
        }
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        self.retry(|| self.inner.delete(keys)).await
    }

    // Not repeated: a second attempt could not tell its own deletion from another one's.
    async fn delete_version(&self, key: &Key, version: &str) -> Result<bool> {
        self.inner.delete_version(key, version).await
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        self.retry(|| self.inner.list(options.clone())).await
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        self.inner.create_multipart(key, options).await
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        match repeatable(body) {
            Ok(bytes) => self.retry(|| self.inner.upload_part(key, upload, number, bytes.clone().into())).await,
            Err(body) => self.inner.upload_part(key, upload, number, body).await,
        }
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        self.inner.complete_multipart(key, upload, parts).await
    }

    async fn complete_multipart_if(
        &self,
        key: &Key,
        upload: &UploadId,
        parts: Vec<Part>,
        conditions: Conditions,
    ) -> Result<PutResult> {
        self.inner.complete_multipart_if(key, upload, parts, conditions).await
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        self.retry(|| self.inner.abort_multipart(key, upload)).await
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        self.retry(|| self.inner.list_parts(key, upload)).await
    }

    async fn list_uploads(&self, options: ListUploadsOptions) -> Result<Vec<UploadInfo>> {
        self.retry(|| self.inner.list_uploads(options.clone())).await
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        self.inner.copy(from, to, options).await
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        self.inner.presign(options).await
    }
}
