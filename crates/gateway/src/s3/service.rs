//! The operations of S3 by their handlers.
//!
//! s3s has a method for each of S3's operations, about a hundred, which answers `NotImplemented` by
//! default. Those that there are stand here in one table, by which [`screen`](super::screen) has its
//! own: an operation that is in one and not in the other is not implemented.

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::session::Session;
use super::{bucket_list, buckets, copy, cors, lifecycle, listing, multipart, objects};

/// Implements each operation by the function that handles it.
macro_rules! operations {
    ($($name:ident: $input:ident -> $output:ident = $handler:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Session {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                $handler(self, request).await
            })*
        }
    };
}
operations! {
    list_buckets: ListBucketsInput -> ListBucketsOutput = bucket_list::list;
    head_bucket: HeadBucketInput -> HeadBucketOutput = buckets::head;
    create_bucket: CreateBucketInput -> CreateBucketOutput = buckets::create;
    delete_bucket: DeleteBucketInput -> DeleteBucketOutput = buckets::delete;
    get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput = buckets::location;
    get_bucket_encryption: GetBucketEncryptionInput -> GetBucketEncryptionOutput = buckets::encryption;
    get_bucket_versioning: GetBucketVersioningInput -> GetBucketVersioningOutput = buckets::versioning;
    get_bucket_tagging: GetBucketTaggingInput -> GetBucketTaggingOutput = buckets::tagging;
    get_bucket_replication: GetBucketReplicationInput -> GetBucketReplicationOutput = buckets::replication;
    get_bucket_cors: GetBucketCorsInput -> GetBucketCorsOutput = cors::get;
    put_bucket_cors: PutBucketCorsInput -> PutBucketCorsOutput = cors::put;
    delete_bucket_cors: DeleteBucketCorsInput -> DeleteBucketCorsOutput = cors::delete;
    get_bucket_lifecycle_configuration:
        GetBucketLifecycleConfigurationInput -> GetBucketLifecycleConfigurationOutput = lifecycle::get;
    put_bucket_lifecycle_configuration:
        PutBucketLifecycleConfigurationInput -> PutBucketLifecycleConfigurationOutput = lifecycle::put;
    delete_bucket_lifecycle: DeleteBucketLifecycleInput -> DeleteBucketLifecycleOutput = lifecycle::delete;
    get_object_lock_configuration:
        GetObjectLockConfigurationInput -> GetObjectLockConfigurationOutput = buckets::object_lock;
    list_objects: ListObjectsInput -> ListObjectsOutput = listing::v1;
    list_objects_v2: ListObjectsV2Input -> ListObjectsV2Output = listing::v2;
    get_object: GetObjectInput -> GetObjectOutput = objects::get;
    head_object: HeadObjectInput -> HeadObjectOutput = objects::head;
    put_object: PutObjectInput -> PutObjectOutput = objects::put;
    delete_object: DeleteObjectInput -> DeleteObjectOutput = objects::delete;
    delete_objects: DeleteObjectsInput -> DeleteObjectsOutput = objects::delete_many;
    copy_object: CopyObjectInput -> CopyObjectOutput = copy::object;
    upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput = copy::part;
    create_multipart_upload: CreateMultipartUploadInput -> CreateMultipartUploadOutput = multipart::create;
    upload_part: UploadPartInput -> UploadPartOutput = multipart::upload_part;
    complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput = multipart::complete;
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput = multipart::abort;
    list_multipart_uploads: ListMultipartUploadsInput -> ListMultipartUploadsOutput = listing::uploads;
    list_parts: ListPartsInput -> ListPartsOutput = multipart::list_parts;
}
