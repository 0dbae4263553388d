//! Queries, batches and scripts as jobs: the same for a database and for an interactive transaction.

use super::job::Job;
use super::translate;
use crate::{Error, ErrorKind, Operation, QueryResult, Result, Statement};

const NO_STATEMENT: &str = "No SQL statements detected.";

/// A place where jobs run, all or none.
pub(super) trait RunsJobs: Sync {
    /// Runs jobs, of which there is one at least.
    fn run(&self, jobs: &[Job]) -> impl Future<Output = Result<Vec<QueryResult>>> + Send;
}

pub(super) async fn query(place: &impl RunsJobs, statement: Statement) -> Result<QueryResult> {
    let result = async {
        let results = statements(place, vec![statement]).await?;
        let none = || Error::new(ErrorKind::Internal, "a statement without a result");
        results.into_iter().next_back().ok_or_else(none)
    };
    result.await.map_err(|error| error.during(Operation::Query))
}

pub(super) async fn batch(place: &impl RunsJobs, several: Vec<Statement>) -> Result<Vec<QueryResult>> {
    statements(place, several).await.map_err(|error| error.during(Operation::Batch))
}

pub(super) async fn batch_script(place: &impl RunsJobs, script: &str) -> Result<Vec<QueryResult>> {
    let results = async {
        let jobs = Job::of_script(&translate::without_transaction(script)?)?;
        run(place, &jobs).await.map_err(|error| placed(error, script, &jobs))
    };
    results.await.map_err(|error| error.during(Operation::Batch))
}

async fn run(place: &impl RunsJobs, jobs: &[Job]) -> Result<Vec<QueryResult>> {
    if jobs.is_empty() {
        return Err(Error::new(ErrorKind::Sql, NO_STATEMENT));
    }
    place.run(jobs).await
}

/// Translates and runs statements; those that are empty are left out.
pub(super) async fn statements(place: &impl RunsJobs, statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
    let mut jobs = Vec::new();
    for statement in statements {
        jobs.extend(Job::new(statement)?);
    }
    run(place, &jobs).await
}

/// The error with its line, where it is that of a statement of the script.
fn placed(error: Error, script: &str, jobs: &[Job]) -> Error {
    let mut starts = jobs.iter().filter_map(|job| job.pieces.first()).map(|piece| piece.start);
    match error.statement_index().and_then(|index| starts.nth(index)) {
        Some(start) => error.in_script(script, start),
        None => error,
    }
}
