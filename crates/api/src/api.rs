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
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets the limits of each tenant. Default: those of [`Quotas`].
    #[must_use]
    pub fn quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// Sets the vault that seals secret columns. Default: none; then a secret column is refused by
    /// [`into_router`](Self::into_router).
    #[must_use]
    pub fn vault(mut self, vault: Vault) -> Self {
        self.vault = Some(vault);
        self
    }

    /// Adds a resource, under `/{name}`, `/{name}/{id}` and `/{name}/bulk`.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// Adds a route of the application's own. `read` admits to its safe methods (GET, HEAD, OPTIONS), `write` to the others; an API
    /// key needs the scope of the path's first segment.
    #[must_use]
    pub fn route(mut self, path: &str, read: Policy, write: Policy, routes: MethodRouter) -> Self {
        let name = path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
        let guard = Guard { name: name.into(), read, write };
        self.router = self.router.route(path, routes.layer(from_fn_with_state(guard, admit)));
        self
    }

    /// Documents a route of the application's own, by a path item of OpenAPI 3.1. A path item of a resource's path is merged into
    /// the resource's.
    #[must_use]
    pub fn document(mut self, path: impl Into<String>, item: Json) -> Self {
        self.paths.push((path.into(), item));
        self
    }

    /// Returns the router: the resources, the application's own routes, `/openapi.json` and the page `/docs`. Nest it under `/api`,
    /// inside [`Auth::protect`](crate::Auth::protect).
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

#[derive(Debug, Clone)]
struct Guard {
    name: Arc<str>,
    read: Policy,
    write: Policy,
}

async fn admit(State(guard): State<Guard>, principal: Principal, request: Request, next: Next) -> Response {
    let writes = !request.method().is_safe();
    let policy = if writes { guard.write } else { guard.read };
    match policy.admit(&principal, &guard.name, writes) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

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

fn document_answer(json: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, json).into_response()
}

fn page_answer(html: String) -> Response {
    let mut response = Html(html).into_response();
    let policy =
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
