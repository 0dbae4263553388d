//! Options and results of the operations.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{
    Body, ByteRange, Checksum, Conditions, Error, ErrorKind, HttpMetadata, Key, ObjectMeta, Range, Result, StorageClass,
};

/// Capabilities of a backend. An operation that it does not have fails with
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). Default: none. R2's binding has `multipart` alone.
///
/// ```
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Capabilities, ObjectStore};
///
/// assert!(MemoryStore::new().capabilities().has("multipart"));
/// // Of a store of your own:
/// let mut capabilities = Capabilities::default();
/// capabilities.copy = true;
/// assert!(!capabilities.has("multipart"));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`ObjectStore::copy`](crate::ObjectStore::copy) within the bucket.
    pub copy: bool,
    /// [`ObjectStore::presign`](crate::ObjectStore::presign).
    pub presign: bool,
    /// Multipart uploads: [`ObjectStore::create_multipart`](crate::ObjectStore::create_multipart) and what follows it. Without it,
    /// bodies of more than 5 GiB - 5 MiB and streams of unknown length that fit no single part cannot be stored.
    pub multipart: bool,
    /// [`ObjectStore::list_parts`](crate::ObjectStore::list_parts) of a multipart upload.
    pub list_parts: bool,
    /// [`ObjectStore::list_uploads`](crate::ObjectStore::list_uploads): the open multipart uploads.
    pub list_uploads: bool,
    /// [`ObjectStore::complete_multipart_if`](crate::ObjectStore::complete_multipart_if): conditions on the object that an upload
    /// replaces.
    pub conditional_complete: bool,
}

impl Capabilities {
    /// Whether the capability of this name is there: `copy`, `presign`, `multipart`, `list_parts`, `list_uploads`,
    /// `conditional_complete`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match name {
            "copy" => self.copy,
            "presign" => self.presign,
            "multipart" => self.multipart,
            "list_parts" => self.list_parts,
            "list_uploads" => self.list_uploads,
            "conditional_complete" => self.conditional_complete,
            _ => false,
        }
    }
}

/// Options of [`ObjectStore::get`](crate::ObjectStore::get). Default: the whole object, without conditions.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{GetOptions, Key, ObjectStore, ObjectStoreExt, Range};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let key = Key::new("log.txt")?;
/// store.write(&key, "first\nsecond\n").await?;
/// let tail = GetOptions::default().with_range(Range::Suffix(7));
/// let (meta, body) = store.get(&key, tail).await?.into_object().expect("the object was written");
/// assert_eq!((meta.size, &*body.bytes().await?), (13, &b"second\n"[..]));
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GetOptions {
    /// Conditions without which the body is not answered. Default: none.
    pub conditions: Option<Conditions>,
    /// Bytes to answer with. Default: all.
    pub range: Option<Range>,
    /// Whether a range that holds no byte of the object means the whole object instead of an error: R2's rule for a `Range`
    /// header. Default: false.
    pub range_or_whole: bool,
}

impl GetOptions {
    /// Answer with the body only if these hold.
    #[must_use]
    pub fn with_conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = Some(conditions);
        self
    }

    /// Answer with these bytes only.
    #[must_use]
    pub fn with_range(mut self, range: Range) -> Self {
        self.range = Some(range);
        self
    }

    /// Answer with what a `Range` header asks for; everything where it asks for several ranges, for none, or for none
    /// that the object has.
    #[must_use]
    pub fn with_range_header(mut self, value: &str) -> Self {
        self.range = Range::from_header(value);
        self.range_or_whole = true;
        self
    }

    /// The bytes that these options mean in an object of `size` bytes: for backends.
    ///
    /// # Errors
    /// As [`Range::resolve`], unless [`range_or_whole`](Self::range_or_whole).
    pub fn resolve_range(&self, size: u64) -> Result<ByteRange> {
        let whole = ByteRange { offset: 0, length: size };
        match self.range.map(|range| range.resolve(size)) {
            None => Ok(whole),
            Some(Err(_)) if self.range_or_whole => Ok(whole),
            Some(resolved) => resolved,
        }
    }
}

