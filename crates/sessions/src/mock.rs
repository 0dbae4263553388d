//! A namespace that records its calls and fails, waits or holds as scripted, over any other.

use std::sync::Arc;

use async_trait::async_trait;
use isobar_kit::Script;

use crate::{Capabilities, Error, ListedObject, ObjectId, Request, Response, Result, SessionNamespace};

/// Any namespace, with a [`Script`] before every call: `fetch`, `list`, `health`, `evict`; a call's subject is the id.
#[derive(Debug, Clone)]
pub struct MockNamespace {
    inner: Arc<dyn SessionNamespace>,
    script: Script<Error>,
}

impl MockNamespace {
    /// A mock over this namespace; without a script it only records.
    pub fn new(inner: impl SessionNamespace + 'static) -> Self {
        Self { inner: Arc::new(inner), script: Script::default() }
    }

    /// The script and the record of calls.
    #[must_use]
    pub fn script(&self) -> &Script<Error> {
        &self.script
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionNamespace for MockNamespace {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn id_from_name(&self, name: &str) -> ObjectId {
        self.inner.id_from_name(name)
    }
    fn unique_id(&self) -> Result<ObjectId> {
        self.inner.unique_id()
    }
    fn parse_id(&self, text: &str) -> Result<ObjectId> {
        self.inner.parse_id(text)
    }
    async fn fetch(&self, id: &ObjectId, request: Request) -> Result<Response> {
        self.script.enter("fetch", id.to_string()).await?;
        self.inner.fetch(id, request).await
    }
    async fn health(&self) -> Result<()> {
        self.script.enter("health", "").await?;
        self.inner.health().await
    }
    async fn list(&self) -> Result<Vec<ListedObject>> {
        self.script.enter("list", "").await?;
        self.inner.list().await
    }
    async fn evict(&self, id: &ObjectId) -> Result<()> {
        self.script.enter("evict", id.to_string()).await?;
        self.inner.evict(id).await
    }
}
