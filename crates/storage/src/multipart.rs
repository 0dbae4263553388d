//! Multipart uploads: ids, parts, and the handle that drives one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Body, HttpMetadata, Key, ObjectMeta, ObjectStore, Result, StorageClass};

/// Names a multipart upload; opaque, and good across processes until completed, aborted, or 7 days old.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UploadId(String);

impl UploadId {
    /// An id that was kept as text. Nothing is checked until it is used, as R2 has it.
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

/// An uploaded part, as `complete_multipart` wants it back.
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

/// Options of `create_multipart`: what the finished object shall carry.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MultipartOptions {
    /// The HTTP headers to store.
    pub http: HttpMetadata,
    /// The caller's own metadata.
    pub custom: BTreeMap<String, String>,
    /// How to store it.
    pub storage_class: StorageClass,
}

impl MultipartOptions {
    /// The HTTP headers to store.
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

/// One multipart upload in flight: from [`ObjectStoreExt::multipart`](crate::ObjectStoreExt::multipart), or resumed.
#[derive(Debug)]
pub struct Multipart<'a, S: ObjectStore + ?Sized> {
    store: &'a S,
    key: Key,
    upload: UploadId,
}

impl<'a, S: ObjectStore + ?Sized> Multipart<'a, S> {
    /// Takes up an upload; nothing is checked until it is used.
    pub(crate) fn new(store: &'a S, key: Key, upload: UploadId) -> Self {
        Self { store, key, upload }
    }

    /// The upload's id: keep it to resume in another process.
    #[must_use]
    pub fn id(&self) -> &UploadId {
        &self.upload
    }

    /// Uploads a part; parts may come in any order, and again.
    ///
    /// # Errors
    /// As [`ObjectStore::upload_part`].
    pub async fn upload_part(&self, number: u16, body: impl Into<Body>) -> Result<Part> {
        self.store.upload_part(&self.key, &self.upload, number, body.into()).await
    }

    /// Makes the object out of the parts.
    ///
    /// # Errors
    /// As [`ObjectStore::complete_multipart`].
    pub async fn complete(self, parts: Vec<Part>) -> Result<ObjectMeta> {
        self.store.complete_multipart(&self.key, &self.upload, parts).await
    }

    /// Gives the upload up.
    ///
    /// # Errors
    /// As [`ObjectStore::abort_multipart`].
    pub async fn abort(self) -> Result<()> {
        self.store.abort_multipart(&self.key, &self.upload).await
    }
}
