//! MCP sessions, as their clients see them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use isobar_objects::Participant;
use isobar_objects::mcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, InitializeResult, ServerCapabilities,
    Tool,
};
use isobar_objects::mcp::{McpCall, McpOptions, McpService, McpSession};
use isobar_sessions::Body;
use isobar_sessions::local::{HostOptions, LocalHost};
use serde_json::{Value as Json, json};

use super::objects::{ada, send};

/// One tool, which counts and tells who has called.
#[derive(Debug)]
pub(super) struct Counter;

#[async_trait]
impl McpService for Counter {
    fn about(&self) -> InitializeResult {
        InitializeResult::new(ServerCapabilities::default()).with_server_info(Implementation::new("counter", "1"))
    }

    async fn tools(&self, _: &Participant) -> Result<Vec<Tool>, ErrorData> {
        Ok(vec![Tool::new("count", "Counts", serde_json::Map::new())])
    }

    async fn call(&self, call: McpCall) -> Result<CallToolResponse, ErrorData> {
        call.reporter.progress(1.0, Some(2.0), None);
        if call.arguments.contains_key("slow") {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        if call.arguments.contains_key("endless") {
            std::future::pending::<()>().await;
        }
        if call.arguments.contains_key("huge") {
            return Ok(CallToolResult::success(vec![ContentBlock::text("x".repeat(4_300_000))]).into());
        }
        Ok(CallToolResult::success(vec![ContentBlock::text(format!("called by {}", call.caller.user))]).into())
    }
}

pub(super) const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

pub(super) fn call(id: i64, arguments: Json) -> Json {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": "count", "arguments": arguments, "_meta": {"progressToken": "p"}}})
}

#[tokio::test]
async fn mcp_sessions_survive_restarts_and_streams_are_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let env = || McpOptions::new(Arc::new(Counter));
        LocalHost::<McpSession>::open(folder.path(), "Mcp", &HostOptions::default(), env).unwrap()
    };
    let host = open();
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18",
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let answer = send(&host, Some(&ada()), "POST", "/", &[BOTH], initialize).await;
    let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let answer: Json = answer.into_body().json().await.unwrap();
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
    drop(host);

    let host = open();
    let with = [BOTH, ("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-06-18")];
    let answer = send(&host, Some(&ada()), "POST", "/", &with, call(2, json!({}))).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let events = answer.into_body().text().await.unwrap();
    assert!(events.contains("notifications/progress") && events.contains("called by ada"), "{events}");
    // The connection breaks after the first event; the rest is there for who comes back.
    let answer = send(&host, Some(&ada()), "POST", "/", &with, call(3, json!({"slow": true}))).await;
    let mut body = answer.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let id =
        std::str::from_utf8(&first).unwrap().lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    drop(body);
    let headers = [("accept", "text/event-stream"), with[1], ("last-event-id", id.as_str())];
    let rest = send(&host, Some(&ada()), "GET", "/", &headers, Json::Null).await.into_body().text();
    let rest = tokio::time::timeout(Duration::from_secs(5), rest).await.expect("it ends with the call").unwrap();
    assert!(rest.contains("called by ada") && !rest.contains("notifications/progress"), "{rest}");
    // Sessions are ended, and then are not there; nobody has another's.
    let other = [BOTH, ("mcp-session-id", "00000000000000000000000000000000")];
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &other, call(4, json!({}))).await.status(), 404);
    assert_eq!(send(&host, Some(&ada()), "DELETE", "/", &with[1..2], Json::Null).await.status(), 204);
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &with, call(5, json!({}))).await.status(), 404);
}

/// A call whose first event has come, and the id of that event.
async fn begun(host: &LocalHost<McpSession>, with: &[(&str, &str)], call: Json) -> (Body, String) {
    let mut body = send(host, Some(&ada()), "POST", "/", with, call).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let id = std::str::from_utf8(&first).unwrap().lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    (body, id.to_owned())
}

async fn rest_of(body: Body) -> String {
    let rest = tokio::time::timeout(Duration::from_secs(5), body.text()).await;
    rest.expect("the stream ends").unwrap()
}

fn open_mcp(folder: &std::path::Path) -> LocalHost<McpSession> {
    let env = || McpOptions::new(Arc::new(Counter));
    LocalHost::<McpSession>::open(folder, "Mcp", &HostOptions::default(), env).unwrap()
}

