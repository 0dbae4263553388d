//! All resources and routes of an API, as one router.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{HeaderValue, StatusCode, header};
use isobar_db::Database;
use isobar_db::vault::Vault;
use serde_json::Value as Json;

use crate::resource::{ApiState, Kind, routes};
use crate::{Policy, Principal, Problem, Quotas, Resource, openapi, page};

/// Builds an API. Paths are given as they follow `/api`.
///
/// ```
/// use std::sync::Arc;
/// use axum::routing::get;
/// use isobar_api::{Api, Column, Policy, Resource, Role};
/// use isobar_db::SqliteDatabase;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// let viewer = Policy::AtLeast(Role::Viewer);
/// let router: axum::Router = Api::new(Arc::new(SqliteDatabase::memory().await?))
///     .title("Help desk")
///     .resource(Resource::of_tenant("tickets").column(Column::text("subject").required()).read(viewer))
///     .route("/status", Policy::Public, Policy::Nobody, get(async || "open"))
///     .document("/status", serde_json::json!({"get": {"responses": {"200": {"description": "The status"}}}}))
///     .into_router();
/// # drop(router);
/// # Ok(()) }
/// ```
///
/// Beside the resources and the routes that are added, the router answers `GET /openapi.json` and `GET /docs`. Both are made
/// from the declarations at each request, and are visible to every client: they name the resources, and no row of them.
#[derive(Debug)]
pub struct Api {
    database: Arc<dyn Database>,
    vault: Option<Vault>,
    title: String,
    resources: Vec<Resource>,
    router: Router,
    paths: Vec<(String, Json)>,
    quotas: Quotas,
}

impl Api {
    /// An API on a database that has the tables of [`SCHEMA`](crate::SCHEMA), without resources.
    ///
    /// Nothing is read from the database before the first request, so a missing table is an error of the requests that need it
    /// (500), not of this call.
    pub fn new(database: Arc<dyn Database>) -> Self {
        Self {
            database,
            vault: None,
            title: "API".to_owned(),
            resources: Vec::new(),
            router: Router::new(),
            paths: Vec::new(),
            quotas: Quotas::default(),
        }
    }

