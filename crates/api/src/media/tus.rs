//! Resumable uploads by tus 1.0.0 (<https://tus.io/protocols/resumable-upload>), with the extensions creation,
//! creation-defer-length, creation-with-upload, expiration and termination.
//!
//! An upload is a row of the journal with the number of bytes that are stored. A `PATCH` locks the row, so that one request at a
//! time adds bytes, and must name the offset at which the upload stands; another offset is 409 with the right one. The work runs
//! to its end even if the connection breaks: what has come is kept, and a client that asks by `HEAD` continues from there.

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use isobar_db::QueryableExt;

use super::Media;
use super::upload::{BodyError, Received};
use super::upload_journal::Upload;
use crate::background::detached;
use crate::{BodyMemory, Principal, Problem};

const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const EXTENSIONS: &str = "creation,creation-defer-length,creation-with-upload,expiration,termination";
const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");

/// `OPTIONS`: the protocol's version, extensions and limits.
pub(super) async fn options(State(media): State<Media>) -> Response {
    let headers = [
        (TUS_VERSION, "1.0.0".to_owned()),
        (HeaderName::from_static("tus-extension"), EXTENSIONS.to_owned()),
        (HeaderName::from_static("tus-max-size"), media.options().max_bytes.to_string()),
    ];
    answered(Ok((StatusCode::NO_CONTENT, headers).into_response()))
}

/// `POST /uploads`: a new upload, with its first bytes if the request has any.
pub(super) async fn create(State(media): State<Media>, principal: Principal, request: Request) -> Response {
    answered(creating(media, principal, request).await)
}

/// `HEAD /uploads/{id}`: the progress of an upload.
pub(super) async fn show(
    State(media): State<Media>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    answered(progress(&media, &principal, &id, &headers).await)
}

/// `PATCH /uploads/{id}`: more bytes.
pub(super) async fn append(
    State(media): State<Media>,
    principal: Principal,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    answered(appending(media, principal, id, request).await)
}

/// `DELETE /uploads/{id}`: deletes an unfinished upload.
pub(super) async fn end(
    State(media): State<Media>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    answered(ending(media, principal, id, &headers).await)
}

/// `POST /uploads/{id}` with `X-HTTP-Method-Override`, for clients that cannot send the method itself.
pub(super) async fn overridden(
    media: State<Media>,
    principal: Principal,
    id: Path<String>,
    request: Request,
) -> Response {
    let method = request.headers().get("x-http-method-override").map(HeaderValue::as_bytes).unwrap_or_default();
    match Method::from_bytes(method) {
        Ok(Method::PATCH) => append(media, principal, id, request).await,
        Ok(Method::DELETE) => end(media, principal, id, request.into_parts().0.headers).await,
        _ => Problem::new(StatusCode::METHOD_NOT_ALLOWED).into_response(),
    }
}

async fn creating(media: Media, principal: Principal, request: Request) -> Result<Response, Problem> {
    let headers = request.headers();
    check_version(headers)?;
    let length = announced(headers)?;
    let metadata = headers.get(&UPLOAD_METADATA).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let name = filename(&metadata).ok_or_else(|| {
        let detail = "must have filename and its text in base64";
        Problem::bad_request("the upload needs a name").with_field("Upload-Metadata", detail)
    })?;
    let has_bytes = is_offset_stream(headers);
    let memory = request.extensions().get::<BodyMemory>().cloned();
    let chunks = request.into_body().into_data_stream().map_err(|error| Box::new(error) as BodyError).boxed();
    detached(async move {
        let upload = media.open(&principal, &name, length, true, Some(metadata)).await?;
        let id = upload.id.clone();
        let expires = http_date(&upload);
        let received = match has_bytes || length == Some(0) {
            true => media.take(upload, chunks, true, memory).await?,
            false => {
                media.save(&upload, true).await?;
                Received::Part(0)
            }
        };
        let location = [(header::LOCATION, format!("/api/uploads/{id}"))];
        Ok((StatusCode::CREATED, location, progressed(received, length, &id, expires)).into_response())
    })
    .await
}

async fn progress(media: &Media, principal: &Principal, id: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    check_version(headers)?;
    let (received, length, expires, metadata) = match media.find(principal, id).await? {
        Some(upload) => (upload.received, upload.size, http_date(&upload), upload.metadata),
        None => {
            // It may be complete, and the client has missed the last answer.
            let sql = "SELECT size, upload_metadata FROM images WHERE id = ? AND tenant_id = ? AND user_id = ?";
            let query = media.database().prepare(sql).bind(id).bind(principal.tenant()).bind(principal.user());
            let found: Option<(i64, Option<String>)> = query.first().await?;
            let (size, metadata) = found.ok_or_else(|| Problem::not_found("the upload was not found, or has ended"))?;
            let size = u64::try_from(size).unwrap_or_default();
            (size, Some(size), None, metadata)
        }
    };
    let received = if Some(received) == length { Received::Whole } else { Received::Part(received) };
    let mut headers = vec![(header::CACHE_CONTROL, "no-store".to_owned())];
    // Either the length, or that it is deferred; and the metadata as sent.
    headers.push(length.map_or((UPLOAD_DEFER_LENGTH, "1".to_owned()), |length| (UPLOAD_LENGTH, length.to_string())));
    headers.extend(metadata.filter(|metadata| !metadata.is_empty()).map(|metadata| (UPLOAD_METADATA, metadata)));
    let headers = axum::response::AppendHeaders(headers);
    Ok((StatusCode::OK, headers, progressed(received, length, id, expires)).into_response())
}

