//! Routes: the path of a request, read once.
//!
//! Routes are matched by hand rather than by a router: an object's key may have any characters and
//! slashes, encoded or not, and an unknown path must answer in the API's envelope, after the token was
//! checked. Each path is decoded once, segment by segment.
//!
//! The enum names each operation once; [`Route::writes`] has no default arm, so that a new route cannot
//! be forgotten by a door that is read-only.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::envelope::{Answer, ApiError, code};

/// Prefix of every route.
pub(super) const PREFIX: &str = "/client/v4";

/// A route, with the names in its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    VerifyToken,
    User,
    Accounts,
    Account,
    Memberships,
    Graphql,
    ListBuckets,
    CreateBucket,
    GetBucket(String),
    DeleteBucket(String),
    EditBucket(String),
    GetFeature(String, Feature),
    /// One of several, of which there are none.
    GetFeatureEntry(String, Feature),
    SetFeature(String, Feature),
    GetCors(String),
    PutCors(String),
    DeleteCors(String),
    GetLifecycle(String),
    PutLifecycle(String),
    ListObjects(String),
    GetObject(String, String),
    PutObject(String, String),
    DeleteObject(String, String),
    ListDatabases,
    CreateDatabase,
    GetDatabase(String),
    DeleteDatabase(String),
    EditDatabase(String),
    Query(String),
    Raw(String),
    Import(String),
    Export(String),
    Bookmark(String),
    Restore(String),
    ListNamespaces,
    ListNamespaceObjects(String),
    #[cfg(feature = "analytics")]
    Analytics,
    /// The file of an import, at the URL that the import's beginning gave.
    Upload(String),
    /// The file of an export, at the URL that the export gave.
    Download(String),
}

/// A feature of R2's buckets that they do not have here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feature {
    CustomDomains,
    ManagedDomain,
    Sippy,
    LocalUploads,
    Lock,
    Notifications,
}

impl Route {
    /// Reports whether the route writes, whatever is sent to it. The statements of a query say it themselves.
    pub(super) fn writes(&self) -> bool {
        match self {
            Self::CreateBucket
            | Self::DeleteBucket(_)
            | Self::EditBucket(_)
            | Self::SetFeature(..)
            | Self::PutCors(_)
            | Self::DeleteCors(_)
            | Self::PutLifecycle(_)
            | Self::PutObject(..)
            | Self::DeleteObject(..)
            | Self::CreateDatabase
            | Self::DeleteDatabase(_)
            | Self::EditDatabase(_)
            | Self::Import(_)
            | Self::Restore(_)
            | Self::Upload(_) => true,
            Self::VerifyToken
            | Self::User
            | Self::Accounts
            | Self::Account
            | Self::Memberships
            | Self::Graphql
            | Self::ListBuckets
            | Self::GetBucket(_)
            | Self::GetFeature(..)
            | Self::GetFeatureEntry(..)
            | Self::GetCors(_)
            | Self::GetLifecycle(_)
            | Self::ListObjects(_)
            | Self::GetObject(..)
            | Self::ListDatabases
            | Self::GetDatabase(_)
            | Self::Query(_)
            | Self::Raw(_)
            | Self::Export(_)
            | Self::Bookmark(_)
            | Self::ListNamespaces
            | Self::ListNamespaceObjects(_)
            | Self::Download(_) => false,
            #[cfg(feature = "analytics")]
            Self::Analytics => false,
        }
    }
}

/// Parameters of a query.
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query, as HTML forms write one.
    pub(super) fn of(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Every value of this name, whether it is repeated (`fields=a&fields=b`, `fields[]=a`) or separated by commas.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let is_named = move |known: &str| known.strip_suffix("[]").unwrap_or(known) == name;
        self.0.iter().filter(move |(known, _)| is_named(known)).flat_map(|(_, value)| value.split(','))
    }
}

/// The routes of a path, by their methods.
type Routes = Vec<(Method, Route)>;