/// Result of a `get`. Neither a missing object nor a condition that does not hold is an error.
///
/// HTTP's answers to them are 404, 304 or 412 (by the condition that failed), and 200 or 206.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Conditions, Etags, GetOptions, GetResult, Key, ObjectStore, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let meta = store.write(&Key::new("page.html")?, "<h1>Hi</h1>").await?;
/// // A browser that has this version wants another one only: If-None-Match.
/// let cached = Conditions::default().with_etag_does_not_match(Etags::one(meta.etag)?);
/// let status = match store.get(&meta.key, GetOptions::default().with_conditions(cached)).await? {
///     GetResult::Missing => 404,
///     GetResult::ConditionFailed(_) => 304,
///     GetResult::Object { .. } => 200,
/// };
/// assert_eq!(status, 304);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug)]
pub enum GetResult {
    /// There is no such object.
    Missing,
    /// The object is there, but the conditions do not hold.
    ConditionFailed(ObjectMeta),
    /// The object, or the asked part of it.
    Object {
        /// Its metadata; `size` is the whole object's.
        meta: ObjectMeta,
        /// The bytes that `body` has.
        range: ByteRange,
        /// The bytes.
        body: Body,
    },
}

impl GetResult {
    /// The object's metadata, whether or not the conditions hold.
    #[must_use]
    pub fn meta(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Missing => None,
            Self::ConditionFailed(meta) | Self::Object { meta, .. } => Some(meta),
        }
    }

    /// Metadata and body, where there is a body.
    #[must_use]
    pub fn into_object(self) -> Option<(ObjectMeta, Body)> {
        match self {
            Self::Object { meta, body, .. } => Some((meta, body)),
            Self::Missing | Self::ConditionFailed(_) => None,
        }
    }
}

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
    /// Write only if these hold.
    #[must_use]
    pub fn with_conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = Some(conditions);
        self
    }

    /// The HTTP headers to store.
    #[must_use]
    pub fn with_http(mut self, http: HttpMetadata) -> Self {
        self.http = http;
        self
    }

    /// The content type to store.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.http.content_type = Some(content_type.into());
        self
    }

    /// The `Cache-Control` to store.
    #[must_use]
    pub fn with_cache_control(mut self, cache_control: impl Into<String>) -> Self {
        self.http.cache_control = Some(cache_control.into());
        self
    }

    /// Adds an entry of custom metadata.
    #[must_use]
    pub fn with_custom(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.custom.insert(name.into(), value.into());
        self
    }

    /// Expects this checksum of the body.
    #[must_use]
    pub fn with_checksum(mut self, checksum: Checksum) -> Self {
        self.checksum = Some(checksum);
        self
    }

    /// How to store it.
    #[must_use]
    pub fn with_storage_class(mut self, class: StorageClass) -> Self {
        self.storage_class = class;
        self
    }
}

/// The answer to a `put`.
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
    #[must_use]
    pub fn stored(self) -> Option<ObjectMeta> {
        match self {
            Self::Stored(meta) => Some(meta),
            Self::ConditionFailed => None,
        }
    }
}

/// Options of [`ObjectStore::list`](crate::ObjectStore::list). Default: the first 1,000 objects, with neither HTTP nor custom metadata.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// for name in ["a.txt", "photos/1.jpg", "photos/2.jpg"] {
///     store.write(&Key::new(name)?, "").await?;
/// }
/// let page = store.list(ListOptions::default().with_delimiter("/")).await?;
/// assert_eq!((page.objects.len(), &page.prefixes[..]), (1, &["photos/".to_owned()][..]));
/// // Page by page:
/// let mut options = ListOptions::default().with_prefix("photos/").with_limit(1);
/// let mut names = Vec::new();
/// loop {
///     let page = store.list(options.clone()).await?;
///     names.extend(page.objects.into_iter().map(|object| object.key.to_string()));
///     let Some(cursor) = page.cursor else { break };
///     options = options.with_cursor(cursor);
/// }
/// assert_eq!(names, ["photos/1.jpg", "photos/2.jpg"]);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// Beginning of the keys. Default: any.
    pub prefix: Option<String>,
    /// String at which keys are grouped into [`ListPage::prefixes`], where they have it behind the prefix. Default: none.
    pub delimiter: Option<String>,
    /// Key behind which the listing begins. Default: none.
    pub start_after: Option<String>,
    /// [`ListPage::cursor`] of the page before. Default: none, the first page.
    pub cursor: Option<String>,
    /// Objects plus prefixes in a page, 1 to 1,000. Default: 1,000. A page may be shorter: loop on the cursor.
    pub limit: Option<usize>,
    /// Whether [`ObjectMeta::http`] is filled in. Default: false.
    pub include_http: bool,
    /// Whether [`ObjectMeta::custom`] is filled in. Default: false.
    pub include_custom: bool,
}

