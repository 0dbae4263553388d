//! Databases of D1: the catalog.
//!
//! Tools ask for a database often, by its name, to learn its id; that opens nothing. Sizes and numbers
//! of tables need the database open, and are asked of SQLite.

use std::sync::Arc;

use axum::body::Body;
use chrono::SecondsFormat;
use http::StatusCode;
use isobar_db::{Consistency, Database, QueryableExt, Statement};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::call::{self, Call, require};
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, DATABASES, code, success};
use super::failure::{Kind, failed};
use super::page::page;
use crate::catalog::DatabaseInfo;
use crate::keys::{Key, Permission};

const PER_PAGE: usize = 100;
const MOST_PER_PAGE: usize = 10_000;
/// The version of every database of D1 that is not of its alpha.
const VERSION: &str = "production";

/// Body of a creation. Other fields, such as `primary_location_hint`, are ignored.
#[derive(Debug, Deserialize)]
struct NewDatabase {
    name: String,
    jurisdiction: Option<String>,
    read_replication: Option<Replication>,
}

/// Body of a change.
#[derive(Debug, Deserialize)]
struct Changes {
    read_replication: Option<Replication>,
}

#[derive(Debug, Deserialize)]
struct Replication {
    mode: String,
}

impl Replication {
    /// Refuses replicas, of which there are none.
    fn check(asked: Option<&Self>) -> Answer<()> {
        match asked {
            Some(replication) if replication.mode != "disabled" => Err(ApiError::malformed(
                "a database has no read replicas here: the mode of its read_replication is disabled",
            )),
            _ => Ok(()),
        }
    }
}

/// Lists the databases that the key knows, by pages.
pub(super) async fn list(door: &RestDoor, call: &Call, key: &Key) -> Answer {
    require(key, Permission::D1Read)?;
    let mut databases = door.databases.list().await.map_err(|error| ApiError::of_catalog(&error, DATABASES))?;
    databases.retain(|database| is_known(key, database));
    // The name or the beginning of it.
    if let Some(name) = call.query.get("name").filter(|name| !name.is_empty()) {
        databases.retain(|database| database.name.starts_with(name));
    }
    let shown: Vec<Json> = databases.iter().map(|database| shown(database).into()).collect();
    page(&shown, &call.query, PER_PAGE, MOST_PER_PAGE)
}

/// Creates an empty database.
pub(super) async fn create(door: &RestDoor, key: &Key, body: Body) -> Answer {
    administer(key)?;
    let NewDatabase { name, jurisdiction, read_replication } = call::json(body, door.options.json_bytes).await?;
    // A hint of a location may be ignored; where data must be is a promise.
    if jurisdiction.is_some() {
        return Err(ApiError::malformed("a database has no jurisdiction here: it is where the server is"));
    }
    Replication::check(read_replication.as_ref())?;
    let created = door.databases.create(&name).await;
    let created = created.map_err(|error| ApiError::of_catalog(&error, DATABASES))?;
    described(door, &created).await
}

/// Describes a database; with `fields`, only these of it.
pub(super) async fn get(door: &RestDoor, call: &Call, key: &Key, id: &str) -> Answer {
    require(key, Permission::D1Read)?;
    let info = find(door, key, id).await?;
    let fields: Vec<&str> = call.query.all("fields").collect();
    // Clients ask for the id of a name often; that opens nothing.
    if !fields.is_empty() && fields.iter().all(|field| shown(&info).contains_key(*field)) {
        let mut result = shown(&info);
        result.retain(|field, _| fields.contains(&field.as_str()));
        return success(&result);
    }
    described(door, &info).await
}

/// Changes a database: its replication, of which there is none.
pub(super) async fn edit(door: &RestDoor, key: &Key, id: &str, body: Body) -> Answer {
    administer(key)?;
    let info = find(door, key, id).await?;
    let Changes { read_replication } = call::json(body, door.options.json_bytes).await?;
    Replication::check(read_replication.as_ref())?;
    described(door, &info).await
}

