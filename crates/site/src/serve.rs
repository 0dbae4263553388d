//! From a file to an answer: select the encoding, evaluate the preconditions, apply the range, write the headers.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use isobar_storage::{
    ByteRange, Conditions, Error, ErrorKind, GetOptions, GetResult, HttpMetadata, Key, ObjectMeta, Range, content_type,
};

#[cfg(feature = "cache")]
use crate::arena::KeptBody;
use crate::deploy::File;
use crate::http::digest::{self, Wanted};
use crate::http::encoding::{self, Encoding};
use crate::http::precondition::{self, Verdict};
use crate::http::range::{self, Ranges};
use crate::respond::{response, text, with};
use crate::snapshot::Snapshot;
use crate::{Site, SiteBody};

/// The request header by which a single-page application's index is served or not.
pub(crate) const FALLBACK_VARIES: &str = "Sec-Fetch-Dest";

/// A file in the encoding that the client gets: RFC 9110's selected representation.
#[derive(Clone)]
pub(crate) struct Representation {
    pub(crate) key: Key,
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

/// Selects the best precompressed variant of a file, or the file itself.
pub(crate) async fn represent(snapshot: &Snapshot, file: File, headers: &HeaderMap) -> Result<Representation, Error> {
    let site = &snapshot.site;
    let meta = &file.meta;
    let guessed = || content_type::from_key(file.key.as_str()).unwrap_or_else(|| content_type::DEFAULT.to_owned());
    // R2 stores any text as a content type; one that is not a valid header value is ignored.
    let stored = meta.http.content_type.clone().filter(|stored| HeaderValue::from_str(stored).is_ok());
    let content_type = stored.unwrap_or_else(guessed);
    let http = meta.http.clone();
    let varies =
        site.options.precompressed && meta.http.content_encoding.is_none() && encoding::is_compressible(&content_type);
    if varies {
        let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        for encoding in encoding::accepted(accepted) {
            if let Some(File { key, meta, object }) = snapshot.variant(&file, encoding.suffix()).await? {
                let encoding = Some(encoding);
                return Ok(Representation {
                    key,
                    meta,
                    object,
                    content_type,
                    encoding,
                    varies,
                    is_fallback: false,
                    http,
                });
            }
        }
    }
    let File { key, meta, object } = file;
    Ok(Representation { key, meta, object, content_type, encoding: None, varies, is_fallback: false, http })
}

/// Answers with a file, by the conditions and ranges of the request.
pub(crate) async fn serve(
    site: &Site,
    method: &Method,
    headers: &HeaderMap,
    representation: Representation,
) -> Result<Response<SiteBody>, Error> {
    match precondition::evaluate(headers, method, &representation.meta, representation.object.is_some()) {
        Verdict::Failed => {
            return Ok(precondition_failed());
        }
        Verdict::NotModified => {
            let mut answer = Response::new(SiteBody::default());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            write_not_modified(site, headers, &representation, answer.headers_mut());
            return Ok(answer);
        }
        Verdict::Proceed => {}
    }
    let mut answer = match ranges(method, headers, &representation) {
        Ranges::Whole if method == Method::HEAD => {
            with(Response::new(SiteBody::default()), header::CONTENT_LENGTH, &representation.meta.size.to_string())
        }
        Ranges::Whole => Response::new(body(site, &representation, None).await?),
        Ranges::One(range) => {
            let mut answer = Response::new(body(site, &representation, Some(range)).await?);
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            with(answer, header::CONTENT_RANGE, &content_range(range, representation.meta.size))
        }
        Ranges::Many(pieces) => return multipart(site, headers, representation, pieces).await,
        Ranges::Unsatisfiable => return Ok(unsatisfiable(representation.meta.size)),
    };
    write_headers(site, headers, &representation, answer.headers_mut());
    let is_whole = answer.status() == StatusCode::OK;
    let stored = || digest::stored(&representation.meta);
    digest::write(Wanted::of(headers), stored, || is_whole.then(stored).flatten(), answer.headers_mut());
    Ok(answer)
}

/// Returns the bytes that are asked for. Several pieces of an encoded file become the whole file: a client would decode the text
/// between the pieces, too.
fn ranges(method: &Method, headers: &HeaderMap, representation: &Representation) -> Ranges {
    let meta = &representation.meta;
    let wanted = headers
        .get(header::RANGE)
        .filter(|_| method == Method::GET && precondition::range_stands(headers, meta))
        .and_then(|value| value.to_str().ok());
    let ranges = wanted.map_or(Ranges::Whole, |value| range::parse(value, meta.size));
    let is_encoded = representation.encoding.is_some() || representation.http.content_encoding.is_some();
    if is_encoded && matches!(ranges, Ranges::Many(_)) { Ranges::Whole } else { ranges }
}

/// Returns the answer for a failed precondition.
pub(crate) fn precondition_failed() -> Response<SiteBody> {
    text(StatusCode::PRECONDITION_FAILED, "precondition failed: the file has changed")
}

fn unsatisfiable(size: u64) -> Response<SiteBody> {
    let answer = text(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable");
    with(answer, header::CONTENT_RANGE, &format!("bytes */{size}"))
}

/// Returns the bytes of the version that was evaluated; a retryable error if it has been replaced since.
pub(crate) async fn body(
    site: &Site,
    representation: &Representation,
    range: Option<ByteRange>,
) -> Result<SiteBody, Error> {
    let (key, options) = source(representation, range)?;
    match site.store.get(&key, options).await? {
        GetResult::Object { body, .. } => Ok(body.into()),
        GetResult::Missing | GetResult::ConditionFailed(_) => Err(replaced()),
    }
}

fn replaced() -> Error {
    Error::new(ErrorKind::Unavailable, "the object was replaced while it was being read")
}

/// Returns the key and the options that read the bytes of this version.
fn source(representation: &Representation, range: Option<ByteRange>) -> Result<(Key, GetOptions), Error> {
    let mut options = GetOptions::default();
    if let Some(ByteRange { offset, length }) = range {
        options = options.with_range(Range::From { offset, length: Some(length) });
    }
    Ok(match &representation.object {
        // The object is named after its content and never changes.
        Some(object) => (object.clone(), options),
        None => (
            representation.key.clone(),
            options.with_conditions(Conditions::if_etag(representation.meta.etag.clone())?),
        ),
    })
}

async fn multipart(
    site: &Site,
    headers: &HeaderMap,
    representation: Representation,
    pieces: Vec<ByteRange>,
) -> Result<Response<SiteBody>, Error> {
    let multipart = Multipart::new(&representation.content_type, &pieces, representation.meta.size)?;
    let mut part = response(StatusCode::PARTIAL_CONTENT, HeaderMap::new(), SiteBody::default());
    write_headers(site, headers, &representation, part.headers_mut());
    let store = site.store.clone();
    Ok(multipart.answer(part, pieces, move |piece| {
        let store = store.clone();
        let source = source(&representation, Some(piece));
        async move {
            let (key, options) = source?;
            let (_, body) = store.get(&key, options).await?.into_object().ok_or_else(replaced)?;
            Ok(body.into())
        }
    }))
}

/// The parts of a multipart body around its pieces.
struct Multipart {
    boundary: String,
    heads: Vec<Bytes>,
    tail: Bytes,
    /// Length of the whole body in bytes.
    length: u64,
}

impl Multipart {
    fn new(content_type: &str, pieces: &[ByteRange], size: u64) -> Result<Self, Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("the system has no randomness: {error}")))?;
        let boundary = hex::encode(random);
        let head = |piece: &ByteRange| {
            let range = content_range(*piece, size);
            format!("\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n").into()
        };
        let heads: Vec<Bytes> = pieces.iter().map(head).collect();
        let tail: Bytes = format!("\r\n--{boundary}--\r\n").into();
        let length = heads.iter().map(|head| head.len() as u64).sum::<u64>()
            + pieces.iter().map(|piece| piece.length).sum::<u64>()
            + tail.len() as u64;
        Ok(Self { boundary, heads, tail, length })
    }

    /// Builds the answer; each piece is read when it is sent.
    fn answer<F>(
        self,
        part: Response<SiteBody>,
        pieces: Vec<ByteRange>,
        mut read: impl FnMut(ByteRange) -> F + Send + 'static,
    ) -> Response<SiteBody>
    where
        F: Future<Output = Result<SiteBody, Error>> + Send + 'static,
    {
        let Self { boundary, heads, tail, length } = self;
        let parts = stream::iter(heads.into_iter().zip(pieces)).then(move |(head, piece)| {
            let body = read(piece);
            async move { Ok::<_, Error>(stream::iter([Ok(head)]).chain(body.await?.into_chunks())) }
        });
        let chunks = parts.try_flatten().chain(stream::iter([Ok(tail)]));
        let content_type = format!("multipart/byteranges; boundary={boundary}");
        with(part, header::CONTENT_TYPE, &content_type).map(|_| SiteBody::stream(length, chunks))
    }
}

