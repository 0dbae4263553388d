//! Setting up: the token that makes the operator.
//!
//! An installation has one operator: the tenant whose members see what belongs to no tenant. Until there is one, sign-up is
//! closed to everyone without the token, so that the first visitor of a new server does not become its operator. The token is
//! redeemed in the transaction that inserts the row of `operator`, whose primary key admits one; of two concurrent redemptions
//! one fails.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use isobar_db::{Database, QueryableExt, Statement};
use serde::Deserialize;

use super::session::signed_in;
use super::throttle::{ClientAddress, count, forgive, network, set_up_tries};
use super::{Auth, token};
use crate::batch::{must_have_changed, nothing_changed};
use crate::json::{Body, input};
use crate::time::{now, rfc3339};
use crate::{Principal, Problem, Role};

const SETUP: &str = "setup";
/// Lifetime of the printed link.
const LIFETIME: chrono::TimeDelta = chrono::TimeDelta::hours(24);
/// Characters of a configured set-up token at least: a shorter one could be guessed in spite of the limits.
pub(super) const TOKEN_CHARACTERS: usize = 16;

/// The error of a configured set-up token with fewer than 16 characters.
///
/// ```
/// let error = isobar_api::AuthOptions::default().with_setup_token("0123456789abcde").expect_err("15 characters");
/// assert!(error.to_string().contains("at least 16"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetupTokenError(pub(super) ());

impl std::fmt::Display for SetupTokenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the set-up token is too short: use at least {TOKEN_CHARACTERS} random characters")
    }
}

impl std::error::Error for SetupTokenError {}

/// Whether the principal belongs to the operator's tenant, which is the one that has redeemed the set-up token. Only the operator
/// may see data that belongs to no tenant, such as statistics of all requests.
///
/// ```
/// use isobar_api::auth::{self, is_operator};
/// use isobar_api::{Principal, Problem, Role};
/// use isobar_db::{QueryableExt, SqliteDatabase};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Problem> {
/// let database = SqliteDatabase::memory().await?;
/// database.run_script(auth::SCHEMA).await?;
/// let principal = Principal::member("ada", "acme", Role::Owner);
/// assert!(!is_operator(&database, &principal).await?); // no tenant has redeemed the token
/// # Ok(()) }
/// ```
///
/// # Errors
/// The database's, as [`Problem`]s.
pub async fn is_operator(database: &dyn Database, principal: &Principal) -> Result<bool, Problem> {
    let operator: Option<String> = database.prepare("SELECT tenant_id FROM operator").first().await?;
    Ok(operator.is_some() && operator.as_deref() == principal.tenant())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetUp {
    token: String,
}

/// `POST /auth/setup`: a signed-in owner redeems the set-up token for the tenant, in a database whose accounts are older than its
/// operator. Tries are limited as those at a password are.
pub(super) async fn set_up(
    State(auth): State<Auth>,
    principal: Principal,
    address: Option<Extension<ClientAddress>>,
    body: Body,
) -> Result<Response, Problem> {
    let (user, tenant, role) = signed_in(&principal)?;
    if role < Role::Owner {
        return Err(Problem::new(StatusCode::FORBIDDEN).with_detail("this takes the role owner"));
    }
    let SetUp { token } = input(body)?;
    let counted = set_up_tries(user, &network(address.as_deref()));
    // The user's own count first: a user over the limit does not add to the network's.
    count(auth.database(), &counted[..1]).await?;
    count(auth.database(), &counted[1..]).await?;
    let statements = auth.redeem(&token).into_iter().chain(operator(tenant)).collect();
    match auth.database().batch(statements).await {
        Ok(_) => {
            forgive(auth.database(), &counted).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
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

/// Returns the answer to an invalid set-up token.
pub(super) fn over() -> Problem {
    Problem::new(StatusCode::FORBIDDEN).with_detail("the link was used, has expired, or is not valid")
}

impl Auth {
    /// Makes a set-up token, valid for a day: the tenant that redeems it, by `POST /auth/signup` or `POST /auth/setup`, is the
    /// operator. `None` where there is an operator. Each call invalidates the tokens of earlier calls.
    ///
    /// A server prints the link with it at its start. The database has the token's hash only, so it cannot be read again. One
    /// that is [configured](super::AuthOptions::with_setup_token) is valid besides, for as long as there is no operator.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use isobar_api::{Auth, AuthOptions};
    /// # use isobar_db::{Database, QueryableExt, SqliteDatabase};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// # let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
    /// # database.run_script(isobar_api::auth::SCHEMA).await?;
    /// let auth = Auth::new(database, AuthOptions::default());
    /// let first = auth.setup_token().await?;
    /// let second = auth.setup_token().await?; // the first is invalid now
    /// assert!(first.is_some() && second.is_some() && first != second);
    /// # Ok(()) }
    /// ```
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

    /// Returns the statements that use up the token of the printed link; none for the configured one, which is valid while there
    /// is no operator.
    pub(super) fn redeem(&self, token: &str) -> Vec<Statement> {
        let configured = self.options().setup_token.as_ref();
        if configured.is_some_and(|expected| token::matches(token, &token::hash_bytes(expected.expose()))) {
            return Vec::new();
        }
        let sql = "DELETE FROM one_time_tokens WHERE hash = ? AND purpose = ? AND expires_at > ?";
        vec![Statement::new(sql).bind(token::hash(token)).bind(SETUP).bind(now()), must_have_changed()]
    }
}
