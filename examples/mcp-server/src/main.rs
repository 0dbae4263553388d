//! An MCP server. `cargo run -p mcp-server`; with `-- check` it asks itself and ends.
#![allow(clippy::print_stdout, reason = "an example speaks")]

mod tools;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::{HeaderMap, StatusCode, header};
use isobar_http_serve::native::{Server, shutdown_signal};
use isobar_http_serve::{App, Problem, forward_session};
use isobar_objects::Participant;
use isobar_objects::mcp::{McpOptions, McpService, McpSession};
use isobar_sessions::memory::MemoryHost;
use isobar_sessions::{SessionNamespace, SessionNamespaceExt};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::tools::TextTools;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;
type Namespace = Arc<dyn SessionNamespace>;

/// The one key of this example, and whose it is.
const KEY: &str = "demo-key";

/// The sessions: an object for each user.
fn sessions() -> isobar_sessions::Result<MemoryHost<McpSession>> {
    let service: Arc<dyn McpService> = Arc::new(TextTools);
    // A browser could be made to send requests here by a page that resolves its own name to this machine: refuse its host.
    let hosts = ["127.0.0.1", "localhost"].map(str::to_owned);
    MemoryHost::new("Mcp", move || McpOptions::new(Arc::clone(&service)).with_allowed_hosts(hosts.clone()))
}

/// The routes below `/mcp`.
fn routes(sessions: Namespace) -> Router {
    Router::new().route("/", any(mcp)).with_state(sessions)
}

async fn mcp(State(sessions): State<Namespace>, mut request: Request) -> Result<Response, Problem> {
    let caller = caller(request.headers())?;
    let session = sessions.id(&caller.user);
    // The object believes what it is told here; what a client has sent under that name is replaced.
    caller.insert(request.headers_mut());
    forward_session(&*sessions, &session, "/", request).await
}

/// The caller. An application looks the key up; this example compares with a single one.
fn caller(headers: &HeaderMap) -> Result<Participant, Problem> {
    let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match key {
        Some(KEY) => Ok(Participant::new("ada", "Ada").with_writes(true)),
        _ => Err(Problem::new(StatusCode::UNAUTHORIZED).with_detail("send Authorization: Bearer and your key")),
    }
}

#[tokio::main]
async fn main() -> Outcome {
    if std::env::args().any(|argument| argument == "check") {
        return check().await;
    }
    let app = App::new().nest("/mcp", routes(Arc::new(sessions()?)));
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 8790))).await?;
    println!("{}/mcp, key {KEY} (Ctrl-C ends)", server.url());
    Ok(server.serve(app.into_service(), shutdown_signal()).await?)
}

/// A client of the revision 2025-06-18, which opens a session first.
async fn check() -> Outcome {
    let routes = routes(Arc::new(sessions()?));
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "check", "version": "1"}}});

    let refused = send(&routes, &[], &initialize).await?;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "nobody is served without a key");

    let key = ("authorization", format!("Bearer {KEY}"));
    let opened = send(&routes, std::slice::from_ref(&key), &initialize).await?;
    assert_eq!(opened.status(), StatusCode::OK);
    let session = opened.headers().get("mcp-session-id").ok_or("the server opened no session")?.to_str()?.to_owned();
    assert!(text(opened).await?.contains("text-tools"));

    let with = [key, ("mcp-session-id", session), ("mcp-protocol-version", "2025-06-18".to_owned())];
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(send(&routes, &with, &ready).await?.status(), StatusCode::ACCEPTED);

    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let tools = text(send(&routes, &with, &list).await?).await?;
    assert!(tools.contains("count_words") && tools.contains("who_am_i"), "{tools}");

    let call = |id: u32, name: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    let counted = text(send(&routes, &with, &call(3, "count_words", json!({"text": "one two three"}))).await?).await?;
    assert!(counted.contains("3 words"), "{counted}");
    let caller = text(send(&routes, &with, &call(4, "who_am_i", json!({}))).await?).await?;
    assert!(caller.contains("Ada"), "{caller}");
    let failed = text(send(&routes, &with, &call(5, "count_words", json!({}))).await?).await?;
    assert!(failed.contains("\"isError\":true"), "{failed}");
    println!("a session was opened, its tools were listed and called");
    Ok(())
}

/// Posts a message with these headers.
async fn send(routes: &Router, headers: &[(&str, String)], message: &Value) -> Outcome<Response> {
    let mut request = http::Request::post("/")
        .header(header::HOST, "127.0.0.1:8790")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Ok(routes.clone().oneshot(request.body(Body::from(message.to_string()))?).await?)
}

/// The text of an answer: JSON, or the events of a stream with JSON in them.
async fn text(answer: Response) -> Outcome<String> {
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await?;
    Ok(String::from_utf8(bytes.into())?)
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn the_example_holds_what_it_says() {
        super::check().await.expect("every step holds");
    }
}