    /// Sets the API's name in its documentation. Default: `API`.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use http::Request;
    /// # use isobar_api::Api;
    /// # use isobar_db::SqliteDatabase;
    /// # use tower::ServiceExt;
    /// use http_body_util::BodyExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let router = Api::new(Arc::new(SqliteDatabase::memory().await?)).title("Help desk").into_router();
    /// let answer = router.oneshot(Request::get("/openapi.json").body(Body::empty())?).await?;
    /// let document: serde_json::Value = serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?;
    /// assert_eq!(document["info"]["title"], "Help desk");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets the limits of each tenant. Default: those of [`Quotas`].
    ///
    /// A limit counts for each tenant on its own, and is checked in the transaction of the write. A lower limit than a tenant
    /// has used deletes nothing: it refuses what would be new.
    #[must_use]
    pub fn quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// Sets the vault that seals secret columns. Default: none; then a secret column is refused by
    /// [`into_router`](Self::into_router).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_api::{Api, Column, Policy, Resource, Role};
    /// use isobar_db::vault::{Keyring, Vault};
    /// use isobar_db::{Database, SqliteDatabase};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
    /// let keyring: Keyring = Keyring::generate("2026-11")?.expose_text().unwrap_or_default().parse()?;
    /// let vault = Vault::new(Arc::clone(&database), "app", keyring);
    /// let hooks = Resource::of_tenant("hooks")
    ///     .column(Column::text("url").required())
    ///     .column(Column::secret("token")) // shown as {"sealed": true}
    ///     .write(Policy::AtLeast(Role::Admin));
    /// let router = Api::new(database).vault(vault).resource(hooks).into_router();
    /// # drop(router);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn vault(mut self, vault: Vault) -> Self {
        self.vault = Some(vault);
        self
    }

    /// Adds a resource, under `/{name}`, `/{name}/{id}` and `/{name}/bulk`.
    ///
    /// Methods whose policy is [`Policy::Nobody`] are not routed: a path that has others answers them 405 with `Allow`.
    ///
    /// | path | methods | policies |
    /// |---|---|---|
    /// | `/{name}` | GET (a page), POST (create) | [`read`](Resource::read), [`create`](Resource::create) |
    /// | `/{name}/{id}` | GET, PATCH, DELETE | [`read`](Resource::read), [`update`](Resource::update), [`delete`](Resource::delete) |
    /// | `/{name}/bulk` | POST: 1 to 50 operations, all or none | of each operation its own |
    ///
    /// A page has 50 rows unless `limit` asks for another number, 200 at most. A PATCH needs `If-Match` with the row's `ETag`,
    /// or `*` (428 without, 412 for another revision); for a DELETE it is optional.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use http::Request;
    /// # use isobar_api::{Api, Column, Policy, Principal, Resource, Role};
    /// # use isobar_db::{QueryableExt, SqliteDatabase};
    /// # use tower::ServiceExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = Arc::new(SqliteDatabase::memory().await?);
    /// # database.run_script(isobar_api::SCHEMA).await?;
    /// # database.run_script("CREATE TABLE notes (id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, user_id TEXT, title TEXT NOT NULL, \
    /// #     revision INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)").await?;
    /// let notes = Resource::of_tenant("notes")
    ///     .column(Column::text("title").required())
    ///     .read(Policy::AtLeast(Role::Viewer))
    ///     .create(Policy::AtLeast(Role::Member));
    /// let router = Api::new(database).resource(notes).into_router();
    /// let mut create = Request::post("/notes").header("content-type", "application/json").body(Body::from(r#"{"title": "a"}"#))?;
    /// create.extensions_mut().insert(Principal::member("ada", "acme", Role::Member));
    /// let created = router.clone().oneshot(create).await?;
    /// assert_eq!(created.status(), 201);
    /// assert_eq!(created.headers()["etag"], "\"1\"");
    /// // A viewer may read, and not write.
    /// let mut create = Request::post("/notes").header("content-type", "application/json").body(Body::from(r#"{"title": "b"}"#))?;
    /// create.extensions_mut().insert(Principal::member("bob", "acme", Role::Viewer));
    /// assert_eq!(router.oneshot(create).await?.status(), 403);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Adds a route of the application's own. `read` admits to its safe methods (GET, HEAD, OPTIONS), `write` to the others; an API
    /// key needs the scope of the path's first segment.
    ///
    /// The handler gets the [`Principal`] as an extractor. Its own errors are best returned as [`Problem`]s.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use axum::routing::get;
    /// # use http::Request;
    /// # use isobar_api::{Api, Policy, Role};
    /// # use isobar_db::SqliteDatabase;
    /// # use tower::ServiceExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let status = get(async || "open").post(async || "closed");
    /// let router = Api::new(Arc::new(SqliteDatabase::memory().await?))
    ///     .route("/status", Policy::Public, Policy::AtLeast(Role::Admin), status)
    ///     .into_router();
    /// let read = router.clone().oneshot(Request::get("/status").body(Body::empty())?).await?;
    /// let write = router.oneshot(Request::post("/status").body(Body::empty())?).await?;
    /// assert_eq!((read.status().as_u16(), write.status().as_u16()), (200, 401));
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// As [`axum::Router::route`]: when the path is not valid, or a method of it was added before.
    #[must_use]
    pub fn route(mut self, path: &str, read: Policy, write: Policy, routes: MethodRouter) -> Self {
        let name = path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
        let guard = Guard { name: name.into(), read, write };
        self.router = self.router.route(path, routes.layer(from_fn_with_state(guard, admit)));
        self
    }

    /// Documents a route of the application's own, by a path item of OpenAPI 3.1. A path item of a resource's path is merged into
    /// the resource's.
    ///
    /// The path is written as OpenAPI has it, `/images/{id}`, without `/api`. The item is not checked.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use axum::body::Body;
    /// # use axum::routing::get;
    /// # use http::Request;
    /// # use http_body_util::BodyExt;
    /// # use isobar_api::{Api, Policy};
    /// # use isobar_db::SqliteDatabase;
    /// # use tower::ServiceExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let item = serde_json::json!({"get": {"summary": "The status", "responses": {"200": {"description": "open or closed"}}}});
    /// let router = Api::new(Arc::new(SqliteDatabase::memory().await?))
    ///     .route("/status", Policy::Public, Policy::Nobody, get(async || "open"))
    ///     .document("/status", item)
    ///     .into_router();
    /// let answer = router.oneshot(Request::get("/openapi.json").body(Body::empty())?).await?;
    /// let document: serde_json::Value = serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?;
    /// assert_eq!(document["paths"]["/status"]["get"]["summary"], "The status");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn document(mut self, path: impl Into<String>, item: Json) -> Self {
        self.paths.push((path.into(), item));
        self
    }

    /// Returns the router: the resources, the application's own routes, `/openapi.json` and the page `/docs`. Nest it under `/api`,
    /// inside [`Auth::protect`](crate::Auth::protect).
    ///
    /// Mistakes in the declarations end the program at its start, not a request:
    ///
    /// ```should_panic
    /// # use std::sync::Arc;
    /// # use isobar_api::{Api, Column, Resource};
    /// # use isobar_db::SqliteDatabase;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # let database = Arc::new(SqliteDatabase::memory().await.expect("memory"));
    /// // There is no resource of the name `customers`.
    /// let orders = Resource::of_tenant("orders").column(Column::reference("customer_id", "customers"));
    /// let router = Api::new(database).resource(orders).into_router();
    /// # drop(router);
    /// # }
    /// ```
    ///
    /// # Panics
    /// When two resources have the same name, a reference names a resource that is missing, or a secret column has no vault.
    pub fn into_router(self) -> Router {
        let Self { database, vault, title, resources, router, paths, quotas } = self;
        check(&resources, vault.is_some());
        let state = ApiState { database, vault, resources: resources.into(), quotas };
        let documents = Arc::new(Documents { title, resources: Arc::clone(&state.resources), paths });
        let json = Arc::clone(&documents);
        let html = documents;
        router
            .merge(routes(&state))
            .route("/openapi.json", get(async move || document_answer(json.json().to_string())))
            .route("/docs", get(async move || page_answer(html.html())))
            .method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED))
    }
}

