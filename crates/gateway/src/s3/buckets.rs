//! Operations on buckets.
//!
//! Questions about features that a bucket does not have are answered as a bucket of S3's without them
//! answers: clients such as Terraform ask all of them before they do anything. A claim that would not
//! be true is not made, even where R2 makes it.

use http::StatusCode;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::error::{OrS3, refusal};
use super::session::Session;

/// Regions that R2 takes for a bucket: its own, its hints, and the aliases of `auto`.
const REGIONS: [&str; 9] = ["", "auto", "us-east-1", "wnam", "enam", "weur", "eeur", "apac", "oc"];
const REGION: &str = "auto";

/// Returns the owner of every bucket and object: there is one account.
pub(super) fn owner() -> Owner {
    Owner { display_name: Some("isobar".to_owned()), id: Some("isobar".to_owned()) }
}

/// Says that a bucket is there.
pub(super) async fn head(
    session: &Session,
    request: S3Request<HeadBucketInput>,
) -> S3Result<S3Response<HeadBucketOutput>> {
    session.check_bucket(&request.input.bucket).await?;
    Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(REGION.to_owned()), ..HeadBucketOutput::default() }))
}

/// Creates a bucket. A location is checked and has no effect: there is one.
pub(super) async fn create(
    session: &Session,
    request: S3Request<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    session.check_administrator()?;
    let CreateBucketInput { bucket, create_bucket_configuration, .. } = request.input;
    let region = create_bucket_configuration.and_then(|configuration| configuration.location_constraint);
    if let Some(region) = region
        && !REGIONS.iter().any(|known| known.eq_ignore_ascii_case(region.as_str()))
    {
        let message = format!("There is no location {:?}: use one of {}", region.as_str(), REGIONS[1..].join(", "));
        return Err(refusal(StatusCode::BAD_REQUEST, "InvalidLocationConstraint", message));
    }
    session.buckets.create(&bucket).await.or_s3()?;
    Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{bucket}")) }))
}

/// Deletes an empty bucket.
pub(super) async fn delete(
    session: &Session,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<S3Response<DeleteBucketOutput>> {
    session.check_administrator()?;
    session.buckets.delete(&request.input.bucket).await.or_s3()?;
    Ok(S3Response::with_status(DeleteBucketOutput::default(), StatusCode::NO_CONTENT))
}

/// Says that a bucket is in the region `auto`, as R2's are.
pub(super) async fn location(
    session: &Session,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    session.check_bucket(&request.input.bucket).await?;
    let location = BucketLocationConstraint::from(REGION.to_owned());
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint: Some(location) }))
}

/// R2 answers that it encrypts every bucket with a key of its own. To say so here would not be true.
pub(super) async fn encryption(
    session: &Session,
    request: S3Request<GetBucketEncryptionInput>,
) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
    session.check_bucket(&request.input.bucket).await?;
    let message = "The server stores objects as they are: encrypt its disk";
    Err(refusal(StatusCode::NOT_FOUND, "ServerSideEncryptionConfigurationNotFoundError", message))
}

/// Says that versioning was never enabled.
pub(super) async fn versioning(
    session: &Session,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    session.check_bucket(&request.input.bucket).await?;
    Ok(S3Response::new(GetBucketVersioningOutput::default()))
}

/// Says that there are no tags.
pub(super) async fn tagging(
    session: &Session,
    request: S3Request<GetBucketTaggingInput>,
) -> S3Result<S3Response<GetBucketTaggingOutput>> {
    session.check_bucket(&request.input.bucket).await?;
    Err(refusal(StatusCode::NOT_FOUND, "NoSuchTagSet", "The bucket has no tags"))
}

/// Says that there is no replication.
pub(super) async fn replication(
    session: &Session,
    request: S3Request<GetBucketReplicationInput>,
) -> S3Result<S3Response<GetBucketReplicationOutput>> {
    session.check_bucket(&request.input.bucket).await?;
    Err(refusal(StatusCode::NOT_FOUND, "ReplicationConfigurationNotFoundError", "The bucket is not replicated"))
}

/// Says that there is no object lock.
pub(super) async fn object_lock(
    session: &Session,
    request: S3Request<GetObjectLockConfigurationInput>,
) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
    session.check_bucket(&request.input.bucket).await?;
    Err(refusal(StatusCode::NOT_FOUND, "ObjectLockConfigurationNotFoundError", "The bucket has no object lock"))
}
