//! Objects of a bucket by signed URLs.
//!
//! A URL carries its own permission (`isobar_storage::signed`): method, key and expiry, under a MAC. No
//! session and no table is looked into, so that a URL cannot be withdrawn before its expiry, other than
//! by replacing the bucket's secret.
//!
//! The signature is checked before anything is read: a request without a good one learns nothing about
//! objects. The body of a `PUT` streams into the store, which keeps the old object until the new one is
//! whole.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use futures_util::TryStreamExt;
use http::{HeaderMap, StatusCode, header};
use isobar_api::Problem;
use isobar_api::media::ContentServer;
use isobar_storage::signed::Signer;
use isobar_storage::{
    Body as ObjectBody, Checksum, ChecksumAlgorithm, Conditions, Error, ErrorKind, HttpMetadata, Key, ObjectStore,
    ObjectStoreExt, PresignMethod, PutOptions, PutResult,
};
use percent_encoding::percent_decode_str;

use crate::content::SiteContent;

/// Serves the objects of a bucket to bearers of signed URLs, at the path that the signer's base ends in.
///
/// ```no_run
/// # fn example(store: std::sync::Arc<dyn isobar_storage::ObjectStore>, signer: isobar_storage::signed::Signer) {
/// use isobar_http_serve::{App, signed_objects};
///
/// // For a signer whose base is https://example.com/r2/assets.
/// let app = App::new().nest("/r2/assets", signed_objects(store, signer));
/// # drop(app); }
/// ```
///
/// `GET` and `HEAD` of this object and no other, by the rules of HTTP; `PUT` stores what comes, of any length that a single put
/// takes: with `Content-Length` (411 without), by the conditions of `If-Match` and `If-None-Match` (412), checked against
/// `Content-MD5` (400), with the headers that R2 keeps. A URL for another object, or an expired one, is a 403 with the reason.
///
/// | answer | when |
/// |---|---|
/// | 200, 206, 304, 412, 416 | `GET` and `HEAD`, as from a site |
/// | 200 with `ETag` | `PUT` has stored the object, durably |
/// | 400 | the key is not one, a condition or `Content-MD5` cannot be read, the body does not match it |
/// | 403 | no signature, a wrong one, one of another method or object, an expired one |
/// | 404 | there is no such object |
/// | 411, 412 | `PUT` without `Content-Length`; its condition does not hold |
/// | 405 | another method |
pub fn signed_objects(store: Arc<dyn ObjectStore>, signer: Signer) -> Router {
    let content = SiteContent::new(Arc::clone(&store));
    // axum's own limit is for extractors; a body that streams has that of the store.
    Router::new().route("/{*key}", get(read).put(write)).with_state(Signed { store, content, signer })
}

#[derive(Clone)]
struct Signed {
    store: Arc<dyn ObjectStore>,
    content: SiteContent,
    signer: Signer,
}

impl Signed {
    /// The key of a request that may do this.
    fn key(&self, request: &Request, method: PresignMethod) -> Result<Key, Problem> {
        let path = request.uri().path();
        let path = path.strip_prefix('/').unwrap_or(path); // the key may begin with one of its own
        let key = percent_decode_str(path).decode_utf8();
        let key = key.map_err(|_| Problem::bad_request("the key is not UTF-8"))?;
        let key = Key::new(&*key)?;
        let query = request.uri().query().unwrap_or_default();
        let verified = self.signer.verify(method, &key, query, Utc::now());
        verified.map_err(|error| Problem::new(StatusCode::FORBIDDEN).with_detail(error.message().to_owned()))?;
        Ok(key)
    }
}

/// Answers `GET` and `HEAD`.
async fn read(State(signed): State<Signed>, request: Request) -> Response {
    match signed.key(&request, PresignMethod::Get) {
        Ok(key) => signed.content.serve(&key, request.into_parts().0).await,
        Err(problem) => problem.into_response(),
    }
}

/// Answers `PUT`.
async fn write(State(signed): State<Signed>, request: Request) -> Result<Response, Problem> {
    let key = signed.key(&request, PresignMethod::Put)?;
    let (parts, body) = request.into_parts();
    let mut options = PutOptions::default().with_http(HttpMetadata::from_headers(&parts.headers));
    let conditions = Conditions::from_headers(&parts.headers)?;
    options.conditions = [header::IF_MATCH, header::IF_NONE_MATCH]
        .iter()
        .any(|name| parts.headers.contains_key(name))
        .then_some(conditions);
    options.checksum = checksum(&parts.headers)?;
    let length = length(&parts.headers)?;
    let chunks = body.into_data_stream().map_err(|error| Error::new(ErrorKind::Body, error.to_string()));
    match signed.store.write_with(&key, ObjectBody::from_stream(length, chunks), options).await? {
        PutResult::Stored(meta) => Ok(([(header::ETAG, meta.http_etag())], Body::empty()).into_response()),
        PutResult::ConditionFailed => Err(Problem::new(StatusCode::PRECONDITION_FAILED)),
    }
}

/// The length of a body, which a store wants to know before it begins.
fn length(headers: &HeaderMap) -> Result<u64, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.ok_or_else(|| Problem::new(StatusCode::LENGTH_REQUIRED).with_detail("send Content-Length"))
}

/// The MD5 of `Content-MD5` (RFC 1864), if the request has one; the store compares it.
fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, Problem> {
    let Some(md5) = headers.get("content-md5") else { return Ok(None) };
    let bytes = md5.to_str().ok().and_then(|md5| STANDARD.decode(md5).ok());
    let bytes = bytes.ok_or_else(|| Problem::bad_request("Content-MD5 is not base64"))?;
    Ok(Some(Checksum::from_bytes(ChecksumAlgorithm::Md5, &bytes)?))
}
