//! An MCP server over Streamable HTTP, in all revisions of the protocol: the revision 2026-07-28, which has no sessions, and those
//! from 2024-11-05 to 2025-11-25, which have `Mcp-Session-Id`, streams that can be resumed, and requests from the server.
//!
//! One object serves one user, under `/`: it keeps the user's sessions, the events of their streams and their subscriptions. All
//! of it is durable before it is answered, so a session outlives restarts. Tools, resources and prompts are those of an
//! [`McpService`], which knows the newest revision alone: a tool that needs input from the user answers with an elicitation, and
//! is called again with the client's answer; for older clients the object asks by a request of its own.
//!
//! A stream with nothing to send does not keep other objects from being served: when the host needs the room the stream ends, and
//! its client resumes it.
#![allow(deprecated, reason = "SEP-2577 deprecates logging and sampling, which the older revisions have")]

mod calls;
mod limits;
mod listen;
mod response_stream;
mod rules;
mod service;
mod sessions;
mod store;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures_channel::{mpsc, oneshot};
use http::{HeaderMap, Method, StatusCode, header};
pub use rmcp::model;
use rmcp::model::{
    ClientCapabilities, DiscoverResult, ErrorData, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, LoggingLevel, ProtocolVersion, RequestStateCodec, ServerResult,
};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

pub use limits::McpLimits;
pub use service::{Change, McpCall, McpService, Reporter, no_such_resource};

use crate::participant::Participant;
use crate::reply::{refusal, reply, revoked, too_many};
use crate::revocations::Revocations;
use calls::CallKind;
use isobar_sessions::{AlarmInfo, Body, Error, ErrorKind, Request, Response, Result, SessionContext, SessionObject};
use rules::{Incoming, Refused, STATELESS, WITH_SESSIONS, classify, status_of};
use store::{Session, Store};

/// The methods that are answered at once.
const OFFERED: [&str; 6] = [
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "completion/complete",
];
/// Bytes of a message.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Options of an MCP object: its environment.
///
/// ```
/// use std::sync::Arc;
///
/// use isobar_objects::mcp::{McpLimits, McpOptions, McpService};
///
/// /// Options of a server without sign-in, for requests to its own name alone.
/// fn options(service: Arc<dyn McpService>) -> McpOptions {
///     McpOptions::new(service)
///         .with_allowed_hosts(["mcp.example.com".to_owned()])
///         .with_limits(McpLimits::default().with_sessions(10, 50))
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct McpOptions {
    /// Tools, resources and prompts. No default: [`new`](Self::new) takes it.
    pub service: Arc<dyn McpService>,
    /// Hosts that requests may be for, without ports. Default: none, which allows every host. Set it where no sign-in is needed: it
    /// refuses a page that makes its visitor's browser resolve the page's name to this server (DNS rebinding).
    pub allowed_hosts: Vec<String>,
    /// Limits of one user. Default: [`McpLimits::default`].
    pub limits: McpLimits,
}

impl McpOptions {
    /// Creates options for this service.
    pub fn new(service: Arc<dyn McpService>) -> Self {
        Self { service, allowed_hosts: Vec::new(), limits: McpLimits::default() }
    }

    /// Sets the limits of one user.
    #[must_use]
    pub fn with_limits(mut self, limits: McpLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the hosts that requests may be for.
    #[must_use]
    pub fn with_allowed_hosts(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.allowed_hosts = hosts.into_iter().collect();
        self
    }
}

/// The MCP sessions of one user, as a session object: see the [module](self) for its protocol.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use async_trait::async_trait;
/// # use isobar_objects::mcp::{McpCall, McpService};
/// # use isobar_objects::mcp::model::{
/// #     CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, InitializeResult, JsonObject,
/// #     ServerCapabilities, Tool,
/// # };
/// # /// A server with one tool, which greets its caller.
/// # #[derive(Debug)]
/// # struct Greeter;
/// #
/// # #[async_trait]
/// # impl McpService for Greeter {
/// #     fn about(&self) -> InitializeResult {
/// #         InitializeResult::new(ServerCapabilities::default()).with_server_info(Implementation::new("greeter", "1.0"))
/// #     }
/// #
/// #     async fn tools(&self, _: &Participant) -> Result<Vec<Tool>, ErrorData> {
/// #         Ok(vec![Tool::new("greet", "Greets the caller", JsonObject::new())])
/// #     }
/// #
/// #     async fn call(&self, call: McpCall) -> Result<CallToolResponse, ErrorData> {
/// #         call.reporter.progress(1.0, Some(1.0), Some("greeting"));
/// #         let greeting = format!("Hello, {}!", call.caller.name);
/// #         Ok(CallToolResult::success(vec![ContentBlock::text(greeting)]).into())
/// #     }
/// # }
/// use std::sync::Arc;
///
/// use http::Request;
/// use isobar_objects::Participant;
/// use isobar_objects::mcp::{McpOptions, McpSession};
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{Body, SessionNamespace};
/// use serde_json::{Value, json};
///
/// // `Greeter` implements `McpService`; each user has an object.
/// let users = MemoryHost::<McpSession>::new("Mcp", || McpOptions::new(Arc::new(Greeter)))?;
/// let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
///     "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "client", "version": "1.0"}}});
/// let mut request = Request::post("/")
///     .header("accept", "application/json, text/event-stream")
///     .body(Body::from(initialize.to_string()))?;
/// Participant::new("user-1", "Ada").insert(request.headers_mut());
///
/// let response = users.fetch(&users.id_from_name("user-1"), request).await?;
/// assert!(response.headers().contains_key("mcp-session-id"));
/// let answer: Value = response.into_body().json().await?;
/// assert_eq!(answer["result"]["serverInfo"]["name"], "greeter");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct McpSession {
    context: SessionContext,
    options: McpOptions,
    store: Store,
    codec: Rc<OnceCell<RequestStateCodec>>,
    live: Rc<RefCell<Live>>,
}

