//! Session objects by name, with who takes part.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use chrono::Utc;
use http::{Method, StatusCode, header};
use isobar_api::{Caller, Role};
use isobar_db::QueryableExt;
use isobar_http_serve::{ApiTools, Platform, Problem, forward_session};
use isobar_sessions::kinds::Participant;
use isobar_sessions::kinds::directory::{self, Room};
use isobar_sessions::{ObjectId, SessionNamespace};

use super::Answer;
use crate::bindings::{DB, IAM_SESSION};
use crate::iam_session::DIRECTORY;

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
    let who = participant(&platform, &caller).await?;
    let rooms = Rooms { platform: &platform, tenant };
    let room = entered(kind, &request, &object);
    if let Some(room) = room
        && let Some(refused) = rooms.enter(&who, &room).await?
    {
        return Ok(refused);
    }
    let deletes = kind == "chat" && request.method() == Method::DELETE;
    let answer = hand_on(&platform, &who, &object, &path, request).await?;
    if deletes && answer.status().is_success() {
        rooms.forget(&object).await?;
    }
    Ok(answer)
}

/// The room that a request opens a socket to, or may make. The object takes these paths as they are written alone; a GET that
/// asks for no WebSocket only looks.
fn entered(kind: &str, request: &Request, object: &str) -> Option<Room> {
    let path = request.uri().path().splitn(5, '/').nth(4).unwrap_or_default();
    let opens = request.headers().contains_key(header::UPGRADE) && path == "socket";
    match (kind, request.method(), path) {
        ("chat", &Method::GET, _) if opens => Some(Room::new(object, true, true)),
        ("chat", &Method::POST, "messages") => Some(Room::new(object, true, false)),
        ("call", &Method::GET, _) if opens => Some(Room::new(object, false, true)),
        ("browser", &Method::POST, "open" | "screenshot" | "pdf" | "content") => Some(Room::new(object, false, false)),
        _ => None,
    }
}

/// The rooms of a tenant.
struct Rooms<'p> {
    platform: &'p Platform,
    tenant: &'p str,
}

impl Rooms<'_> {
    fn directory(&self) -> Answer<(Arc<dyn SessionNamespace>, ObjectId)> {
        let sessions = self.platform.sessions(IAM_SESSION)?;
        let id = sessions.id_from_name(&format!("{DIRECTORY}/{}", self.tenant));
        Ok((sessions, id))
    }

    async fn enter(&self, who: &Participant, room: &Room) -> Answer<Option<Response>> {
        if !who.writes && !room.stays {
            return Ok(None); // the room says no by itself
        }
        let (sessions, id) = self.directory()?;
        let refused = directory::enter(&*sessions, &id, who, room).await?;
        Ok(refused.map(|refused| refused.map(Body::new)))
    }

    async fn forget(&self, object: &str) -> Answer<()> {
        let (sessions, id) = self.directory()?;
        Ok(directory::forget(&*sessions, &id, object).await?)
    }
}

/// `/mcp`: the object of the user's MCP sessions.
pub(super) async fn mcp(State(platform): State<Platform>, caller: Caller, request: Request) -> Answer<Response> {
    let (tenant, user) = (caller.tenant().unwrap_or_default(), caller.user().unwrap_or_default());
    let who = participant(&platform, &caller).await?;
    hand_on(&platform, &who, &format!("mcp/{tenant}/{user}"), "/", request).await
}

/// Returns the caller's rights in a session, as the database has them now: access that has ended since the request came is not there
/// any more.
async fn participant(platform: &Platform, caller: &Caller) -> Answer<Participant> {
    let judged_at = Utc::now();
    let sql = "SELECT u.name, m.role FROM users u JOIN memberships m ON m.user_id = u.id WHERE u.id = ?1 AND m.tenant_id = ?2 \
               AND u.disabled = 0 AND (?3 IS NULL OR EXISTS (SELECT 1 FROM sessions WHERE id = ?3))";
    let (user, tenant, session) = (caller.user(), caller.tenant(), caller.session());
    let users = platform.database(DB)?;
    let found: Option<(String, String)> = users.prepare(sql).bind(user).bind(tenant).bind(session).first().await?;
    let (name, role) = found.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED).with_detail("sign in again"))?;
    let role: Option<Role> = role.parse().ok();
    let is = |least| role.is_some_and(|role| role >= least) && caller.role().is_some_and(|role| role >= least);
    // A socket is opened by a GET: what a key may only read, it does not write through one either.
    let may = |least| is(least) && caller.has_scope("sessions", true);
    let who = ApiTools::participant(caller, &name).with_judged_at(judged_at);
    Ok(who.with_writes(may(Role::Member)).with_moderates(may(Role::Admin)))
}

async fn hand_on(
    platform: &Platform,
    who: &Participant,
    object: &str,
    path: &str,
    mut request: Request,
) -> Answer<Response> {
    who.insert(request.headers_mut()); // in place of what the client has sent under that name
    let sessions = platform.sessions(IAM_SESSION)?;
    forward_session(&*sessions, &sessions.id_from_name(object), path, request).await
}
