//! The tokens of connections: sealed, and fresh when they are needed.
//!
//! A refresh token is often good once. So one request at a time refreshes a connection's tokens, by a lease in the row; the others
//! are asked to come again (503), and a refresh runs to its end even if its client goes away. A provider that refuses the refresh
//! token has ended the connection: it is marked so, and the user is asked to connect again (409).

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono::{TimeDelta, Utc};
use http::{StatusCode, header};
use isobar_db::vault::{Cell, Secret};
use isobar_db::{QueryableExt, Row, Statement};
use serde_json::json;

use super::OAuth;
use super::provider::{Identity, OAuthProvider, Tokens};
use crate::auth::session::signed_in;
use crate::background::detached;
use crate::id::new_id;
use crate::time::{now, rfc3339};
use crate::{Principal, Problem, Role};

/// A token that expires within this time is refreshed before it is used.
const SOON: TimeDelta = TimeDelta::seconds(60);
/// How long one request may take to refresh; then another may try.
const REFRESH: TimeDelta = TimeDelta::seconds(30);
const TABLE: &str = "oauth_tokens";

impl OAuth {
    /// The statements that keep a connection and its tokens; `id` of the one there is.
    pub(super) async fn kept(
        &self,
        provider: &OAuthProvider,
        user: &str,
        tenant: &str,
        id: Option<String>,
        identity: &Identity,
        tokens: &Tokens,
    ) -> isobar_db::Result<Vec<Statement>> {
        let moment = now();
        let scopes = tokens.scope.as_ref().unwrap_or(&provider.scopes);
        let label = identity.email.as_ref().unwrap_or(&identity.name);
        let (connection, keep) = match id {
            Some(id) => {
                let sql = "UPDATE oauth_connections SET label = ?, scopes = ?, status = 'active', updated_at = ?, \
                           revision = revision + 1 WHERE id = ?";
                let update = Statement::new(sql).bind(label).bind(scopes).bind(&moment).bind(&id);
                (id, update)
            }
            None => {
                let id = new_id()?;
                let sql = "INSERT INTO oauth_connections (id, tenant_id, user_id, provider, subject, label, scopes, status, \
                           revision, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'active', 1, ?8, ?8)";
                let insert = Statement::new(sql).bind(&id).bind(tenant).bind(user).bind(&provider.name);
                let insert = insert.bind(&identity.subject).bind(label).bind(scopes).bind(&moment);
                (id, insert)
            }
        };
        let sql = "SELECT id FROM oauth_tokens WHERE connection_id = ?";
        let known: Option<String> = self.inner.auth.database().prepare(sql).bind(&connection).first().await?;
        let tokens_of = match known {
            Some(row) => {
                // A provider may give a refresh token the first time only: the one there is stays.
                let (access, refresh) = self.sealed(&row, tokens).await?;
                let sql = "UPDATE oauth_tokens SET access_token = ?, refresh_token = coalesce(?, refresh_token), \
                           expires_at = ?, refreshing_until = '', revision = revision + 1, updated_at = ? WHERE id = ?";
                Statement::new(sql).bind(access).bind(refresh).bind(expires(tokens)).bind(moment).bind(row)
            }
            None => {
                let row = new_id()?;
                let (access, refresh) = self.sealed(&row, tokens).await?;
                let sql = "INSERT INTO oauth_tokens (id, tenant_id, user_id, connection_id, access_token, refresh_token, \
                           expires_at, revision, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8)";
                let insert = Statement::new(sql).bind(&row).bind(tenant).bind(user).bind(&connection).bind(access);
                insert.bind(refresh).bind(expires(tokens)).bind(moment)
            }
        };
        Ok(vec![keep, tokens_of])
    }

    async fn sealed(&self, row: &str, tokens: &Tokens) -> isobar_db::Result<(bytes::Bytes, Option<bytes::Bytes>)> {
        let vault = &self.inner.vault;
        let access = vault.seal(&Cell::new(TABLE, "access_token", row), tokens.access_token.as_bytes()).await?;
        let refresh = match &tokens.refresh_token {
            Some(token) => Some(vault.seal(&Cell::new(TABLE, "refresh_token", row), token.as_bytes()).await?),
            None => None,
        };
        Ok((access, refresh))
    }

    /// Returns the access token of a connection. One that has expired, or expires within 60 s, is refreshed first.
    ///
    /// Call it before each use, and keep the token no longer than that: another call may refresh it. A refresh that has begun
    /// runs to its end, even if the future is dropped.
    ///
    /// # Errors
    /// 409 when the account must be connected again, 502 when the provider fails, 503 while another request refreshes the token.
    pub async fn access_token(&self, connection: &str) -> Result<Secret, Problem> {
        self.fresh(connection, false).await.map(|(token, _)| token)
    }

    /// Runs to its end even if the caller goes away: a refresh token that was used and not replaced ends the connection.
    async fn fresh(&self, connection: &str, refresh: bool) -> Result<(Secret, Option<String>), Problem> {
        let this = self.clone();
        let connection = connection.to_owned();
        detached(async move { this.token(&connection, refresh).await }).await
    }

