//! Multipart uploads: ids, parts and options.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{HttpMetadata, Key, StorageClass};

/// Id of a multipart upload: opaque text, which stays good across processes until the upload is completed, aborted, or 7 days
/// old. Store it with the [`Part`]s that are done, and
/// [`ObjectStoreExt::resume_multipart`](crate::ObjectStoreExt::resume_multipart) goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UploadId(String);

impl UploadId {
    /// An id that was kept as text. Nothing is checked until it is used, as R2 has it.
    ///
    /// ```
    /// use isobar_storage::UploadId;
    ///
    /// let kept = UploadId::new("0f3c").to_string();
    /// assert_eq!(UploadId::new(kept).as_str(), "0f3c");
    /// ```
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An uploaded part, as `complete_multipart` wants it back. Its JSON is that of R2's binding (`R2UploadedPart`), so that a browser can hold
/// it between two requests.
///
/// ```
/// use isobar_storage::Part;
///
/// let part: Part = serde_json::from_str(r#"{"partNumber":1,"etag":"abc"}"#).unwrap();
/// assert_eq!((part.part_number, &*part.etag), (1, "abc"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// 1 to 10,000.
    pub part_number: u16,
    /// The part's etag.
    pub etag: String,
}

/// An uploaded part, as `list_parts` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartInfo {
    /// Number and etag.
    pub part: Part,
    /// Bytes in the part.
    pub size: u64,
}

impl PartInfo {
    /// A part and its size.
    #[must_use]
    pub fn new(part: Part, size: u64) -> Self {
        Self { part, size }
    }
}

/// An open multipart upload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadInfo {
    /// Key of the object that it is to become.
    pub key: Key,
    /// Its id.
    pub id: UploadId,
    /// Time of its creation.
    pub created: DateTime<Utc>,
    /// Storage class of the object.
    pub storage_class: StorageClass,
}

impl UploadInfo {
    /// An upload with the standard storage class: for backends.
    #[must_use]
    pub fn new(key: Key, id: UploadId, created: DateTime<Utc>) -> Self {
        Self { key, id, created, storage_class: StorageClass::default() }
    }
}

/// Options of [`ObjectStore::list_uploads`](crate::ObjectStore::list_uploads). Default: the first 1,000 uploads.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, ListUploadsOptions, MultipartOptions, ObjectStore};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let upload = store.create_multipart(&Key::new("film.mp4")?, MultipartOptions::default()).await?;
/// let open = store.list_uploads(ListUploadsOptions::default().with_prefix("film")).await?;
/// assert_eq!(open[0].id, upload);
/// let behind = ListUploadsOptions::default().with_after("film.mp4", Some(upload));
/// assert!(store.list_uploads(behind).await?.is_empty());
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListUploadsOptions {
    /// Beginning of the keys. Default: any.
    pub prefix: Option<String>,
    /// Key behind which the uploads begin; with an id, the upload of this key behind which they do. Default: none.
    pub after: Option<(String, Option<UploadId>)>,
    /// Most uploads, 1 to 1,000. Default: 1,000.
    pub limit: Option<usize>,
}

