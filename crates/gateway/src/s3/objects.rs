//! Operations on objects.
//!
//! Each handler asks the session for a store and the key, and so is refused before anything of the
//! object is looked at. Rules of conditions and ranges are the store's.

use http::{HeaderMap, StatusCode};
use isobar_storage::{
    ByteRange, Checksum, ChecksumAlgorithm, Conditions, GetOptions, GetResult, Key, ObjectMeta, PutOptions, PutResult,
    Range, limits,
};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::body::to_blob;
use super::conditions;
use super::digest::{Algorithm, Expected};
use super::error::{
    OrS3, access_denied, invalid_argument, invalid_request, malformed_xml, no_such_key, not_implemented,
    precondition_failed, refusal,
};
use super::metadata::{Shown, class_name, custom_of, http_of, storage_class_of, timestamp};
use super::multipart::part_number;
use super::session::Session;
use super::upload::Upload;

/// Stores an object. The response has the checksums that were compared.
pub(super) async fn put(
    session: &Session,
    request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let S3Request { input, headers, trailing_headers, .. } = request;
    let (store, key) = session.to_put(&input.bucket, &input.key, &headers).await?;
    let mut options = PutOptions::default().with_http(http_of(&headers));
    options = options.with_storage_class(storage_class_of(input.storage_class.as_ref())?);
    options.custom = custom_of(input.metadata);
    options.conditions = conditions::parse(&headers, &conditions::OBJECT)?;
    options.checksum = stored_checksum(&headers)?;
    let upload = Upload::new(input.body, input.content_length, &headers, trailing_headers)?;
    let (body, outcome) = upload.split().await?;
    match store.put(&key, body, options).await.map_err(|error| outcome.refused.or(&error))? {
        PutResult::ConditionFailed => Err(precondition_failed()),
        PutResult::Stored(meta) => {
            let checksums = outcome.checksums();
            Ok(S3Response::new(PutObjectOutput {
                e_tag: Some(ETag::Strong(meta.etag)),
                checksum_crc32: checksums.crc32,
                checksum_crc32c: checksums.crc32c,
                checksum_crc64nvme: checksums.crc64nvme,
                checksum_sha1: checksums.sha1,
                checksum_sha256: checksums.sha256,
                ..PutObjectOutput::default()
            }))
        }
    }
}

/// Returns the checksum that the store keeps beside the md5: a store takes one, and knows SHA-1 and SHA-256 of S3's.
fn stored_checksum(headers: &HeaderMap) -> S3Result<Option<Checksum>> {
    for expected in Expected::of_headers(headers)? {
        let algorithm = match expected.algorithm {
            Algorithm::Sha1 => ChecksumAlgorithm::Sha1,
            Algorithm::Sha256 => ChecksumAlgorithm::Sha256,
            _ => continue,
        };
        return Checksum::from_bytes(algorithm, expected.digest()).map(Some).or_s3();
    }
    Ok(None)
}

/// Reads an object, or a range of it. Checksums are those of the whole, and so are left out for a
/// range.
pub(super) async fn get(
    session: &Session,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let S3Request { input, headers, .. } = request;
    check_version(input.version_id.as_deref())?;
    let is_part = is_part_read(input.part_number, input.range.is_some())?;
    let (store, key) = session.to_read(&input.bucket, &input.key).await?;
    let mut options = GetOptions::default();
    options.conditions = conditions::parse(&headers, &conditions::OBJECT)?;
    options.range = input.range.map(range_of);
    let wanted = options.conditions.clone();
    let (meta, range, body) = match store.get(&key, options).await.or_s3()? {
        GetResult::Missing => return Err(no_such_key()),
        GetResult::ConditionFailed(meta) => return Err(failed(wanted, &meta)),
        GetResult::Object { meta, range, body } => (meta, range, body),
    };
    let shown = Shown::new(&meta, input.checksum_mode.is_some() && input.range.is_none());
    Ok(S3Response::new(GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        body: Some(to_blob(body).await.or_s3()?),
        content_length: i64::try_from(range.length).ok(),
        content_range: (input.range.is_some() || (is_part && meta.size > 0)).then(|| content_range(range, meta.size)),
        parts_count: parts_count(is_part, &meta),
        e_tag: Some(ETag::Strong(meta.etag)),
        last_modified: Some(timestamp(meta.uploaded)),
        storage_class: Some(StorageClass::from_static(class_name(meta.storage_class))),
        metadata: shown.metadata,
        missing_meta: shown.missing,
        content_type: Some(shown.content_type),
        content_language: meta.http.content_language,
        content_disposition: meta.http.content_disposition,
        content_encoding: meta.http.content_encoding,
        cache_control: meta.http.cache_control,
        expires: shown.expires,
        checksum_sha1: shown.sha1,
        checksum_sha256: shown.sha256,
        ..GetObjectOutput::default()
    }))
}

