//! From a request to its answer: find the representation, judge the preconditions, cut the range, write the headers.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use isobar_storage::{
    ByteRange, Conditions, Error, ErrorKind, GetOptions, GetResult, HttpMetadata, Key, ObjectMeta, Range, content_type,
};

use crate::encoding::{self, Encoding};
use crate::precondition::{self, Verdict};
use crate::range::{self, Ranges};
use crate::{Site, SiteBody, SitePath};

/// What answers a path.
struct Found {
    key: Key,
    meta: ObjectMeta,
    content_type: String,
    encoding: Option<Encoding>,
    /// Other requests may get another encoding of it.
    varies: bool,
    /// What was stored with the file itself, whichever variant of it answers.
    http: HttpMetadata,
}

pub(crate) async fn respond(site: &Site, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<SiteBody> {
    let is_head = method == Method::HEAD;
    let answer = match SitePath::parse(uri.path()) {
        Ok(path) => match answer(site, method, uri, &path, headers).await {
            // Replaced between its head and its body, say: the second look sees the new one.
            Err(error) if error.is_retryable() => answer(site, method, uri, &path, headers).await,
            answered => answered,
        },
        Err(problem) if problem.is_malformed() => Ok(text(StatusCode::BAD_REQUEST, &problem.to_string())),
        Err(_) => {
            not_found(site, &SitePath::parse("/").unwrap_or_else(|_| unreachable!("the root is a path")), headers).await
        }
    };
    finished(answer, is_head)
}

pub(crate) async fn respond_with(
    site: &Site,
    key: &Key,
    method: &Method,
    headers: &HeaderMap,
) -> Option<Response<SiteBody>> {
    let answer = async || match find(site, key.as_str(), headers).await? {
        Some(found) => serve(site, method, headers, found).await.map(Some),
        None => Ok(None),
    };
    let answered = match answer().await {
        Err(error) if error.is_retryable() => answer().await,
        answered => answered,
    };
    Some(finished(answered.transpose()?, method == Method::HEAD))
}

/// An answer, or what the store suffers; without its body where only the head is asked for.
fn finished(answer: Result<Response<SiteBody>, Error>, is_head: bool) -> Response<SiteBody> {
    let mut answer = answer.unwrap_or_else(|error| failure(&error));
    if is_head {
        let length = http_body::Body::size_hint(answer.body()).exact();
        if let Some(length) = length.filter(|_| answer.status() != StatusCode::NOT_MODIFIED) {
            answer.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        *answer.body_mut() = SiteBody::default();
    }
    answer
}

async fn answer(
    site: &Site,
    method: &Method,
    uri: &Uri,
    path: &SitePath,
    headers: &HeaderMap,
) -> Result<Response<SiteBody>, Error> {
    let base = format!("{}{}", site.options.prefix, path.as_str());
    let candidates = match (path.is_folder(), path.as_str()) {
        (true, "") => vec![format!("{base}index.html")],
        (true, _) => vec![format!("{base}/index.html")],
        (false, _) => vec![base.clone(), format!("{base}.html")],
    };
    for candidate in candidates {
        if let Some(found) = find(site, &candidate, headers).await? {
            if method != Method::GET && method != Method::HEAD {
                return Ok(with(
                    text(StatusCode::METHOD_NOT_ALLOWED, "this can only be read"),
                    header::ALLOW,
                    "GET, HEAD",
                ));
            }
            return serve(site, method, headers, found).await;
        }
    }
    let folder = format!("{base}/index.html");
    if !path.is_folder() && head(site, &folder).await?.is_some() {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        // Relative to this server by its one leading slash: the path may begin with several.
        let location = format!("/{}/{query}", uri.path().trim_start_matches('/'));
        return Ok(with(text(StatusCode::TEMPORARY_REDIRECT, ""), header::LOCATION, &location));
    }
    not_found(site, path, headers).await
}

/// The object of a key, or its best precompressed variant.
async fn find(site: &Site, name: &str, headers: &HeaderMap) -> Result<Option<Found>, Error> {
    let Some((key, meta)) = head(site, name).await? else { return Ok(None) };
    let guessed = || content_type::from_key(name).unwrap_or_else(|| content_type::DEFAULT.to_owned());
    // What no header can carry - R2 keeps any text - must not reach one, or the head of a part.
    let stored = meta.http.content_type.clone().filter(|stored| HeaderValue::from_str(stored).is_ok());
    let content_type = stored.unwrap_or_else(guessed);
    let http = meta.http.clone();
    let varies =
        site.options.precompressed && meta.http.content_encoding.is_none() && encoding::is_compressible(&content_type);
    if varies {
        let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        for encoding in encoding::accepted(accepted) {
            if let Some((key, meta)) = head(site, &format!("{name}{}", encoding.suffix())).await? {
                return Ok(Some(Found { key, meta, content_type, encoding: Some(encoding), varies, http }));
            }
        }
    }
    Ok(Some(Found { key, meta, content_type, encoding: None, varies, http }))
}

async fn head(site: &Site, name: &str) -> Result<Option<(Key, ObjectMeta)>, Error> {
    // A name too long for a key names nothing.
    let Ok(key) = Key::new(name) else { return Ok(None) };
    Ok(site.store.head(&key).await?.map(|meta| (key, meta)))
}

async fn serve(site: &Site, method: &Method, headers: &HeaderMap, found: Found) -> Result<Response<SiteBody>, Error> {
    match precondition::evaluate(headers, method, &found.meta) {
        Verdict::Failed => {
            return Ok(text(StatusCode::PRECONDITION_FAILED, "the file is another than the one asked for"));
        }
        Verdict::NotModified => {
            let mut answer = Response::new(SiteBody::default());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            write_headers(site, headers, &found, answer.headers_mut());
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ACCEPT_RANGES] {
                answer.headers_mut().remove(name); // RFC 9110 15.4.5: only what guides caches
            }
            return Ok(answer);
        }
        Verdict::Proceed => {}
    }
    let wanted = headers
        .get(header::RANGE)
        .filter(|_| method == Method::GET && precondition::range_stands(headers, &found.meta));
    let ranges = wanted
        .and_then(|value| value.to_str().ok())
        .map_or(Ranges::Whole, |value| range::parse(value, found.meta.size));
    let mut answer = match ranges {
        Ranges::Whole if method == Method::HEAD => {
            with(Response::new(SiteBody::default()), header::CONTENT_LENGTH, &found.meta.size.to_string())
        }
        Ranges::Whole => Response::new(body(site, &found, None).await?),
        Ranges::One(range) => {
            let mut answer = Response::new(body(site, &found, Some(range)).await?);
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            with(answer, header::CONTENT_RANGE, &content_range(range, found.meta.size))
        }
        Ranges::Many(pieces) => return multipart(site, headers, found, pieces).await,
        Ranges::Unsatisfiable => {
            let answer = text(StatusCode::RANGE_NOT_SATISFIABLE, "the file has no such bytes");
            return Ok(with(answer, header::CONTENT_RANGE, &format!("bytes */{}", found.meta.size)));
        }
    };
    write_headers(site, headers, &found, answer.headers_mut());
    Ok(answer)
}

/// The bytes of exactly the version that was judged; where it was replaced since, the request is to be repeated.
async fn body(site: &Site, found: &Found, range: Option<ByteRange>) -> Result<SiteBody, Error> {
    let mut options = GetOptions::default().with_conditions(Conditions::if_etag(found.meta.etag.clone())?);
    if let Some(ByteRange { offset, length }) = range {
        options = options.with_range(Range::From { offset, length: Some(length) });
    }
    match site.store.get(&found.key, options).await? {
        GetResult::Object { body, .. } => Ok(body.into()),
        GetResult::Missing | GetResult::ConditionFailed(_) => {
            Err(Error::new(ErrorKind::Unavailable, "the object was replaced while it was being read"))
        }
    }
}

async fn multipart(
    site: &Site,
    headers: &HeaderMap,
    found: Found,
    pieces: Vec<ByteRange>,
) -> Result<Response<SiteBody>, Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("no randomness from the system: {error}")))?;
    let boundary = hex::encode(random);
    let size = found.meta.size;
    let heads: Vec<Bytes> = pieces
        .iter()
        .map(|piece| {
            let (content_type, range) = (&found.content_type, content_range(*piece, size));
            format!("\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n").into()
        })
        .collect();
    let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
    let length = heads.iter().map(|head| head.len() as u64).sum::<u64>()
        + pieces.iter().map(|piece| piece.length).sum::<u64>()
        + tail.len() as u64;

    let mut answer = Response::new(SiteBody::default());
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    write_headers(site, headers, &found, answer.headers_mut());
    let answer = with(answer, header::CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
    let (store, key, etag) = (site.store.clone(), found.key, found.meta.etag);
    let parts = stream::iter(heads.into_iter().zip(pieces)).then(move |(head, ByteRange { offset, length })| {
        let (store, key, etag) = (store.clone(), key.clone(), etag.clone());
        async move {
            let range = Range::From { offset, length: Some(length) };
            let options = GetOptions::default().with_conditions(Conditions::if_etag(etag)?).with_range(range);
            let replaced = || Error::new(ErrorKind::Unavailable, "the object was replaced while it was being read");
            let (_, body) = store.get(&key, options).await?.into_object().ok_or_else(replaced)?;
            Ok::<_, Error>(stream::iter([Ok(head)]).chain(body.into_stream()))
        }
    });
    let chunks = parts.try_flatten().chain(stream::iter([Ok(tail)]));
    Ok(answer.map(|_| SiteBody::stream(length, chunks)))
}

