//! The state of the handlers.

use std::sync::Arc;

use isobar_db::Database;
use isobar_db::vault::Vault;

use super::{Quotas, Resource};

/// State of all resources. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ApiState {
    pub(crate) database: Arc<dyn Database>,
    /// Seals the secret columns; there is one where a resource has any.
    pub(crate) vault: Option<Vault>,
    pub(crate) resources: Arc<[Resource]>,
    pub(crate) quotas: Quotas,
}

impl ApiState {
    /// Returns the resource of a name in a declaration. `Api::into_router` has checked that there is one.
    pub(super) fn resource(&self, name: &str) -> &Resource {
        self.resources
            .iter()
            .find(|resource| resource.name == name)
            .expect("Api::into_router has refused references to a missing resource")
    }
}

/// State of the routes of one resource. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ResourceState {
    pub(super) api: ApiState,
    /// Position in [`ApiState::resources`].
    pub(super) index: usize,
}

impl ResourceState {
    /// The resource of the route.
    pub(super) fn resource(&self) -> &Resource {
        &self.api.resources[self.index]
    }
}