/// The sources of the documents, which are rendered on request: a Worker builds its router for every request.
#[derive(Debug)]
struct Documents {
    title: String,
    resources: Arc<[Resource]>,
    paths: Vec<(String, Json)>,
}

impl Documents {
    fn json(&self) -> Json {
        openapi::document(&self.title, &self.resources, &self.paths)
    }

    fn html(&self) -> String {
        page::html(&self.title, &self.resources, &self.json())
    }
}

/// State of the layer that checks the policy of one of the application's own routes.
#[derive(Debug, Clone)]
struct Guard {
    name: Arc<str>,
    read: Policy,
    write: Policy,
}

/// Lets a request pass that the policy admits: `read` for safe methods (RFC 9110, 9.2.1), `write` for the others.
async fn admit(State(guard): State<Guard>, principal: Principal, request: Request, next: Next) -> Response {
    let writes = !request.method().is_safe();
    let policy = if writes { guard.write } else { guard.read };
    match policy.admit(&principal, &guard.name, writes) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Checks what only the whole of the declarations shows; a single resource is checked as it is declared.
///
/// # Panics
/// As [`Api::into_router`].
fn check(resources: &[Resource], has_vault: bool) {
    for (index, resource) in resources.iter().enumerate() {
        let name = resource.name;
        assert!(resources[..index].iter().all(|earlier| earlier.name != name), "two resources have the name {name}");
        for column in &resource.columns {
            match column.kind {
                Kind::Reference(target) => {
                    let known = resources.iter().any(|resource| resource.name == target);
                    assert!(known, "{name}.{} refers to the resource {target}, which is missing", column.name);
                }
                Kind::Secret { .. } => assert!(has_vault, "{name}.{} is secret: the API needs a vault", column.name),
                _ => {}
            }
        }
    }
}

/// Returns the answer with the OpenAPI document. Its form changes with a deploy only, but a cache has to ask.
fn document_answer(json: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, json).into_response()
}

/// Returns the answer with the page. It has no scripts, and its policy admits none: descriptions are the program's own texts,
/// and are escaped all the same.
fn page_answer(html: String) -> Response {
    let mut response = Html(html).into_response();
    let policy =
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
