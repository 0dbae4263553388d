//! Invitations: how people come into a tenant, by a link that is good once and for a week.
//!
//! Where e-mail is configured the link goes to the invited address alone: an account that is made by it has that address
//! verified, and no inviter can make it in place of the invited. Where it is not, the inviter gets the link to hand on, and the
//! account's address stays unverified.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use isobar_db::{QueryableExt, Statement};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::account::answer;
use super::links::is_address;
use super::messages::Message;
use super::session::signed_in;
use super::throttle::{ClientAddress, Counted, count, forgive, network};
use super::{Auth, common, devices, keys, oauth, session, token};
use crate::background::later;
use crate::batch::{must_have_changed, nothing_changed};
use crate::id::new_id;
use crate::json::{Body, input};
use crate::time::{now, rfc3339};
use crate::{Principal, Problem, Role};

const PURPOSE: &str = "invitation";
const LIFETIME: chrono::TimeDelta = chrono::TimeDelta::days(7);
/// Tries of one network within a quarter of an hour, and of one invitation.
const NETWORK_TRIES: i64 = 50;
const INVITATION_TRIES: i64 = 10;
/// Invitations that one user makes within a quarter of an hour, and of one tenant that wait.
const INVITES: i64 = 30;
const MAX_WAITING: i64 = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invite {
    email: String,
    role: Role,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    token: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    token: String,
    /// Not sent by a user who is signed in as the invitee.
    password: Option<String>,
    /// Sent by a new user.
    name: Option<String>,
}

/// The contents of an invitation.
#[derive(Debug, Serialize, Deserialize)]
struct Invitation {
    tenant: String,
    email: String,
    role: Role,
    /// The inviter's id: the invitation is void when they may not invite any more.
    by: String,
    /// Whether the link was sent to the address alone.
    #[serde(default)]
    mailed: bool,
}