/// Reads a path behind the prefix. Returns the account that it names, too.
///
/// # Errors
/// 404 for a path without a route, 405 for another method, 400 for one that is not UTF-8.
pub(super) fn read(method: &Method, path: &str) -> Answer<(Option<String>, Route)> {
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let (account, routes) = match segments.as_slice() {
        ["accounts", account, rest @ ..] => (Some(decoded(account)?), of_account(rest)?),
        segments => (None, of_user(segments)?),
    };
    if routes.is_empty() {
        return Err(ApiError::no_route(path));
    }
    let found = routes.into_iter().find(|(allowed, _)| allowed == method).map(|(_, route)| route);
    let not_allowed = || {
        let message = format!("Method {method} is not allowed here");
        ApiError::new(http::StatusCode::METHOD_NOT_ALLOWED, code::METHOD_NOT_ALLOWED, message)
    };
    Ok((account, found.ok_or_else(not_allowed)?))
}

/// Routes without an account in their path.
fn of_user(segments: &[&str]) -> Answer<Routes> {
    Ok(match segments {
        ["user", "tokens", "verify"] => vec![(Method::GET, Route::VerifyToken)],
        ["user"] => vec![(Method::GET, Route::User)],
        ["accounts"] => vec![(Method::GET, Route::Accounts)],
        ["memberships"] => vec![(Method::GET, Route::Memberships)],
        ["graphql"] => vec![(Method::POST, Route::Graphql)],
        ["uploads", id] => vec![(Method::PUT, Route::Upload(decoded(id)?))],
        ["downloads", id] => vec![(Method::GET, Route::Download(decoded(id)?))],
        _ => Vec::new(),
    })
}

/// Routes behind `/accounts/{account}`.
fn of_account(segments: &[&str]) -> Answer<Routes> {
    Ok(match segments {
        [] => vec![(Method::GET, Route::Account)],
        ["tokens", "verify"] => vec![(Method::GET, Route::VerifyToken)],
        ["r2", "buckets"] => vec![(Method::GET, Route::ListBuckets), (Method::POST, Route::CreateBucket)],
        ["r2", "buckets", bucket, rest @ ..] => of_bucket(decoded(bucket)?, rest)?,
        ["event_notifications", "r2", bucket, "configuration", rest @ ..] => of_notifications(decoded(bucket)?, rest),
        ["d1", "database"] => vec![(Method::GET, Route::ListDatabases), (Method::POST, Route::CreateDatabase)],
        ["d1", "database", id, rest @ ..] => of_database(decoded(id)?, rest),
        #[cfg(feature = "analytics")]
        ["analytics_engine", "sql"] => vec![(Method::POST, Route::Analytics)],
        ["workers", "durable_objects", "namespaces"] => vec![(Method::GET, Route::ListNamespaces)],
        ["workers", "durable_objects", "namespaces", id, "objects"] => {
            vec![(Method::GET, Route::ListNamespaceObjects(decoded(id)?))]
        }
        _ => Vec::new(),
    })
}

/// A key is one encoded segment, as the SDKs send it, or a path with slashes, as wrangler does.
fn of_bucket(bucket: String, rest: &[&str]) -> Answer<Routes> {
    Ok(match rest {
        [] => vec![
            (Method::GET, Route::GetBucket(bucket.clone())),
            (Method::PATCH, Route::EditBucket(bucket.clone())),
            (Method::DELETE, Route::DeleteBucket(bucket)),
        ],
        ["cors"] => vec![
            (Method::GET, Route::GetCors(bucket.clone())),
            (Method::PUT, Route::PutCors(bucket.clone())),
            (Method::DELETE, Route::DeleteCors(bucket)),
        ],
        ["lifecycle"] => {
            vec![(Method::GET, Route::GetLifecycle(bucket.clone())), (Method::PUT, Route::PutLifecycle(bucket))]
        }
        ["objects"] => vec![(Method::GET, Route::ListObjects(bucket))],
        ["objects", key @ ..] => {
            let key = decoded(&key.join("/"))?;
            vec![
                (Method::GET, Route::GetObject(bucket.clone(), key.clone())),
                (Method::PUT, Route::PutObject(bucket.clone(), key.clone())),
                (Method::DELETE, Route::DeleteObject(bucket, key)),
            ]
        }
        rest => of_feature(bucket, rest),
    })
}