/// Begins a session, and returns its id.
async fn initialized(host: &LocalHost<McpSession>) -> String {
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let answer = send(host, Some(&ada()), "POST", "/", &[BOTH], initialize).await;
    answer.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

/// Headers of a request in a session.
fn within(session: &str) -> [(&str, &str); 3] {
    [BOTH, ("mcp-session-id", session), ("mcp-protocol-version", "2025-11-25")]
}

/// Resumes a stream behind the event with this id, and returns the rest of it.
async fn resumed(host: &LocalHost<McpSession>, session: &str, id: &str) -> String {
    let headers = [("accept", "text/event-stream"), ("mcp-session-id", session), ("last-event-id", id)];
    rest_of(send(host, Some(&ada()), "GET", "/", &headers, Json::Null).await.into_body()).await
}

#[tokio::test]
async fn mcp_streams_end_with_their_calls_however_those_end() {
    let folder = tempfile::tempdir().unwrap();
    let host = open_mcp(folder.path());
    let session = initialized(&host).await;
    let with = within(&session);
    // By the client: the stream ends without an answer, and so does a later one.
    let (body, id) = begun(&host, &with, call(2, json!({"endless": 1}))).await;
    let again: Json =
        send(&host, Some(&ada()), "POST", "/", &with, call(2, json!({}))).await.into_body().json().await.unwrap();
    assert_eq!(again["error"]["message"], "a call with this id is in flight");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &with, cancel).await.status(), 202);
    assert!(!rest_of(body).await.contains("called by"));
    assert!(!resumed(&host, &session, &id).await.contains("error"));
    // By the end of its session.
    let other = initialized(&host).await;
    let others = within(&other);
    let (body, _) = begun(&host, &others, call(5, json!({"endless": 1}))).await;
    assert_eq!(send(&host, Some(&ada()), "DELETE", "/", &others[1..2], Json::Null).await.status(), 204);
    assert!(!rest_of(body).await.contains("called by"));
    // By a restart: a client that resumes the stream learns that the call was interrupted.
    let (body, id) = begun(&host, &with, call(6, json!({"endless": 1}))).await;
    drop(body);
    drop(host);
    let host = open_mcp(folder.path());
    let rest = resumed(&host, &session, &id).await;
    assert!(rest.contains(r#""id":6"#) && rest.contains("interrupted by a restart"), "{rest}");
    assert!(resumed(&host, &session, &id).await.contains("interrupted by a restart"));
    // By newer sessions, for which there would be no room.
    let (body, _) = begun(&host, &with, call(7, json!({"endless": 1}))).await;
    for _ in 0..100 {
        initialized(&host).await;
    }
    assert!(!rest_of(body).await.contains("called by"));
    // An id over the limit of 1,024 bytes.
    let mut long = call(8, json!({}));
    long["id"] = "x".repeat(1025).into();
    assert_eq!(send(&host, Some(&ada()), "POST", "/", &with, long).await.status(), 400);
}

#[tokio::test]
async fn mcp_streams_can_be_resumed_while_their_events_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let host = open_mcp(folder.path());
    let session = initialized(&host).await;
    let with = within(&session);
    // A response that is too large to be stored arrives; a client that resumes its stream learns why it is gone.
    let (body, id) = begun(&host, &with, call(3, json!({"huge": 1}))).await;
    assert!(rest_of(body).await.len() > 4_000_000);
    assert!(resumed(&host, &session, &id).await.contains("too large to be kept"));
    // Events of other sessions take no room of one's own.
    let other = initialized(&host).await;
    let others = within(&other);
    let (body, id) = begun(&host, &with, call(4, json!({"slow": 1}))).await;
    for number in 0..400 {
        rest_of(send(&host, Some(&ada()), "POST", "/", &others, call(number, json!({}))).await.into_body()).await;
    }
    drop(body);
    assert!(resumed(&host, &session, &id).await.contains("called by ada"));
    // A thousand events later, of the same session, only the newest are left.
    for number in 1000..1400 {
        rest_of(send(&host, Some(&ada()), "POST", "/", &with, call(number, json!({}))).await.into_body()).await;
    }
    assert!(!resumed(&host, &session, &id).await.contains("called by ada"));
    let (body, id) = begun(&host, &with, call(1400, json!({}))).await;
    drop(body);
    assert!(resumed(&host, &session, &id).await.contains("called by ada"));
}
