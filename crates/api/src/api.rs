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

use crate::resource::{Kind, Served, routes};
use crate::{Caller, Policy, Problem, Quotas, Resource, openapi, page};

/// Builds an API. Its routes are as they are seen under `/api`.
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
    /// An API on this database, without resources.
    pub fn new(database: Arc<dyn Database>) -> Self {
        let (resources, paths) = (Vec::new(), Vec::new());
        Self {
            database,
            vault: None,
            title: "API".to_owned(),
            resources,
            router: Router::new(),
            paths,
            quotas: Quotas::default(),
        }
    }

    /// The API's name, for its documentation.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Limits of what one tenant has.
    #[must_use]
    pub fn quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// Sets the vault that seals secret columns.
    #[must_use]
    pub fn vault(mut self, vault: Vault) -> Self {
        self.vault = Some(vault);
        self
    }

    /// A resource, under `/{name}`.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// A route of the application's own, and who may use it: safe methods by `read`, others by `write`. API keys need the
    /// scope of its first segment.
    #[must_use]
    pub fn route(mut self, path: &str, read: Policy, write: Policy, routes: MethodRouter) -> Self {
        let name = path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
        let guard = Guard { name: name.into(), read, write };
        self.router = self.router.route(path, routes.layer(from_fn_with_state(guard, admit)));
        self
    }

    /// Documents a route of the application's own: a path item of OpenAPI.
    #[must_use]
    pub fn document(mut self, path: impl Into<String>, item: Json) -> Self {
        self.paths.push((path.into(), item));
        self
    }

    /// The router: the resources, the application's own routes, `/openapi.json`, and `/docs` to read.
    ///
    /// # Panics
    /// When two resources have one name, a reference names none, or a secret column has no vault.
    pub fn into_router(self) -> Router {
        let Self { database, vault, title, resources, router, paths, quotas } = self;
        check(&resources, vault.is_some());
        let served = Served { database, vault, resources: resources.into(), quotas };
        let documents = Arc::new(Documents { title, resources: Arc::clone(&served.resources), paths });
        let (json, html) = (Arc::clone(&documents), documents);
        router
            .merge(routes(&served))
            .route("/openapi.json", get(async move || document_answer(json.json().to_string())))
            .route("/docs", get(async move || page_answer(html.html())))
            .method_not_allowed_fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED))
    }
}

/// The sources of the documents, which are made on demand: a Worker makes its router for every request.
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

async fn admit(State(guard): State<Guard>, caller: Caller, request: Request, next: Next) -> Response {
    let writes = !request.method().is_safe();
    let policy = if writes { guard.write } else { guard.read };
    match policy.admit(&caller, &guard.name, writes) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(resources: &[Resource], has_vault: bool) {
    for (index, resource) in resources.iter().enumerate() {
        let name = resource.name;
        assert!(resources[..index].iter().all(|earlier| earlier.name != name), "two resources are called {name}");
        for column in &resource.columns {
            match column.kind {
                Kind::Reference(target) => {
                    let known = resources.iter().any(|resource| resource.name == target);
                    assert!(known, "{name}.{} refers to {target}, which is no resource", column.name);
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
