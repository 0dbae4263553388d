//! Queries for an executor elsewhere: parsed and typed here, so that the language and its errors are those of the local executor.

use std::sync::Arc;

use chrono::Utc;
use futures_channel::oneshot;

use super::analytics::list;
use super::analyze::analyze;
use super::exec::Budget;
use super::format_clause::cut_format;
use super::parse::parse;
use super::plan::Statement;
use super::thread::{no_thread, thread};
use super::{Answer, Format, Query, QueryOptions};
use crate::{Error, ErrorKind, Result};

/// A valid query.
#[derive(Debug)]
pub(crate) enum Elsewhere {
    Select {
        /// The text without a `FORMAT` clause.
        sql: String,
        /// The names of the columns of its answer.
        names: Vec<String>,
    },
    ShowTables,
    /// The answer, for which no dataset is needed.
    Answered(Answer),
}

/// Reads a query, on a thread with the stack for it, and its format.
///
/// # Errors
/// [`ErrorKind::Query`], [`ErrorKind::MemoryLimit`], as the local executor has them.
pub(crate) async fn read(query: &Query) -> Result<(Elsewhere, Option<Format>)> {
    let (sender, receiver) = oneshot::channel();
    let query = query.clone();
    thread().spawn(move || drop(sender.send(read_here(&query)))).map_err(|error| no_thread(&error))?;
    receiver
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the query's thread has ended early").during("query")))
}

fn read_here(query: &Query) -> Result<(Elsewhere, Option<Format>)> {
    let sql = query.to_sql()?;
    let (syntax, format) = parse(&sql)?;
    let options = QueryOptions::default();
    let budget = Budget::new(options.memory_bytes, options.time_limit, Arc::default());
    let read = match analyze(&syntax, Utc::now().timestamp(), &budget)? {
        Statement::Select(select) => {
            let names = select.output.iter().map(|output| output.name.clone()).collect();
            Elsewhere::Select { sql: cut_format(&sql)?.0.to_owned(), names }
        }
        Statement::ShowTables => Elsewhere::ShowTables,
        Statement::ShowTimezones => {
            Elsewhere::Answered(list("time_zone", chrono_tz::TZ_VARIANTS.map(|zone| zone.name()), format))
        }
        Statement::ShowTimezone => Elsewhere::Answered(list("timezone()", ["Etc/UTC"], format)),
    };
    Ok((read, format))
}
