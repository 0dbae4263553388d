//! Typed calls: a request and its answer are types of serde, over the requests that an object handles anyway.
//!
//! On the wire a call is a POST to `/.isobar/call/NAME` with the call as JSON. Its answer is JSON, too; the header `x-isobar-call` says
//! whether it is the answer (`ok`) or an error (`error`), `{"kind": ..., "message": ...}`. So an error keeps its kind also where the runtime
//! between caller and object would lose it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Body, Error, ErrorKind, ObjectId, Request, Response, Result, SessionNamespace};

/// Beginning of the paths that are reserved for calls. A server must not let a client choose such a path, nor one that leads there by
/// `..`, `.` or `\`, which Workers resolve.
pub const CALL_PATH: &str = "/.isobar/call/";
/// Header of the response to a call.
const OUTCOME: &str = "x-isobar-call";

/// A call of a session object: what it carries, and the type of its answer.
///
/// ```
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{
///     Call, Dispatch, Error, Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject,
/// };
/// use serde::{Deserialize, Serialize};
///
/// /// Takes money from an account, and answers with what is left.
/// #[derive(Serialize, Deserialize)]
/// struct Withdraw {
///     cents: i64,
/// }
///
/// impl Call for Withdraw {
///     type Answer = i64;
///     const NAME: &'static str = "withdraw";
/// }
///
/// struct Account(SessionContext);
///
/// impl Account {
///     fn withdraw(&self, call: &Withdraw) -> Result<i64> {
///         let left = self.0.kv().get::<i64>("balance")?.unwrap_or(10_000) - call.cents;
///         if left < 0 {
///             return Err(Error::application("not enough money"));
///         }
///         self.0.kv().put("balance", &left)?;
///         Ok(left)
///     }
/// }
///
/// impl SessionObject for Account {
///     type Env = ();
///
///     async fn start(context: SessionContext, _: ()) -> Result<Self> {
///         Ok(Self(context))
///     }
///
///     async fn fetch(&self, request: Request) -> Result<Response> {
///         Dispatch::new(request).on(async |call: Withdraw| self.withdraw(&call)).finish().await
///     }
/// }
///
/// let accounts = MemoryHost::<Account>::new("Account", || ())?;
/// let ada = accounts.id("ada");
/// assert_eq!(accounts.call(&ada, &Withdraw { cents: 2_500 }).await?, 7_500);
/// let error = accounts.call(&ada, &Withdraw { cents: 9_000 }).await.unwrap_err();
/// assert_eq!(error.message(), "not enough money");
/// # Ok(())
/// # }
/// ```
pub trait Call: Serialize + DeserializeOwned {
    /// The answer's type.
    type Answer: Serialize + DeserializeOwned;
    /// The call's name, which no other call of the object has: letters, digits, `-`, `_` and `.`.
    const NAME: &'static str;
}

/// An object, to be called: its namespace and its id.
///
/// ```
/// use isobar_sessions::{Call, Result, SessionStub};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Members;
///
/// impl Call for Members {
///     type Answer = Vec<String>;
///     const NAME: &'static str = "members";
/// }
///
/// async fn is_empty(room: &SessionStub) -> Result<bool> {
///     Ok(room.call(&Members).await?.is_empty())
/// }
/// # let _ = is_empty;
/// ```
#[derive(Debug, Clone)]
pub struct SessionStub {
    namespace: Arc<dyn SessionNamespace>,
    id: ObjectId,
}

impl SessionStub {
    /// Addresses the object of this id.
    #[must_use]
    pub fn new(namespace: Arc<dyn SessionNamespace>, id: ObjectId) -> Self {
        Self { namespace, id }
    }

    /// Addresses the object of this name.
    ///
    /// ```
    /// # #[cfg(not(feature = "memory"))]
    /// # fn main() {}
    /// # #[cfg(feature = "memory")]
    /// # fn main() -> isobar_sessions::Result<()> {
    /// use std::sync::Arc;
    /// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionObject};
    /// use isobar_sessions::memory::MemoryHost;
    /// use isobar_sessions::{SessionNamespace, SessionStub};
    /// # struct Room;
    /// # impl SessionObject for Room {
    /// #     type Env = ();
    /// #     async fn start(_: SessionContext, _: ()) -> Result<Self> { Ok(Self) }
    /// #     async fn fetch(&self, _: Request) -> Result<Response> { Ok(Response::default()) }
    /// # }
    /// let rooms: Arc<dyn SessionNamespace> = Arc::new(MemoryHost::<Room>::new("Room", || ())?);
    /// let lobby = SessionStub::named(Arc::clone(&rooms), "lobby");
    /// assert_eq!(lobby.id(), &rooms.id_from_name("lobby"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn named(namespace: Arc<dyn SessionNamespace>, name: &str) -> Self {
        let id = namespace.id_from_name(name);
        Self { namespace, id }
    }

    /// Returns the object's id.
    #[must_use]
    pub fn id(&self) -> &ObjectId {
        &self.id
    }

    /// Calls the object.
    ///
    /// # Errors
    /// As [`SessionNamespaceExt::call`](crate::SessionNamespaceExt::call).
    pub async fn call<C: Call + Sync>(&self, call: &C) -> Result<C::Answer> {
        send(&*self.namespace, &self.id, call).await
    }

    /// Sends a request to the object.
    ///
    /// # Errors
    /// As [`SessionNamespace::fetch`].
    pub async fn fetch(&self, request: Request) -> Result<Response> {
        self.namespace.fetch(&self.id, request).await
    }
}

