//! Links to objects: URLs that are good for one object for a while, and no longer than the key that signed them.
//!
//! A link is for a browser that downloads or shows an object: a navigation cannot carry the token's
//! header, and a token in an address would be in histories and logs. So the path names the key that
//! signed it, and the signature is good for one object until its time.
//!
//! The signing secret is derived from the key's own. So a link needs no table, ends with the key's
//! revocation, expiry or scope, which are looked up when it is opened, and cannot be turned into
//! another bucket's.

use std::time::Duration;

use axum::body::Body;
use chrono::{SecondsFormat, TimeDelta, Utc};
use http::{HeaderValue, StatusCode, header};
use isobar_storage::signed::Signer;
use isobar_storage::{Key as ObjectKey, PresignMethod, PresignOptions};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::door::ExplorerDoor;
use super::route::{Link, PREFIX};
use crate::keys::{AccessKey, AccessKeys, Key, Permission};
use crate::rest::parts::{
    Answer, ApiError, BUCKETS, Call, code, json as read_json, object_failed, read_object, require, success,
};

/// Link to be signed.
#[derive(Debug, Deserialize)]
struct Asked {
    bucket: String,
    key: String,
    /// Seconds for which it is good: from 1 to a week.
    seconds: u64,
}

/// Signs a link for the caller. Returns its path and the time at which it ends.
pub(super) async fn sign(door: &ExplorerDoor, key: &Key, body: Body) -> Answer {
    require(key, Permission::R2Read)?;
    let Asked { bucket, key: object, seconds } = read_json(body, door.rest.options.json_bytes).await?;
    if !key.scope.buckets().can_read(&bucket, &object) {
        return Err(ApiError::forbidden("the token is bound to other buckets or keys than this object's"));
    }
    let object = ObjectKey::new(&object).map_err(|error| object_failed(&error))?;
    let found = door.rest.keys.find(&key.id).await?;
    let signing = found.ok_or_else(|| ApiError::forbidden("the token is revoked"))?;
    let now = Utc::now();
    let options = PresignOptions::new(object, PresignMethod::Get, Duration::from_secs(seconds));
    let url = signer(&signing, &bucket)?.sign(&options, now).map_err(|error| object_failed(&error))?;
    let expires = now + TimeDelta::seconds(seconds as i64); // a week at most, as the signer has checked
    success(&json!({"url": url, "expires_on": expires.to_rfc3339_opts(SecondsFormat::Secs, true)}))
}

/// Gives the object of a link, as an attachment.
pub(super) async fn open(door: &ExplorerDoor, call: &Call, query: &str, link: &Link) -> Answer {
    let Link { key_id, bucket, object } = link;
    let Some(signed_by) = door.rest.keys.find(key_id).await? else {
        return Err(refused("the key of the link is revoked or unknown"));
    };
    if signed_by.is_expired(Utc::now()) {
        return Err(refused("the key of the link has expired"));
    }
    let key = ObjectKey::new(object).map_err(|error| object_failed(&error))?;
    let verified = signer(&signed_by, bucket)?.verify(PresignMethod::Get, &key, query, Utc::now());
    verified.map_err(|error| refused(error.message()))?;
    if !signed_by.scope.can_read(bucket, object) {
        return Err(refused("the key of the link may not read the object"));
    }
    door.rest.keys.note_use(key_id);
    let opened = door.rest.buckets.open(bucket).await.map_err(|error| ApiError::of_catalog(&error, BUCKETS))?;
    let store = opened
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, code::NO_BUCKET, "The specified bucket does not exist."))?;
    let mut response = read_object(&*store, &call.headers, object).await?;
    let name = object.rsplit('/').find(|segment| !segment.is_empty()).unwrap_or("object");
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let disposition = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{name}"));
    let disposition = disposition.expect("percent-encoded text is a header's value");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    Ok(response)
}

/// The signer for a bucket. Its secret is derived from the key's, which is not the same for any two keys, and from the bucket's name.
fn signer(key: &AccessKey, bucket: &str) -> Answer<Signer> {
    let secret = Sha256::digest(format!("{}\nisobar-explorer-link\n{bucket}", key.secret()));
    let base = format!("{PREFIX}/links/{}/{}", key.id, utf8_percent_encode(bucket, NON_ALPHANUMERIC));
    Signer::new(base, secret.to_vec()).map_err(|error| object_failed(&error))
}

/// The client does not learn which of the reasons it is.
fn refused(reason: &str) -> ApiError {
    let message = "The link is not valid, or no longer";
    ApiError::new(StatusCode::FORBIDDEN, code::AUTHENTICATION, message).refused(reason)
}