impl std::fmt::Debug for McpSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "McpSession({})", self.context.id())
    }
}

/// Calls and streams in flight: they end with the instance, as do their connections.
#[derive(Default)]
struct Live {
    /// Connections that receive the events of a stream, by session and stream.
    streams: HashMap<String, StreamConsumer>,
    /// Requests of the server's own, by session and id.
    pending: HashMap<String, oneshot::Sender<Json>>,
    /// Calls that can be cancelled, by session and id.
    calls: HashMap<String, oneshot::Sender<()>>,
    /// Senders that end each call in flight, of either kind of revision, when its user is revoked.
    in_flight: HashMap<u64, oneshot::Sender<()>>,
    last_call: u64,
    listeners: Vec<listen::Listener>,
    revocations: Revocations,
}

/// The newest connection of a stream.
#[derive(Debug, Clone)]
struct StreamConsumer {
    sender: mpsc::UnboundedSender<Bytes>,
    /// Number of the newest event that was sent there.
    last_sent: i64,
}

impl StreamConsumer {
    /// Sends an event, unless the client has received it with those it had missed.
    fn send(&mut self, stream: &str, id: i64, message: &str) {
        if id > self.last_sent {
            self.last_sent = id;
            drop(self.sender.unbounded_send(response_stream::event(Some((stream, id)), message)));
        }
    }
}

/// A request, and its sender.
#[derive(Debug, Clone)]
struct Asked {
    who: Participant,
    id: Json,
    /// Of the revisions that have them.
    session: Option<Session>,
    client: ClientCapabilities,
    level: Option<LoggingLevel>,
    progress: Option<Json>,
}

impl SessionObject for McpSession {
    type Env = McpOptions;

    async fn start(context: SessionContext, options: McpOptions) -> Result<Self> {
        let store = Store::new(context.clone(), options.limits);
        Ok(Self { context, options, store, codec: Rc::default(), live: Rc::default() })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if let Some(user) = Participant::revoked_by(&request) {
            return self.revoke(&user).map(revoked);
        }
        let who = match Participant::of(&request) {
            Ok(who) => who,
            Err(refused) => return Ok(*refused),
        };
        if let Some(refused) = self.covered(&who)? {
            return Ok(refused);
        }
        if !rules::is_allowed_host(request.headers(), &self.options.allowed_hosts) {
            return Ok(refusal(StatusCode::FORBIDDEN, "this host or origin is not served"));
        }
        let (parts, body) = request.into_parts();
        match (&parts.method, parts.uri.path()) {
            (&Method::POST, "/") => self.post(who, &parts.headers, body).await,
            (&Method::GET, "/") => self.resume(&parts.headers),
            (&Method::DELETE, "/") => self.end(&parts.headers),
            (_, "/") => Ok(refusal(StatusCode::METHOD_NOT_ALLOWED, "MCP has POST, and for sessions GET and DELETE")),
            _ => Ok(refusal(StatusCode::NOT_FOUND, "MCP is at / of this object")),
        }
    }

    async fn alarm(&self, _: AlarmInfo) -> Result<()> {
        self.forget(&self.store.sweep()?);
        Ok(())
    }
}