/// A file whose bytes and headers are in memory.
#[cfg(feature = "cache")]
pub(crate) struct InMemory {
    pub(crate) representation: Representation,
    /// Metadata in the store; a compressed representation has its own length and ETag.
    pub(crate) stored: ObjectMeta,
    pub(crate) body: KeptBody,
    pub(crate) headers: HeaderMap,
    pub(crate) not_modified: HeaderMap,
    /// The headers as HTTP/1.1 bytes.
    pub(crate) heads: crate::cache::wire::Heads,
    /// The body's sha256, computed on the first request for it.
    pub(crate) sha256: std::sync::OnceLock<digest::Sha256>,
}

#[cfg(feature = "cache")]
impl InMemory {
    /// Answers as [`serve`] does.
    pub(crate) fn serve(&self, method: &Method, request: &HeaderMap) -> Response<SiteBody> {
        let Self { representation, stored: _, body, headers, not_modified, heads: _, sha256 } = self;
        // Most requests have no condition, so that no date is parsed.
        match precondition::evaluate(request, method, &representation.meta, representation.object.is_some()) {
            Verdict::Failed => return precondition_failed(),
            Verdict::NotModified => {
                return response(StatusCode::NOT_MODIFIED, not_modified.clone(), SiteBody::default());
            }
            Verdict::Proceed => {}
        }
        let part = |body| response(StatusCode::PARTIAL_CONTENT, headers.clone(), body);
        let wanted = Wanted::of(request);
        // The part to hash for the content's digest, if it is not the whole file.
        let mut piece = None;
        let mut answer = match ranges(method, request, representation) {
            Ranges::Whole => response(StatusCode::OK, headers.clone(), body.clone()),
            Ranges::Unsatisfiable => unsatisfiable(representation.meta.size),
            Ranges::One(range) => {
                let body = piece.insert(body.slice(range)).clone();
                with(part(body), header::CONTENT_RANGE, &content_range(range, representation.meta.size))
            }
            Ranges::Many(pieces) => {
                match Multipart::new(&representation.content_type, &pieces, representation.meta.size) {
                    Ok(multipart) => {
                        let part = part(KeptBody::default());
                        let body = body.clone();
                        multipart.answer(part, pieces, move |piece| std::future::ready(Ok(body.slice(piece).into())))
                    }
                    Err(error) => crate::respond::error_response(&error),
                }
            }
        };
        if wanted.is_any() && answer.status().is_success() {
            // Bytes that cannot be read have no digest; sending them fails.
            let hashed = |body: &KeptBody| digest::of(body).ok();
            let whole = || sha256.get().copied().or_else(|| hashed(body).map(|hash| *sha256.get_or_init(|| hash)));
            let is_whole = answer.status() == StatusCode::OK;
            let content = || if is_whole { whole() } else { piece.as_ref().and_then(hashed) };
            digest::write(wanted, whole, content, answer.headers_mut());
        }
        answer
    }
}