/// Routes of a feature that buckets do not have here.
fn of_feature(bucket: String, rest: &[&str]) -> Routes {
    let feature = match rest {
        ["domains", "custom"] => Feature::CustomDomains,
        ["domains", "custom", _] => return entry(&bucket, Feature::CustomDomains),
        ["domains", "managed"] => Feature::ManagedDomain,
        ["sippy"] => Feature::Sippy,
        ["local-uploads"] => Feature::LocalUploads,
        ["lock"] => Feature::Lock,
        _ => return Vec::new(),
    };
    let mut routes = changes(&bucket, feature);
    routes.push((Method::GET, Route::GetFeature(bucket, feature)));
    routes
}

/// Routes of a bucket's event notifications, which stand beside R2's.
fn of_notifications(bucket: String, rest: &[&str]) -> Routes {
    match rest {
        [] => vec![(Method::GET, Route::GetFeature(bucket, Feature::Notifications))],
        ["queues", _] => entry(&bucket, Feature::Notifications),
        _ => Vec::new(),
    }
}

/// Routes of one domain or queue, of which there are none.
fn entry(bucket: &str, feature: Feature) -> Routes {
    let mut routes = changes(bucket, feature);
    routes.push((Method::GET, Route::GetFeatureEntry(bucket.to_owned(), feature)));
    routes
}

/// Routes that would change a feature.
fn changes(bucket: &str, feature: Feature) -> Routes {
    let methods = [Method::POST, Method::PUT, Method::DELETE];
    methods.map(|method| (method, Route::SetFeature(bucket.to_owned(), feature))).into()
}

/// Routes behind a database's id.
fn of_database(id: String, rest: &[&str]) -> Routes {
    match rest {
        [] => vec![
            (Method::GET, Route::GetDatabase(id.clone())),
            (Method::PUT, Route::EditDatabase(id.clone())),
            (Method::PATCH, Route::EditDatabase(id.clone())),
            (Method::DELETE, Route::DeleteDatabase(id)),
        ],
        ["query"] => vec![(Method::POST, Route::Query(id))],
        ["raw"] => vec![(Method::POST, Route::Raw(id))],
        ["import"] => vec![(Method::POST, Route::Import(id))],
        ["export"] => vec![(Method::POST, Route::Export(id))],
        ["time_travel", "bookmark"] => vec![(Method::GET, Route::Bookmark(id))],
        ["time_travel", "restore"] => vec![(Method::POST, Route::Restore(id))],
        _ => Vec::new(),
    }
}

/// Decodes a segment, or a path of them.
pub(crate) fn decoded(text: &str) -> Answer<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| ApiError::malformed("the path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &Method, path: &str) -> Result<Route, u16> {
        read(method, path).map(|(_, route)| route).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn keys_are_one_segment_or_a_path() {
        let key = |path: &str| match route(&Method::GET, &format!("/accounts/a/r2/buckets/b/objects/{path}")) {
            Ok(Route::GetObject(bucket, key)) => (bucket, key),
            other => panic!("{other:?}"),
        };
        for (path, expected) in [
            ("a/b.txt", "a/b.txt"),
            ("k%2Fa%20b+c", "k/a b+c"),
            ("/a", "/a"),
            ("a//b/", "a//b/"),
            ("%C3%A9?", "é?"),
            ("objects/objects", "objects/objects"),
        ] {
            assert_eq!(key(path), ("b".to_owned(), expected.to_owned()));
        }
    }

    #[test]
    fn unknown_paths_and_methods_are_refused() {
        assert_eq!(route(&Method::GET, "/zones"), Err(404));
        assert_eq!(route(&Method::GET, "/accounts/a/d1/database/x/nothing"), Err(404));
        assert_eq!(route(&Method::PUT, "/accounts/a/r2/buckets"), Err(405));
        assert_eq!(route(&Method::POST, "/accounts/a/r2/buckets/b/cors"), Err(405));
        assert_eq!(route(&Method::GET, "/accounts/a/r2/buckets/b/cors/x"), Err(404));
        assert_eq!(route(&Method::GET, "/accounts/a/d1/database/%FF"), Err(400));
        assert_eq!(route(&Method::GET, "/accounts/a/accounts/b"), Err(404));
    }

    #[test]
    fn lists_of_parameters_are_read_in_each_form() {
        for query in ["fields=uuid,name", "fields=uuid&fields=name", "fields[]=uuid&fields%5B%5D=name"] {
            assert_eq!(Parameters::of(Some(query)).all("fields").collect::<Vec<_>>(), ["uuid", "name"], "{query}");
        }
    }
}
