//! Objects of a bucket.
//!
//! Bodies stream in both directions. Metadata is that of R2's binding: HTTP headers, the storage class;
//! custom metadata cannot be sent by this protocol and is listed only.
//!
//! Conditions and ranges are HTTP's (RFC 9110), decided by the store, so that a check and its effect
//! are one step.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use isobar_storage::{
    Conditions, Error, ErrorKind, GetOptions, GetResult, HttpMetadata, Key as ObjectKey, ListOptions, MultipartOptions,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutOptions, PutResult, StorageClass,
};
use serde_json::{Value as Json, json};

use super::buckets;
use super::call::{Call, require};
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, code, success, success_with};
use crate::keys::{Key, Permission};

const PER_PAGE: usize = 1000;

/// Lists objects with their metadata, up to 1,000 at a time, by R2's cursor.
pub(super) async fn list(door: &RestDoor, call: &Call, key: &Key, bucket: &str) -> Answer {
    require(key, Permission::R2Read)?;
    let store = buckets::open(door, key, bucket).await?;
    let prefix = call.query.get("prefix").unwrap_or_default();
    if !key.scope.buckets().can_list(bucket, prefix) {
        return Err(bound_to_prefix(key));
    }
    let per_page = match call.query.get("per_page").map(str::parse::<usize>) {
        None => PER_PAGE,
        Some(Ok(number)) if (1..=PER_PAGE).contains(&number) => number,
        Some(_) => return Err(ApiError::malformed("per_page must be a number from 1 to 1000")),
    };
    let mut options = ListOptions::default().with_prefix(prefix).with_limit(per_page).with_metadata();
    let text = |name| call.query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    options.delimiter = text("delimiter");
    options.cursor = text("cursor");
    options.start_after = text("start_after");
    let listed = store.list(options).await.map_err(|error| failed(&error))?;
    let objects: Vec<_> = listed.objects.iter().map(listed_object).collect();
    let info = json!({
        "cursor": listed.cursor.as_deref().unwrap_or_default(),
        "is_truncated": listed.cursor.is_some(),
        "per_page": per_page,
        "delimited": listed.prefixes,
    });
    success_with(&objects, Some(info), &[])
}

/// Reads an object, or a range of it.
pub(super) async fn get(door: &RestDoor, call: &Call, key: &Key, bucket: &str, name: &str) -> Answer {
    require(key, Permission::R2Read)?;
    let store = buckets::open(door, key, bucket).await?;
    if !key.scope.buckets().can_read(bucket, name) {
        return Err(bound_to_prefix(key));
    }
    read(&*store, &call.headers, name).await
}

/// The object of a store, or a range of it, by the conditions of a request's headers.
pub(crate) async fn read(store: &dyn ObjectStore, asked: &HeaderMap, name: &str) -> Answer {
    let name = ObjectKey::new(name).map_err(|error| failed(&error))?;
    let mut options = GetOptions::default().with_conditions(conditions(asked)?.unwrap_or_default());
    if let Some(range) = asked.get(header::RANGE).and_then(|range| range.to_str().ok()) {
        options = options.with_range_header(range);
    }
    match store.get(&name, options).await.map_err(|error| failed(&error))? {
        GetResult::Missing => Err(missing()),
        GetResult::ConditionFailed(meta) => Ok(condition_failed(asked, &meta)),
        GetResult::Object { meta, range, body } => {
            let mut headers = headers(&meta);
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.length));
            let mut status = StatusCode::OK;
            if range.length < meta.size {
                let end = range.offset + range.length - 1;
                let value = format!("bytes {}-{end}/{}", range.offset, meta.size);
                headers.insert(header::CONTENT_RANGE, value.parse().expect("digits are a header's value"));
                status = StatusCode::PARTIAL_CONTENT;
            }
            Ok((status, headers, Body::from_stream(body.into_stream())).into_response())
        }
    }
}

/// A body with a length goes by one put, others in parts; neither is in memory as a whole.
pub(super) async fn put(door: &RestDoor, call: &Call, key: &Key, place: (&str, &str), body: Body) -> Answer {
    let (bucket, name) = place;
    require(key, Permission::R2Write)?;
    let store = buckets::open(door, key, bucket).await?;
    if !key.scope.buckets().can_write(bucket, name) {
        return Err(bound_to_prefix(key));
    }
    let name = ObjectKey::new(name).map_err(|error| failed(&error))?;
    let http = HttpMetadata::from_headers(&call.headers);
    let storage_class = storage_class(call)?;
    let conditions = conditions(&call.headers)?;
    let length = match call.header(header::CONTENT_LENGTH).map(str::parse::<u64>) {
        None => None,
        Some(Ok(length)) => Some(length),
        Some(Err(_)) => return Err(ApiError::malformed("the Content-Length is not a number")),
    };
    let chunks = body.into_data_stream();
    let stored = match length {
        Some(length) => {
            let mut options = PutOptions::default().with_http(http).with_storage_class(storage_class);
            options.conditions = conditions;
            store.put(&name, isobar_storage::Body::wrap_stream(length, chunks), options).await
        }
        None if conditions.is_some() => {
            return Err(ApiError::malformed("a put with conditions needs a Content-Length"));
        }
        None => {
            let options = MultipartOptions::default().with_http(http).with_storage_class(storage_class);
            store.write_stream(&name, chunks, options).await.map(PutResult::Stored)
        }
    };
    match stored.map_err(|error| failed(&error))? {
        PutResult::Stored(meta) => success(&stored_object(&meta)),
        PutResult::ConditionFailed => Err(precondition_failed()),
    }
}

