//! Options and result of `put`.

use std::collections::BTreeMap;

use crate::{Checksum, Conditions, HttpMetadata, ObjectMeta, StorageClass};

/// Options of [`ObjectStore::put`](crate::ObjectStore::put). Default: an unconditional put without metadata.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Conditions, Key, ObjectStore, PutOptions, PutResult};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let options = PutOptions::default()
///     .with_content_type("image/svg+xml")
///     .with_cache_control("public, max-age=3600")
///     .with_custom("author", "Ada")
///     .with_conditions(Conditions::create_only());
/// let key = Key::new("logo.svg")?;
/// let stored = store.put(&key, "<svg/>".into(), options.clone()).await?;
/// assert_eq!(stored.stored().expect("it was not there").custom["author"], "Ada");
/// assert_eq!(store.put(&key, "again".into(), options).await?, PutResult::ConditionFailed);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// Conditions without which nothing is written. Default: none.
    pub conditions: Option<Conditions>,
    /// HTTP headers to store. Default: none.
    pub http: HttpMetadata,
    /// Custom metadata: at most 8,192 bytes of names and values. Default: none.
    pub custom: BTreeMap<String, String>,
    /// Expected checksum of the body; R2 takes one. Default: none.
    pub checksum: Option<Checksum>,
    /// Storage class. Default: standard.
    pub storage_class: StorageClass,
}

impl PutOptions {
    /// Write only if these hold for the object that has the key, in one step with the write: of two writers with the same condition one
    /// succeeds. The other gets [`PutResult::ConditionFailed`].
    ///
    /// ```
    /// use isobar_storage::{Conditions, PutOptions};
    ///
    /// let create = PutOptions::default().with_conditions(Conditions::create_only());
    /// assert!(create.conditions.is_some_and(|conditions| conditions.hold(None)));
    /// ```
    #[must_use]
    pub fn with_conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = Some(conditions);
        self
    }

    /// The HTTP headers to store, in place of those that were set before.
    ///
    /// ```
    /// use isobar_storage::{HttpMetadata, PutOptions};
    ///
    /// let mut headers = http::HeaderMap::new();
    /// headers.insert(http::header::CONTENT_ENCODING, http::HeaderValue::from_static("br"));
    /// let options = PutOptions::default().with_content_type("text/css").with_http(HttpMetadata::from_headers(&headers));
    /// assert_eq!((options.http.content_encoding.as_deref(), options.http.content_type), (Some("br"), None));
    /// ```
    #[must_use]
    pub fn with_http(mut self, http: HttpMetadata) -> Self {
        self.http = http;
        self
    }

    /// The content type to store. [`ObjectStoreExt::write_with`](crate::ObjectStoreExt::write_with) gives the one of the key's extension
    /// where none is set; [`ObjectStore::put`](crate::ObjectStore::put) does not.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ObjectStoreExt, PutOptions};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let options = PutOptions::default().with_content_type("application/feed+json");
    /// let meta = MemoryStore::new().write_with(&Key::new("feed.json")?, "{}", options).await?.stored().expect("stored");
    /// assert_eq!(meta.http.content_type.as_deref(), Some("application/feed+json"));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.http.content_type = Some(content_type.into());
        self
    }

    /// The `Cache-Control` to store: for the caches behind the server that hands the object out. The store acts on none of it.
    ///
    /// ```
    /// use isobar_storage::PutOptions;
    ///
    /// let fingerprinted = PutOptions::default().with_cache_control("public, max-age=31536000, immutable");
    /// assert!(fingerprinted.http.cache_control.is_some_and(|value| value.ends_with("immutable")));
    /// ```
    #[must_use]
    pub fn with_cache_control(mut self, cache_control: impl Into<String>) -> Self {
        self.http.cache_control = Some(cache_control.into());
        self
    }

    /// Adds an entry of custom metadata; one of the same name is replaced. All names and values together have at most 8,192 bytes
    /// ([`check_metadata`](crate::rules::check_metadata)).
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, Key, ObjectStore, PutOptions};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let options = PutOptions::default().with_custom("note", "x".repeat(8192));
    /// let error = MemoryStore::new().put(&Key::new("a")?, "1".into(), options).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::MetadataTooLarge);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_custom(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.custom.insert(name.into(), value.into());
        self
    }

    /// Expects this checksum of the body: one that was damaged on its way is refused and not stored. The checksum is stored with the object,
    /// beside the md5.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Checksum, ChecksumAlgorithm, ErrorKind, Key, ObjectStore, PutOptions};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let sent = PutOptions::default().with_checksum(Checksum::of(ChecksumAlgorithm::Sha256, b"report"));
    /// let error = store.put(&Key::new("a")?, "repost".into(), sent.clone()).await.unwrap_err();
    /// assert_eq!((error.kind(), error.code()), (ErrorKind::BadDigest, Some(10037)));
    /// let meta = store.put(&Key::new("a")?, "report".into(), sent).await?.stored().expect("there is no condition");
    /// assert!(meta.checksum(ChecksumAlgorithm::Sha256).is_some());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_checksum(mut self, checksum: Checksum) -> Self {
        self.checksum = Some(checksum);
        self
    }

    /// How to store it. Of a store of one's own it is remembered and changes nothing; R2 bills by it.
    ///
    /// ```
    /// use isobar_storage::{PutOptions, StorageClass};
    ///
    /// let options = PutOptions::default().with_storage_class(StorageClass::InfrequentAccess);
    /// assert_ne!(options.storage_class, StorageClass::default());
    /// ```
    #[must_use]
    pub fn with_storage_class(mut self, class: StorageClass) -> Self {
        self.storage_class = class;
        self
    }
}

/// The answer to a `put`.
///
/// ```
/// use isobar_storage::PutResult;
///
/// /// The status of HTTP's answer to a conditional PUT.
/// fn status(result: &PutResult) -> u16 {
///     match result {
///         PutResult::Stored(_) => 200,
///         PutResult::ConditionFailed => 412,
///     }
/// }
/// assert_eq!(status(&PutResult::ConditionFailed), 412);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "the large variant is the common one")]
#[must_use = "a conditional put may not have stored anything"]
pub enum PutResult {
    /// The object is stored, durably where the backend is durable.
    Stored(ObjectMeta),
    /// The conditions do not hold: nothing was written.
    ConditionFailed,
}

impl PutResult {
    /// The stored object's metadata, if it was stored.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Conditions, Key, ObjectStore, PutOptions};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let absent = PutOptions::default().with_conditions(Conditions::if_etag("of a deleted object")?);
    /// assert!(store.put(&Key::new("a")?, "1".into(), absent).await?.stored().is_none());
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn stored(self) -> Option<ObjectMeta> {
        match self {
            Self::Stored(meta) => Some(meta),
            Self::ConditionFailed => None,
        }
    }
}
