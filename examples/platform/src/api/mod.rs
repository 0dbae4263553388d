//! The API, route by route.

mod events;
mod images;
mod projects;
mod sessions;
mod tenants;

use axum::Router;
use axum::routing::{any, get};
use isobar_http_serve::{Platform, Problem};

/// What handlers answer.
type Answer<T> = Result<T, Problem>;

/// The routes under `/api`.
pub(crate) fn router(platform: Platform) -> Router {
    Router::new()
        .route("/tenants", get(tenants::list).post(tenants::create))
        .route("/tenants/{id}", get(tenants::show).delete(tenants::delete))
        .route("/images", get(images::list).post(images::upload))
        .route("/images/{id}", get(images::show).delete(images::delete))
        .route("/images/{id}/content", get(images::content))
        .route("/projects", get(projects::list))
        .route("/sessions/{namespace}/{name}/{*path}", any(sessions::forward))
        .route("/events/summary", get(events::summary))
        .with_state(platform)
}
