//! Setting up: the token that makes the operator.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use isobar_db::{Database, QueryableExt, Statement};
use serde::Deserialize;

use super::account::{Body, input, signed_in};
use super::{Auth, token};
use crate::resource::{must_have_changed, nothing_changed, now, rfc3339};
use crate::{Caller, Problem, Role};

const SETUP: &str = "setup";
/// How long the printed link is good.
const LIFETIME: chrono::TimeDelta = chrono::TimeDelta::hours(24);

/// Whether the caller acts for the operator's tenant: the one of whoever has redeemed the set-up token. What belongs to no tenant -
/// everybody's requests, a database from before there were tenants - is its own to see.
///
/// # Errors
/// The database's, as [`Problem`]s.
pub async fn is_operator(database: &dyn Database, caller: &Caller) -> Result<bool, Problem> {
    let operator: Option<String> = database.prepare("SELECT tenant_id FROM operator").first().await?;
    Ok(operator.is_some() && operator.as_deref() == caller.tenant())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetUp {
    token: String,
}

/// `POST /auth/setup`: an owner who is signed in redeems the set-up token for the tenant: where there were accounts before there was
/// an operator.
pub(super) async fn set_up(State(auth): State<Auth>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let (_, tenant, role) = signed_in(&caller)?;
    if role < Role::Owner {
        return Err(Problem::new(StatusCode::FORBIDDEN).with_detail("this takes the role owner"));
    }
    let SetUp { token } = input(body)?;
    let statements = auth.redeem(&token).into_iter().chain(operator(tenant)).collect();
    match auth.database().batch(statements).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) if nothing_changed(&error) => Err(over()),
        Err(error) => Err(error.into()),
    }
}

/// The statements that make a tenant the operator's; they fail where there is one.
pub(super) fn operator(tenant: &str) -> [Statement; 2] {
    let sql =
        "INSERT INTO operator (id, tenant_id, redeemed_at) SELECT 1, ?, ? WHERE NOT EXISTS (SELECT 1 FROM operator)";
    [Statement::new(sql).bind(tenant).bind(now()), must_have_changed()]
}

/// Said of a set-up token that is not good.
pub(super) fn over() -> Problem {
    Problem::new(StatusCode::FORBIDDEN).with_detail("the link was used, has expired, or is not valid")
}

impl Auth {
    /// A set-up token, good for a day: it makes whoever redeems it, by `POST /auth/signup` or `POST /auth/setup`, the operator. `None`
    /// where there is an operator. Each call makes the tokens before it worthless.
    ///
    /// # Errors
    /// As [`Queryable::query`](isobar_db::Queryable::query).
    pub async fn setup_token(&self) -> isobar_db::Result<Option<String>> {
        if self.has_operator().await? {
            return Ok(None);
        }
        let token = token::new()?;
        let forget = Statement::new("DELETE FROM one_time_tokens WHERE purpose = ?").bind(SETUP);
        let expires = rfc3339(chrono::Utc::now() + LIFETIME);
        let keep = Statement::new("INSERT INTO one_time_tokens (hash, purpose, expires_at) VALUES (?, ?, ?)");
        let keep = keep.bind(token::hash(&token)).bind(SETUP).bind(expires);
        isobar_db::Queryable::batch(self.database(), vec![forget, keep]).await?;
        Ok(Some(token))
    }

    /// Whether the set-up token was redeemed.
    pub(super) async fn has_operator(&self) -> isobar_db::Result<bool> {
        Ok(self.database().prepare("SELECT count(*) FROM operator").one::<i64>().await? > 0)
    }

    /// The statements that use a set-up token up: of the printed link, or none for the one of the options, which the operator alone
    /// knows and which is good while there is no operator.
    pub(super) fn redeem(&self, token: &str) -> Vec<Statement> {
        let configured = self.options().setup_token.as_ref();
        if configured.is_some_and(|expected| token::matches(token, &token::hash_bytes(expected.expose()))) {
            return Vec::new();
        }
        let sql = "DELETE FROM one_time_tokens WHERE hash = ? AND purpose = ? AND expires_at > ?";
        vec![Statement::new(sql).bind(token::hash(token)).bind(SETUP).bind(now()), must_have_changed()]
    }
}