impl McpSession {
    /// Ends every stream and call of the object's user. Sessions stay: a client that still has rights comes back. In an object that
    /// was never used the revocation is remembered in memory alone, so that no file is made for it.
    fn revoke(&self, user: &str) -> Result<usize> {
        let mut live = self.live.borrow_mut();
        let Live { streams, pending, calls, in_flight, listeners, revocations, .. } = &mut *live;
        let closed = streams.len() + in_flight.len() + listeners.len();
        revocations.add(&self.context, user, closed > 0 || self.store.is_used()?)?;
        streams.clear();
        pending.clear();
        calls.clear();
        in_flight.clear();
        listeners.clear();
        Ok(closed)
    }

    /// Returns the codec that seals the state of tools. Its key is made when the first tool leaves state.
    fn codec(&self) -> Result<&RequestStateCodec> {
        if self.codec.get().is_none() {
            let codec = RequestStateCodec::try_new(self.store.key()?)
                .map_err(|error| Error::new(ErrorKind::Internal, format!("the state's key: {error}")))?;
            self.codec.set(codec).ok(); // nothing was awaited since it was not there
        }
        Ok(self.codec.get().expect("the codec was put there"))
    }

    /// Ends what is in flight in sessions that are over: streams, calls, and requests of the server's own.
    fn forget(&self, sessions: &[String]) {
        let mut live = self.live.borrow_mut();
        for session in sessions {
            let prefix = format!("{session}/");
            live.streams.retain(|key, _| !key.starts_with(&prefix));
            live.calls.retain(|key, _| !key.starts_with(&prefix));
            live.pending.retain(|key, _| !key.starts_with(&prefix));
        }
    }

    /// Returns the refusal of a participant who was judged before a revocation.
    fn covered(&self, who: &Participant) -> Result<Option<Response>> {
        let is_covered = self.live.borrow_mut().revocations.covers(&self.context, who)?;
        Ok(is_covered.then(|| refusal(StatusCode::FORBIDDEN, "your access has changed: send the request again")))
    }

