//! Metadata of an object.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};

use crate::{Checksum, ChecksumAlgorithm, Key};

/// Metadata of an object, as the store has it: what `head`, `get`, `put` and listings answer.
///
/// [`version`](Self::version) and [`etag`](Self::etag) are different things. The version changes with each write, even of the
/// same bytes: it names the write. The etag follows from the bytes, and is what [`Conditions`](crate::Conditions) and HTTP caches
/// compare.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{ChecksumAlgorithm, Key, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// let first = store.write(&Key::new("greeting.txt")?, "hello").await?;
/// let again = store.write(&Key::new("greeting.txt")?, "hello").await?;
/// assert_eq!(first.etag, again.etag);
/// assert_ne!(first.version, again.version);
/// assert_eq!(again.http_etag(), "\"5d41402abc4b2a76b9719d911017c592\"");
/// assert_eq!(again.checksum(ChecksumAlgorithm::Md5).map(|md5| &*md5.hex), Some(&*again.etag));
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ObjectMeta {
    /// The object's name.
    pub key: Key,
    /// Unique to each write: two puts of the same bytes differ in it.
    pub version: String,
    /// Bytes in the body.
    pub size: u64,
    /// The etag without quotes: the md5 in hexadecimal, or `<md5 of the parts' md5s>-<parts>` for a multipart object.
    pub etag: String,
    /// When it was written, to the millisecond, by the store's clock. Of a multipart object: when it was completed.
    pub uploaded: DateTime<Utc>,
    /// HTTP metadata. Empty in a listing that did not [include](crate::ListOptions::include_http) it.
    pub http: HttpMetadata,
    /// The caller's own metadata. Empty in a listing that did not [include](crate::ListOptions::include_custom) it.
    pub custom: BTreeMap<String, String>,
    /// The stored checksums: md5 for every object that was put whole, and the one given with `put`.
    pub checksums: Vec<Checksum>,
    /// How it is stored.
    pub storage_class: StorageClass,
}

impl ObjectMeta {
    /// Metadata as a backend builds it; everything else starts empty.
    ///
    /// ```
    /// use isobar_storage::{Key, ObjectMeta, StorageClass, rules};
    ///
    /// let version = rules::random_id()?;
    /// let meta = ObjectMeta::new(Key::new("a")?, version, 5, "5d41402abc4b2a76b9719d911017c592".into(), chrono::Utc::now());
    /// assert!(meta.checksums.is_empty() && meta.custom.is_empty() && meta.storage_class == StorageClass::Standard);
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    #[must_use]
    pub fn new(key: Key, version: String, size: u64, etag: String, uploaded: DateTime<Utc>) -> Self {
        Self {
            key,
            version,
            size,
            etag,
            uploaded,
            http: HttpMetadata::default(),
            custom: BTreeMap::new(),
            checksums: Vec::new(),
            storage_class: StorageClass::default(),
        }
    }

    /// The etag as HTTP writes it: in quotes.
    ///
    /// ```
    /// use isobar_storage::{Key, ObjectMeta};
    ///
    /// let meta = ObjectMeta::new(Key::new("a")?, "version".into(), 0, "abc".into(), Default::default());
    /// assert_eq!(meta.http_etag(), r#""abc""#);
    /// # Ok::<_, isobar_storage::Error>(())
    /// ```
    #[must_use]
    pub fn http_etag(&self) -> String {
        format!("\"{}\"", self.etag)
    }

    /// The stored checksum of this function; `None` where the object was put without it, and of an object out of parts.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{ChecksumAlgorithm, Key, ObjectStoreExt};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let meta = MemoryStore::new().write(&Key::new("a")?, "hello").await?;
    /// assert_eq!(meta.checksum(ChecksumAlgorithm::Md5).map(|md5| &md5.hex), Some(&meta.etag));
    /// assert_eq!(meta.checksum(ChecksumAlgorithm::Sha256), None);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn checksum(&self, algorithm: ChecksumAlgorithm) -> Option<&Checksum> {
        self.checksums.iter().find(|checksum| checksum.algorithm == algorithm)
    }
}

