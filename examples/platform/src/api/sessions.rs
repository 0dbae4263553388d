//! Session objects by name, and the rights of those who enter them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{Method, StatusCode, header};
use isobar_api::{Principal, Role};
use isobar_db::QueryableExt;
use isobar_http_serve::{ApiTools, Platform, Problem, forward_session};
use isobar_objects::Participant;
use isobar_objects::directory::{self, Room};
use isobar_sessions::{ObjectId, SessionNamespace};

use super::Answer;
use crate::bindings::{DB, DIRECTORY, IAM_SESSION};

/// The kinds with names; MCP has one object for each user.
const KINDS: [&str; 3] = ["chat", "call", "browser"];

pub(super) async fn forward(
    State(platform): State<Platform>,
    principal: Principal,
    Path((kind, name, _)): Path<(String, String, String)>,
    request: Request,
) -> Answer<Response> {
    // The binding's name is an alias of the chat, for compatibility.
    let kind = if kind == IAM_SESSION { "chat" } else { &kind };
    if !KINDS.contains(&kind) {
        let detail = format!("there is no kind of session {kind:?}; there are: {}", KINDS.join(", "));
        return Err(Problem::not_found(detail));
    }
    if name.len() > 128 {
        return Err(Problem::bad_request("a session's name has 128 bytes at most"));
    }
    // The tenant is part of the name, so that tenants have separate rooms. A browser belongs to its user.
    let tenant = principal.tenant().unwrap_or_default();
    let object = match kind {
        "browser" => format!("{kind}/{tenant}/{}/{name}", principal.user().unwrap_or_default()),
        _ => format!("{kind}/{tenant}/{name}"),
    };
    // Not decoded, as a decoded path could contain a query or a further segment.
    let path = request.uri().path().splitn(5, '/').nth(4).unwrap_or_default();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("/{path}{query}");
    let who = participant(&platform, &principal).await?;
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

/// Returns the room to which a request opens a socket, or which it may create. The object accepts only these exact paths; a GET
/// without a WebSocket upgrade only reads.
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

/// The room directory of a tenant.
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
            return Ok(None); // the room itself refuses
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

/// Handles `/mcp` by the object of the user's MCP sessions.
pub(super) async fn mcp(State(platform): State<Platform>, principal: Principal, request: Request) -> Answer<Response> {
    let tenant = principal.tenant().unwrap_or_default();
    let user = principal.user().unwrap_or_default();
    let who = participant(&platform, &principal).await?;
    hand_on(&platform, &who, &format!("mcp/{tenant}/{user}"), "/", request).await
}

/// Returns the principal's rights in a session, as the database has them now: an account, a membership, a session or an API key
/// that has ended since the request was authenticated is refused. What a key opens ends with the key at the latest.
async fn participant(platform: &Platform, principal: &Principal) -> Answer<Participant> {
    let judged_at = Utc::now();
    let sql = "SELECT u.name, m.role, k.expires_at FROM users u JOIN memberships m ON m.user_id = u.id \
               LEFT JOIN api_keys k ON k.id = ?4 AND k.user_id = u.id AND k.tenant_id = m.tenant_id AND k.revoked_at IS NULL \
               WHERE u.id = ?1 AND m.tenant_id = ?2 AND u.disabled = 0 \
               AND (?3 IS NULL OR EXISTS (SELECT 1 FROM sessions WHERE id = ?3)) AND (?4 IS NULL OR k.id IS NOT NULL)";
    let users = platform.database(DB)?;
    let query = users
        .prepare(sql)
        .bind(principal.user())
        .bind(principal.tenant())
        .bind(principal.session())
        .bind(principal.key());
    let found: Option<(String, String, Option<DateTime<Utc>>)> = query.first().await?;
    let found = found.filter(|(_, _, expires_at)| expires_at.is_none_or(|expires_at| expires_at > judged_at));
    let (name, role, expires_at) =
        found.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED).with_detail("sign in again"))?;
    let role: Option<Role> = role.parse().ok();
    let is = |least| role.is_some_and(|role| role >= least) && principal.role().is_some_and(|role| role >= least);
    // A socket is opened by a GET, so a read-only key must be checked for writes here.
    let may = |least| is(least) && principal.has_scope("sessions", true);
    let who = ApiTools::participant(principal, &name).with_judged_at(judged_at);
    let valid_until = expires_at.map_or(who.valid_until, |expires_at| expires_at.min(who.valid_until));
    let who = who.with_valid_until(valid_until);
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

#[cfg(test)]
mod tests {
    use isobar_db::SqliteDatabase;

    use super::*;

    const ROWS: &str = "
        INSERT INTO tenants (id, slug, name, created_at, updated_at) VALUES ('t', 't', 'T', '', '');
        INSERT INTO users (id, email, name, created_at, updated_at) VALUES ('u', 'ada@example.com', 'Ada', '', '');
        INSERT INTO memberships (id, tenant_id, user_id, role, created_at, updated_at) VALUES ('m', 't', 'u', 'member', '', '');
        INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, secret_hash, role, scopes, expires_at, created_at)
            VALUES ('k', 't', 'u', 'CI', 'p', x'00', 'member', '[]', '2999-01-01T00:00:00.000Z', '');";

    async fn platform() -> Platform {
        let database = SqliteDatabase::memory().await.expect("a database in memory opens");
        for script in [isobar_api::auth::SCHEMA, ROWS] {
            database.run_script(script).await.expect("the tables and rows are made");
        }
        Platform::builder().with_database(DB, database).build()
    }

    async fn run(platform: &Platform, sql: &str) {
        platform.database(DB).expect("it is bound").prepare(sql.to_owned()).run().await.expect("the key is changed");
    }

    #[tokio::test]
    async fn a_key_that_was_revoked_since_it_was_found_opens_nothing() {
        let platform = platform().await;
        let principal = Principal::member("u", "t", Role::Member).with_key("k");
        assert!(participant(&platform, &principal).await.expect("the key is valid").writes);
        for ended in [
            "UPDATE api_keys SET revoked_at = '2000-01-01T00:00:00.000Z'",
            "UPDATE api_keys SET revoked_at = NULL, expires_at = '2000-01-01T00:00:00.000Z'",
            "DELETE FROM api_keys",
        ] {
            run(&platform, ended).await;
            let problem = participant(&platform, &principal).await.expect_err(ended);
            assert_eq!(problem.status(), StatusCode::UNAUTHORIZED, "{ended}");
        }
        let other = Principal::member("u", "t", Role::Member);
        participant(&platform, &other).await.expect("a principal without a key is not asked for one");
    }

    #[tokio::test]
    async fn what_a_key_opens_ends_with_the_key() {
        let platform = platform().await;
        let end = Utc::now() + chrono::TimeDelta::minutes(2);
        let soon = end.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        run(&platform, &format!("UPDATE api_keys SET expires_at = '{soon}'")).await;
        let principal = Principal::member("u", "t", Role::Member).with_key("k");
        let who = participant(&platform, &principal).await.expect("the key is valid");
        assert!(who.valid_until <= end, "{} is after {end}", who.valid_until);
    }
}