/// Describes an object. A store's `head` takes no conditions: they are decided here, on what it has
/// answered.
pub(super) async fn head(
    session: &Session,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let S3Request { input, headers, .. } = request;
    check_version(input.version_id.as_deref())?;
    let is_part = is_part_read(input.part_number, false)?;
    let (store, key) = session.to_read(&input.bucket, &input.key).await?;
    let wanted = conditions::parse(&headers, &conditions::OBJECT)?;
    let meta = store.head(&key).await.or_s3()?.ok_or_else(no_such_key)?;
    if wanted.as_ref().is_some_and(|conditions| !conditions.hold(Some(&meta))) {
        return Err(failed(wanted, &meta));
    }
    let shown = Shown::new(&meta, input.checksum_mode.is_some());
    let range = ByteRange { offset: 0, length: meta.size };
    let has_range = is_part && meta.size > 0;
    Ok(S3Response::new(HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_range: has_range.then(|| content_range(range, meta.size)),
        parts_count: parts_count(is_part, &meta),
        content_length: i64::try_from(meta.size).ok(),
        e_tag: Some(ETag::Strong(meta.etag)),
        last_modified: Some(timestamp(meta.uploaded)),
        storage_class: Some(StorageClass::from_static(class_name(meta.storage_class))),
        metadata: shown.metadata,
        missing_meta: shown.missing,
        content_type: Some(shown.content_type),
        content_language: meta.http.content_language,
        content_disposition: meta.http.content_disposition,
        content_encoding: meta.http.content_encoding,
        cache_control: meta.http.cache_control,
        expires: shown.expires,
        checksum_sha1: shown.sha1,
        checksum_sha256: shown.sha256,
        ..HeadObjectOutput::default()
    }))
}

/// Deletes an object; one that is not there is no error.
pub(super) async fn delete(
    session: &Session,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    check_version(input.version_id.as_deref())?;
    let (store, key) = session.to_write(&input.bucket, &input.key).await?;
    store.delete(&[key]).await.or_s3()?;
    Ok(S3Response::with_status(DeleteObjectOutput::default(), StatusCode::NO_CONTENT))
}

/// Deletes up to 1,000 objects. Those that are refused are named in the response, and the others are
/// deleted all the same.
pub(super) async fn delete_many(
    session: &Session,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let DeleteObjectsInput { bucket, delete: Delete { objects, quiet }, .. } = request.input;
    let store = session.to_write_some(&bucket).await?;
    if objects.is_empty() || objects.len() > limits::DELETE_KEYS {
        let most = limits::DELETE_KEYS;
        return Err(malformed_xml(format!("A request names 1 to {most} objects, not {}", objects.len())));
    }
    let mut keys = Vec::with_capacity(objects.len());
    let mut errors = Vec::new();
    for object in objects {
        match key_to_delete(session, &bucket, &object) {
            Ok(key) => keys.push(key),
            Err(error) => errors.push(Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                key: Some(object.key),
                version_id: object.version_id,
            }),
        }
    }
    if !keys.is_empty() {
        store.delete(&keys).await.or_s3()?;
    }
    let deleted = keys.into_iter().map(|key| DeletedObject { key: Some(key.into()), ..DeletedObject::default() });
    let deleted = (quiet != Some(true)).then(|| deleted.collect());
    let denied = errors.iter().filter(|error| error.code.as_deref() == Some("AccessDenied")).count();
    let errors = (!errors.is_empty()).then_some(errors);
    let output = DeleteObjectsOutput { deleted, errors, ..DeleteObjectsOutput::default() };
    let mut response = S3Response::new(output);
    if denied > 0 {
        response.extensions.insert(Denied(denied));
    }
    Ok(response)
}