/// `POST /auth/invitations`: by admins, to a role that is not above their own; as an admin or owner after a recent sign-in. The answer has the token where it was not sent by
/// e-mail.
pub(super) async fn invite(State(auth): State<Auth>, principal: Principal, body: Body) -> Result<Response, Problem> {
    let (user, tenant, own) = signed_in(&principal)?;
    let Invite { email, role } = input(body)?;
    let email = email.trim().to_ascii_lowercase();
    let problem = || Problem::bad_request("the invitation is not valid; see errors");
    if !is_address(&email) {
        return Err(problem().with_field("email", "must be an e-mail address"));
    }
    if role > own {
        return Err(problem().with_field("role", "must not be above your own"));
    }
    // A way in that lasts, as an API key is.
    if role >= Role::Admin {
        session::must_be_recent(&auth, &principal).await?;
    }
    let sql =
        "SELECT count(*) FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.tenant_id = ? AND u.email = ?";
    if auth.database().prepare(sql).bind(tenant).bind(&email).one::<i64>().await? > 0 {
        return Err(Problem::new(StatusCode::CONFLICT).with_field("email", "is in the team already"));
    }
    count(auth.database(), &[Counted::new("invite", user, INVITES)]).await?;
    let token = token::new()?;
    let expires = rfc3339(chrono::Utc::now() + LIFETIME);
    let mailed = auth.options().mail.is_some();
    let invitation = Invitation { tenant: tenant.to_owned(), email: email.clone(), role, by: user.to_owned(), mailed };
    let sql = "INSERT INTO one_time_tokens (hash, purpose, expires_at, data, tenant_id) SELECT ?1, ?2, ?3, ?4, ?5 \
               WHERE (SELECT count(*) FROM one_time_tokens WHERE tenant_id = ?5 AND purpose = ?2 AND expires_at > ?6) < ?7";
    let insert = auth.database().prepare(sql).bind(token::hash(&token)).bind(PURPOSE).bind(&expires);
    let insert = insert.bind(json!(invitation).to_string()).bind(tenant).bind(now()).bind(MAX_WAITING);
    if insert.run().await?.changes == 0 {
        let detail =
            format!("your team has {MAX_WAITING} open invitations, which is the limit; each ends after a week");
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS).with_detail(detail));
    }
    let mut body = json!({"expires_at": expires, "mailed": mailed});
    if mailed {
        let sql = "SELECT t.name, u.name FROM tenants t, users u WHERE t.id = ? AND u.id = ?";
        let (tenant, by): (String, String) = auth.database().prepare(sql).bind(tenant).bind(user).one().await?;
        let auth = auth.clone();
        later(async move {
            let message = Message::Invitation { token: &token, tenant: &tenant, by: &by };
            auth.notify_within_limit(&email, message).await;
        });
    } else {
        body["token"] = json!(token);
    }
    let body = axum::Json(body);
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// `POST /auth/invitations/read`: what it is to. The token is in the body: in a URL it would stand in logs.
pub(super) async fn read(
    State(auth): State<Auth>,
    address: Option<Extension<ClientAddress>>,
    body: Body,
) -> Result<Response, Problem> {
    count(auth.database(), &[Counted::new("invitation", &network(address.as_deref()), NETWORK_TRIES)]).await?;
    let Read { token } = input(body)?;
    let Invitation { tenant, email, role, .. } = find(&auth, &token).await?;
    let name: String = auth.database().prepare("SELECT name FROM tenants WHERE id = ?").bind(tenant).one().await?;
    // It must not reveal whether the address has an account, not even to the inviter.
    let body = axum::Json(json!({"tenant": name, "email": email, "role": role}));
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// `POST /auth/join`: with a new account, with the password of the one that there is, or signed in to it.
pub(super) async fn join(
    State(auth): State<Auth>,
    principal: Principal,
    address: Option<Extension<ClientAddress>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Join { token, password, name } = input(body)?;
    let counted = [
        Counted::new("invitation of", &hex::encode(token::hash(&token)), INVITATION_TRIES),
        Counted::new("invitation", &network(address.as_deref()), NETWORK_TRIES),
    ];
    count(auth.database(), &counted).await?;
    let Invitation { tenant, email, role, mailed, .. } = find(&auth, &token).await?;
    let mut statements = Vec::new();
    let now = now();
    let take = "DELETE FROM one_time_tokens WHERE hash = ? AND purpose = ? AND expires_at > ?";
    statements.push(Statement::new(take).bind(token::hash(&token)).bind(PURPOSE).bind(&now));
    statements.push(must_have_changed());
    let password = password.unwrap_or_default();
    let user = match user_of(&auth, &email).await? {
        Some((user, _)) if principal.session().is_some() && principal.user() == Some(&user) => user,
        Some((user, hash)) => {
            must_be_password(&auth, &headers, address.as_deref(), &email, password, hash).await?;
            user
        }
        None => {
            let verified_at = mailed.then(|| now.clone());
            let (user, insert) = new_user(&auth, &email, name, password, verified_at).await?;
            statements.push(insert);
            user
        }
    };
    let sql = "INSERT INTO memberships (id, tenant_id, user_id, role, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
    let member = Statement::new(sql).bind(new_id()?).bind(&tenant).bind(&user).bind(role.as_str()).bind(&now);
    let (create, cookie) = session::create(auth.options(), &user, &tenant)?;
    // Those of an earlier membership ended with it, and do not come back with this one.
    statements.extend([keys::revoke_in(&user, &tenant), session::end_in(&user, &tenant), end_by(&user, &tenant)]);
    if oauth::has_tables(&auth).await? {
        statements.push(oauth::end_in(&user, &tenant));
    }
    statements.push(member);
    statements.extend(session::token_of(&headers).map(session::end));
    statements.push(create);
    let (device, device_cookie) = devices::remember(&user)?;
    statements.extend(device);
    match auth.database().batch(statements).await {
        Ok(_) => {}
        Err(error) if nothing_changed(&error) => return Err(over()),
        Err(error) => return Err(error.into()), // in the team already
    }
    forgive(auth.database(), &counted).await?;
    answer(&auth, &Principal::member(user, tenant, role), StatusCode::CREATED, vec![cookie, device_cookie]).await
}

/// Checks the password of an account that an invitation names. Tries are counted as at a login, so that passwords cannot be tried
/// here beyond its limits.
///
/// # Errors
/// 403 for a wrong password, 429 after too many tries.
async fn must_be_password(
    auth: &Auth,
    headers: &HeaderMap,
    address: Option<&ClientAddress>,
    email: &str,
    password: String,
    hash: Option<String>,
) -> Result<(), Problem> {
    devices::count_try(auth, headers, email, &network(address)).await?;
    if auth.hasher().verify(password, hash).await? {
        return Ok(());
    }
    let detail =
        "there is an account with this address, and this is not its password; reset it if the account is not yours";
    Err(Problem::new(StatusCode::FORBIDDEN).with_detail(detail))
}

/// Returns the id of a new user, and the statement that inserts it.
///
/// # Errors
/// 400 for a name or a password that is not valid.
async fn new_user(
    auth: &Auth,
    email: &str,
    name: Option<String>,
    password: String,
    verified_at: Option<String>,
) -> Result<(String, Statement), Problem> {
    let name = name.unwrap_or_default();
    let problem = || Problem::bad_request("the account is not valid; see errors");
    if !(1..=200).contains(&name.trim().chars().count()) || name.contains('\0') {
        return Err(problem().with_field("name", "must be a text of 1 to 200 characters"));
    }
    if let Some(refusal) = common::refusal(&password, &[email, &name]) {
        return Err(problem().with_field("password", refusal));
    }
    let user = new_id()?;
    let hash = auth.hasher().hash(password).await?;
    let sql = "INSERT INTO users (id, email, name, password_hash, created_at, updated_at, email_verified_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)";
    let insert = Statement::new(sql).bind(&user).bind(email).bind(name).bind(hash).bind(now());
    Ok((user, insert.bind(verified_at)))
}

/// `GET /auth/members`: the members of the principal's tenant.
pub(super) async fn members(State(auth): State<Auth>, principal: Principal) -> Result<Response, Problem> {
    let tenant = principal.tenant().unwrap_or_default();
    let sql = "SELECT m.id, m.user_id, m.role, u.name, u.email FROM memberships m JOIN users u ON u.id = m.user_id \
               WHERE m.tenant_id = ? ORDER BY m.id LIMIT 1000";
    let result = auth.database().query(Statement::new(sql).bind(tenant).rows_only()).await?;
    let items: Vec<_> = result.rows.iter().map(isobar_db::Row::to_json).collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(json!({ "items": items }))).into_response())
}

