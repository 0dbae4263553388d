//! An object's own SQL.

use bytes::Bytes;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, Connection, Statement, params_from_iter};

use super::Storage;
use crate::{Cursor, Error, ErrorKind, Result, Value};

const ONLY_COMMENTS: &str = "SQL code did not contain a statement.";
const WRONG_BINDINGS: &str = "Wrong number of parameter bindings for SQL query.";
const EARLY_PARAMETER: &str =
    "When executing multiple SQL statements in a single call, only the last statement can have parameters.";

impl Storage {
    pub(in crate::host) fn exec(&self, sql: &str, values: &[Value]) -> Result<Cursor> {
        let wrong = |message: &str| Error::new(ErrorKind::Sql, message);
        let mut batch = Batch::new(&self.connection, sql);
        let (mut cursor, mut bound) = (None, false);
        let single = !sql.trim_end().trim_end_matches(';').contains(';');
        while let Some(mut statement) = batch.next().map_err(|error| self.failed(&error))? {
            let count = statement.parameter_count();
            bound = count > 0;
            if (bound || single) && count != values.len() {
                return Err(wrong(WRONG_BINDINGS));
            }
            if !statement.readonly() {
                self.begin()?;
            }
            let mut run = |values| run(&self.connection, &mut statement, values).map_err(|error| self.failed(&error));
            if !bound || single {
                cursor = Some(run(if bound { values } else { &[] })?);
                continue;
            }
            // Whether another statement follows shows only when this one has run: undo it then.
            self.transaction(&mut || {
                cursor = Some(run(values)?);
                let next = batch.next().map_err(|error| self.failed(&error))?;
                if next.is_some() { Err(wrong(EARLY_PARAMETER)) } else { Ok(()) }
            })?;
            break;
        }
        let cursor = cursor.ok_or_else(|| wrong(ONLY_COMMENTS))?;
        if bound || values.is_empty() { Ok(cursor) } else { Err(wrong(WRONG_BINDINGS)) }
    }
}

fn run(connection: &Connection, statement: &mut Statement<'_>, values: &[Value]) -> rusqlite::Result<Cursor> {
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let (writes, before) = (!statement.readonly(), connection.total_changes());
    let mut rows = statement.query(params_from_iter(values.iter().map(to_sql)))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push((0..columns.len()).map(|index| from_sql(row.get_ref(index)?)).collect::<Result<_, _>>()?);
    }
    let written = if writes { connection.total_changes() - before } else { 0 };
    Ok(Cursor::new(columns, all, None, Some(written)))
}

fn to_sql(value: &Value) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Integer(integer) => ValueRef::Integer(*integer),
        Value::Real(real) if real.is_nan() => ValueRef::Null,
        Value::Real(real) => ValueRef::Real(*real),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    })
}

fn from_sql(value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(Bytes::copy_from_slice(bytes)),
    })
}
