//! API keys: a prefix that is seen, a secret that is shown once.
//!
//! A key is `iso_PREFIX_SECRET`. The prefix finds its row and may be shown and logged; the secret is shown once and kept as a
//! hash, and the fixed beginning lets scanners find keys that were published by mistake. A key acts for its user, with at most
//! the role that it was given and at most the role that the user has now, and within its scopes. It cannot make or end
//! credentials.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use isobar_db::{Database, QueryableExt, Row, Statement};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::session::signed_in;
use super::{Auth, session, token};
use crate::id::new_id;
use crate::json::{Body, input};
use crate::time::{now, rfc3339, timestamp};
use crate::{Principal, Problem, Role};

/// The beginning of every key, by which scanners find leaked ones.
const MARK: &str = "iso_";
/// Least time between two writes of a key's last use.
const USE_WRITTEN: chrono::TimeDelta = chrono::TimeDelta::minutes(1);
const MAX_KEYS: i64 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    role: Option<Role>,
    scopes: Option<Vec<String>>,
    expires_at: Option<String>,
}

/// Returns the principal of a key; `None` for a key that is unknown, revoked or expired.
pub(super) async fn find(database: &dyn Database, key: &str) -> Result<Option<Principal>, Problem> {
    let Some((prefix, secret)) = key.strip_prefix(MARK).and_then(|key| key.split_once('_')) else { return Ok(None) };
    let now = now();
    let sql = "SELECT k.id, k.user_id, k.tenant_id, k.secret_hash, k.role, k.scopes, k.last_used_at, \
               m.role AS member_role FROM api_keys k JOIN users u ON u.id = k.user_id \
               JOIN memberships m ON m.user_id = k.user_id AND m.tenant_id = k.tenant_id \
               WHERE k.prefix = ?1 AND k.revoked_at IS NULL AND k.expires_at > ?2 \
               AND u.disabled = 0";
    let result = database.query(Statement::new(sql).bind(prefix).bind(&now).rows_only()).await?;
    let Some(row) = result.rows.first() else { return Ok(None) };
    if !token::matches(secret, &row.get::<bytes::Bytes>("secret_hash")?) {
        return Ok(None);
    }
    note_use(database, row, now).await?;
    let role = |column| -> Result<Role, Problem> {
        row.get::<String>(column)?.parse().map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR))
    };
    let scopes: Vec<String> = serde_json::from_str(&row.get::<String>("scopes")?).unwrap_or_default();
    let user: String = row.get("user_id")?;
    let tenant: String = row.get("tenant_id")?;
    // A user whose role was lowered has no key that remembers the higher one.
    let id: String = row.get("id")?;
    Ok(Some(Principal::member(user, tenant, role("role")?.min(role("member_role")?)).with_scopes(scopes).with_key(id)))
}

async fn note_use(database: &dyn Database, row: &Row, now: String) -> Result<(), Problem> {
    let last: Option<String> = row.get("last_used_at")?;
    if last.is_none_or(|last| last < rfc3339(chrono::Utc::now() - USE_WRITTEN)) {
        let id: String = row.get("id")?;
        database.prepare("UPDATE api_keys SET last_used_at = ? WHERE id = ?").bind(now).bind(id).run().await?;
    }
    Ok(())
}

/// The statement that revokes every key of a user, in every tenant.
pub(super) fn revoke_all(user: &str) -> Statement {
    Statement::new("UPDATE api_keys SET revoked_at = ? WHERE user_id = ? AND revoked_at IS NULL").bind(now()).bind(user)
}

/// The statement that revokes the keys of a user in one tenant.
pub(super) fn revoke_in(user: &str, tenant: &str) -> Statement {
    let sql = "UPDATE api_keys SET revoked_at = ? WHERE user_id = ? AND tenant_id = ? AND revoked_at IS NULL";
    Statement::new(sql).bind(now()).bind(user).bind(tenant)
}

