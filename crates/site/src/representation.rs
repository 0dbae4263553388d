//! The selected representation of a file (RFC 9110 3.2): its encoding, and the headers that describe it.
//!
//! A variant is an object beside the file, with an ETag of its own, as RFC 9110, 8.8.3.3 asks of encodings. Conditions and
//! ranges go by the variant; the type and stored headers are the file's. A file whose object says that it is encoded has no
//! variants: it is sent as it is. `Vary: Accept-Encoding` is sent for each file of a type that is compressed, with or without a
//! variant, as one may be added later.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use isobar_storage::{Error, HttpMetadata, Key, ObjectMeta, content_type};

use crate::deploy::File;
use crate::http::encoding::{self, Encoding};
use crate::options::SiteOptions;
use crate::request::RequestHead;
use crate::response::put_security_headers;
use crate::snapshot::Snapshot;

/// The request header by which a single-page application's index is served or not.
pub(crate) const FALLBACK_VARIES: &str = "Sec-Fetch-Dest";

/// A file in the encoding that the client gets.
#[derive(Clone)]
pub(crate) struct Representation {
    pub(crate) key: Key,
    /// Metadata of the variant that is served: its ETag, size and date.
    pub(crate) meta: ObjectMeta,
    /// The immutable object that has its bytes; `None` where they are at the key.
    pub(crate) object: Option<Key>,
    pub(crate) content_type: String,
    pub(crate) encoding: Option<Encoding>,
    /// Other requests may get another encoding of the file.
    pub(crate) varies: bool,
    /// It is served because no file matches, and only for some requests of the path.
    pub(crate) is_fallback: bool,
    /// HTTP metadata stored with the file itself, whichever variant is served.
    pub(crate) http: HttpMetadata,
}

impl Representation {
    /// Selects the best precompressed variant of a file, or the file itself.
    ///
    /// # Errors
    /// The store's error, if a variant cannot be looked up.
    pub(crate) async fn select(snapshot: &Snapshot, file: File, head: RequestHead<'_>) -> Result<Self, Error> {
        let guessed = || content_type::from_key(file.key.as_str()).unwrap_or_else(|| content_type::DEFAULT.to_owned());
        // R2 stores any text as a content type; one that is not a valid header value is ignored.
        let stored = file.meta.http.content_type.clone();
        let content_type = stored.filter(|stored| HeaderValue::from_str(stored).is_ok()).unwrap_or_else(guessed);
        let http = file.meta.http.clone();
        let varies = snapshot.source.options.precompressed
            && http.content_encoding.is_none()
            && encoding::is_compressible(&content_type);
        let mut selected = file;
        let mut encoding = None;
        if varies {
            let accepted = head.headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
            for accepted in encoding::accepted(accepted.unwrap_or_default()) {
                if let Some(variant) = snapshot.variant(&selected, accepted.suffix()).await? {
                    selected = variant;
                    encoding = Some(accepted);
                    break;
                }
            }
        }
        let File { key, meta, object } = selected;
        Ok(Self { key, meta, object, content_type, encoding, varies, is_fallback: false, http })
    }

    /// Whether a later version may be older: a deploy can be rolled back, a key is only replaced.
    pub(crate) fn goes_back(&self) -> bool {
        self.object.is_some()
    }

    /// Whether the bytes are encoded, by a variant or as they were stored.
    pub(crate) fn is_encoded(&self) -> bool {
        self.encoding.is_some() || self.http.content_encoding.is_some()
    }

    /// Returns the headers of a response with the representation; `has_credentials` is the request's.
    pub(crate) fn headers(&self, options: &SiteOptions, has_credentials: bool) -> HeaderMap {
        let Self { key, meta, object: _, content_type, encoding, varies, is_fallback, http } = self;
        let mut headers = HeaderMap::new();
        http.write_headers(&mut headers);
        put(&mut headers, header::CONTENT_TYPE, content_type);
        put(&mut headers, header::ETAG, &meta.http_etag());
        put(&mut headers, header::LAST_MODIFIED, &httpdate::fmt_http_date(meta.uploaded.into()));
        put(&mut headers, header::ACCEPT_RANGES, "bytes");
        let is_page = content_type.starts_with("text/html");
        if options.security_headers {
            put_security_headers(&mut headers, is_page);
        }
        if is_page {
            put_all(&mut headers, &options.page_headers);
        }
        if let Some(encoding) = encoding {
            put(&mut headers, header::CONTENT_ENCODING, encoding.token());
        }
        match (*varies, *is_fallback) {
            (true, true) => put(&mut headers, header::VARY, &format!("Accept-Encoding, {FALLBACK_VARIES}")),
            (true, false) => put(&mut headers, header::VARY, "Accept-Encoding"),
            (false, true) => put(&mut headers, header::VARY, FALLBACK_VARIES),
            (false, false) => {}
        }
        // As in Workers Static Assets, a response that a shared cache must not store is not marked public. Unlike there, a part
        // has the header, too: RFC 9110 15.3.7 requires it wherever the whole has it.
        if http.cache_control.is_none() && !has_credentials {
            put(&mut headers, header::CACHE_CONTROL, options.cache_control(key.as_str()));
        }
        headers
    }

    /// Returns the headers of a 304: only those that caches need (RFC 9110 15.4.5).
    pub(crate) fn not_modified_headers(&self, options: &SiteOptions, has_credentials: bool) -> HeaderMap {
        let mut headers = self.headers(options, has_credentials);
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ACCEPT_RANGES] {
            headers.remove(name);
        }
        headers
    }
}

/// Sets a header, unless the value, which may come from the metadata of an object, is not a valid header value.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Replaces headers by those of the same names, with every value of each.
fn put_all(headers: &mut HeaderMap, others: &HeaderMap) {
    for name in others.keys() {
        headers.remove(name);
        for value in others.get_all(name) {
            headers.append(name, value.clone());
        }
    }
}
