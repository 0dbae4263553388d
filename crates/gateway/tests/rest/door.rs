//! A door with a catalog in memory, and requests to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use chrono::Utc;
use http::{HeaderMap, Method, Request, StatusCode, header};
use isobar_analytics::memory::MemorySink;
use isobar_db::vault::Keyring;
use isobar_db::{Database, SqliteDatabase};
use isobar_gateway::ClientInfo;
use isobar_gateway::catalog::{
    BucketCatalog, BucketInfo, CatalogError, CatalogErrorKind, CorsPolicy, DatabaseCatalog, DatabaseInfo,
    LifecyclePolicy, NamespaceEntry,
};
use isobar_gateway::keys::{Audit, KeyScope, KeyStore, NewKey, Permission};
use isobar_gateway::rest::{RestDoor, RestOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::{ListOptions, ObjectStore};
use serde_json::Value as Json;
use tower::ServiceExt;

/// Resources by name.
type ByName<Info, Resource> = Mutex<BTreeMap<String, (Info, Arc<Resource>)>>;

/// Buckets and databases that are created and deleted.
#[derive(Debug, Default)]
pub(crate) struct MemoryCatalog {
    buckets: ByName<BucketInfo, dyn ObjectStore>,
    cors: Mutex<BTreeMap<String, CorsPolicy>>,
    lifecycle: Mutex<BTreeMap<String, LifecyclePolicy>>,
    databases: ByName<DatabaseInfo, dyn Database>,
}

fn error(kind: CatalogErrorKind) -> CatalogError {
    CatalogError::new(kind, format!("{kind:?}"))
}

impl MemoryCatalog {
    pub(crate) fn insert_bucket(&self, name: &str, bucket: Arc<dyn ObjectStore>) {
        let info = BucketInfo::new(name, Utc::now());
        self.buckets.lock().unwrap().insert(name.to_owned(), (info, bucket));
    }

    pub(crate) fn insert_database(&self, name: &str, database: Arc<dyn Database>) -> DatabaseInfo {
        let mut databases = self.databases.lock().unwrap();
        let id = format!("00000000-0000-4000-8000-{:012}", databases.len() + 1);
        let info = DatabaseInfo::new(id, name, Utc::now());
        databases.insert(name.to_owned(), (info.clone(), database));
        info
    }
}

#[async_trait]
impl BucketCatalog for MemoryCatalog {
    async fn list(&self) -> Result<Vec<BucketInfo>, CatalogError> {
        Ok(self.buckets.lock().unwrap().values().map(|(info, _)| info.clone()).collect())
    }

    async fn open(&self, name: &str) -> Result<Option<Arc<dyn ObjectStore>>, CatalogError> {
        Ok(self.buckets.lock().unwrap().get(name).map(|(_, store)| Arc::clone(store)))
    }

    async fn create(&self, name: &str) -> Result<BucketInfo, CatalogError> {
        let mut buckets = self.buckets.lock().unwrap();
        if buckets.contains_key(name) {
            return Err(error(CatalogErrorKind::AlreadyExists));
        }
        let info = BucketInfo::new(name, Utc::now());
        buckets.insert(name.to_owned(), (info.clone(), Arc::new(MemoryStore::new())));
        Ok(info)
    }

    async fn delete(&self, name: &str) -> Result<(), CatalogError> {
        let store = BucketCatalog::open(self, name).await?.ok_or_else(|| error(CatalogErrorKind::NotFound))?;
        if !store.list(ListOptions::default()).await.unwrap().objects.is_empty() {
            return Err(error(CatalogErrorKind::NotEmpty));
        }
        self.buckets.lock().unwrap().remove(name);
        Ok(())
    }

    async fn cors(&self, name: &str) -> Result<CorsPolicy, CatalogError> {
        Ok(self.cors.lock().unwrap().get(name).cloned().unwrap_or_default())
    }

    async fn set_cors(&self, name: &str, policy: CorsPolicy) -> Result<(), CatalogError> {
        self.cors.lock().unwrap().insert(name.to_owned(), policy);
        Ok(())
    }

    async fn lifecycle(&self, name: &str) -> Result<LifecyclePolicy, CatalogError> {
        Ok(self.lifecycle.lock().unwrap().get(name).cloned().unwrap_or_default())
    }

    async fn set_lifecycle(&self, name: &str, policy: LifecyclePolicy) -> Result<(), CatalogError> {
        self.lifecycle.lock().unwrap().insert(name.to_owned(), policy);
        Ok(())
    }
}

#[async_trait]
impl DatabaseCatalog for MemoryCatalog {
    async fn list(&self) -> Result<Vec<DatabaseInfo>, CatalogError> {
        Ok(self.databases.lock().unwrap().values().map(|(info, _)| info.clone()).collect())
    }

    async fn open(&self, id: &str) -> Result<Option<Arc<dyn Database>>, CatalogError> {
        let databases = self.databases.lock().unwrap();
        Ok(databases.values().find(|(info, _)| info.id == id).map(|(_, database)| Arc::clone(database)))
    }

    async fn create(&self, name: &str) -> Result<DatabaseInfo, CatalogError> {
        if self.databases.lock().unwrap().contains_key(name) {
            return Err(error(CatalogErrorKind::AlreadyExists));
        }
        Ok(self.insert_database(name, Arc::new(SqliteDatabase::memory().await.unwrap())))
    }

    async fn delete(&self, id: &str) -> Result<(), CatalogError> {
        let mut databases = self.databases.lock().unwrap();
        let count = databases.len();
        databases.retain(|_, (info, _)| info.id != id);
        if databases.len() == count { Err(error(CatalogErrorKind::NotFound)) } else { Ok(()) }
    }
}

/// A door, its keys, and the events of its audit.
pub(crate) struct Door {
    pub(crate) router: Router,
    pub(crate) keys: KeyStore,
    pub(crate) catalog: Arc<MemoryCatalog>,
    pub(crate) events: MemorySink,
    /// Base path of the account's routes.
    pub(crate) account: String,
    /// A token with every permission.
    pub(crate) token: String,
}

/// A response, its body read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: bytes::Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The result of a success.
    #[track_caller]
    pub(crate) fn result(&self) -> Json {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        let json = self.json();
        assert_eq!((&json["success"], &json["errors"]), (&Json::Bool(true), &Json::Array(Vec::new())));
        assert!(json["messages"].is_array());
        json["result"].clone()
    }

    /// Status and code of an error, whose envelope is checked.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, u64) {
        let json = self.json();
        assert_eq!((&json["success"], &json["result"]), (&Json::Bool(false), &Json::Null), "{json}");
        assert!(json["errors"][0]["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
        assert!(json["messages"].is_array());
        (self.status.as_u16(), json["errors"][0]["code"].as_u64().unwrap())
    }
}

pub(crate) fn keyring() -> Keyring {
    Keyring::generate("test").unwrap().expose_text().unwrap().parse().unwrap()
}

impl Door {
    pub(crate) async fn new() -> Self {
        Self::with(RestOptions::default(), Vec::new()).await
    }

    pub(crate) async fn with(options: RestOptions, namespaces: Vec<NamespaceEntry>) -> Self {
        let database = Arc::new(SqliteDatabase::memory().await.unwrap());
        let keys = KeyStore::open(database, keyring()).await.unwrap();
        let catalog = Arc::new(MemoryCatalog::default());
        let events = MemorySink::new();
        let router = RestDoor::new(keys.clone())
            .with_buckets(catalog.clone())
            .with_databases(catalog.clone())
            .with_namespaces(namespaces)
            .with_options(options)
            .with_audit(Audit::new().with_sink(Arc::new(events.clone())))
            .into_router();
        let account = format!("/client/v4/accounts/{}", keys.account_id());
        let token = issue(&keys, KeyScope::new(Permission::ALL)).await;
        Self { router, keys, catalog, events, account, token }
    }

    pub(crate) async fn issue(&self, scope: KeyScope) -> String {
        issue(&self.keys, scope).await
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request below the account, with this token.
    pub(crate) async fn call_as(&self, token: &str, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let path = if path.starts_with("/client/") { path.to_owned() } else { format!("{}{path}", self.account) };
        let request = Request::builder().method(method).uri(path).header(header::HOST, "isobar.test");
        self.send(request.header(header::AUTHORIZATION, format!("Bearer {token}")).body(body.into()).unwrap()).await
    }

    /// Sends a request below the account, with every permission.
    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        self.call_as(&self.token, method, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Json) -> Answer {
        self.call(Method::POST, path, body.to_string()).await
    }

    /// An empty database of this name. Returns the path of its routes.
    pub(crate) async fn database(&self, name: &str) -> String {
        let info = DatabaseCatalog::create(&*self.catalog, name).await.unwrap();
        format!("/d1/database/{}", info.id)
    }
}

async fn issue(keys: &KeyStore, scope: KeyScope) -> String {
    keys.create(NewKey::new("test", scope)).await.unwrap().token().to_owned()
}

/// The client's address among a request's extensions.
pub(crate) fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(ClientInfo::new(Some(address), false));
    request
}
