//! A request with its access key: what the key may do decides which buckets there are.
//!
//! The order of checks is the same everywhere: the scope, then the bucket, then the key's form. A key
//! that may not touch a bucket gets 403 whether it exists or not.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use isobar_storage::{Key, ObjectStore};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3Result};

use super::error::{OrS3, access_denied, no_such_bucket, refusal};
use crate::catalog::{BucketCatalog, CatalogErrorKind};
use crate::keys::AccessKey;

/// Header of R2's by which a put creates its bucket.
const CREATE_BUCKET: &str = "cf-create-bucket-if-missing";

/// The operations of one request. A store is only reached by a method that checks the key's scope.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) buckets: Arc<dyn BucketCatalog>,
    pub(super) key: AccessKey,
}

impl Session {
    /// Returns the bucket of an object that is read.
    pub(super) async fn to_read(&self, bucket: &str, key: &str) -> S3Result<(Arc<dyn ObjectStore>, Key)> {
        if !self.key.scope.can_read(bucket, key) {
            return Err(access_denied());
        }
        Ok((self.open(bucket).await?, Key::new(key).or_s3()?))
    }

    /// Returns the bucket of an object that is written or deleted.
    pub(super) async fn to_write(&self, bucket: &str, key: &str) -> S3Result<(Arc<dyn ObjectStore>, Key)> {
        if !self.key.scope.can_write(bucket, key) {
            return Err(access_denied());
        }
        Ok((self.open(bucket).await?, Key::new(key).or_s3()?))
    }

    /// Returns the bucket of an object that is put. Where it is missing, a request may ask for it, if its key may create buckets: an
    /// extension of R2's.
    pub(super) async fn to_put(
        &self,
        bucket: &str,
        key: &str,
        headers: &HeaderMap,
    ) -> S3Result<(Arc<dyn ObjectStore>, Key)> {
        let found = self.to_write(bucket, key).await;
        let is_asked = headers.get(CREATE_BUCKET).is_some_and(|value| value.as_bytes() == b"true");
        let is_missing = found.as_ref().is_err_and(|error| error.code().as_str() == "NoSuchBucket");
        if !(is_asked && is_missing && self.key.scope.can_administer()) {
            return found;
        }
        Key::new(key).or_s3()?;
        match self.buckets.create(bucket).await {
            // Another request was first.
            Err(error) if error.kind() == CatalogErrorKind::AlreadyExists => {}
            created => drop(created.or_s3()?),
        }
        self.to_write(bucket, key).await
    }

    /// Returns the bucket whose keys with this prefix are listed.
    pub(super) async fn to_list(&self, bucket: &str, prefix: &str) -> S3Result<Arc<dyn ObjectStore>> {
        if !self.key.scope.can_list(bucket, prefix) {
            return Err(access_denied());
        }
        self.open(bucket).await
    }

    /// Returns the bucket of several objects, each of which the caller checks.
    pub(super) async fn to_write_some(&self, bucket: &str) -> S3Result<Arc<dyn ObjectStore>> {
        if !(self.key.scope.write && self.key.scope.knows(bucket)) {
            return Err(access_denied());
        }
        self.open(bucket).await
    }

    /// Checks that the key may do something in the bucket, and that there is one of this name.
    pub(super) async fn check_bucket(&self, bucket: &str) -> S3Result<()> {
        if !self.key.scope.can_use(bucket) {
            return Err(access_denied());
        }
        self.open(bucket).await.map(drop)
    }

    /// Checks that buckets may be created and deleted.
    pub(super) fn check_administrator(&self) -> S3Result<()> {
        if self.key.scope.can_administer() { Ok(()) } else { Err(access_denied()) }
    }

    /// Opens a bucket, whatever the scope: the callers have asked it.
    async fn open(&self, bucket: &str) -> S3Result<Arc<dyn ObjectStore>> {
        self.buckets.open(bucket).await.or_s3()?.ok_or_else(no_such_bucket)
    }
}

/// The key of a request, as s3s asks for it: there is no other.
#[derive(Debug)]
pub(super) struct OneKey(pub(super) AccessKey);

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.id { Ok(SecretKey::from(self.0.secret())) } else { Err(unauthorized()) }
    }
}

/// Returns the error of a key that is not good: unknown, revoked and expired ones are not told apart.
pub(super) fn unauthorized() -> S3Error {
    refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "The access key is not valid")
}