/// Deletes an object; one that is not there is no error.
pub(super) async fn delete(door: &RestDoor, key: &Key, bucket: &str, name: &str) -> Answer {
    require(key, Permission::R2Write)?;
    let store = buckets::open(door, key, bucket).await?;
    if !key.scope.buckets().can_write(bucket, name) {
        return Err(bound_to_prefix(key));
    }
    let key = ObjectKey::new(name).map_err(|error| failed(&error))?;
    store.delete(std::slice::from_ref(&key)).await.map_err(|error| failed(&error))?;
    success(&json!({"key": name}))
}

/// The error of a store. A repeated put or delete has the same result, so that clients may repeat these. The message of a failure of the
/// server's may name files of it, and goes to the log alone.
pub(crate) fn failed(error: &Error) -> ApiError {
    let status = match error.kind() {
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::InvalidRange => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::PermissionDenied | ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let message = match error.kind() {
        _ if !status.is_server_error() => error.message(),
        ErrorKind::StorageFull => "The server has no space left.",
        ErrorKind::Unavailable => "The bucket is not available now; the server's log says why.",
        _ => "The bucket has failed; the server's log says why.",
    };
    if status.is_server_error() {
        tracing::error!(error = error as &dyn std::error::Error, "a bucket failed");
    }
    ApiError::new(status, error.code().unwrap_or(code::INTERNAL), message)
}

/// The error for a key that is bound to other object keys.
fn bound_to_prefix(key: &Key) -> ApiError {
    ApiError::forbidden(format_args!("the token is bound to keys that begin with {:?}", key.scope.prefix))
}

/// The error of an object that does not exist, in R2's words and code.
fn missing() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, code::NO_OBJECT, "The specified key does not exist.")
}

/// The error of a condition that does not hold, in R2's words and code.
fn precondition_failed() -> ApiError {
    let message = "At least one of the pre-conditions you specified did not hold.";
    ApiError::new(StatusCode::PRECONDITION_FAILED, code::PRECONDITION_FAILED, message)
}

/// RFC 9110, 13.2.2: 304 for a GET that the client's copy answers, 412 otherwise.
fn condition_failed(asked: &HeaderMap, meta: &ObjectMeta) -> Response {
    let has = |name| asked.contains_key(name);
    let is_cached = (has(header::IF_NONE_MATCH) || has(header::IF_MODIFIED_SINCE))
        && !has(header::IF_MATCH)
        && !has(header::IF_UNMODIFIED_SINCE);
    if !is_cached {
        return precondition_failed().into_response();
    }
    (StatusCode::NOT_MODIFIED, headers(meta)).into_response()
}

/// The conditions of a request, where it has some.
fn conditions(headers: &HeaderMap) -> Answer<Option<Conditions>> {
    let names = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE];
    if !names.iter().any(|name| headers.contains_key(name)) {
        return Ok(None);
    }
    Conditions::from_headers(headers).map(Some).map_err(|error| ApiError::malformed(error.message()))
}

/// The storage class of a request: R2's header.
fn storage_class(call: &Call) -> Answer<StorageClass> {
    match call.headers.get("cf-r2-storage-class").map(|value| value.as_bytes()) {
        None | Some(b"Standard") => Ok(StorageClass::Standard),
        Some(b"InfrequentAccess") => Ok(StorageClass::InfrequentAccess),
        Some(_) => Err(ApiError::malformed("the storage class is Standard or InfrequentAccess")),
    }
}

/// Headers of an object. It is the caller's own data, and browsers must not take it for a page of the server.
fn headers(meta: &ObjectMeta) -> HeaderMap {
    let mut headers = HeaderMap::new();
    meta.http.write_headers(&mut headers);
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let modified = httpdate::fmt_http_date(meta.uploaded.into());
    for (name, value) in [(header::ETAG, meta.http_etag()), (header::LAST_MODIFIED, modified)] {
        headers.insert(name, value.parse().expect("an etag and a date are headers' values"));
    }
    headers
}

/// An object as lists show it.
fn listed_object(meta: &ObjectMeta) -> Json {
    json!({
        "key": meta.key.as_str(),
        "etag": meta.etag,
        "last_modified": meta.uploaded.to_rfc3339_opts(SecondsFormat::Millis, true),
        "size": meta.size,
        "http_metadata": meta.http,
        "custom_metadata": meta.custom,
        "storage_class": class_name(meta.storage_class),
    })
}

/// The size is text in this answer alone.
fn stored_object(meta: &ObjectMeta) -> Json {
    json!({
        "key": meta.key.as_str(),
        "etag": meta.etag,
        "size": meta.size.to_string(),
        "storage_class": class_name(meta.storage_class),
        "uploaded": meta.uploaded.to_rfc3339_opts(SecondsFormat::Millis, true),
        "version": meta.version,
    })
}

/// A storage class by R2's name.
fn class_name(class: StorageClass) -> &'static str {
    match class {
        StorageClass::InfrequentAccess => "InfrequentAccess",
        _ => "Standard",
    }
}