impl ListUploadsOptions {
    /// Only uploads whose keys start with this.
    ///
    /// ```
    /// use isobar_storage::{Key, ListUploadsOptions, UploadId};
    ///
    /// let films = ListUploadsOptions::default().with_prefix("films/");
    /// assert!(films.covers(&Key::new("films/1.mp4").unwrap(), &UploadId::new("id")));
    /// assert!(!films.covers(&Key::new("film.mp4").unwrap(), &UploadId::new("id")));
    /// ```
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Only uploads behind this key, or behind this upload of the key: the last one of a page asks for the next.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Key, ListUploadsOptions, MultipartOptions, ObjectStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// for name in ["a", "a", "b"] {
    ///     store.create_multipart(&Key::new(name)?, MultipartOptions::default()).await?;
    /// }
    /// let mut options = ListUploadsOptions::default().with_limit(2);
    /// let mut keys = Vec::new();
    /// loop {
    ///     let page = store.list_uploads(options.clone()).await?;
    ///     let Some(last) = page.last() else { break };
    ///     options = options.with_after(last.key.as_str(), Some(last.id.clone()));
    ///     keys.extend(page.into_iter().map(|upload| upload.key.to_string()));
    /// }
    /// assert_eq!(keys, ["a", "a", "b"]);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_after(mut self, key: impl Into<String>, upload: Option<UploadId>) -> Self {
        self.after = Some((key.into(), upload));
        self
    }

    /// Most uploads: 1 to 1,000, which is the default.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ErrorKind, ListUploadsOptions, ObjectStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let error = MemoryStore::new().list_uploads(ListUploadsOptions::default().with_limit(0)).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidListLimit);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Reports whether an upload is among those asked for, whatever the limit: for backends.
    ///
    /// ```
    /// use isobar_storage::{Key, ListUploadsOptions, UploadId};
    ///
    /// let key = Key::new("film.mp4").unwrap();
    /// let behind_key = ListUploadsOptions::default().with_after("film.mp4", None);
    /// let behind_upload = ListUploadsOptions::default().with_after("film.mp4", Some(UploadId::new("a")));
    /// assert!(!behind_key.covers(&key, &UploadId::new("b")));
    /// assert!(behind_upload.covers(&key, &UploadId::new("b")));
    /// ```
    #[must_use]
    pub fn covers(&self, key: &Key, id: &UploadId) -> bool {
        let is_behind = match &self.after {
            None => true,
            Some((after, None)) => key.as_str() > after.as_str(),
            Some((after, Some(upload))) => (key.as_str(), id.as_str()) > (after.as_str(), upload.as_str()),
        };
        is_behind && self.prefix.as_ref().is_none_or(|prefix| key.as_str().starts_with(&**prefix))
    }
}

/// Options of [`ObjectStore::create_multipart`](crate::ObjectStore::create_multipart): the metadata of the finished object. Default: none.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Key, MultipartOptions, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let options = MultipartOptions::default().with_custom("author", "Ada");
/// let upload = store.multipart(&Key::new("video.mp4")?, options).await?;
/// // Parts but the last have at least 5 MiB, and one size.
/// let first = upload.upload_part(1, vec![0; 5 << 20]).await?;
/// let last = upload.upload_part(2, "end").await?;
/// let meta = upload.complete(vec![first, last]).await?;
/// assert_eq!((meta.size, &*meta.custom["author"]), ((5 << 20) + 3, "Ada"));
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MultipartOptions {
    /// HTTP headers to store. Default: none.
    pub http: HttpMetadata,
    /// Custom metadata: at most 8,192 bytes of names and values. Default: none.
    pub custom: BTreeMap<String, String>,
    /// Storage class. Default: standard.
    pub storage_class: StorageClass,
}

impl MultipartOptions {
    /// The HTTP headers to store. They are given when the upload begins: R2 takes none when it ends.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{HttpMetadata, Key, MultipartOptions, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let options = MultipartOptions::default().with_http(HttpMetadata::with_content_type("video/mp4"));
    /// let store = MemoryStore::new();
    /// let upload = store.multipart(&Key::new("film")?, options).await?;
    /// let part = upload.upload_part(1, "frames").await?;
    /// assert_eq!(upload.complete(vec![part]).await?.http.content_type.as_deref(), Some("video/mp4"));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_http(mut self, http: HttpMetadata) -> Self {
        self.http = http;
        self
    }

    /// Adds an entry of custom metadata.
    #[must_use]
    pub fn with_custom(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.custom.insert(name.into(), value.into());
        self
    }

    /// How to store it.
    #[must_use]
    pub fn with_storage_class(mut self, class: StorageClass) -> Self {
        self.storage_class = class;
        self
    }
}