/// Returns the invitation of a token, while its inviter may still invite to that role.
async fn find(auth: &Auth, token: &str) -> Result<Invitation, Problem> {
    let sql = "SELECT data FROM one_time_tokens WHERE hash = ? AND purpose = ? AND expires_at > ?";
    let query = auth.database().prepare(sql).bind(token::hash(token)).bind(PURPOSE).bind(now());
    let data: Option<String> = query.first().await?;
    let invitation: Option<Invitation> = data.and_then(|data| serde_json::from_str(&data).ok());
    let invitation = invitation.ok_or_else(over)?;
    let sql = "SELECT m.role FROM memberships m JOIN users u ON u.id = m.user_id \
               WHERE m.tenant_id = ? AND m.user_id = ? AND u.disabled = 0";
    let query = auth.database().prepare(sql).bind(&invitation.tenant).bind(&invitation.by);
    let role: Option<String> = query.first().await?;
    let may = role.and_then(|role| role.parse::<Role>().ok());
    let may = may.is_some_and(|role| role >= Role::Admin && role >= invitation.role);
    if may { Ok(invitation) } else { Err(over()) }
}

/// Ends the invitations that a user has made to a tenant.
fn end_by(user: &str, tenant: &str) -> Statement {
    // Other tokens' data need not be JSON: only an invitation's is read.
    let sql = "DELETE FROM one_time_tokens WHERE tenant_id = ?1 AND purpose = ?2 \
               AND CASE purpose WHEN ?2 THEN json_extract(data, '$.by') END = ?3";
    Statement::new(sql).bind(tenant).bind(PURPOSE).bind(user)
}

async fn user_of(auth: &Auth, email: &str) -> Result<Option<(String, Option<String>)>, Problem> {
    let sql = "SELECT id, password_hash FROM users WHERE email = ? AND disabled = 0";
    Ok(auth.database().prepare(sql).bind(email).first().await?)
}

fn over() -> Problem {
    Problem::new(StatusCode::FORBIDDEN).with_detail("the invitation was used, has expired, or is not valid")
}
