//! Runs MCP's public conformance suite against an MCP session object on the native host.

#[allow(deprecated, reason = "SEP-2577 deprecates logging, which the older revisions have")]
mod fixture;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use isobar_http_serve::native::Server;
use isobar_http_serve::{Problem, forward_session};
use isobar_objects::Participant;
use isobar_objects::mcp::{McpOptions, McpSession};
use isobar_sessions::SessionNamespace;
use isobar_sessions::memory::MemoryHost;

use crate::{Outcome, npm, target};

/// A version of the suite for both protocol revisions; npm's `latest` has only the older one.
const SUITE: &str = "@modelcontextprotocol/conformance@0.2.0-alpha.12";
/// Scenarios that are expected to fail, with the reason; one that begins to pass fails the run.
const EXPECTED: &str = include_str!("expected.yml");

pub(crate) fn run() -> Outcome {
    let folder = std::path::absolute(target().join("mcp-conformance"))?;
    npm::install(&folder, &[SUITE])?;
    std::fs::write(folder.join("expected.yml"), EXPECTED)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let options = McpOptions::new(Arc::new(fixture::Fixture)).with_allowed_hosts(["127.0.0.1".to_owned()]);
    let sessions: Arc<dyn SessionNamespace> = Arc::new(MemoryHost::<McpSession>::new("Mcp", move || options.clone())?);
    let address = runtime.block_on(async {
        let server = Server::bind(([127, 0, 0, 1], 0).into()).await?;
        let address = server.address().ok_or("it listens on no port")?;
        let router = Router::new().fallback(forward).with_state(sessions);
        tokio::spawn(server.serve(router, std::future::pending()));
        Ok::<_, Box<dyn std::error::Error>>(address)
    })?;
    for revision in ["2025-11-25", "2026-07-28"] {
        suite(&folder, revision, &format!("http://{address}/"))?;
    }
    Ok(())
}

/// Forwards all requests to one user's object.
async fn forward(State(sessions): State<Arc<dyn SessionNamespace>>, mut request: Request) -> Result<Response, Problem> {
    Participant::new("user", "User").with_writes(true).insert(request.headers_mut());
    forward_session(&*sessions, &sessions.id_from_name("user"), "/", request).await
}

fn suite(folder: &Path, revision: &str, url: &str) -> Outcome {
    let mut command = Command::new("node");
    command.current_dir(folder).arg("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    command.args(["server", "--url", url, "--requirements", revision, "--expected-failures", "expected.yml"]);
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text.split("=== SUMMARY ===").nth(1).unwrap_or(&text);
    println!("{summary}");
    let number = |line: &str| line.split(": ").nth(1)?.split(' ').next()?.parse::<u32>().ok();
    let passed: u32 = summary.lines().filter(|line| line.contains('✓')).filter_map(number).sum();
    println!("MCP {revision}: {passed} checks pass");
    if output.status.success() {
        return Ok(());
    }
    Err(format!("MCP {revision} does not conform:\n{text}{}", String::from_utf8_lossy(&output.stderr)).into())
}
