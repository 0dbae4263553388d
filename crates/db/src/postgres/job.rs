//! Statements with their values, ready to run.

use super::translate::{self, Piece};
use crate::{Error, ErrorKind, Result, Statement, Value};

/// D1's words for parameters before the last statement.
const EARLY: &str =
    "When executing multiple SQL statements in a single call, only the last statement can have parameters.";

/// The text of one [`Statement`], which may hold several.
pub(super) struct Job {
    pub(super) pieces: Vec<Piece>,
    pub(super) parameters: Vec<Value>,
    pub(super) result_bytes: Option<usize>,
    pub(super) access: Access,
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    ReadsAndWrites,
    ReadsAlone,
}

impl Job {
    /// Translates a statement; `None` where its text is empty.
    ///
    /// The values are those of the last statement in the text, as in D1.
    pub(super) fn new(statement: Statement) -> Result<Option<Self>> {
        let named = |error: Error| error.with_sql(statement.sql());
        let pieces = translate::script(statement.sql()).map_err(named)?;
        let Some((last, others)) = pieces.split_last() else { return Ok(None) };
        let parameters = statement.parameters();
        if others.iter().any(|piece| piece.count > 0) {
            return Err(named(Error::new(ErrorKind::Sql, EARLY)));
        }
        if last.count != parameters.len() {
            return Err(named(missing()));
        }
        Ok(Some(Self {
            parameters: parameters.to_vec(),
            result_bytes: statement.result_bytes(),
            access: if statement.is_read_only() { Access::ReadsAlone } else { Access::ReadsAndWrites },
            text: statement.sql().to_owned(),
            pieces,
        }))
    }

    /// Translates a script, each of whose statements is a job.
    pub(super) fn of_script(script: &str) -> Result<Vec<Self>> {
        let placed = |error: Error| error.with_sql(script);
        let job = |piece: Piece| Self {
            parameters: Vec::new(),
            result_bytes: None,
            access: Access::ReadsAndWrites,
            text: piece.text.clone(),
            pieces: vec![piece],
        };
        Ok(translate::script(script).map_err(placed)?.into_iter().map(job).collect())
    }
}

/// D1's words for too few values and for too many.
pub(super) fn missing() -> Error {
    Error::new(ErrorKind::Sql, crate::statement::WRONG_BINDINGS)
}
