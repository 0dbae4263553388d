//! One connection: its prepared statements, and how a statement runs.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::TryStreamExt;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

use super::fault::{self, Failure, Remedy};
use super::job::{self, Access, Job};
use super::options::PostgresOptions;
use super::tls::Tls;
use super::translate::{Piece, Source, Verb};
use super::values::{Bound, Fit, Nulls, Raw, Use, always_decodes, decode, fit, own_type};
use crate::statement::VALUE_COUNTS;
use crate::{Error, ErrorKind, Meta, QueryResult, Result, Row, Value, sql};

/// Statements that are kept prepared.
const PREPARED: usize = 256;

/// A connection and what it has prepared.
pub(super) struct Connection {
    client: Client,
    prepared: HashMap<String, Statement>,
    /// Statements whose parameters have to be declared.
    ambiguous: HashMap<String, Nulls>,
    /// Rows that the last statement has changed that changes any: SQLite's `changes()`.
    changes: Option<u64>,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client, prepared: HashMap::new(), ambiguous: HashMap::new(), changes: None }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Makes the connection one of these options.
    pub(super) async fn set_up(&self, options: &PostgresOptions) -> Result<()> {
        let limit = options.time_limit.as_millis().clamp(1, i32::MAX as u128);
        let isolation = options.isolation.name();
        let settings = format!(
            "SET standard_conforming_strings = on; SET TimeZone = 'UTC'; SET client_min_messages = warning; \
             SET statement_timeout = {limit}; SET default_transaction_isolation = '{isolation}'"
        );
        self.control(&settings).await.map_err(|failure| failure.error)?;
        match &options.schema {
            Some(schema) => self.enter(schema).await.map_err(|failure| failure.error),
            None => Ok(()),
        }
    }

    /// Takes a schema for all tables, and creates it where it is missing: to create one needs a right that others than the first need not
    /// have.
    async fn enter(&self, schema: &str) -> Result<(), Failure> {
        let known = format!("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = {}", sql::literal(schema));
        let found = self.client.simple_query(&known).await?;
        let name = sql::quoted(schema);
        if !found.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))) {
            match self.control(&format!("CREATE SCHEMA IF NOT EXISTS {name}")).await {
                // Another connection has created it at the same time.
                Err(failure) if failure.remedy != Remedy::Again => return Err(failure),
                _ => {}
            }
        }
        self.control(&format!("SET search_path = {name}")).await
    }

    /// Runs SQL of the backend's own: `BEGIN`, `COMMIT`.
    pub(super) async fn control(&self, sql: &str) -> Result<(), Failure> {
        self.client.batch_execute(sql).await.map_err(Failure::from)
    }

    /// Asks the server, by a connection of its own, to cancel what runs.
    pub(super) fn cancel(&self, tls: Tls) -> impl Future<Output = ()> + Send + 'static + use<> {
        let token = self.client.cancel_token();
        // Where it fails, the connection's end is noticed by the server when it writes next.
        async move { drop(token.cancel_query(tls).await) }
    }

    /// Begins to count `changes()` anew: what an earlier call has changed is not seen.
    pub(super) fn forget_changes(&mut self) {
        self.changes = None;
    }

    /// Prepares a job, and returns whether each of its rows can be read, whatever is in it. Where it cannot be prepared, running it
    /// reports why.
    pub(super) async fn reads_surely(&mut self, job: &Job) -> bool {
        for piece in &job.pieces {
            let changes = Value::Null;
            let Ok(values) = self.values(piece, job, &changes) else { return false };
            let Ok(statement) = self.prepare(piece, &values).await else { return false };
            if !statement.columns().iter().all(|column| always_decodes(column.type_())) {
                return false;
            }
        }
        true
    }

    /// Runs jobs in the transaction that is open, one result each.
    pub(super) async fn run_jobs(&mut self, jobs: &[Job]) -> Result<Vec<QueryResult>, Failure> {
        let mut kept = 0;
        let mut results = Vec::with_capacity(jobs.len());
        for (index, job) in jobs.iter().enumerate() {
            let result = self.run_job(job, &mut kept).await;
            let named = |error: Error| error.with_sql(&job.text).with_statement(index);
            results.push(result.map_err(|Failure { error, remedy }| Failure { error: named(error), remedy })?);
        }
        Ok(results)
    }

    /// Runs the statements of a job. One that may not write has a savepoint of its own, with which its setting ends.
    async fn run_job(&mut self, job: &Job, kept: &mut usize) -> Result<QueryResult, Failure> {
        if job.access == Access::ReadsAlone {
            self.control("SAVEPOINT isobar_read; SET LOCAL transaction_read_only = on").await?;
        }
        let mut result = QueryResult::default();
        for piece in &job.pieces {
            result = self.run(piece, job, kept).await?;
        }
        if job.access == Access::ReadsAlone {
            self.control("ROLLBACK TO isobar_read; RELEASE isobar_read").await?;
        }
        Ok(result)
    }

    /// Runs one statement of a job.
    async fn run(&mut self, piece: &Piece, job: &Job, kept: &mut usize) -> Result<QueryResult, Failure> {
        let started = Instant::now();
        let changes = Value::Integer(i64::try_from(self.changes.unwrap_or_default()).unwrap_or(i64::MAX));
        let values = self.values(piece, job, &changes)?;
        let statement = self.prepare(piece, &values).await?;
        let rows = self.rows(&statement, &values, job, kept).await;
        let (columns, rows, count) = match rows {
            Ok(rows) => rows,
            Err(failure) => {
                if failure.remedy == Remedy::Prepare {
                    self.prepared.clear();
                }
                return Err(failure);
            }
        };
        let mut meta = Meta { served_by: "postgres".to_owned(), served_by_primary: true, ..Meta::default() };
        if piece.verb == Verb::Write {
            self.changes = Some(count);
            meta.changes = count;
        }
        meta.changed_db = meta.changes > 0 || piece.verb == Verb::Define;
        meta.duration = started.elapsed();
        meta.total_attempts = 1;
        Ok(QueryResult::new(columns, rows, meta))
    }

    /// The values of a statement's parameters.
    fn values<'v>(&self, piece: &Piece, job: &'v Job, changes: &'v Value) -> Result<Vec<&'v Value>> {
        let value = |source: &Source| match source {
            Source::Value(index) => job.parameters.get(*index).ok_or_else(job::missing),
            Source::Changes if self.changes.is_none() => Err(no_changes()),
            Source::Changes => Ok(changes),
        };
        piece.sources.iter().map(value).collect()
    }

    async fn rows(
        &self,
        statement: &Statement,
        values: &[&Value],
        job: &Job,
        kept: &mut usize,
    ) -> Result<(Vec<String>, Vec<Row>, u64), Failure> {
        let names: Arc<[String]> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        let bound: Vec<Bound<'_>> = values.iter().map(|value| Bound(value)).collect();
        let stream = self.client.query_raw(statement, bound).await?;
        let mut stream = pin!(stream);
        let mut rows = Vec::new();
        while let Some(row) = stream.try_next().await? {
            let mut read = Vec::with_capacity(names.len());
            for (index, column) in statement.columns().iter().enumerate() {
                let raw: Raw<'_> = row.try_get(index)?;
                read.push(decode(column.name(), column.type_(), &raw)?);
            }
            if let Some(limit) = job.result_bytes {
                *kept += read.iter().map(bytes).sum::<usize>();
                if *kept > limit {
                    return Err(too_big(limit).into());
                }
            }
            rows.push(Row::new(Arc::clone(&names), read));
        }
        let count = stream.rows_affected().unwrap_or_default();
        Ok((names.to_vec(), rows, count))
    }

    /// Prepares a statement so that each value goes into its parameter unchanged.
    async fn prepare(&mut self, piece: &Piece, values: &[&Value]) -> Result<Statement, Failure> {
        let purpose = if piece.verb == Verb::Read { Use::Reads } else { Use::Writes };
        if let Some(known) = self.prepared.get(&piece.sql)
            && misfits(known, values, purpose).next().is_none()
        {
            return Ok(known.clone());
        }
        let nulls = self.ambiguous.get(&piece.sql).copied();
        let own = |nulls| values.iter().map(|value| own_type(value, nulls)).collect::<Vec<Type>>();
        let declared = nulls.map(own).unwrap_or_default();
        let mut statement = match self.client.prepare_typed(&piece.sql, &declared).await {
            Ok(statement) => statement,
            Err(error) if fault::is_ambiguous(&error) && nulls != Some(Nulls::Text) && !values.is_empty() => {
                let next = if nulls.is_some() { Nulls::Text } else { Nulls::Unknown };
                self.ambiguous.insert(piece.sql.clone(), next);
                return Err(Failure { error: fault::of(error), remedy: Remedy::Prepare });
            }
            Err(error) => return Err(error.into()),
        };
        let mut types = vec![Type::UNKNOWN; values.len()];
        let mut is_to_declare = false;
        for (index, misfit) in misfits(&statement, values, purpose) {
            match misfit {
                Fit::Declare(of) => {
                    types[index] = of;
                    is_to_declare = true;
                }
                Fit::Refused(why) => return Err(refused(index, values[index], &statement, why).into()),
                Fit::Exact => {}
            }
        }
        if is_to_declare {
            statement = self.client.prepare_typed(&piece.sql, &types).await?;
            if let Some((index, misfit)) = misfits(&statement, values, purpose).next() {
                let why = if let Fit::Refused(why) = misfit { why } else { "cast the parameter in the SQL" };
                return Err(refused(index, values[index], &statement, why).into());
            }
        }
        if self.prepared.len() >= PREPARED {
            self.prepared.clear();
        }
        self.prepared.insert(piece.sql.clone(), statement.clone());
        Ok(statement)
    }
}