/// Answers with the page for a missing file, with 404.
pub(crate) async fn serve_missing(
    site: &Site,
    headers: &HeaderMap,
    page: Representation,
) -> Result<Response<SiteBody>, Error> {
    let mut answer = Response::new(body(site, &page, None).await?);
    *answer.status_mut() = StatusCode::NOT_FOUND;
    write_headers(site, headers, &page, answer.headers_mut());
    for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
        answer.headers_mut().remove(name); // these describe the page, not the missing file
    }
    Ok(answer)
}

/// Writes the headers of a 304: only those that caches need (RFC 9110 15.4.5).
pub(crate) fn write_not_modified(
    site: &Site,
    request: &HeaderMap,
    representation: &Representation,
    headers: &mut HeaderMap,
) {
    write_headers(site, request, representation, headers);
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ACCEPT_RANGES] {
        headers.remove(name);
    }
}

pub(crate) fn write_headers(
    site: &Site,
    request: &HeaderMap,
    representation: &Representation,
    headers: &mut HeaderMap,
) {
    let Representation { key, meta, object: _, content_type, encoding, varies, is_fallback, http } = representation;
    http.write_headers(headers);
    put(headers, header::CONTENT_TYPE, content_type);
    put(headers, header::ETAG, &meta.http_etag());
    put(headers, header::LAST_MODIFIED, &httpdate::fmt_http_date(meta.uploaded.into()));
    put(headers, header::ACCEPT_RANGES, "bytes");
    if site.options.security_headers {
        put(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        put(headers, header::REFERRER_POLICY, "strict-origin-when-cross-origin");
        if content_type.starts_with("text/html") {
            put(headers, header::X_FRAME_OPTIONS, "SAMEORIGIN");
        }
    }
    if content_type.starts_with("text/html") {
        put_all(headers, &site.options.page_headers);
    }
    if let Some(encoding) = encoding {
        put(headers, header::CONTENT_ENCODING, encoding.token());
    }
    match (*varies, *is_fallback) {
        (true, true) => put(headers, header::VARY, &format!("Accept-Encoding, {FALLBACK_VARIES}")),
        (true, false) => put(headers, header::VARY, "Accept-Encoding"),
        (false, true) => put(headers, header::VARY, FALLBACK_VARIES),
        (false, false) => {}
    }
    // As in Workers Static Assets, an answer that a shared cache must not store is not marked public. Unlike there, a part has
    // the header, too: RFC 9110 15.3.7 requires it wherever the whole has it.
    if http.cache_control.is_none() && !request.contains_key(header::AUTHORIZATION) {
        put(headers, header::CACHE_CONTROL, site.options.cache_control(key.as_str()));
    }
}

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

fn content_range(ByteRange { offset, length }: ByteRange, size: u64) -> String {
    format!("bytes {offset}-{}/{size}", offset + length - 1)
}
