//! Multipart uploads.
//!
//! A store's part has an ETag of its own choice. S3's clients compare a part's ETag with the MD5 of
//! what they have sent if it looks like one, so that here it gets a suffix, `-NUMBER`, which is taken
//! off again at the completion.
//!
//! The list of parts that a client completes with decides: parts that it leaves out are dropped with
//! the upload.

use http::StatusCode;
use isobar_storage::{MultipartOptions, Part as StoredPart, UploadId, limits};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::conditions;
use super::error::{OrS3, invalid_argument, malformed_xml, precondition_failed, refusal};
use super::metadata::{class_name, custom_of, http_of, storage_class_of};
use super::session::Session;
use super::upload::Upload;

/// Most parts of a page of ListParts.
const MAX_PARTS: i32 = 1000;

/// Begins an upload. Its metadata is the object's, from now on.
pub(super) async fn create(
    session: &Session,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let S3Request { input, headers, .. } = request;
    let (store, key) = session.to_put(&input.bucket, &input.key, &headers).await?;
    let mut options = MultipartOptions::default().with_http(http_of(&headers));
    options = options.with_storage_class(storage_class_of(input.storage_class.as_ref())?);
    options.custom = custom_of(input.metadata);
    let upload = store.create_multipart(&key, options).await.or_s3()?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(upload.as_str().to_owned()),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        ..CreateMultipartUploadOutput::default()
    }))
}

/// Stores a part. One of the same number is replaced.
pub(super) async fn upload_part(
    session: &Session,
    request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let S3Request { input, headers, trailing_headers, .. } = request;
    let (store, key) = session.to_write(&input.bucket, &input.key).await?;
    let number = part_number(input.part_number)?;
    let upload = Upload::new(input.body, input.content_length, &headers, trailing_headers)?;
    let (body, outcome) = upload.split().await?;
    let stored = store.upload_part(&key, &UploadId::new(input.upload_id), number, body).await;
    let part = stored.map_err(|error| outcome.refused.or(&error))?;
    let checksums = outcome.checksums();
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(etag_of(&part)),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
        ..UploadPartOutput::default()
    }))
}

/// Makes an object of the parts, at once.
///
/// # Errors
/// `MalformedXML` for an empty list; `InvalidPart` for a part that is named twice, is missing or is
/// another one; `EntityTooSmall`; `NoSuchUpload`; `PreconditionFailed`.
pub(super) async fn complete(
    session: &Session,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let S3Request { input, headers, .. } = request;
    let (store, key) = session.to_write(&input.bucket, &input.key).await?;
    let conditions = conditions::parse(&headers, &conditions::OBJECT)?;
    let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    if named.is_empty() {
        return Err(malformed_xml("The list of parts is empty"));
    }
    let mut parts: Vec<StoredPart> = Vec::with_capacity(named.len());
    for part in named {
        let number = part_number(part.part_number.ok_or_else(|| malformed_xml("A part has no number"))?)?;
        let etag = part.e_tag.ok_or_else(|| malformed_xml("A part has no ETag"))?;
        parts.push(StoredPart { part_number: number, etag: stored_etag(etag.value(), number) });
    }
    parts.sort_by_key(|part| part.part_number);
    if parts.windows(2).any(|pair| pair[0].part_number == pair[1].part_number) {
        return Err(refusal(StatusCode::BAD_REQUEST, "InvalidPart", "A part is named twice"));
    }
    let upload = UploadId::new(input.upload_id);
    let meta = match conditions {
        None => store.complete_multipart(&key, &upload, parts).await.or_s3()?,
        Some(conditions) => {
            let completed = store.complete_multipart_if(&key, &upload, parts, conditions).await.or_s3()?;
            completed.stored().ok_or_else(precondition_failed)?
        }
    };
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(ETag::Strong(meta.etag)),
        ..CompleteMultipartUploadOutput::default()
    }))
}

/// Drops an upload with its parts.
pub(super) async fn abort(
    session: &Session,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    let (store, key) = session.to_write(&input.bucket, &input.key).await?;
    store.abort_multipart(&key, &UploadId::new(input.upload_id)).await.or_s3()?;
    Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), StatusCode::NO_CONTENT))
}

/// Lists the parts of an upload, 1,000 at most.
pub(super) async fn list_parts(
    session: &Session,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    // The parts belong to whoever writes: a key that only reads does not see what is not an object yet.
    let (store, key) = session.to_write(&input.bucket, &input.key).await?;
    let max_parts = input.max_parts.unwrap_or(MAX_PARTS);
    let behind = input.part_number_marker.unwrap_or_default();
    if max_parts < 0 || behind < 0 {
        return Err(invalid_argument("max-parts and part-number-marker must not be negative"));
    }
    let stored = store.list_parts(&key, &UploadId::new(&*input.upload_id)).await.or_s3()?;
    let mut left = stored.into_iter().filter(|info| i32::from(info.part.part_number) > behind);
    let limit = usize::try_from(max_parts.min(MAX_PARTS)).unwrap_or_default();
    let parts: Vec<Part> = left
        .by_ref()
        .take(limit)
        .map(|info| Part {
            part_number: Some(i32::from(info.part.part_number)),
            e_tag: Some(etag_of(&info.part)),
            size: i64::try_from(info.size).ok(),
            ..Part::default()
        })
        .collect();
    let is_truncated = left.next().is_some();
    let last = parts.last().and_then(|part| part.part_number);
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        part_number_marker: Some(behind),
        next_part_number_marker: last.filter(|_| is_truncated),
        max_parts: Some(max_parts),
        is_truncated: Some(is_truncated),
        parts: Some(parts),
        storage_class: Some(StorageClass::from_static(class_name(isobar_storage::StorageClass::Standard))),
        ..ListPartsOutput::default()
    }))
}

/// Checks the number of a part: 1 to 10,000.
pub(super) fn part_number(number: i32) -> S3Result<u16> {
    let number = u16::try_from(number).ok().filter(|number| (1..=limits::PART_NUMBER).contains(number));
    number.ok_or_else(|| invalid_argument(format!("A part's number is between 1 and {}", limits::PART_NUMBER)))
}

/// Returns the ETag of a part. A store's is not the MD5 of its bytes, and clients repeat a part whose ETag could be one and is another; one
/// with a hyphen they do not take for one.
pub(super) fn etag_of(part: &StoredPart) -> ETag {
    ETag::Strong(format!("{}-{}", part.etag, part.part_number))
}

/// The store's ETag of a part, out of the client's.
fn stored_etag(etag: &str, number: u16) -> String {
    etag.strip_suffix(&format!("-{number}")).unwrap_or(etag).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etag_of_a_part_comes_back() {
        let part = StoredPart { part_number: 12, etag: "0a-1".to_owned() };
        let ETag::Strong(shown) = etag_of(&part) else { panic!("it is strong") };
        assert_eq!(shown, "0a-1-12");
        assert_eq!(stored_etag(&shown, 12), "0a-1");
        assert_ne!(stored_etag(&shown, 2), "0a-1");
    }

    #[test]
    fn number_of_a_part_has_limits() {
        assert_eq!((part_number(1).unwrap(), part_number(10_000).unwrap()), (1, 10_000));
        for number in [0, -1, 10_001, i32::MAX, i32::MIN] {
            assert!(part_number(number).is_err(), "{number}");
        }
    }
}
