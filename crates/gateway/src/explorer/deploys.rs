//! The deploys of the site, and rollbacks.
//!
//! Permissions are those of the bucket that the site is stored in: who may list its keys sees deploys,
//! who may write them rolls back.

use serde_json::json;

use super::door::ExplorerDoor;
use crate::catalog::DeployCatalog;
use crate::keys::{Key, Permission};
use crate::rest::parts::{Answer, ApiError, OTHERS, require, success};

/// Place of the site's deploys, for a key that may list them.
pub(super) fn place(door: &ExplorerDoor, key: &Key) -> serde_json::Value {
    let listed =
        door.deploys.as_ref().filter(|deploys| key.scope.buckets().can_list(deploys.bucket(), deploys.prefix()));
    listed.map_or_else(
        || serde_json::Value::Null,
        |deploys| json!({"bucket": deploys.bucket(), "prefix": deploys.prefix()}),
    )
}

/// Lists the deploys, the newest first.
pub(super) async fn list(door: &ExplorerDoor, key: &Key) -> Answer {
    require(key, Permission::R2Read)?;
    let deploys = served(door)?;
    if !key.scope.buckets().can_list(deploys.bucket(), deploys.prefix()) {
        return Err(ApiError::forbidden("the token is bound to other buckets or keys than those of the site"));
    }
    success(&deploys.list().await.map_err(|error| ApiError::of_catalog(&error, OTHERS))?)
}

/// Serves another deploy.
pub(super) async fn rollback(door: &ExplorerDoor, key: &Key, id: &str) -> Answer {
    require(key, Permission::R2Write)?;
    let deploys = served(door)?;
    if !key.scope.buckets().can_write(deploys.bucket(), deploys.prefix()) {
        return Err(ApiError::forbidden("the token is bound to other buckets or keys than those of the site"));
    }
    success(&deploys.rollback(id).await.map_err(|error| ApiError::of_catalog(&error, OTHERS))?)
}

/// The deploys of the site that this server serves.
fn served(door: &ExplorerDoor) -> Answer<&dyn DeployCatalog> {
    door.deploys.as_deref().ok_or_else(|| ApiError::malformed("this server has no site with deploys"))
}