/// `POST /auth/keys`: takes a recent sign-in. Every key expires.
pub(super) async fn create(State(auth): State<Auth>, principal: Principal, body: Body) -> Result<Response, Problem> {
    let (user, tenant, own_role) = signed_in(&principal)?;
    session::must_be_recent(&auth, &principal).await?;
    let NewKey { name, role, scopes, expires_at } = input(body)?;
    let mut problem = Problem::bad_request("the key is not valid; see errors");
    let role = role.unwrap_or(own_role);
    let scopes = scopes.unwrap_or_else(|| vec!["*".to_owned()]);
    let latest = rfc3339(chrono::Utc::now() + auth.options().key_lifetime);
    let expires = expires_at.as_deref().map_or_else(|| Some(latest.clone()), timestamp);
    let longest = format!("must be a moment to come, within {} days", auth.options().key_lifetime.num_days());
    let fits = |scope: &String| {
        let letters =
            |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it));
        let (resource, action) = scope.split_once(':').unwrap_or((scope, "*"));
        scope == "*"
            || scope.contains(':') && (resource == "*" || letters(resource)) && ["*", "read", "write"].contains(&action)
    };
    let checks = [
        ((1..=200).contains(&name.chars().count()), "name", "must be a text of 1 to 200 characters"),
        (role <= own_role, "role", "must not be above your own"),
        (scopes.len() <= 50 && scopes.iter().all(fits), "scopes", "must be like *, tickets:read, *:write"),
        (expires.as_ref().is_some_and(|it| *it > now() && *it <= latest), "expires_at", longest.as_str()),
    ];
    for (_, field, detail) in checks.iter().filter(|(fits, ..)| !fits) {
        problem = problem.with_field(*field, *detail);
    }
    if checks.iter().any(|(fits, ..)| !fits) {
        return Err(problem);
    }
    let id = new_id()?;
    let prefix = hex::encode(token::random::<6>()?);
    let secret = token::new()?;
    let sql = "INSERT INTO api_keys (id, tenant_id, user_id, name, prefix, secret_hash, role, scopes, expires_at, created_at) \
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 \
               WHERE (SELECT count(*) FROM api_keys WHERE tenant_id = ?2 AND user_id = ?3 AND revoked_at IS NULL \
               AND expires_at > ?10) < ?11";
    let expires_at = expires;
    let insert = auth.database().prepare(sql).bind(&id).bind(tenant).bind(user).bind(&name).bind(&prefix);
    let insert = insert.bind(token::hash(&secret)).bind(role.as_str()).bind(json!(scopes).to_string());
    let meta = insert.bind(expires_at.clone()).bind(now()).bind(MAX_KEYS).run().await?;
    if meta.changes == 0 {
        let detail = format!("you have {MAX_KEYS} keys, which is the limit; revoke one");
        return Err(Problem::new(StatusCode::CONFLICT).with_detail(detail));
    }
    let key = format!("{MARK}{prefix}_{secret}");
    let body = json!({
        "id": id, "name": name, "prefix": prefix, "role": role, "scopes": scopes, "expires_at": expires_at, "key": key,
    });
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}

/// `GET /auth/keys`: the principal's own, without their secrets.
pub(super) async fn list(State(auth): State<Auth>, principal: Principal) -> Result<Response, Problem> {
    let (user, tenant, _) = signed_in(&principal)?;
    let sql = "SELECT id, name, prefix, role, scopes, expires_at, last_used_at, created_at FROM api_keys \
               WHERE tenant_id = ? AND user_id = ? AND revoked_at IS NULL ORDER BY id";
    let result = auth.database().query(Statement::new(sql).bind(tenant).bind(user).rows_only()).await?;
    let items: Vec<_> = result
        .rows
        .iter()
        .map(|row| {
            let mut item = row.to_json();
            let scopes = item["scopes"].as_str().and_then(|scopes| serde_json::from_str(scopes).ok());
            item.insert("scopes".to_owned(), scopes.unwrap_or(Json::Null));
            item
        })
        .collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(json!({ "items": items }))).into_response())
}

/// `DELETE /auth/keys/{id}`.
pub(super) async fn revoke(
    State(auth): State<Auth>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let (user, tenant, _) = signed_in(&principal)?;
    let sql =
        "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND tenant_id = ? AND user_id = ? AND revoked_at IS NULL";
    let update = auth.database().prepare(sql).bind(now()).bind(id).bind(tenant).bind(user);
    match update.run().await?.changes {
        0 => Err(Problem::not_found("there is no such key")),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