/// The parameters that their values do not fit into.
fn misfits(statement: &Statement, values: &[&Value], purpose: Use) -> impl Iterator<Item = (usize, Fit)> {
    let fits = statement.params().iter().zip(values).map(move |(of, value)| fit(value, of, purpose));
    fits.enumerate().filter(|(_, fit)| *fit != Fit::Exact)
}

fn refused(index: usize, value: &Value, statement: &Statement, why: &str) -> Error {
    let of = statement.params().get(index).map_or("?", |of| of.name());
    let kind = value.type_name();
    Error::new(ErrorKind::Sql, format!("parameter {} is of type {kind} and goes into {of}: {why}", index + 1))
}

fn no_changes() -> Error {
    let message = "changes() stands behind the statement whose rows it counts, in the same batch or transaction";
    Error::new(ErrorKind::Sql, message)
}

/// The bytes that count for a limit of the result.
fn bytes(value: &Value) -> usize {
    VALUE_COUNTS
        + match value {
            Value::Text(text) => text.len(),
            Value::Blob(bytes) => bytes.len(),
            Value::Null | Value::Integer(_) | Value::Real(_) => 0,
        }
}

fn too_big(limit: usize) -> Error {
    Error::new(
        ErrorKind::TooBig,
        format!("the rows of the answer have more than {limit} bytes: ask for fewer of them, or for less of each"),
    )
}
