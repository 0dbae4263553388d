//! `Idempotency-Key`: a request that is sent twice is run once, and answered twice.
//!
//! The key and the answer are written in the transaction of the work. Of two requests with the same key, concurrent or a day
//! apart, one commits; the other fails on the key and reads the answer.
//!
//! The draft `draft-ietf-httpapi-idempotency-key-header` describes the header. Here:
//!
//! | case | answer |
//! |---|---|
//! | first request | the work's; a success is kept |
//! | again, the same route and bytes of the body | the kept answer: status, `Location`, `ETag`, body |
//! | again, another route or body | 422 |
//! | while the first one runs | both run; one commits, the other one gets the committed answer |
//! | after an error | the work runs again: errors are not kept |
//! | after 24 hours | the work runs again |
//! | too many keys or bytes of the tenant within a day | 429, for new keys only |
//!
//! Keys belong to a user in a tenant, so that nobody can probe another's. The statements stand before those of the work: a
//! second request fails on the primary key before it changes anything. Expired rows are deleted by the next request with a
//! key, so no sweep is needed; until then they are not replayed.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use isobar_db::{FromRow, Queryable, Statement};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::state::ApiState;
use crate::time::{now, rfc3339};
use crate::{Principal, Problem};

/// Time for which an answer is kept.
const KEPT: chrono::TimeDelta = chrono::TimeDelta::hours(24);

/// A request's key, and a fingerprint of its route and body.
///
/// `caller` is tenant and user; the fingerprint is the SHA-256 of the route, a NUL, and the body.
#[derive(Debug)]
pub(super) struct Idempotency {
    tenant: String,
    caller: String,
    key: String,
    fingerprint: String,
}

/// The answer to a request that wrote.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Written {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) etag: Option<String>,
    pub(super) body: String,
}

impl Idempotency {
    /// Returns the key of a request, if it has one.
    ///
    /// # Errors
    /// 400 for a key that is not valid, and for an anonymous principal.
    pub(super) fn read(
        headers: &HeaderMap,
        principal: &Principal,
        route: &str,
        body: &[u8],
    ) -> Result<Option<Self>, Problem> {
        let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
        let invalid = |detail: &str| {
            Problem::bad_request("the Idempotency-Key is not valid").with_field("Idempotency-Key", detail)
        };
        let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
        let key = key.ok_or_else(|| invalid("must be 1 to 255 visible characters"))?;
        let (Some(tenant), Some(user)) = (principal.tenant(), principal.user()) else {
            return Err(invalid("needs a signed-in user or an API key"));
        };
        let mut hash = Sha256::new();
        hash.update(route.as_bytes());
        hash.update([0]);
        hash.update(body);
        let fingerprint = hex::encode(hash.finalize());
        let caller = format!("{tenant}|{user}");
        Ok(Some(Self { tenant: tenant.to_owned(), caller, key: key.to_owned(), fingerprint }))
    }

    /// Returns the answer that is kept under the key, if there is one.
    ///
    /// # Errors
    /// 422 when the key was used for another request.
    async fn kept(&self, api: &ApiState) -> Result<Option<Written>, Problem> {
        let sql = "SELECT fingerprint, status, location, etag, body FROM idempotency_keys \
                   WHERE caller = ? AND key = ? AND created_at >= ?";
        let statement = Statement::new(sql).bind(&self.caller).bind(&self.key).bind(kept_since());
        let result = api.database.query(statement.rows_only()).await?;
        let Some(row) = result.rows.first() else { return Ok(None) };
        if row.get::<String>("fingerprint")? != self.fingerprint {
            let detail = "this Idempotency-Key was used for another request";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY).with_detail(detail));
        }
        Ok(Some(Written::from_row(row)?))
    }

    /// Returns the statements that keep the answer and delete answers that have expired, to run before those of the work.
    pub(super) fn statements(&self, written: &Written) -> Vec<Statement> {
        let Written { status, location, etag, body } = written;
        let forget = Statement::new("DELETE FROM idempotency_keys WHERE created_at < ?").bind(kept_since());
        let keep = Statement::new(
            "INSERT INTO idempotency_keys (caller, key, fingerprint, status, location, etag, body, created_at, tenant_id, bytes) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        );
        let keep = keep.bind(&self.caller).bind(&self.key).bind(&self.fingerprint).bind(*status);
        let keep = keep.bind(location.clone()).bind(etag.clone()).bind(body).bind(now());
        vec![forget, keep.bind(&self.tenant).bind(body.len() as i64)]
    }
}

/// Runs the work of a request, or replays the answer that is kept under its key.
///
/// The work writes the answer in its own transaction, by [`Idempotency::statements`]. Where another request with the key has
/// committed first, that transaction fails with 409, and the other request's answer is replayed.
///
/// # Errors
/// Those of the work; 422 when the key was used for another request, 429 when the tenant has used as many keys as it may.
pub(super) async fn replay_or_run(
    api: &ApiState,
    idempotency: Option<&Idempotency>,
    work: impl Future<Output = Result<Written, Problem>>,
) -> Result<Response, Problem> {
    let Some(idempotency) = idempotency else { return work.await.map(IntoResponse::into_response) };
    if let Some(written) = idempotency.kept(api).await? {
        return Ok(written.into_response());
    }
    api.quotas.check_keys(&*api.database, &idempotency.tenant, &kept_since()).await?;
    match work.await {
        Ok(written) => Ok(written.into_response()),
        Err(problem) if problem.status() == StatusCode::CONFLICT => {
            idempotency.kept(api).await?.map(IntoResponse::into_response).ok_or(problem)
        }
        Err(problem) => Err(problem),
    }
}

/// The first answer and its replays are made from the same value, so that a client cannot tell them apart.
impl IntoResponse for Written {
    fn into_response(self) -> Response {
        let Self { status, location, etag, body } = self;
        let mut response = Response::new(axum::body::Body::from(Bytes::from(body)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        let entries = [
            (header::CONTENT_TYPE, Some("application/json".to_owned())),
            (header::CACHE_CONTROL, Some("no-store".to_owned())),
            (header::LOCATION, location),
            (header::ETAG, etag),
        ];
        for (name, value) in entries {
            if let Some(Ok(value)) = value.map(|value| value.parse()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// The time since which answers are valid: 24 hours ago.
fn kept_since() -> String {
    rfc3339(chrono::Utc::now() - KEPT)
}
