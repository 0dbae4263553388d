//! Routes: the path of a request, read once.

use http::{Method, StatusCode};

use super::operations::Action;
use crate::catalog::BackupSource;
use crate::rest::parts::{Answer, ApiError, code, decoded};

/// Prefix of the explorer's own routes.
pub(super) const PREFIX: &str = "/explorer/v1";

/// A route, with the names in its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Session,
    Schema(String),
    Explain(String),
    Read(String),
    History(String),
    SignLink,
    Link(Link),
    Deploys,
    Rollback(String),
    Backups,
    Backup(BackupSource),
    BeginBackup(BackupSource, Action),
    Classes,
    Objects(String),
    Object(String, String),
    QueryObject(String, String),
}

/// The path of a link to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Id of the key that signed it.
    pub(super) key_id: String,
    pub(super) bucket: String,
    /// Key of the object.
    pub(super) object: String,
}

/// Reads a path, which begins with the prefix.
///
/// # Errors
/// 404 for a path without a route, 405 for another method, 400 for one that is not UTF-8.
pub(super) fn read(method: &Method, path: &str) -> Answer<Route> {
    let rest = path.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
    let segments: Vec<&str> = rest.split('/').collect();
    let (allowed, route) = match segments.as_slice() {
        ["session"] => (Method::GET, Route::Session),
        ["databases", id, "schema"] => (Method::GET, Route::Schema(decoded(id)?)),
        ["databases", id, "explain"] => (Method::POST, Route::Explain(decoded(id)?)),
        ["databases", id, "read"] => (Method::POST, Route::Read(decoded(id)?)),
        ["databases", id, "history"] => (Method::GET, Route::History(decoded(id)?)),
        ["links"] => (Method::POST, Route::SignLink),
        ["links", key_id, bucket, object @ ..] if !object.is_empty() => {
            let object = decoded(&object.join("/"))?;
            (Method::GET, Route::Link(Link { key_id: decoded(key_id)?, bucket: decoded(bucket)?, object }))
        }
        ["deploys"] => (Method::GET, Route::Deploys),
        ["sessions"] => (Method::GET, Route::Classes),
        ["sessions", class] => (Method::GET, Route::Objects(decoded(class)?)),
        ["sessions", class, id] => (Method::GET, Route::Object(decoded(class)?, decoded(id)?)),
        ["sessions", class, id, "query"] => (Method::POST, Route::QueryObject(decoded(class)?, decoded(id)?)),
        ["deploys", id, "rollback"] => (Method::POST, Route::Rollback(decoded(id)?)),
        ["backups"] => (Method::GET, Route::Backups),
        ["backups", kind, name] => (Method::GET, Route::Backup(source(path, kind, name)?)),
        ["backups", kind, name, "run"] => (Method::POST, Route::BeginBackup(source(path, kind, name)?, Action::Run)),
        ["backups", kind, name, "verify"] => {
            (Method::POST, Route::BeginBackup(source(path, kind, name)?, Action::Verify))
        }
        _ => return Err(ApiError::no_route(path)),
    };
    if *method == allowed {
        return Ok(route);
    }
    let message = format!("Method {method} is not allowed here");
    Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, code::METHOD_NOT_ALLOWED, message))
}

/// The source of a backup in a path.
fn source(path: &str, kind: &str, name: &str) -> Answer<BackupSource> {
    match kind {
        "databases" => Ok(BackupSource::Database(decoded(name)?)),
        "sessions" => Ok(BackupSource::Sessions(decoded(name)?)),
        _ => Err(ApiError::no_route(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &Method, path: &str) -> Result<Route, u16> {
        read(method, path).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn links_keep_the_slashes_of_a_key() {
        let link = |object: &str| {
            let [key_id, bucket, object] = ["k", "b", object].map(str::to_owned);
            Ok(Route::Link(Link { key_id, bucket, object }))
        };
        for (path, object) in [("a/b%20c.txt", "a/b c.txt"), ("%2Fa//b/", "/a//b/"), ("a%2Fb", "a/b"), ("..", "..")] {
            assert_eq!(route(&Method::GET, &format!("/explorer/v1/links/k/b/{path}")), link(object), "{path}");
        }
    }

    #[test]
    fn unknown_paths_and_methods_are_refused() {
        for path in [
            "/explorer/v1",
            "/explorer/v1/",
            "/explorer/v1/links/k/b",
            "/explorer/v1/databases/x",
            "/explorer/v10/session",
            "/explorer/v1/backups/buckets/photos",
            "/explorer/v1/backups/databases/orders/restore",
        ] {
            assert_eq!(route(&Method::GET, path), Err(404), "{path}");
        }
        assert_eq!(route(&Method::POST, "/explorer/v1/session"), Err(405));
        assert_eq!(route(&Method::PUT, "/explorer/v1/links/k/b/o"), Err(405));
        assert_eq!(route(&Method::GET, "/explorer/v1/backups/databases/orders/run"), Err(405));
        assert_eq!(route(&Method::GET, "/explorer/v1/backups/sessions/%FF"), Err(400));
        assert_eq!(route(&Method::GET, "/explorer/v1/databases/%FF/schema"), Err(400));
    }
}
