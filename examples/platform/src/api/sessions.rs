//! Session objects by name, with who takes part.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use isobar_api::{Caller, Role};
use isobar_db::QueryableExt;
use isobar_http_serve::{ApiTools, Platform, Problem, forward_session};

use super::Answer;
use crate::bindings::{DB, IAM_SESSION};

/// The kinds that have a name each; MCP has one object for each user.
const KINDS: [&str; 3] = ["chat", "call", "browser"];

pub(super) async fn forward(
    State(platform): State<Platform>,
    caller: Caller,
    Path((kind, name, _)): Path<(String, String, String)>,
    request: Request,
) -> Answer<Response> {
    // The binding's own name stands for the chat, which was there first.
    let kind = if kind == IAM_SESSION { "chat" } else { &kind };
    if !KINDS.contains(&kind) {
        let detail = format!("there is no kind of session {kind:?}; there are: {}", KINDS.join(", "));
        return Err(Problem::not_found(detail));
    }
    if name.len() > 128 {
        return Err(Problem::bad_request("a session's name has 128 bytes at most"));
    }
    // The tenant is a part of the name: rooms of one name in two tenants are two rooms. A browser is its user's.
    let tenant = caller.tenant().unwrap_or_default();
    let object = match kind {
        "browser" => format!("{kind}/{tenant}/{}/{name}", caller.user().unwrap_or_default()),
        _ => format!("{kind}/{tenant}/{name}"),
    };
    // As the client wrote it: decoded, a path could turn into a query or gain a segment.
    let path = request.uri().path().splitn(5, '/').nth(4).unwrap_or_default();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("/{path}{query}");
    hand_on(&platform, &caller, &object, &path, request).await
}

/// `/mcp`: the object of the user's MCP sessions.
pub(super) async fn mcp(State(platform): State<Platform>, caller: Caller, request: Request) -> Answer<Response> {
    let (tenant, user) = (caller.tenant().unwrap_or_default(), caller.user().unwrap_or_default());
    hand_on(&platform, &caller, &format!("mcp/{tenant}/{user}"), "/", request).await
}

async fn hand_on(
    platform: &Platform,
    caller: &Caller,
    object: &str,
    path: &str,
    mut request: Request,
) -> Answer<Response> {
    let users = platform.database(DB)?;
    let name: Option<String> = users.prepare("SELECT name FROM users WHERE id = ?").bind(caller.user()).first().await?;
    // A socket is opened by a GET: what a key may only read, it does not write through one either.
    let may = |least| caller.role().is_some_and(|role| role >= least) && caller.has_scope("sessions", true);
    let who = ApiTools::participant(caller, &name.unwrap_or_default());
    let who = who.with_writes(may(Role::Member)).with_moderates(may(Role::Admin));
    who.insert(request.headers_mut()); // in place of what the client has sent under that name
    let sessions = platform.sessions(IAM_SESSION)?;
    forward_session(&*sessions, &sessions.id_from_name(object), path, request).await
}
