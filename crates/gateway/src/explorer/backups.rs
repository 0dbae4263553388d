//! Backups: what a target has, runs and checks.
//!
//! Permissions are those of what is backed up: who may read all of a database, or of the session objects, sees its backup and has it
//! verified, which writes nothing. A run needs a door that writes, and for a database `d1:write`; scopes know no writing of session
//! objects. Where a backup goes is the operator's choice, never a request's.
//!
//! A run or a check may take minutes, so that it goes on beside the request that has begun it.

use http::StatusCode;
use serde_json::{Value as Json, json};

use super::door::ExplorerDoor;
use super::operations::{Action, Backups};
use crate::catalog::{BackupSource, CatalogError};
use crate::keys::{Key, Permission};
use crate::rest::parts::{Answer, ApiError, OTHERS, code, find_database, require, success};

/// Lists all that can be backed up and that the key may read, without a look at the target.
pub(super) async fn list(door: &ExplorerDoor, key: &Key) -> Answer {
    let backups = served(door)?;
    if require(key, Permission::D1Read).is_err() {
        require(key, Permission::SessionsRead)?;
    }
    let mut listed = Vec::new();
    for source in backups.catalog.sources().await.map_err(failed)? {
        match named(door, key, &source).await {
            Ok((source, id)) => listed.push(entry(backups, &source, &id)),
            Err(error) if error.status.is_server_error() => return Err(error),
            Err(_) => {} // not for this key, or of a database that is gone
        }
    }
    success(&listed)
}

/// Describes the backup of a source, which is named by its path: a database by its id or name.
pub(super) async fn describe(door: &ExplorerDoor, key: &Key, path: &BackupSource) -> Answer {
    let backups = served(door)?;
    let (source, id) = known(door, backups, key, path).await?;
    let info = backups.catalog.describe(&source).await.map_err(failed)?;
    let mut described = entry(backups, &source, &id);
    described["target"] = info.target.into();
    described["states"] = json!(info.states);
    success(&described)
}

/// Begins a run or a check, which goes on beside this request.
pub(super) async fn begin(door: &ExplorerDoor, key: &Key, path: &BackupSource, action: Action) -> Answer {
    let backups = served(door)?;
    if action == Action::Run && matches!(path, BackupSource::Database(_)) {
        require(key, Permission::D1Write)?;
    }
    let (source, id) = known(door, backups, key, path).await?;
    if backups.begin(&source, action) {
        return success(&entry(backups, &source, &id));
    }
    let message = "a backup or a check is in flight: wait for its end";
    Err(ApiError::new(StatusCode::CONFLICT, code::MALFORMED, message))
}

/// The backups of this server.
fn served(door: &ExplorerDoor) -> Answer<&Backups> {
    door.backups.as_ref().ok_or_else(|| ApiError::malformed("this server has no target for backups"))
}

/// A source as lists show it.
fn entry(backups: &Backups, source: &BackupSource, id: &str) -> Json {
    let kind = match source {
        BackupSource::Database(_) => "database",
        BackupSource::Sessions(_) => "sessions",
    };
    json!({"kind": kind, "id": id, "name": source.name(), "status": backups.status(source)})
}

/// The source of a path, by its name, with its id, where it has a backup.
async fn known(
    door: &ExplorerDoor,
    backups: &Backups,
    key: &Key,
    path: &BackupSource,
) -> Answer<(BackupSource, String)> {
    let (source, id) = named(door, key, path).await?;
    if backups.catalog.sources().await.map_err(failed)?.contains(&source) {
        return Ok((source, id));
    }
    let message = format!("{:?} is not backed up by this server", source.name());
    Err(ApiError::new(StatusCode::NOT_FOUND, code::NO_OBJECT, message))
}

/// A source by its name, with its id, for a key that may read it.
async fn named(door: &ExplorerDoor, key: &Key, path: &BackupSource) -> Answer<(BackupSource, String)> {
    match path {
        BackupSource::Database(id) => {
            require(key, Permission::D1Read)?;
            let info = find_database(&door.rest, key, id).await?;
            Ok((BackupSource::Database(info.name), info.id))
        }
        BackupSource::Sessions(class) => {
            require(key, Permission::SessionsRead)?;
            Ok((path.clone(), class.clone()))
        }
    }
}

/// The error of the catalog.
fn failed(error: CatalogError) -> ApiError {
    ApiError::of_catalog(&error, OTHERS)
}
