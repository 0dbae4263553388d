//! A namespace that records its calls and fails, waits or holds as scripted, over any other.

use std::sync::Arc;

use async_trait::async_trait;
pub use isobar_testkit::{Call, Release, Script};

pub use crate::Operation;
use crate::{Capabilities, Error, ListedObject, ObjectId, Request, Response, Result, SessionNamespace};

/// Any namespace, with a [`Script`] before every [`Operation`]; a call's subject is the id. A scripted error names the operation that it
/// fails, as a host's own errors do.
///
/// ```
/// use isobar_sessions::mock::{MockNamespace, Operation};
/// use isobar_sessions::{Error, ErrorKind, SessionNamespace};
///
/// async fn fails_to_list_once(sessions: impl SessionNamespace + 'static) {
///     let sessions = MockNamespace::new(sessions);
///     sessions.script().fail_next(Operation::List, Error::new(ErrorKind::Overloaded, "too many events wait"));
///     let error = sessions.list().await.unwrap_err();
///     assert_eq!((error.operation(), error.is_retryable()), ("list", true));
///     assert_eq!(sessions.script().count(Operation::List), 1);
/// }
/// ```
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

    /// Records a call and plays its step.
    async fn enter(&self, operation: Operation, subject: impl Into<String> + Send) -> Result<()> {
        self.script.enter(operation, subject).await.map_err(|error| error.during(operation))
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
        self.enter(Operation::Fetch, id.to_string()).await?;
        self.inner.fetch(id, request).await
    }
    async fn health(&self) -> Result<()> {
        self.enter(Operation::Health, "").await?;
        self.inner.health().await
    }
    async fn list(&self) -> Result<Vec<ListedObject>> {
        self.enter(Operation::List, "").await?;
        self.inner.list().await
    }
    async fn evict(&self, id: &ObjectId) -> Result<()> {
        self.enter(Operation::Evict, id.to_string()).await?;
        self.inner.evict(id).await
    }
    #[cfg(not(target_arch = "wasm32"))]
    async fn sockets(&self, id: &ObjectId) -> Result<Vec<crate::SocketDetails>> {
        self.enter(Operation::Sockets, id.to_string()).await?;
        self.inner.sockets(id).await
    }
    #[cfg(not(target_arch = "wasm32"))]
    async fn drain(&self, limit: std::time::Duration) -> Result<()> {
        self.enter(Operation::Drain, "").await?;
        self.inner.drain(limit).await
    }
}