/// Sends a call, and reads its answer.
pub(crate) async fn send<N, C>(namespace: &N, id: &ObjectId, call: &C) -> Result<C::Answer>
where
    N: SessionNamespace + ?Sized,
    C: Call,
{
    let name = C::NAME;
    if name.is_empty() || !name.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char)) {
        let message = format!("invalid name of a call {name:?}: use letters, digits, -, _ and .");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    let mut request = Request::new(Body::from(serde_json::to_vec(call)?));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("{CALL_PATH}{name}").parse().map_err(|error: http::uri::InvalidUri| {
        Error::new(ErrorKind::InvalidArgument, error.to_string()).with_source(error)
    })?;
    request.headers_mut().insert(header::CONTENT_TYPE, content_type());
    let response = namespace.fetch(id, request).await?;
    let status = response.status();
    let outcome = response.headers().get(OUTCOME).cloned();
    let answer = response.into_body().bytes().await?;
    match outcome.as_ref().and_then(|outcome| outcome.to_str().ok()) {
        Some("ok") => Ok(serde_json::from_slice(&answer)?),
        Some("error") => Err(serde_json::from_slice::<WireError>(&answer)?.into()),
        _ => {
            let message = format!("the object does not answer the call \"{name}\": it has answered {status}");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

fn content_type() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

/// The calls that an object handles: it finds the one of a request.
///
/// ```
/// use isobar_sessions::{Call, Dispatch, Request, Response, Result};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Add(i64, i64);
///
/// impl Call for Add {
///     type Answer = i64;
///     const NAME: &'static str = "add";
/// }
///
/// /// The `fetch` of an object that answers calls, and other requests too.
/// async fn fetch(request: Request) -> Result<Response> {
///     Dispatch::new(request)
///         .on(async |Add(one, other)| Ok(one + other))
///         .or(async |request| Ok(Response::new(request.uri().path().to_owned().into())))
///         .await
/// }
/// # let _ = fetch;
/// ```
pub struct Dispatch<'o> {
    state: State<'o>,
}

/// A request on its way to its handler.
enum State<'o> {
    /// It is not a call.
    Other(Request),
    /// A call that no handler has taken yet.
    Call {
        name: String,
        body: Body,
    },
    Taken(LocalBoxFuture<'o, Result<Bytes>>),
}

impl fmt::Debug for Dispatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Other(request) => request.uri().path(),
            State::Call { name, .. } => name,
            State::Taken(_) => "taken",
        };
        write!(f, "Dispatch({state})")
    }
}

impl<'o> Dispatch<'o> {
    /// Looks at a request.
    #[must_use]
    pub fn new(request: Request) -> Self {
        let name = request.uri().path().strip_prefix(CALL_PATH).filter(|_| request.method() == Method::POST);
        let state = match name.map(str::to_owned) {
            Some(name) => State::Call { name, body: request.into_body() },
            None => State::Other(request),
        };
        Self { state }
    }

