//! Content that is read from the store for its request.

use std::future::Future;
use std::sync::Arc;

use http::HeaderMap;
use isobar_storage::{ByteRange, Conditions, Error, ErrorKind, GetOptions, GetResult, Key, ObjectStore, Range};

use super::{Content, ReadBytes};
use crate::body::SiteBody;
use crate::http::digest::{self, Sha256};
use crate::representation::Representation;
use crate::request::RequestHead;
use crate::source::Source;

/// A representation in the store, for one request.
pub(crate) struct Stored<'s> {
    source: &'s Source,
    representation: Representation,
    bytes: StoredBytes,
    has_credentials: bool,
}

/// The bytes of one version of an object.
#[derive(Clone)]
pub(crate) struct StoredBytes {
    store: Arc<dyn ObjectStore>,
    key: Key,
    /// The ETag that the object must still have; `None` for the object of a deploy, which never changes.
    etag: Option<String>,
}

impl<'s> Stored<'s> {
    /// Creates the content of a representation, without reading it.
    pub(crate) fn new(source: &'s Source, head: RequestHead<'_>, representation: Representation) -> Self {
        let key = representation.object.as_ref().unwrap_or(&representation.key).clone();
        let etag = representation.object.is_none().then(|| representation.meta.etag.clone());
        let bytes = StoredBytes { store: Arc::clone(&source.store), key, etag };
        Self { source, representation, bytes, has_credentials: head.has_credentials() }
    }

    /// Returns the representation, for a cache that has read the bytes.
    #[cfg(feature = "cache")]
    pub(crate) fn into_representation(self) -> Representation {
        self.representation
    }
}

impl Content for Stored<'_> {
    type Bytes = StoredBytes;

    fn representation(&self) -> &Representation {
        &self.representation
    }

    fn headers(&self) -> HeaderMap {
        self.representation.headers(&self.source.options, self.has_credentials)
    }

    fn not_modified_headers(&self) -> HeaderMap {
        self.representation.not_modified_headers(&self.source.options, self.has_credentials)
    }

    fn bytes(&self) -> &StoredBytes {
        &self.bytes
    }

    /// The store records the digest of the whole alone.
    fn sha256(&self, range: Option<ByteRange>) -> Option<Sha256> {
        match range {
            None => digest::stored(&self.representation.meta),
            Some(_) => None,
        }
    }
}

impl ReadBytes for StoredBytes {
    fn read(&self, range: Option<ByteRange>) -> impl Future<Output = Result<SiteBody, Error>> + Send + 'static + use<> {
        let Self { store, key, etag } = self.clone();
        async move {
            let mut options = GetOptions::default();
            if let Some(ByteRange { offset, length }) = range {
                options = options.with_range(Range::From { offset, length: Some(length) });
            }
            if let Some(etag) = etag {
                options = options.with_conditions(Conditions::if_etag(etag)?);
            }
            match store.get(&key, options).await? {
                GetResult::Object { body, .. } => Ok(body.into()),
                GetResult::Missing | GetResult::ConditionFailed(_) => Err(replaced()),
            }
        }
    }
}

/// Returns the error of a file that was written again between its head and its body. It is retryable: the next attempt sees the
/// new version.
fn replaced() -> Error {
    Error::new(ErrorKind::Unavailable, "the object was replaced while it was being read")
}
