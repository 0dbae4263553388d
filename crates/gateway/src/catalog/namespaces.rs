//! The namespaces of session objects that doors list.
//!
//! Clients of Cloudflare's API list namespaces and the ids of their objects; looking into objects is
//! the explorer's, by `SessionCatalog`, since it needs no running class.

use std::sync::Arc;

use isobar_sessions::SessionNamespace;

/// A namespace of session objects, as a door lists it.
///
/// The door shows `SCRIPT_CLASS` as its name, as Cloudflare does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NamespaceEntry {
    /// Id: 32 hexadecimal digits, as clients expect them.
    pub id: String,
    /// Name of the class.
    pub class: String,
    /// Name of the program that has the class.
    pub script: String,
    /// The objects.
    pub namespace: Arc<dyn SessionNamespace>,
}

impl NamespaceEntry {
    /// Returns the entry of a namespace.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        class: impl Into<String>,
        script: impl Into<String>,
        namespace: Arc<dyn SessionNamespace>,
    ) -> Self {
        Self { id: id.into(), class: class.into(), script: script.into(), namespace }
    }
}
