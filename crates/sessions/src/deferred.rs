//! A namespace that is opened later.
//!
//! Its state is a slot and the wakers of those that wait. The namespace is held weakly: hosts own their objects' environments,
//! and an environment that owned its host would keep both for ever. Ids are made without the namespace, by the scheme of its
//! name.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use isobar_base::sync::IgnorePoison;

use crate::{
    Capabilities, Error, ErrorKind, IdScheme, ListedObject, ObjectId, Request, Response, Result, SessionNamespace,
};

/// A namespace that is opened later: for the environments of objects that call each other, or their own kind, as an environment is
/// made before its host. What it is asked waits until the namespace is [set](Self::set). It does not keep the host: when that has ended, calls
/// fail. Its ids are those of the hosts of this crate.
///
/// ```
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use std::sync::Arc;
///
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{DeferredNamespace, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject};
///
/// /// An object that asks the object of its parent, up to the root.
/// struct Node(SessionContext, DeferredNamespace);
///
/// impl SessionObject for Node {
///     type Env = DeferredNamespace;
///
///     async fn start(context: SessionContext, nodes: DeferredNamespace) -> Result<Self> {
///         Ok(Self(context, nodes))
///     }
///
///     async fn fetch(&self, _: Request) -> Result<Response> {
///         let name = self.0.id().name().unwrap_or_default();
///         let Some((parent, _)) = name.rsplit_once('/') else { return Ok(Response::new("1".into())) };
///         let above: u32 = self.1.get(&self.1.id(parent), "/").await?.into_body().json().await?;
///         Ok(Response::new((above + 1).to_string().into()))
///     }
/// }
///
/// let deferred = DeferredNamespace::new("Node");
/// let env = deferred.clone();
/// let nodes: Arc<dyn SessionNamespace> = Arc::new(MemoryHost::<Node>::new("Node", move || env.clone())?);
/// deferred.set(&nodes);
/// assert_eq!(nodes.get(&nodes.id("a/b/c"), "/").await?.into_body().text().await?, "3");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeferredNamespace {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    scheme: IdScheme,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    namespace: Option<Weak<dyn SessionNamespace>>,
    waiting: Vec<Waker>,
}

impl fmt::Debug for DeferredNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeferredNamespace({})", self.inner.name)
    }
}

impl DeferredNamespace {
    /// Stands for the namespace of this name, which its host is to have.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        let scheme = IdScheme::new(namespace);
        Self { inner: Arc::new(Inner { name: namespace.to_owned(), scheme, state: Mutex::default() }) }
    }

    /// Sets the namespace, once it is open.
    ///
    /// Calls that wait go on. A second call replaces the namespace for later calls; those in flight keep theirs.
    pub fn set(&self, namespace: &Arc<dyn SessionNamespace>) {
        let mut state = self.inner.state.lock().ignore_poison();
        state.namespace = Some(Arc::downgrade(namespace));
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The namespace, when it is set.
    async fn opened(&self) -> Result<Arc<dyn SessionNamespace>> {
        std::future::poll_fn(|cx| {
            let mut state = self.inner.state.lock().ignore_poison();
            match &state.namespace {
                Some(namespace) => Poll::Ready(namespace.upgrade().ok_or_else(|| self.ended())),
                None => {
                    state.waiting.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn ended(&self) -> Error {
        Error::new(ErrorKind::Reset, format!("the session host of {} has stopped", self.inner.name))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionNamespace for DeferredNamespace {
    fn capabilities(&self) -> Capabilities {
        let state = self.inner.state.lock().ignore_poison();
        let namespace = state.namespace.as_ref().and_then(Weak::upgrade);
        drop(state);
        namespace.map(|namespace| namespace.capabilities()).unwrap_or_default()
    }
    fn id_from_name(&self, name: &str) -> ObjectId {
        self.inner.scheme.from_name(name)
    }
    fn unique_id(&self) -> Result<ObjectId> {
        self.inner.scheme.unique()
    }
    fn parse_id(&self, text: &str) -> Result<ObjectId> {
        self.inner.scheme.parse(text)
    }
    async fn fetch(&self, id: &ObjectId, request: Request) -> Result<Response> {
        self.opened().await?.fetch(id, request).await
    }
    async fn list(&self) -> Result<Vec<ListedObject>> {
        self.opened().await?.list().await
    }
    async fn health(&self) -> Result<()> {
        self.opened().await?.health().await
    }
    async fn evict(&self, id: &ObjectId) -> Result<()> {
        self.opened().await?.evict(id).await
    }
    #[cfg(not(target_arch = "wasm32"))]
    async fn sockets(&self, id: &ObjectId) -> Result<Vec<crate::SocketDetails>> {
        self.opened().await?.sockets(id).await
    }
    #[cfg(not(target_arch = "wasm32"))]
    async fn drain(&self, limit: std::time::Duration) -> Result<()> {
        self.opened().await?.drain(limit).await
    }
}