    /// Handles the calls of one type. Where two handlers are for calls of one name, the first one has them.
    #[must_use]
    pub fn on<C: Call + 'o>(self, handler: impl AsyncFnOnce(C) -> Result<C::Answer> + 'o) -> Self {
        let state = match self.state {
            State::Call { name, body } if name == C::NAME => State::Taken(Box::pin(async move {
                let call = serde_json::from_slice(&body.bytes().await?).map_err(|error| {
                    let message = format!("the call \"{}\" cannot be read: {error}", C::NAME);
                    Error::new(ErrorKind::Decode, message).with_source(error)
                })?;
                Ok(serde_json::to_vec(&handler(call).await?)?.into())
            })),
            other => other,
        };
        Self { state }
    }

    /// Answers the call. A request that is not a call is answered with 404.
    ///
    /// # Errors
    /// None of a call's own: its caller receives them.
    pub async fn finish(self) -> Result<Response> {
        self.or(async |_| {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        })
        .await
    }

    /// Answers the call, or handles a request that is not a call.
    ///
    /// # Errors
    /// Those of `other`; none of a call's own, which its caller receives.
    pub async fn or(self, other: impl AsyncFnOnce(Request) -> Result<Response>) -> Result<Response> {
        let outcome = match self.state {
            State::Other(request) => return other(request).await,
            State::Call { name, .. } => {
                Err(Error::new(ErrorKind::Unsupported, format!("the object has no call \"{name}\"")))
            }
            State::Taken(handled) => handled.await,
        };
        let (word, status, body) = match outcome {
            Ok(answer) => ("ok", StatusCode::OK, answer),
            Err(error) => {
                let body = serde_json::to_vec(&WireError::from(&error))?.into();
                ("error", StatusCode::INTERNAL_SERVER_ERROR, body)
            }
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, content_type());
        response.headers_mut().insert(OUTCOME, HeaderValue::from_static(word));
        Ok(response)
    }
}

/// An error between an object and its caller.
#[derive(Debug, Serialize, Deserialize)]
struct WireError {
    kind: String,
    message: String,
}

/// Names of kinds. A kind that another version has, and this one has not, is internal.
const KINDS: [(ErrorKind, &str); 16] = [
    (ErrorKind::InvalidId, "invalid id"),
    (ErrorKind::InvalidArgument, "invalid argument"),
    (ErrorKind::Sql, "sql"),
    (ErrorKind::Constraint, "constraint"),
    (ErrorKind::NotAuthorized, "not authorized"),
    (ErrorKind::Decode, "decode"),
    (ErrorKind::Application, "application"),
    (ErrorKind::Reset, "reset"),
    (ErrorKind::Overloaded, "overloaded"),
    (ErrorKind::Socket, "socket"),
    (ErrorKind::Unsupported, "unsupported"),
    (ErrorKind::History, "history"),
    (ErrorKind::Storage, "storage"),
    (ErrorKind::StorageFull, "storage full"),
    (ErrorKind::Damaged, "damaged"),
    (ErrorKind::Internal, "internal"),
];

/// Returns the name by which a kind goes to another program.
pub(crate) fn kind_name(kind: ErrorKind) -> &'static str {
    KINDS.iter().find(|(one, _)| *one == kind).map_or("internal", |(_, name)| *name)
}

/// Returns the kind of a name.
pub(crate) fn kind_of(name: &str) -> ErrorKind {
    KINDS.iter().find(|(_, one)| *one == name).map_or(ErrorKind::Internal, |(kind, _)| *kind)
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> Self {
        Self { kind: kind_name(error.kind()).to_owned(), message: error.message().to_owned() }
    }
}

impl From<WireError> for Error {
    fn from(WireError { kind, message }: WireError) -> Self {
        Self::new(kind_of(&kind), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_kind_and_message_and_unknown_kinds_are_internal() {
        for (kind, _) in KINDS {
            let error = Error::from(WireError::from(&Error::new(kind, "why")));
            assert_eq!((error.kind(), error.message()), (kind, "why"));
        }
        let error = Error::from(WireError { kind: "of a later version".to_owned(), message: "why".to_owned() });
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
