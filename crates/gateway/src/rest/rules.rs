//! Rules of buckets, in the form of R2's API.

use std::sync::Arc;

use axum::body::Body;
use http::StatusCode;
use isobar_storage::ObjectStore;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::buckets;
use super::call::{self, require};
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, BUCKETS, code, success};
use crate::catalog::{CatalogError, CorsPolicy, LifecyclePolicy};
use crate::keys::{Key, Permission};

/// Returns the CORS rules of a bucket, which may be none.
pub(super) async fn cors(door: &RestDoor, key: &Key, name: &str) -> Answer {
    readable(door, key, name).await?;
    success(&door.buckets.cors(name).await.map_err(|error| ApiError::of_catalog(&error, BUCKETS))?)
}

/// Replaces the CORS rules of a bucket.
pub(super) async fn set_cors(door: &RestDoor, key: &Key, name: &str, body: Body) -> Answer {
    configurable(door, key, name).await?;
    let policy: CorsPolicy = read(door, body).await?;
    replace_cors(door, name, policy).await
}

/// Removes the CORS rules of a bucket.
pub(super) async fn delete_cors(door: &RestDoor, key: &Key, name: &str) -> Answer {
    configurable(door, key, name).await?;
    replace_cors(door, name, CorsPolicy::default()).await
}

/// Returns the lifecycle rules of a bucket: R2's default where none were set.
pub(super) async fn lifecycle(door: &RestDoor, key: &Key, name: &str) -> Answer {
    readable(door, key, name).await?;
    success(&door.buckets.lifecycle(name).await.map_err(|error| ApiError::of_catalog(&error, BUCKETS))?)
}

/// Replaces the lifecycle rules of a bucket.
pub(super) async fn set_lifecycle(door: &RestDoor, key: &Key, name: &str, body: Body) -> Answer {
    let store = configurable(door, key, name).await?;
    let policy: LifecyclePolicy = read(door, body).await?;
    let of_catalog = |error: CatalogError| ApiError::of_catalog(&error, BUCKETS);
    policy.check_store(store.capabilities()).map_err(of_catalog)?;
    door.buckets.set_lifecycle(name, policy).await.map_err(of_catalog)?;
    success(&json!({}))
}

async fn replace_cors(door: &RestDoor, name: &str, policy: CorsPolicy) -> Answer {
    door.buckets.set_cors(name, policy).await.map_err(|error| ApiError::of_catalog(&error, BUCKETS))?;
    success(&json!({}))
}

/// Requires a key that reads the whole bucket: rules name prefixes and origins of all of it.
async fn readable(door: &RestDoor, key: &Key, name: &str) -> Answer<()> {
    require(key, Permission::R2Read)?;
    buckets::open(door, key, name).await?;
    if key.scope.buckets().can_list(name, "") {
        return Ok(());
    }
    Err(ApiError::forbidden("a token that is bound to a prefix does not read the rules of a bucket"))
}

/// Returns a bucket of a key that may create and delete buckets.
async fn configurable(door: &RestDoor, key: &Key, name: &str) -> Answer<Arc<dyn ObjectStore>> {
    buckets::administer(key)?;
    buckets::open(door, key, name).await
}

/// Reads rules, which are checked as they are read.
async fn read<T: DeserializeOwned>(door: &RestDoor, body: Body) -> Answer<T> {
    let bytes = call::bytes(body, door.options.json_bytes).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("The rules are not valid: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, code::INVALID_JSON, message)
    })
}