/// The HTTP headers that are stored with an object and go out with it.
///
/// A store passes them on and acts on none of them. R2 takes these six and no other.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header};
/// use isobar_storage::HttpMetadata;
///
/// let mut upload = HeaderMap::new();
/// upload.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css"));
/// upload.insert(header::COOKIE, HeaderValue::from_static("not=stored"));
/// let metadata = HttpMetadata::from_headers(&upload);
/// assert_eq!(metadata, HttpMetadata::with_content_type("text/css"));
///
/// let mut response = HeaderMap::new();
/// metadata.write_headers(&mut response);
/// assert_eq!(response[header::CONTENT_TYPE], "text/css");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct HttpMetadata {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Expires`, to the second where it goes through a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_expiry: Option<DateTime<Utc>>,
}

impl HttpMetadata {
    /// Nothing but a content type.
    ///
    /// ```
    /// use isobar_storage::HttpMetadata;
    ///
    /// let http = HttpMetadata::with_content_type("text/css");
    /// assert_eq!((http.content_type.as_deref(), http.cache_control), (Some("text/css"), None));
    /// ```
    #[must_use]
    pub fn with_content_type(content_type: impl Into<String>) -> Self {
        Self { content_type: Some(content_type.into()), ..Self::default() }
    }

    /// Takes over what a request's headers say; an `Expires` that is no HTTP date is ignored, as are values that are not visible ASCII.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue, header};
    /// use isobar_storage::HttpMetadata;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert(header::EXPIRES, HeaderValue::from_static("Tue, 14 Nov 2023 22:13:20 GMT"));
    /// let http = HttpMetadata::from_headers(&headers);
    /// assert_eq!(http.cache_expiry.map(|at| at.timestamp()), Some(1_700_000_000));
    /// headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
    /// assert_eq!(HttpMetadata::from_headers(&headers).cache_expiry, None);
    /// ```
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
        Self {
            content_type: text(header::CONTENT_TYPE),
            content_language: text(header::CONTENT_LANGUAGE),
            content_disposition: text(header::CONTENT_DISPOSITION),
            content_encoding: text(header::CONTENT_ENCODING),
            cache_control: text(header::CACHE_CONTROL),
            cache_expiry: text(header::EXPIRES)
                .and_then(|date| httpdate::parse_http_date(&date).ok())
                .map(DateTime::<Utc>::from),
        }
    }

    /// Writes the headers, in place of those of the same names; a value that HTTP cannot carry is left out.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use isobar_storage::HttpMetadata;
    ///
    /// let mut http = HttpMetadata::with_content_type("text/plain");
    /// http.content_disposition = Some("attachment; filename=\"a\nb\"".into());
    /// let mut headers = HeaderMap::new();
    /// http.write_headers(&mut headers);
    /// assert_eq!(headers.len(), 1); // a header cannot have a line break
    /// ```
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        let Self { content_type, content_language, content_disposition, content_encoding, cache_control, cache_expiry } =
            self;
        let mut put = |name: HeaderName, value: Option<&str>| {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        };
        put(header::CONTENT_TYPE, content_type.as_deref());
        put(header::CONTENT_LANGUAGE, content_language.as_deref());
        put(header::CONTENT_DISPOSITION, content_disposition.as_deref());
        put(header::CONTENT_ENCODING, content_encoding.as_deref());
        put(header::CACHE_CONTROL, cache_control.as_deref());
        put(header::EXPIRES, cache_expiry.map(|at| httpdate::fmt_http_date(at.into())).as_deref());
    }
}

/// How an object is stored; it changes what it costs, not how it behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StorageClass {
    /// The default.
    #[default]
    Standard,
    /// Cheaper to keep, dearer to read.
    InfrequentAccess,
}