    /// Handles a message: a request, a notification or a response.
    async fn post(&self, who: Participant, headers: &HeaderMap, body: Body) -> Result<Response> {
        let bytes = body.bytes().await?;
        // The body may have taken its time, and a call that is not yet in flight is not ended by a revocation.
        if let Some(refused) = self.covered(&who)? {
            return Ok(refused);
        }
        if bytes.len() > MESSAGE_BYTES {
            return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, "a message has 4 MiB at most"));
        }
        let Ok(message) = serde_json::from_slice::<Json>(&bytes) else {
            let error = ErrorData::parse_error("the body is not JSON", None);
            return Ok(failed(StatusCode::BAD_REQUEST, Json::Null, error));
        };
        match classify(&message) {
            Err((status, error)) => Ok(failed(status, message["id"].clone(), error)),
            Ok(Incoming::Request { id, method }) if rules::is_stateless(&message, headers) => {
                self.stateless(who, id, &method, &message, headers).await
            }
            Ok(Incoming::Notification { .. } | Incoming::Response { .. }) if rules::is_stateless(&message, headers) => {
                Ok(accepted()) // a request is cancelled by ending its stream
            }
            Ok(incoming) => self.with_session(who, incoming, &message, headers).await,
        }
    }

    /// A request of the revision without sessions.
    async fn stateless(
        &self,
        who: Participant,
        id: Json,
        method: &str,
        message: &Json,
        headers: &HeaderMap,
    ) -> Result<Response> {
        let refused = |(status, error): Refused| Ok(failed(status, id.clone(), error));
        let meta = match rules::check_stateless(message, headers, method) {
            Ok(meta) => meta,
            Err(error) => return refused(error),
        };
        let asked = Asked {
            who,
            id: id.clone(),
            session: None,
            client: meta.client_capabilities().unwrap_or_default(),
            level: meta.log_level(),
            progress: message["params"]["_meta"].get("progressToken").cloned(),
        };
        let params = message["params"].clone();
        match method {
            "server/discover" => {
                let versions = [STATELESS].into_iter().chain(WITH_SESSIONS).collect();
                let discovered = DiscoverResult::from_server_info(versions, self.options.service.about());
                Ok(self.answered(&asked, Ok(discovered.into())))
            }
            "subscriptions/listen" => self.listen(&asked, params),
            "tools/call" => {
                if let Err(error) = self.check_tool(&asked, &params, headers).await {
                    return refused(error);
                }
                self.call(asked, params, CallKind::Tool, headers).await
            }
            "prompts/get" => self.call(asked, params, CallKind::Prompt, headers).await,
            method => match self.offered(&asked, method, params).await {
                Some(result) => Ok(self.answered(&asked, result)),
                None => refused(rules::unknown_method(method)),
            },
        }
    }

    /// Answers a method whose answer needs no stream and is alike in all revisions; `None` for an unknown method.
    async fn offered(&self, asked: &Asked, method: &str, params: Json) -> Option<Result<ServerResult, ErrorData>> {
        let service = &self.options.service;
        let who = &asked.who;
        let offered = async {
            Ok(match method {
                "tools/list" => ListToolsResult::with_all_items(service.tools(who).await?).into(),
                "prompts/list" => ListPromptsResult::with_all_items(service.prompts(who).await?).into(),
                "resources/list" => ListResourcesResult::with_all_items(service.resources(who).await?).into(),
                "resources/templates/list" => {
                    ListResourceTemplatesResult::with_all_items(service.resource_templates(who).await?).into()
                }
                "resources/read" => {
                    let uri = params["uri"].as_str().ok_or_else(|| invalid("params.uri is missing"))?;
                    service.read(who, uri).await?.into()
                }
                _ => service.complete(who, parsed(params)?).await?.into(),
            })
        };
        OFFERED.contains(&method).then_some(())?;
        Some(offered.await)
    }

    /// Keeps the object in memory for a stream, until the sender that this returns is dropped with the stream's body. An idle
    /// stream does not keep other objects from being served: it ends when its host needs the room, and its client comes back.
    fn stay(&self) -> oneshot::Sender<()> {
        let (here, gone) = oneshot::channel::<()>();
        self.context.linger(async move {
            gone.await.ok(); // nothing is ever sent: it ends with its sender
        });
        here
    }

    /// Refuses a call whose headers are not as its tool wants them.
    async fn check_tool(&self, asked: &Asked, params: &Json, headers: &HeaderMap) -> std::result::Result<(), Refused> {
        let tools = self.options.service.tools(&asked.who).await.map_err(|error| (StatusCode::OK, error))?;
        let Some(tool) = tools.iter().find(|tool| params["name"] == *tool.name) else { return Ok(()) };
        rules::check_parameters(&json!(*tool.input_schema), &params["arguments"], headers)
    }

    /// A result or an error as an answer of its own.
    fn answered(&self, asked: &Asked, result: Result<ServerResult, ErrorData>) -> Response {
        let (status, message) = self.shaped(asked, result);
        reply(status, &message)
    }

    /// A result or an error in the form of the revision that is spoken.
    fn shaped(&self, asked: &Asked, result: Result<ServerResult, ErrorData>) -> (StatusCode, Json) {
        let is_stateless = asked.session.is_none();
        match result {
            Ok(mut result) => {
                if is_stateless {
                    result.fill_missing_cache_hints();
                } else {
                    result.strip_result_type_for_legacy_peer();
                    result.strip_non_object_output_for_legacy_peer();
                }
                let mut result = json!(result);
                if is_stateless && let Some(object) = result.as_object_mut() {
                    object.entry("resultType").or_insert_with(|| json!("complete"));
                    let meta = object.entry("_meta").or_insert_with(|| json!({}));
                    meta["io.modelcontextprotocol/serverInfo"] = json!(self.options.service.about().server_info);
                }
                (StatusCode::OK, json!({"jsonrpc": "2.0", "id": asked.id, "result": result}))
            }
            Err(mut error) => {
                if is_stateless && error.code == model::ErrorCode::RESOURCE_NOT_FOUND {
                    error.code = model::ErrorCode::INVALID_PARAMS; // 2026-07-28 has no code of its own for it
                }
                let status = if is_stateless { status_of(&error) } else { StatusCode::OK };
                (status, json!({"jsonrpc": "2.0", "id": asked.id, "error": error}))
            }
        }
    }
}

/// Returns the response with an error of JSON-RPC.
fn failed(status: StatusCode, id: Json, error: ErrorData) -> Response {
    reply(status, &json!({"jsonrpc": "2.0", "id": id, "error": error}))
}

/// Returns 202 without a body: the answer to what needs none.
fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// Returns the error for invalid parameters.
fn invalid(what: &str) -> ErrorData {
    ErrorData::invalid_params(what.to_owned(), None)
}

/// Parses parameters.
fn parsed<T: DeserializeOwned>(params: Json) -> Result<T, ErrorData> {
    serde_json::from_value(params).map_err(|error| invalid(&format!("params: {error}")))
}

/// Whether the client accepts a stream as the response.
fn takes_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("text/event-stream") || accept.contains("*/*")
}

/// The revision that a client of this one is answered in.
fn negotiated(asked: &ProtocolVersion) -> ProtocolVersion {
    if WITH_SESSIONS.contains(asked) { asked.clone() } else { ProtocolVersion::LATEST_WITH_INITIALIZE }
}