/// The nearest `404.html` on the way up, or a line of text.
async fn not_found(site: &Site, path: &SitePath, headers: &HeaderMap) -> Result<Response<SiteBody>, Error> {
    let mut folder = path.as_str();
    loop {
        folder = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
        let slash = if folder.is_empty() { "" } else { "/" };
        let page = format!("{}{folder}{slash}404.html", site.options.prefix);
        if let Some(found) = find(site, &page, headers).await? {
            let mut answer = Response::new(body(site, &found, None).await?);
            *answer.status_mut() = StatusCode::NOT_FOUND;
            write_headers(site, headers, &found, answer.headers_mut());
            for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
                answer.headers_mut().remove(name); // they are the page's, not the missing file's
            }
            return Ok(answer);
        }
        if folder.is_empty() {
            return Ok(text(StatusCode::NOT_FOUND, "there is nothing here"));
        }
    }
}

fn write_headers(site: &Site, request: &HeaderMap, found: &Found, headers: &mut HeaderMap) {
    let Found { key, meta, content_type, encoding, varies, http } = found;
    http.write_headers(headers);
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, content_type);
    put(header::ETAG, &meta.http_etag());
    put(header::LAST_MODIFIED, &httpdate::fmt_http_date(meta.uploaded.into()));
    put(header::ACCEPT_RANGES, "bytes");
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if let Some(encoding) = encoding {
        put(header::CONTENT_ENCODING, encoding.token());
    }
    if *varies {
        put(header::VARY, "Accept-Encoding");
    }
    // As Workers Static Assets: what a shared cache must not keep is not called public. Unlike them a part has the header,
    // too: RFC 9110 15.3.7 wants it wherever the whole has it.
    if http.cache_control.is_none() && !request.contains_key(header::AUTHORIZATION) {
        put(header::CACHE_CONTROL, site.options.cache.of(key.as_str()));
    }
}

fn content_range(ByteRange { offset, length }: ByteRange, size: u64) -> String {
    format!("bytes {offset}-{}/{size}", offset + length - 1)
}

fn text(status: StatusCode, text: &str) -> Response<SiteBody> {
    let mut answer = Response::new(SiteBody::from(if text.is_empty() { String::new() } else { format!("{text}\n") }));
    *answer.status_mut() = status;
    let answer = with(answer, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    with(answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn with(mut answer: Response<SiteBody>, name: HeaderName, value: &str) -> Response<SiteBody> {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// What the store suffers, without its details.
fn failure(error: &Error) -> Response<SiteBody> {
    #[cfg(feature = "tracing")]
    tracing::error!(%error, "the site's store failed");
    if error.is_retryable() {
        let answer = text(StatusCode::SERVICE_UNAVAILABLE, "the store is not available for the moment");
        return with(answer, header::RETRY_AFTER, "1");
    }
    text(StatusCode::INTERNAL_SERVER_ERROR, "the store failed")
}