async fn appending(media: Media, principal: Principal, id: String, request: Request) -> Result<Response, Problem> {
    let headers = request.headers();
    check_version(headers)?;
    if !is_offset_stream(headers) {
        let detail = "send the bytes as application/offset+octet-stream";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).with_detail(detail));
    }
    let offset = number(headers, &UPLOAD_OFFSET)?;
    let length = headers.contains_key(&UPLOAD_LENGTH).then(|| number(headers, &UPLOAD_LENGTH)).transpose()?;
    let memory = request.extensions().get::<BodyMemory>().cloned();
    let chunks = request.into_body().into_data_stream().map_err(|error| Box::new(error) as BodyError).boxed();
    detached(async move {
        let mut upload = media.lock(&principal, &id).await?;
        if upload.received != offset {
            media.release(&upload).await?;
            let detail = format!("the upload has {} bytes; continue from there", upload.received);
            return Err(Problem::new(StatusCode::CONFLICT).with_detail(detail));
        }
        if let Some(length) = length
            && let Err(problem) = media.set_length(&mut upload, length).await
        {
            media.release(&upload).await?;
            return Err(problem);
        }
        let length = upload.size;
        let expires = http_date(&upload);
        let received = media.take(upload, chunks, true, memory).await?;
        Ok((StatusCode::NO_CONTENT, progressed(received, length, &id, expires)).into_response())
    })
    .await
}

async fn ending(media: Media, principal: Principal, id: String, headers: &HeaderMap) -> Result<Response, Problem> {
    check_version(headers)?;
    detached(async move {
        let upload = media.lock(&principal, &id).await?;
        media.discard(&upload).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// Adds the protocol's version to an answer.
fn answered(answer: Result<Response, Problem>) -> Response {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, VERSION);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if headers.contains_key(TUS_VERSION) || response.status() != StatusCode::PRECONDITION_FAILED {
        return response;
    }
    response.headers_mut().insert(TUS_VERSION, VERSION);
    response
}

/// Returns the headers of an upload's progress; of a complete one they name the image.
fn progressed(
    received: Received,
    length: Option<u64>,
    id: &str,
    expires: Option<String>,
) -> axum::response::AppendHeaders<Vec<(HeaderName, String)>> {
    let mut headers = Vec::new();
    match received {
        Received::Whole => {
            headers.push((UPLOAD_OFFSET, length.unwrap_or_default().to_string()));
            headers.push((header::CONTENT_LOCATION, format!("/api/images/{id}")));
        }
        Received::Part(bytes) => {
            headers.push((UPLOAD_OFFSET, bytes.to_string()));
            headers.extend(expires.map(|expires| (UPLOAD_EXPIRES, expires)));
        }
    }
    axum::response::AppendHeaders(headers)
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get(&TUS_RESUMABLE) == Some(&VERSION) {
        return Ok(());
    }
    let detail = "send Tus-Resumable: 1.0.0";
    Err(Problem::new(StatusCode::PRECONDITION_FAILED).with_detail(detail))
}

/// The length of a new upload: `Upload-Length`, or none with `Upload-Defer-Length: 1`.
fn announced(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(deferred) = headers.get(&UPLOAD_DEFER_LENGTH) else { return number(headers, &UPLOAD_LENGTH).map(Some) };
    if deferred != "1" || headers.contains_key(&UPLOAD_LENGTH) {
        let problem = Problem::bad_request("a header is missing or invalid");
        return Err(problem.with_field(UPLOAD_DEFER_LENGTH.as_str(), "must be 1, without Upload-Length"));
    }
    Ok(None)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Problem> {
    let digits = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let number = digits.parse().ok().filter(|_| digits.bytes().all(|it| it.is_ascii_digit()));
    number.ok_or_else(|| {
        Problem::bad_request("a header is missing or invalid").with_field(name.as_str(), "must be a number")
    })
}

fn is_offset_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/offset+octet-stream")
}

/// `filename d29ybGQ=,filetype aW1hZ2U=`: the name, in clear.
fn filename(metadata: &str) -> Option<String> {
    let mut pairs = metadata.split(',').filter_map(|pair| pair.trim().split_once(' '));
    let (_, value) = pairs.find(|(name, _)| ["filename", "name"].contains(name))?;
    String::from_utf8(STANDARD.decode(value).ok()?).ok()
}

/// Returns the expiry as an HTTP date (RFC 9110), which the protocol requires.
fn http_date(upload: &Upload) -> Option<String> {
    let moment = chrono::DateTime::parse_from_rfc3339(&upload.expires_at).ok()?;
    Some(moment.to_utc().format("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_the_name_in_base64() {
        assert_eq!(filename("filename Y2F0LnBuZw==,filetype aW1hZ2UvcG5n").as_deref(), Some("cat.png"));
        assert_eq!(filename("filetype aW1hZ2UvcG5n, filename Y2F0LnBuZw==").as_deref(), Some("cat.png"));
        for wrong in ["", "filename", "filename !!", "other Y2F0"] {
            assert_eq!(filename(wrong), None, "{wrong}");
        }
    }
}
