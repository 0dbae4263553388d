//! A namespace that records its calls and fails, waits or holds as scripted, over any other.

use std::sync::Arc;

use async_trait::async_trait;
pub use isobar_testkit::{Call, Release, Script};

use crate::{Capabilities, Error, ListedObject, ObjectId, Request, Response, Result, SessionNamespace};

/// An operation of [`SessionNamespace`], as its mock's script and record name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the trait's")]
pub enum Operation {
    Fetch,
    List,
    Health,
    Evict,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fetch, Self::List, Self::Health, Self::Evict];

    /// The operation's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::List => "list",
            Self::Health => "health",
            Self::Evict => "evict",
        }
    }
}

impl AsRef<str> for Operation {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

impl From<Operation> for &'static str {
    fn from(operation: Operation) -> Self {
        operation.name()
    }
}

/// Any namespace, with a [`Script`] before every [`Operation`]; a call's subject is the id.
#[derive(Debug, Clone)]
pub struct MockNamespace {
    inner: Arc<dyn SessionNamespace>,
    script: Script<Error>,
}

impl MockNamespace {
    /// A mock over this namespace; without a script it only records.
    pub fn new(inner: impl SessionNamespace + 'static) -> Self {
        Self { inner: Arc::new(inner), script: Script::new(Operation::ALL) }
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
        self.script.enter(Operation::Fetch, id.to_string()).await?;
        self.inner.fetch(id, request).await
    }
    async fn health(&self) -> Result<()> {
        self.script.enter(Operation::Health, "").await?;
        self.inner.health().await
    }
    async fn list(&self) -> Result<Vec<ListedObject>> {
        self.script.enter(Operation::List, "").await?;
        self.inner.list().await
    }
    async fn evict(&self, id: &ObjectId) -> Result<()> {
        self.script.enter(Operation::Evict, id.to_string()).await?;
        self.inner.evict(id).await
    }
}
