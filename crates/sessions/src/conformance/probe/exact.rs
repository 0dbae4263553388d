//! Operations of [programs](super::super::run_programs): what they give has its types, times and results, so that two hosts can be
//! compared by it.

use chrono::DateTime;
use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use super::{Operation, Probe, done, value};
use crate::{Cursor, Error, ErrorKind, Result, Value};

impl Probe {
    /// Runs an operation of programs; `None` for another.
    pub(super) fn exactly(&self, operation: Operation<'_>) -> Result<Option<Json>> {
        let storage = &self.context;
        Ok(Some(match operation.name() {
            "rows" => {
                let cursor = self.cursor(operation)?;
                let columns = cursor.column_names().to_vec();
                let rows: Vec<Json> = cursor.raw().iter().map(|row| row.iter().map(typed).collect()).collect();
                json!({"columns": columns, "rows": rows})
            }
            "one" => self.cursor(operation)?.one()?,
            "next" => {
                let mut cursor = self.cursor(operation)?;
                json!([cursor.next::<Json>()?, cursor.next::<Json>()?])
            }
            "entries" => {
                let entries = storage.kv().list::<Json>(&operation.list_options())?;
                entries.into_iter().map(|(key, value)| json!([key, value])).collect()
            }
            "transact" => storage.transaction(|| self.results_at_once(&operation.0["do"]))?,
            "set alarm at" => {
                let at = DateTime::from_timestamp_millis(operation.number("at"));
                let at = at.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "no such time"))?;
                done(storage.set_alarm(at))?
            }
            "alarm at" => storage.alarm()?.map(|at| at.timestamp_millis()).into(),
            "tell" => {
                let sockets = storage.websockets(None);
                done(sockets.iter().try_for_each(|socket| socket.send(operation.text("text"))))?
            }
            _ => return Ok(None),
        }))
    }

    fn cursor(&self, operation: Operation<'_>) -> Result<Cursor> {
        let values: Vec<Value> = operation.0["values"].as_array().into_iter().flatten().map(bound).collect();
        self.context.sql().exec(&operation.text("sql"), values)
    }

    /// Runs operations that do not wait. Returns what they gave.
    fn results_at_once(&self, operations: &Json) -> Result<Json> {
        let mut results = Vec::new();
        for operation in operations.as_array().into_iter().flatten() {
            let given = self.act(operation.clone()).now_or_never();
            results.push(given.unwrap_or_else(|| Err(Error::application("a transaction cannot wait")))?);
        }
        Ok(results.into())
    }
}

/// A value to bind: a blob is `{"blob": HEX}`.
fn bound(json: &Json) -> Value {
    match json["blob"].as_str() {
        Some(digits) => Value::Blob(hex::decode(digits).unwrap_or_default().into()),
        None => value(json),
    }
}

/// A value of a row: a REAL is `{"real": TEXT}`, a blob `{"blob": HEX}`.
fn typed(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(integer) => (*integer).into(),
        Value::Real(real) => json!({"real": format!("{real:?}")}),
        Value::Text(text) => text.as_str().into(),
        Value::Blob(bytes) => json!({"blob": hex::encode(bytes)}),
    }
}