/// Number of objects of a DeleteObjects that the key may not delete, for the audit: the response itself is a success.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "keys"), allow(dead_code, reason = "the audit reads it"))]
pub(super) struct Denied(pub(super) usize);

/// Checks an object of a list to be deleted.
fn key_to_delete(session: &Session, bucket: &str, object: &ObjectIdentifier) -> S3Result<Key> {
    check_version(object.version_id.as_deref())?;
    if object.e_tag.is_some() || object.last_modified_time.is_some() || object.size.is_some() {
        return Err(not_implemented("A condition on an object to delete is not implemented"));
    }
    if !session.key.scope.can_write(bucket, &object.key) {
        return Err(access_denied());
    }
    Key::new(&object.key).or_s3()
}

/// Refuses versions: a bucket has the current one of each object, `null` as S3 names it.
pub(super) fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("" | "null") => Ok(()),
        Some(_) => Err(invalid_argument("versionId: objects have no versions")),
    }
}

/// A read by the number of a part. A completed object does not know its parts: it is one, whatever it was made of.
fn is_part_read(number: Option<i32>, has_range: bool) -> S3Result<bool> {
    let Some(number) = number else { return Ok(false) };
    if has_range {
        return Err(invalid_request("A read has a Range or a partNumber, not both"));
    }
    if part_number(number)? == 1 {
        return Ok(true);
    }
    let message = "The object has one part: a completed object does not know those of its upload";
    Err(refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidPartNumber", message))
}

/// Number of parts to show: one, for an object whose ETag says that it was uploaded in parts.
fn parts_count(is_part: bool, meta: &ObjectMeta) -> Option<i32> {
    (is_part && meta.etag.contains('-')).then_some(1)
}

/// A range as stores take one.
fn range_of(range: s3s::dto::Range) -> Range {
    match range {
        s3s::dto::Range::Suffix { length } => Range::Suffix(length),
        s3s::dto::Range::Int { first, last } => {
            let length = last.map(|last| last.saturating_sub(first).saturating_add(1));
            Range::From { offset: first, length }
        }
    }
}

/// The `Content-Range` of a response.
fn content_range(range: ByteRange, size: u64) -> String {
    let last = (range.offset + range.length).saturating_sub(1);
    format!("bytes {}-{last}/{size}", range.offset)
}

/// Returns the answer to a read whose conditions do not hold: 304 with the object's validators, or 412.
fn failed(wanted: Option<Conditions>, meta: &ObjectMeta) -> S3Error {
    if !wanted.is_some_and(|wanted| conditions::is_not_modified(&wanted, meta)) {
        return precondition_failed();
    }
    let mut error = refusal(StatusCode::NOT_MODIFIED, "NotModified", "The object is not modified");
    let mut headers = HeaderMap::new();
    meta.http.write_headers(&mut headers);
    headers.remove(http::header::CONTENT_TYPE);
    headers.remove(http::header::CONTENT_ENCODING);
    let modified = httpdate::fmt_http_date(meta.uploaded.into());
    for (name, value) in [(http::header::ETAG, meta.http_etag()), (http::header::LAST_MODIFIED, modified)] {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    error.set_headers(headers);
    error
}
