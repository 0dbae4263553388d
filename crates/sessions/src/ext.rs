//! Convenience over [`SessionNamespace`].

use async_trait::async_trait;

use crate::call::{self, Call};
use crate::{
    Body, ClientSocket, Error, ErrorKind, ObjectId, Request, Response, Result, SessionNamespace, take_websocket,
};

/// Convenience over [`SessionNamespace`].
///
/// ```
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// # use isobar_sessions::memory::MemoryHost;
/// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionObject};
/// use isobar_sessions::{Body, SessionNamespaceExt};
/// # struct Counter(SessionContext);
/// # impl SessionObject for Counter {
/// #     type Env = ();
/// #     async fn start(context: SessionContext, _: ()) -> Result<Self> {
/// #         Ok(Self(context))
/// #     }
/// #     async fn fetch(&self, _: Request) -> Result<Response> {
/// #         let count = self.0.kv().get::<u64>("count")?.unwrap_or_default() + 1;
/// #         self.0.kv().put("count", &count)?;
/// #         Ok(Response::new(count.to_string().into()))
/// #     }
/// # }
///
/// let counters = MemoryHost::<Counter>::new("Counter", || ())?;
/// let home = counters.id("/home");
/// counters.get(&home, "/").await?;
/// let response = counters.post(&home, "/", Body::empty()).await?;
/// assert_eq!(response.into_body().text().await?, "2");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait SessionNamespaceExt: SessionNamespace {
    /// Returns the id of a name, as [`SessionNamespace::id_from_name`].
    fn id(&self, name: &str) -> ObjectId {
        self.id_from_name(name)
    }

    /// Sends a GET of this path to an object.
    ///
    /// # Errors
    /// As [`SessionNamespace::fetch`]; [`ErrorKind::InvalidArgument`] when the path is not a URI.
    async fn get(&self, id: &ObjectId, path: &str) -> Result<Response> {
        self.fetch(id, request("GET", path, Body::empty())?).await
    }

    /// Sends a POST to this path of an object.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn post(&self, id: &ObjectId, path: &str, body: Body) -> Result<Response> {
        self.fetch(id, request("POST", path, body)?).await
    }

    /// Calls an object, which answers by [`Dispatch`](crate::Dispatch): a typed [`Call`].
    ///
    /// # Errors
    /// The error of the object's handler, with its kind; [`ErrorKind::Unsupported`] when the object has no such call, [`ErrorKind::Decode`] when
    /// one of both cannot read what the other has sent, and as [`SessionNamespace::fetch`].
    async fn call<C: Call + Sync>(&self, id: &ObjectId, call: &C) -> Result<C::Answer> {
        call::send(self, id, call).await
    }

    /// Opens a WebSocket to an object, by a GET of this path with `Upgrade: websocket`.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::Socket`] when the object answers without one.
    async fn connect(&self, id: &ObjectId, path: &str) -> Result<ClientSocket> {
        let mut request = request("GET", path, Body::empty())?;
        request.headers_mut().insert(http::header::UPGRADE, http::HeaderValue::from_static("websocket"));
        let mut response = self.fetch(id, request).await?;
        let status = response.status();
        take_websocket(&mut response)
            .ok_or_else(|| Error::new(ErrorKind::Socket, format!("the object answered {status} without a WebSocket")))
    }
}

/// Creates a request with a path of the caller's.
fn request(method: &str, path: &str, body: Body) -> Result<Request> {
    http::Request::builder()
        .method(method)
        .uri(path)
        .body(body)
        .map_err(|error| Error::new(ErrorKind::InvalidArgument, format!("{path}: {error}")).with_source(error))
}

impl<N: SessionNamespace + ?Sized> SessionNamespaceExt for N {}
