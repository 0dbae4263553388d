//! Readiness: whether everything that an application needs can do its work now.
//!
//! A check tries: a bucket is asked whether it takes writes, a database begins and ends one. Checks run side by side, and one
//! that does not answer within 2 s has failed, so that a hanging disk is seen. The outcome counts for a second: a probe that asks
//! more often costs nothing.
//!
//! `/healthz` and `/readyz` are two questions: the first says whether the process should be replaced,
//! the second whether it should get traffic. A full disk makes a process not ready, and restarting it
//! would help nobody.
//!
//! The lock of the last outcome is held while the checks run: probes that come meanwhile wait for it,
//! at most 2 s natively, and get the same answer. Inside Workers a check has no limit of its own.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::{BoxFuture, join_all};
use futures_util::lock::Mutex;
use http::{StatusCode, header};
use isobar_api::Problem;

/// The route that answers while the process runs.
pub(crate) const HEALTHZ: &str = "/healthz";
/// The route that answers 200 while every check passes.
pub(crate) const READYZ: &str = "/readyz";

/// Whether a path is one of the health checks', which are routes in any case.
pub(crate) fn is_health(path: &str) -> bool {
    [HEALTHZ, READYZ].contains(&path)
}

/// A check of something that the application needs: `Ok` while it can do its work, else the reason, which is logged and not shown
/// to clients.
///
/// ```
/// use std::sync::Arc;
///
/// use isobar_http_serve::{App, ReadyCheck};
///
/// let disk: ReadyCheck = Arc::new(|| Box::pin(async { std::fs::metadata("/").map(drop).map_err(|error| error.to_string()) }));
/// let app = App::new().ready_when("disk", disk);
/// # drop(app);
/// ```
pub type ReadyCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// How long the outcome of the checks serves for further requests.
const FRESH: TimeDelta = TimeDelta::seconds(1);

/// How long a check may take.
#[cfg(all(feature = "native", not(target_arch = "wasm32")))]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// The checks of an application. However many ask, each check runs once a second at most, and one run at a time.
pub(crate) struct Readiness {
    checks: Vec<(String, ReadyCheck)>,
    /// The checks that failed when last run, and the time of that run.
    last: Mutex<Option<(DateTime<Utc>, Vec<String>)>>,
}

impl Readiness {
    pub(crate) fn new(checks: Vec<(String, ReadyCheck)>) -> Self {
        Self { checks, last: Mutex::new(None) }
    }

    /// Answers 200, or 503 that names the bindings and checks that are not ready. Reasons are logged as
    /// warnings, once for each run.
    pub(crate) async fn answer(&self) -> Response {
        let missing = self.missing().await;
        if missing.is_empty() {
            return ([(header::CACHE_CONTROL, "no-store")], "ready\n").into_response();
        }
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE);
        let problem = problem.with_detail(format!("not ready: {}", missing.join(", ")));
        ([(header::CACHE_CONTROL, "no-store")], problem).into_response()
    }

    /// Names what is not ready: by the last outcome if it is fresh, else by running all checks side by
    /// side.
    async fn missing(&self) -> Vec<String> {
        let mut last = self.last.lock().await;
        let now = Utc::now();
        // A clock that was set back does not make an old outcome last.
        if let Some((at, missing)) = &*last
            && (TimeDelta::zero()..FRESH).contains(&(now - at))
        {
            return missing.clone();
        }
        let outcomes = join_all(self.checks.iter().map(|(what, check)| async move { (what, run(check).await) })).await;
        let mut missing = Vec::new();
        for (what, outcome) in outcomes {
            if let Err(error) = outcome {
                tracing::warn!(what, error, "not ready");
                missing.push(what.clone());
            }
        }
        *last = Some((Utc::now(), missing.clone()));
        missing
    }
}

/// Runs a check; one that takes too long has failed.
async fn run(check: &ReadyCheck) -> Result<(), String> {
    #[cfg(all(feature = "native", not(target_arch = "wasm32")))]
    if tokio::runtime::Handle::try_current().is_ok() {
        let late = |_| format!("there was no answer within {} s", PATIENCE.as_secs());
        return tokio::time::timeout(PATIENCE, check()).await.map_err(late)?;
    }
    check().await
}
