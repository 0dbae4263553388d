//! Features of R2's buckets that are Cloudflare's own: domains, migration, local uploads, locks, event notifications.
//!
//! Reading answers that there are none, so that tools which look before they act go on. A change is refused: it would have no effect,
//! and a lock that does not hold is worse than none.

use http::StatusCode;
use serde_json::{Value as Json, json};

use super::buckets;
use super::call::require;
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, code, success};
use super::route::Feature;
use crate::keys::{Key, Permission};

/// Answers that a bucket does not have a feature.
pub(super) async fn get(door: &RestDoor, key: &Key, bucket: &str, feature: Feature) -> Answer {
    require(key, Permission::R2Read)?;
    buckets::open(door, key, bucket).await?;
    success(&absent(feature, bucket))
}

/// Answers that there is no such domain or queue.
pub(super) async fn get_entry(door: &RestDoor, key: &Key, bucket: &str, feature: Feature) -> Answer {
    require(key, Permission::R2Read)?;
    buckets::open(door, key, bucket).await?;
    let message = format!("Buckets of this server have no {}", name(feature));
    Err(ApiError::new(StatusCode::NOT_FOUND, code::NO_ROUTE, message))
}

/// Refuses a change.
pub(super) async fn set(door: &RestDoor, key: &Key, bucket: &str, feature: Feature) -> Answer {
    buckets::administer(key)?;
    buckets::open(door, key, bucket).await?;
    let message = format!("Buckets of this server have no {}", name(feature));
    Err(ApiError::new(StatusCode::BAD_REQUEST, code::MALFORMED, message))
}

/// The result for a bucket without it.
fn absent(feature: Feature, bucket: &str) -> Json {
    match feature {
        Feature::CustomDomains => json!({"domains": []}),
        Feature::ManagedDomain => json!({"bucketId": bucket, "domain": "", "enabled": false}),
        Feature::Sippy | Feature::LocalUploads => json!({"enabled": false}),
        Feature::Lock => json!({"rules": []}),
        Feature::Notifications => json!({"bucketName": bucket, "queues": []}),
    }
}

/// Name in messages.
fn name(feature: Feature) -> &'static str {
    match feature {
        Feature::CustomDomains => "custom domains",
        Feature::ManagedDomain => "public development URLs",
        Feature::Sippy => "incremental migration (Sippy)",
        Feature::LocalUploads => "local uploads",
        Feature::Lock => "locks",
        Feature::Notifications => "event notifications",
    }
}
