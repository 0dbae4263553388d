//! Multipart uploads: ids, parts and options.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{HttpMetadata, StorageClass};

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
