//! `Idempotency-Key`: a request that is sent twice is done once, and answered twice.
//!
//! The key and the answer are written in the transaction that does the work. Of two requests with one key, at once or a day
//! apart, one commits; the other fails on the key and finds the answer.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use isobar_db::{FromRow, Queryable, Statement};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::input::now;
use super::{Served, rfc3339};
use crate::{Caller, Problem};

/// How long an answer is kept.
const KEPT: chrono::TimeDelta = chrono::TimeDelta::hours(24);

/// A request's key, and what it was sent with.
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
    /// The key of a request, if it has one.
    pub(super) fn read(
        headers: &HeaderMap,
        caller: &Caller,
        route: &str,
        body: &[u8],
    ) -> Result<Option<Self>, Problem> {
        let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
        let invalid = |detail: &str| {
            Problem::bad_request("the Idempotency-Key is not valid").with_field("Idempotency-Key", detail)
        };
        let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
        let key = key.ok_or_else(|| invalid("must be 1 to 255 visible characters"))?;
        let (Some(tenant), Some(user)) = (caller.tenant(), caller.user()) else {
            return Err(invalid("only for callers that are known"));
        };
        let mut hash = Sha256::new();
        hash.update(route.as_bytes());
        hash.update([0]);
        hash.update(body);
        let fingerprint = hex::encode(hash.finalize());
        let caller = format!("{tenant}|{user}");
        Ok(Some(Self { tenant: tenant.to_owned(), caller, key: key.to_owned(), fingerprint }))
    }

    /// The answer that was given, if there was one; 429 where there is none and the tenant has as many as it may.
    pub(super) async fn answered(&self, served: &Served) -> Result<Option<Written>, Problem> {
        let sql = "SELECT fingerprint, status, location, etag, body FROM idempotency_keys \
                   WHERE caller = ? AND key = ? AND created_at >= ?";
        let statement = Statement::new(sql).bind(&self.caller).bind(&self.key).bind(kept_since());
        let result = served.database.query(statement.rows_only()).await?;
        let Some(row) = result.rows.first() else {
            served.quotas.check_keys(&*served.database, &self.tenant, &kept_since()).await?;
            return Ok(None);
        };
        if row.get::<String>("fingerprint")? != self.fingerprint {
            let detail = "this Idempotency-Key was used for another request";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY).with_detail(detail));
        }
        Ok(Some(Written::from_row(row)?))
    }

    /// Keeps the answer, and forgets what is old: before the work's own statements.
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

fn kept_since() -> String {
    rfc3339(chrono::Utc::now() - KEPT)
}