impl ListOptions {
    /// Only keys that start with this.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Group keys at this.
    #[must_use]
    pub fn with_delimiter(mut self, delimiter: impl Into<String>) -> Self {
        self.delimiter = Some(delimiter.into());
        self
    }

    /// Only keys after this one.
    #[must_use]
    pub fn with_start_after(mut self, key: impl Into<String>) -> Self {
        self.start_after = Some(key.into());
        self
    }

    /// Go on where a page ended.
    #[must_use]
    pub fn with_cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Objects plus prefixes in a page.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Fill in HTTP and custom metadata.
    #[must_use]
    pub fn with_metadata(mut self) -> Self {
        self.include_http = true;
        self.include_custom = true;
        self
    }
}

/// A page of a listing, in byte order of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage {
    /// The objects.
    pub objects: Vec<ObjectMeta>,
    /// The groups made by the delimiter, each ending in it.
    pub prefixes: Vec<String>,
    /// Where the next page starts; `None` when this is the last.
    pub cursor: Option<String>,
}

/// Options of [`ObjectStore::copy`](crate::ObjectStore::copy). Default: an unconditional copy.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Conditions, CopyOptions, Key, ObjectStore, ObjectStoreExt, PutResult};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// store.write(&Key::new("draft")?, "text").await?;
/// let options = CopyOptions::default().with_conditions(Conditions::create_only());
/// let copied = store.copy(&Key::new("draft")?, &Key::new("published")?, options).await?;
/// assert!(matches!(copied, Some(PutResult::Stored(_))));
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Conditions for the source. Default: none.
    pub source_conditions: Option<Conditions>,
    /// Conditions for the destination. Default: none.
    pub conditions: Option<Conditions>,
}

impl CopyOptions {
    /// Copy only if these hold for the source.
    #[must_use]
    pub fn with_source_conditions(mut self, conditions: Conditions) -> Self {
        self.source_conditions = Some(conditions);
        self
    }

    /// Copy only if these hold for the destination.
    #[must_use]
    pub fn with_conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = Some(conditions);
        self
    }
}

/// The method that a presigned URL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresignMethod {
    /// Reading the object.
    Get,
    /// Writing the object.
    Put,
}

/// Options of [`ObjectStore::presign`](crate::ObjectStore::presign).
///
/// ```
/// use std::time::Duration;
///
/// use isobar_storage::{Key, PresignMethod, PresignOptions};
///
/// let key = Key::new("report.pdf").unwrap();
/// let options = PresignOptions::new(key, PresignMethod::Get, Duration::from_secs(3600));
/// assert!(options.expires < PresignOptions::LONGEST);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PresignOptions {
    /// The object.
    pub key: Key,
    /// The method.
    pub method: PresignMethod,
    /// For how long: one second to seven days.
    pub expires: Duration,
}

impl PresignOptions {
    /// The longest time that a URL is good for: seven days, as S3's.
    pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

    /// A URL for this method on this key, good for so long.
    #[must_use]
    pub fn new(key: Key, method: PresignMethod, expires: Duration) -> Self {
        Self { key, method, expires }
    }

    /// Refuses a time that no URL may be good for: for backends.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] below a second, and above [`LONGEST`](Self::LONGEST).
    pub fn check(&self) -> Result<()> {
        if (Duration::from_secs(1)..=Self::LONGEST).contains(&self.expires) {
            return Ok(());
        }
        let message = format!("a presigned URL is good for one second to seven days, not for {:?}", self.expires);
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }
}