    async fn token(&self, connection: &str, refresh: bool) -> Result<(Secret, Option<String>), Problem> {
        let sql = "SELECT t.*, c.provider FROM oauth_tokens t JOIN oauth_connections c ON c.id = t.connection_id \
                   WHERE t.connection_id = ?";
        let result = self.inner.auth.database().query(Statement::new(sql).bind(connection).rows_only()).await?;
        let row = result.rows.first().ok_or_else(|| {
            Problem::new(StatusCode::CONFLICT).with_detail("the connection has no token; connect the account again")
        })?;
        let expires: Option<String> = row.get("expires_at")?;
        let is_over = expires.as_ref().is_some_and(|expires| *expires < rfc3339(Utc::now() + SOON));
        if !refresh && !is_over {
            return Ok((self.opened(row, "access_token").await?.unwrap_or_else(|| Secret::new("")), expires));
        }
        self.refresh(row, connection).await
    }

    async fn refresh(&self, row: &Row, connection: &str) -> Result<(Secret, Option<String>), Problem> {
        let provider = self.provider(&row.get::<String>("provider")?)?;
        let id: String = row.get("id")?;
        let revision: i64 = row.get("revision")?;
        let again =
            || Problem::new(StatusCode::CONFLICT).with_detail("the provider wants you to connect the account again");
        let Some(refresh) = self.opened(row, "refresh_token").await? else { return Err(again()) };
        // One at a time: a provider that rotates refresh tokens takes the second use of one for theft.
        let sql =
            "UPDATE oauth_tokens SET refreshing_until = ? WHERE id = ? AND revision = ? AND refreshing_until <= ?";
        let database = self.inner.auth.database();
        let claim = database.prepare(sql).bind(rfc3339(Utc::now() + REFRESH)).bind(&id).bind(revision).bind(now());
        if claim.run().await?.changes == 0 {
            let detail = "another request refreshes the token; try again in a moment";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail(detail));
        }
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh.expose_text().unwrap_or_default())];
        let exchanged = async {
            let metadata = provider.metadata(self.client()).await?;
            provider.exchange(self.client(), &metadata, &grant).await
        };
        let tokens = match exchanged.await {
            Ok(tokens) => tokens,
            Err(failure) if failure.is_refused => {
                tracing::info!(%failure, "a connection has ended: its provider refused the refresh token");
                // Unless it has been made again meanwhile, with other tokens.
                let end = "UPDATE oauth_connections SET status = 'expired', updated_at = ?, revision = revision + 1 \
                           WHERE id = ? AND EXISTS (SELECT 1 FROM oauth_tokens WHERE id = ? AND revision = ?)";
                let end = Statement::new(end).bind(now()).bind(connection).bind(&id).bind(revision);
                let forget = Statement::new("DELETE FROM oauth_tokens WHERE id = ? AND revision = ?");
                database.batch(vec![end, forget.bind(&id).bind(revision)]).await?;
                return Err(again());
            }
            Err(failure) => {
                let sql = "UPDATE oauth_tokens SET refreshing_until = '' WHERE id = ? AND revision = ?";
                database.prepare(sql).bind(&id).bind(revision).run().await?;
                return Err(failure.into());
            }
        };
        let (access, sealed) = self.sealed(&id, &tokens).await?;
        let expires = expires(&tokens);
        // A provider that does not rotate gives no new refresh token: the old one stays.
        let sql = "UPDATE oauth_tokens SET access_token = ?, refresh_token = coalesce(?, refresh_token), expires_at = ?, \
                   refreshing_until = '', revision = revision + 1, updated_at = ? WHERE id = ? AND revision = ?";
        let update = database.prepare(sql).bind(access).bind(sealed).bind(expires.clone()).bind(now());
        update.bind(&id).bind(revision).run().await?;
        Ok((Secret::new(tokens.access_token), expires))
    }

    async fn opened(&self, row: &Row, column: &str) -> Result<Option<Secret>, Problem> {
        let Some(sealed) = row.get::<Option<bytes::Bytes>>(column)? else { return Ok(None) };
        let cell = Cell::new(TABLE, column, row.get::<String>("id")?);
        Ok(Some(self.inner.vault.open(&cell, &sealed).await?))
    }
}

/// `POST /auth/oauth/connections/{id}/refresh`: by its user, or an admin of the tenant.
pub(super) async fn refresh_route(
    State(oauth): State<OAuth>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (user, tenant, role) = signed_in(&principal)?;
    let sql = "SELECT user_id FROM oauth_connections WHERE id = ? AND tenant_id = ?";
    let query = oauth.inner.auth.database().prepare(sql).bind(&id).bind(tenant);
    let owner: Option<String> = query.first().await?;
    if !owner.is_some_and(|owner| owner == user || role >= Role::Admin) {
        return Err(Problem::not_found("not found among oauth_connections"));
    }
    let (_, expires) = oauth.fresh(&id, true).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(json!({ "expires_at": expires }))).into_response())
}

fn expires(tokens: &Tokens) -> Option<String> {
    let seconds = tokens.expires_in.filter(|seconds| (1..=10 * 365 * 86_400).contains(seconds))?;
    Some(rfc3339(Utc::now() + TimeDelta::seconds(seconds)))
}
