//! Buckets of R2.
//!
//! A key that is bound to buckets sees those alone, and gets 403 for any other name, whether there is
//! such a bucket or not.

use std::sync::Arc;

use axum::body::Body;
use chrono::SecondsFormat;
use http::StatusCode;
use isobar_storage::ObjectStore;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::call::{self, Call, require};
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, BUCKETS, code, success, success_with};
use crate::catalog::BucketInfo;
use crate::keys::{Key, Permission};

const PER_PAGE: usize = 20;
const MOST_PER_PAGE: usize = 1000;

/// Body of a creation. Other fields, such as `locationHint`, are ignored.
#[derive(Debug, Deserialize)]
struct NewBucket {
    name: String,
    #[serde(rename = "storageClass")]
    storage_class: Option<String>,
}

/// Refuses a jurisdiction, of which there are none. A hint of a location may be ignored; where data must be is a promise, and buckets of
/// a jurisdiction are others than those without it, whatever their names.
pub(super) fn check_jurisdiction(call: &Call) -> Answer<()> {
    match call.headers.get("cf-r2-jurisdiction") {
        Some(jurisdiction) if jurisdiction != "default" => {
            Err(ApiError::malformed("buckets have no jurisdiction here: they are where the server is"))
        }
        _ => Ok(()),
    }
}

/// The SDKs ask for one page alone and wrangler for all in one: without `per_page` everything is answered.
pub(super) async fn list(door: &RestDoor, call: &Call, key: &Key) -> Answer {
    require(key, Permission::R2Read)?;
    let scope = key.scope.buckets();
    let mut buckets = catalog(door).await?;
    let contains = call.query.get("name_contains").unwrap_or_default();
    buckets.retain(|bucket| scope.knows(&bucket.name) && bucket.name.contains(contains));
    let descending = call.query.get("direction") == Some("desc");
    if descending {
        buckets.reverse();
    }
    if let Some(after) = call.query.get("cursor").or_else(|| call.query.get("start_after")) {
        buckets.retain(|bucket| if descending { bucket.name.as_str() < after } else { bucket.name.as_str() > after });
    }
    let per_page = match call.query.get("per_page").map(str::parse::<usize>) {
        None if call.query.get("cursor").is_none() => buckets.len(),
        None => PER_PAGE,
        Some(Ok(number)) if (1..=MOST_PER_PAGE).contains(&number) => number,
        Some(_) => return Err(ApiError::malformed("per_page must be a number from 1 to 1000")),
    };
    let is_truncated = buckets.len() > per_page;
    buckets.truncate(per_page);
    let cursor = buckets.last().filter(|_| is_truncated).map(|bucket| bucket.name.clone()).unwrap_or_default();
    let info = json!({"cursor": cursor, "per_page": per_page});
    let shown: Vec<_> = buckets.iter().map(shown).collect();
    success_with(&json!({"buckets": shown}), Some(info), &[])
}

/// Creates a bucket, by R2's rule for names.
pub(super) async fn create(door: &RestDoor, key: &Key, body: Body) -> Answer {
    administer(key)?;
    let new: NewBucket = call::json(body, door.options.json_bytes).await?;
    if new.storage_class.is_some_and(|class| class != "Standard") {
        return Err(no_class());
    }
    if !is_name(&new.name) {
        let message = "The specified bucket name is not valid: use 3 to 63 lower-case letters, digits and hyphens, none of \
                       these first or last";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, code::INVALID_BUCKET, message));
    }
    let created = door.buckets.create(&new.name).await;
    success(&shown(&created.map_err(|error| ApiError::of_catalog(&error, BUCKETS))?))
}

/// Describes a bucket.
pub(super) async fn get(door: &RestDoor, key: &Key, name: &str) -> Answer {
    require(key, Permission::R2Read)?;
    known(key, name)?;
    let found = catalog(door).await?.into_iter().find(|bucket| bucket.name == name);
    success(&shown(&found.ok_or_else(missing)?))
}

/// Changes a bucket: its default storage class, of which there is one.
pub(super) async fn edit(door: &RestDoor, call: &Call, key: &Key, name: &str) -> Answer {
    administer(key)?;
    let class = call.headers.get("cf-r2-storage-class").map(|class| class.as_bytes());
    if class.is_some_and(|class| class != b"Standard") {
        return Err(no_class());
    }
    let found = catalog(door).await?.into_iter().find(|bucket| bucket.name == name);
    success(&shown(&found.ok_or_else(missing)?))
}

/// The error of another default storage class than R2's.
fn no_class() -> ApiError {
    ApiError::malformed("a bucket has no default storage class here but Standard")
}

/// Deletes an empty bucket.
pub(super) async fn delete(door: &RestDoor, key: &Key, name: &str) -> Answer {
    administer(key)?;
    door.buckets.delete(name).await.map_err(|error| ApiError::of_catalog(&error, BUCKETS))?;
    success(&json!({}))
}

/// Opens a bucket that the key knows.
pub(super) async fn open(door: &RestDoor, key: &Key, name: &str) -> Answer<Arc<dyn ObjectStore>> {
    known(key, name)?;
    let opened = door.buckets.open(name).await.map_err(|error| ApiError::of_catalog(&error, BUCKETS))?;
    opened.ok_or_else(missing)
}

/// All buckets of the door.
async fn catalog(door: &RestDoor) -> Answer<Vec<BucketInfo>> {
    door.buckets.list().await.map_err(|error| ApiError::of_catalog(&error, BUCKETS))
}

/// Refuses other buckets than those of the key, whether they exist or not.
fn known(key: &Key, name: &str) -> Answer<()> {
    if key.scope.buckets().knows(name) {
        return Ok(());
    }
    Err(ApiError::forbidden(format_args!("the token is bound to other buckets than {name:?}")))
}

/// Requires a key that may create, delete and configure buckets: one that writes, and is bound to nothing.
pub(super) fn administer(key: &Key) -> Answer<()> {
    require(key, Permission::R2Write)?;
    if key.scope.buckets().can_administer() {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "a token that is bound to buckets or to a prefix creates, deletes and configures no bucket",
    ))
}

/// The error of a bucket that does not exist, in R2's words and code.
fn missing() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, code::NO_BUCKET, "The specified bucket does not exist.")
}

/// R2's rule. Source: R2's documentation, "Create buckets", "Bucket-level operations".
fn is_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&name.len()) && name.bytes().all(is_inner) && !name.starts_with('-') && !name.ends_with('-')
}

/// A bucket as Cloudflare's API shows one.
fn shown(bucket: &BucketInfo) -> Json {
    json!({
        "name": bucket.name,
        "creation_date": bucket.created.to_rfc3339_opts(SecondsFormat::Millis, true),
        "jurisdiction": "default",
        "storage_class": "Standard",
    })
}
