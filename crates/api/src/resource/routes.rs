//! The routes of resources.

use axum::Router;
use axum::routing::{self, MethodRouter, get, patch, post};

#[cfg(not(target_arch = "wasm32"))]
use super::fair_scheduler::{self, FairScheduler};
use super::state::{ApiState, ResourceState};
use super::{bulk, handlers};
use crate::Policy;

/// The routes of all resources.
pub(crate) fn routes(api: &ApiState) -> Router {
    let router = all_routes(api);
    // Inside Workers each isolate has few requests, and the runtime schedules them.
    #[cfg(not(target_arch = "wasm32"))]
    let router = router.layer(axum::middleware::from_fn_with_state(FairScheduler::new(), fair_scheduler::schedule));
    router
}

/// A route's state is the position of its resource, so that all routes share one [`ApiState`].
fn all_routes(api: &ApiState) -> Router {
    api.resources.iter().enumerate().fold(Router::new(), |router, (index, resource)| {
        let state = ResourceState { api: api.clone(), index };
        // Methods that no principal may use do not exist: `Allow` lists those that do.
        let policies = &resource.policies;
        let offered = |policy, method| if policy == Policy::Nobody { MethodRouter::new() } else { method };
        let all = offered(policies.read, get(handlers::list)).merge(offered(policies.create, post(handlers::create)));
        let one = offered(policies.read, get(handlers::show)).merge(offered(policies.update, patch(handlers::update)));
        let one = one.merge(offered(policies.delete, routing::delete(handlers::delete)));
        let written = policies.create != Policy::Nobody || policies.update != Policy::Nobody;
        let many = if written || policies.delete != Policy::Nobody { post(bulk::bulk) } else { MethodRouter::new() };
        let routes = Router::new()
            .route(&format!("/{}", resource.name), all)
            .route(&format!("/{}/bulk", resource.name), many)
            .route(&format!("/{}/{{id}}", resource.name), one);
        router.merge(routes.with_state(state))
    })
}