/// Deletes a database with its data and its history.
pub(super) async fn delete(door: &RestDoor, key: &Key, id: &str) -> Answer {
    administer(key)?;
    let info = find(door, key, id).await?;
    door.databases.delete(&info.id).await.map_err(|error| ApiError::of_catalog(&error, DATABASES))?;
    success(&Json::Null)
}

/// The newest bookmark; empty where the database has none.
pub(super) async fn current_bookmark(database: &dyn Database) -> Answer<String> {
    let session = database.session(Consistency::FirstPrimary);
    session.query(Statement::new("SELECT 1").rows_only()).await.map_err(|error| failed(&error, Kind::Read))?;
    Ok(session.bookmark().map(|bookmark| bookmark.as_str().to_owned()).unwrap_or_default())
}

/// Finds a database by its id or name.
pub(crate) async fn find(door: &RestDoor, key: &Key, id: &str) -> Answer<DatabaseInfo> {
    let found = door.databases.find(id).await.map_err(|error| ApiError::of_catalog(&error, DATABASES))?;
    match found {
        Some(info) if is_known(key, &info) => Ok(info),
        None if key.scope.databases.is_empty() => Err(missing(id)),
        // A bound token does not learn which others there are.
        _ => Err(ApiError::forbidden(format_args!("the token is bound to other databases than {id:?}"))),
    }
}

/// Finds and opens a database by its id or name.
pub(crate) async fn open(door: &RestDoor, key: &Key, id: &str) -> Answer<(DatabaseInfo, Arc<dyn Database>)> {
    let info = find(door, key, id).await?;
    let opened = door.databases.open(&info.id).await.map_err(|error| ApiError::of_catalog(&error, DATABASES))?;
    let database = opened.ok_or_else(|| missing(id))?;
    Ok((info, database))
}

/// A database with its size and number of tables, as Cloudflare shows one by itself.
async fn described(door: &RestDoor, info: &DatabaseInfo) -> Answer {
    let opened = door.databases.open(&info.id).await.map_err(|error| ApiError::of_catalog(&error, DATABASES))?;
    let database = opened.ok_or_else(|| missing(&info.id))?;
    let counted = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'";
    let counted = database.prepare(counted).into_statement();
    let counted = database.query(counted).await.map_err(|error| failed(&error, Kind::Read))?;
    let tables: Vec<u64> = counted.rows_as().map_err(|error| failed(&error, Kind::Read))?;
    let mut result = shown(info);
    result.insert("num_tables".to_owned(), tables.first().copied().into());
    result.insert("file_size".to_owned(), counted.meta.size_after.into());
    result.insert("read_replication".to_owned(), json!({"mode": "disabled"}));
    success(&result)
}

/// Whether the key may know of a database: by its id or its name.
fn is_known(key: &Key, info: &DatabaseInfo) -> bool {
    key.scope.knows_database([info.id.as_str(), info.name.as_str()])
}

/// Requires a key that may create and delete databases.
fn administer(key: &Key) -> Answer<()> {
    require(key, Permission::D1Write)?;
    if key.scope.can_administer_databases() {
        return Ok(());
    }
    Err(ApiError::forbidden("a token that is bound to databases creates and deletes none"))
}

/// The error of a database that does not exist, in D1's words and code.
fn missing(id: &str) -> ApiError {
    let message = format!("The database {id} could not be found");
    ApiError::new(StatusCode::NOT_FOUND, code::NO_DATABASE, message)
}

/// A database as lists show it.
fn shown(info: &DatabaseInfo) -> Map<String, Json> {
    let fields = [
        ("uuid", info.id.clone()),
        ("name", info.name.clone()),
        ("created_at", info.created.to_rfc3339_opts(SecondsFormat::Millis, true)),
        ("version", VERSION.to_owned()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}
