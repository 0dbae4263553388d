//! Copies of objects, whole and as parts.
//!
//! Within a bucket the store copies, where it can, and neither condition races with the copy. Else the
//! body streams through this process: from another bucket, with other metadata, or for a part. A copy
//! onto itself with other metadata is such a stream, and the store keeps the old object until the new
//! one is whole.

use std::sync::Arc;

use http::HeaderMap;
use isobar_storage::{
    Body, Conditions, CopyOptions, GetOptions, GetResult, Key, ObjectMeta, ObjectStore, PutOptions, PutResult, Range,
    UploadId,
};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::conditions;
use super::error::{OrS3, invalid_argument, no_such_key, not_implemented, precondition_failed};
use super::metadata::{custom_of, http_of, storage_class_of, timestamp};
use super::multipart::{etag_of, part_number};
use super::objects::check_version;
use super::session::Session;

/// Metadata of the copy.
#[derive(Clone, Copy, PartialEq)]
enum Directive {
    /// The source's.
    Copy,
    /// The request's.
    Replace,
    /// The source's, and over it the request's: an extension of R2's.
    Merge,
}

impl Directive {
    fn parse(directive: Option<&MetadataDirective>) -> S3Result<Self> {
        match directive.map(MetadataDirective::as_str) {
            None | Some("COPY") => Ok(Self::Copy),
            Some("REPLACE") => Ok(Self::Replace),
            Some("MERGE") => Ok(Self::Merge),
            Some(other) => Err(invalid_argument(format!("There is no metadata directive {other:?}"))),
        }
    }
}

/// Source of a copy.
struct Source {
    bucket: String,
    store: Arc<dyn ObjectStore>,
    key: Key,
}

impl Source {
    /// Opens the source, if the key may read it.
    async fn open(session: &Session, source: CopySource) -> S3Result<Self> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(not_implemented("The source of a copy is an object of a bucket"));
        };
        check_version(version_id.as_deref())?;
        let (store, key) = session.to_read(&bucket, &key).await?;
        Ok(Self { bucket: bucket.into(), store, key })
    }

    /// Reads the source, by the conditions on it.
    async fn read(&self, options: GetOptions) -> S3Result<(ObjectMeta, Body)> {
        match self.store.get(&self.key, options).await.or_s3()? {
            GetResult::Missing => Err(no_such_key()),
            GetResult::ConditionFailed(_) => Err(precondition_failed()),
            GetResult::Object { meta, body, .. } => Ok((meta, body)),
        }
    }
}

/// Copies an object. The key must be allowed to read the source and to write the target.
pub(super) async fn object(
    session: &Session,
    request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let S3Request { input, headers, .. } = request;
    let directive = Directive::parse(input.metadata_directive.as_ref())?;
    let (store, key) = session.to_write(&input.bucket, &input.key).await?;
    let source = Source::open(session, input.copy_source).await?;
    let source_conditions = conditions::parse(&headers, &conditions::COPY_SOURCE)?;
    let conditions = conditions::parse(&headers, &conditions::COPY_DESTINATION)?;
    let class = input.storage_class.as_ref().map(|class| storage_class_of(Some(class))).transpose()?;
    let is_whole = directive == Directive::Copy && class.is_none();
    let result = if is_whole && source.bucket == input.bucket && store.capabilities().copy {
        within(&store, &source.key, &key, source_conditions, conditions).await?
    } else {
        let mut get = GetOptions::default();
        get.conditions = source_conditions;
        let (meta, body) = source.read(get).await?;
        let mut put = metadata(directive, &meta, &headers, input.metadata);
        put.storage_class = class.unwrap_or(meta.storage_class);
        put.conditions = conditions;
        store.put(&key, body, put).await.or_s3()?
    };
    let PutResult::Stored(meta) = result else { return Err(precondition_failed()) };
    let copied = CopyObjectResult {
        e_tag: Some(ETag::Strong(meta.etag)),
        last_modified: Some(timestamp(meta.uploaded)),
        ..CopyObjectResult::default()
    };
    Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(copied), ..CopyObjectOutput::default() }))
}

/// Copies within a bucket by its store.
async fn within(
    store: &Arc<dyn ObjectStore>,
    from: &Key,
    to: &Key,
    source_conditions: Option<Conditions>,
    conditions: Option<Conditions>,
) -> S3Result<PutResult> {
    let mut options = CopyOptions::default();
    options.source_conditions = source_conditions;
    options.conditions = conditions;
    store.copy(from, to, options).await.or_s3()?.ok_or_else(no_such_key)
}

/// The metadata of a copy, by the directive.
fn metadata(directive: Directive, source: &ObjectMeta, headers: &HeaderMap, given: Option<Metadata>) -> PutOptions {
    let mut options = PutOptions::default();
    if directive != Directive::Replace {
        options.http = source.http.clone();
        options.custom = source.custom.clone();
    }
    if directive != Directive::Copy {
        let given_http = http_of(headers);
        options.http.content_type = given_http.content_type.or(options.http.content_type);
        options.http.content_language = given_http.content_language.or(options.http.content_language);
        options.http.content_disposition = given_http.content_disposition.or(options.http.content_disposition);
        options.http.content_encoding = given_http.content_encoding.or(options.http.content_encoding);
        options.http.cache_control = given_http.cache_control.or(options.http.cache_control);
        options.http.cache_expiry = given_http.cache_expiry.or(options.http.cache_expiry);
        options.custom.extend(custom_of(given));
    }
    options
}

/// Copies a range of an object as a part of an upload.
pub(super) async fn part(
    session: &Session,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = request.input;
    let number = part_number(input.part_number)?;
    let (store, key) = session.to_write(&input.bucket, &input.key).await?;
    let source = Source::open(session, input.copy_source).await?;
    let mut options = GetOptions::default();
    options.range = input.copy_source_range.as_deref().map(range_of).transpose()?;
    let (_, body) = source.read(options).await?;
    let part = store.upload_part(&key, &UploadId::new(input.upload_id), number, body).await.or_s3()?;
    let copied = CopyPartResult {
        e_tag: Some(etag_of(&part)),
        last_modified: Some(timestamp(chrono::Utc::now())),
        ..CopyPartResult::default()
    };
    Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(copied), ..UploadPartCopyOutput::default() }))
}

/// Returns the range of a part's source: `bytes=FIRST-LAST` alone.
fn range_of(text: &str) -> S3Result<Range> {
    match Range::from_header(text) {
        Some(range @ Range::From { length: Some(_), .. }) => Ok(range),
        _ => Err(invalid_argument(format!("x-amz-copy-source-range is {text:?}, and must be bytes=FIRST-LAST"))),
    }
}
