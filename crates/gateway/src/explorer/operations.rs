//! Operations on backups that go on beside the request that has begun them.
//!
//! There is one in flight at a time: two runs into one target are forbidden, and each operation reads a disk. Outcomes are kept for as
//! long as the process runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use isobar_base::sync::IgnorePoison;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::catalog::{BackupCatalog, BackupReport, BackupSource, CatalogError};

/// Backups, with what was done here.
#[derive(Debug, Clone)]
pub(super) struct Backups {
    pub(super) catalog: Arc<dyn BackupCatalog>,
    jobs: Arc<Jobs>,
}

impl Backups {
    pub(super) fn new(catalog: Arc<dyn BackupCatalog>) -> Self {
        Self { catalog, jobs: Arc::default() }
    }

    /// Begins an operation, which goes on beside the caller. Returns whether it has begun: not while there is one in flight.
    pub(super) fn begin(&self, source: &BackupSource, action: Action) -> bool {
        let Some(in_flight) = self.jobs.begin(source, action) else { return false };
        tokio::spawn(in_flight.perform(Arc::clone(&self.catalog)));
        true
    }

    /// The operation in flight, and the last outcomes, of a source.
    pub(super) fn status(&self, source: &BackupSource) -> Json {
        self.jobs.shown(source)
    }
}

/// An operation that takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Run,
    Verify,
}

/// The operation in flight, and the last outcomes of each source.
#[derive(Debug, Default)]
struct Jobs(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    in_flight: Option<(BackupSource, Action)>,
    outcomes: BTreeMap<BackupSource, Outcomes>,
}

/// The last outcomes of a source.
#[derive(Debug, Clone, Default, Serialize)]
struct Outcomes {
    run: Option<Outcome>,
    verify: Option<Outcome>,
}

/// The end of an operation: a report, or an error.
#[derive(Debug, Clone, Serialize)]
struct Outcome {
    ended: DateTime<Utc>,
    report: Option<BackupReport>,
    error: Option<String>,
}

impl Jobs {
    /// Begins an operation; `None` while there is one in flight.
    fn begin(self: &Arc<Self>, source: &BackupSource, action: Action) -> Option<InFlight> {
        let mut kept = self.0.lock().ignore_poison();
        if kept.in_flight.is_some() {
            return None;
        }
        kept.in_flight = Some((source.clone(), action));
        Some(InFlight { jobs: Arc::clone(self), source: source.clone(), action, result: None })
    }

    /// The operation in flight, and the last outcomes, of a source.
    fn shown(&self, source: &BackupSource) -> Json {
        let kept = self.0.lock().ignore_poison();
        let in_flight = kept.in_flight.as_ref().filter(|(other, _)| other == source).map(|(_, action)| *action);
        let Outcomes { run, verify } = kept.outcomes.get(source).cloned().unwrap_or_default();
        json!({"in_flight": in_flight, "run": run, "verify": verify})
    }
}

/// An operation that has begun. Its outcome is kept when this is dropped, also where it has panicked.
#[derive(Debug)]
struct InFlight {
    jobs: Arc<Jobs>,
    source: BackupSource,
    action: Action,
    result: Option<Result<BackupReport, CatalogError>>,
}

impl InFlight {
    async fn perform(mut self, catalog: Arc<dyn BackupCatalog>) {
        self.result = Some(match self.action {
            Action::Run => catalog.run(&self.source).await,
            Action::Verify => catalog.verify(&self.source).await,
        });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let ended = Utc::now();
        let outcome = match self.result.take() {
            Some(Ok(report)) => Outcome { ended, report: Some(report), error: None },
            Some(Err(error)) => {
                tracing::warn!(error = %error.with_causes(), "a backup, or its check, has failed");
                Outcome { ended, report: None, error: Some(error.to_string()) }
            }
            None => Outcome { ended, report: None, error: Some("it ended without a result".to_owned()) },
        };
        let mut kept = self.jobs.0.lock().ignore_poison();
        kept.in_flight = None;
        let outcomes = kept.outcomes.entry(self.source.clone()).or_default();
        match self.action {
            Action::Run => outcomes.run = Some(outcome),
            Action::Verify => outcomes.verify = Some(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> BackupSource {
        BackupSource::Database("orders".to_owned())
    }

    #[test]
    fn one_operation_is_in_flight_and_one_that_is_dropped_has_failed() {
        let jobs = Arc::<Jobs>::default();
        let first = jobs.begin(&orders(), Action::Run).unwrap();
        assert!(jobs.begin(&orders(), Action::Verify).is_none());
        assert!(jobs.begin(&BackupSource::Sessions("orders".to_owned()), Action::Verify).is_none());
        assert_eq!(jobs.shown(&orders())["in_flight"], "run");
        assert!(jobs.shown(&BackupSource::Sessions("orders".to_owned()))["in_flight"].is_null());
        drop(first);
        let shown = jobs.shown(&orders());
        assert!(shown["in_flight"].is_null() && shown["verify"].is_null(), "{shown}");
        assert_eq!(shown["run"]["error"], "it ended without a result");
        assert!(jobs.begin(&orders(), Action::Verify).is_some());
    }
}
