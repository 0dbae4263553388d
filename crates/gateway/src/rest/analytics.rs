//! Analytics Engine's SQL over the datasets that a key may read.
//!
//! A query may name any dataset, in any part of it. So the scope is not checked on the text but where
//! data is read: the source of scans is wrapped, and shows only the key's datasets. Another one is
//! refused when it is scanned, and the flag beside it turns the query's error into a 403.
//!
//! Answers have no envelope, as Cloudflare's. A query has the engine's default limits of time and
//! memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode, header};
use isobar_analytics::query::{Analytics, Query, QueryExecutor, RecordBatches, ScanRequest, ScanSource};
use isobar_analytics::{Error, ErrorKind};

use super::call::{self, require};
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, code};
use crate::keys::{Key, KeyScope, Permission};

/// Runs the SQL of a body, and answers in the format that it asks for, without an envelope.
pub(super) async fn query(door: &RestDoor, key: &Key, body: Body) -> Answer {
    require(key, Permission::AnalyticsRead)?;
    let sql = call::bytes(body, door.options.json_bytes).await?;
    let sql = std::str::from_utf8(&sql).map_err(|_| ApiError::malformed("the query is not UTF-8"))?;
    let Some(source) = &door.datasets else { return Err(ApiError::malformed("this server has no datasets")) };
    let is_refused = Arc::new(AtomicBool::new(false));
    let source =
        BoundDatasets { inner: Arc::clone(source), scope: key.scope.clone(), is_refused: Arc::clone(&is_refused) };
    let answer = Analytics::new(source).query(&Query::new(sql)).await.map_err(|error| {
        match is_refused.load(Ordering::Relaxed) {
            true => ApiError::forbidden("the token is bound to other datasets"),
            false => failed(&error),
        }
    })?;
    let format = answer.format();
    let kind = HeaderValue::from_static(format.media_type());
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)], answer.to_bytes(format)).into_response())
}

/// The error of a query: its text for what the client has written, and none of it for failures of the
/// server.
fn failed(error: &Error) -> ApiError {
    let (status, code) = match error.kind() {
        ErrorKind::Query | ErrorKind::MemoryLimit | ErrorKind::TimedOut => (StatusCode::BAD_REQUEST, code::MALFORMED),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, code::INTERNAL),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL),
    };
    if status.is_server_error() {
        tracing::error!(error = error as &dyn std::error::Error, "a dataset cannot be read");
        return ApiError::new(status, code, "the dataset cannot be read; the server's log says why");
    }
    ApiError::new(status, code, error.to_string())
}

/// The datasets of a source that a key may read.
#[derive(Debug)]
struct BoundDatasets {
    inner: Arc<dyn ScanSource>,
    scope: KeyScope,
    /// Whether another dataset was asked for.
    is_refused: Arc<AtomicBool>,
}

impl ScanSource for BoundDatasets {
    fn datasets(&self) -> isobar_analytics::Result<Vec<String>> {
        let mut names = self.inner.datasets()?;
        names.retain(|name| self.scope.can_read_dataset(name));
        Ok(names)
    }

    fn scan(&self, request: &ScanRequest) -> isobar_analytics::Result<RecordBatches> {
        if self.scope.can_read_dataset(&request.dataset) {
            return self.inner.scan(request);
        }
        self.is_refused.store(true, Ordering::Relaxed);
        Err(Error::new(ErrorKind::PermissionDenied, "the dataset is another one than those of the key"))
    }
}
