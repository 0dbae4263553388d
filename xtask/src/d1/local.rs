//! The local side: the same calls by the trait, and their outcomes in the form in which D1's come.

use std::path::Path;

use isobar_db::{Database, Error, Meta, QueryResult, Queryable, SqliteDatabase, Statement, Value};
use serde_json::{Map, Value as Json, json};

use super::{Call, Mode, Result};

/// Runs the calls on a fresh database: in a file, each fourth case in memory.
pub(super) async fn run(folder: &Path, number: u64, calls: &[Call]) -> Result<Vec<Json>> {
    if number % 4 == 3 {
        return in_memory(calls).await;
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let db = SqliteDatabase::open(folder.join("db.sqlite")).await?;
    Ok(outcomes(&db, calls).await)
}

/// Runs the calls on a fresh database in memory.
pub(super) async fn in_memory(calls: &[Call]) -> Result<Vec<Json>> {
    Ok(outcomes(&SqliteDatabase::memory().await?, calls).await)
}

async fn outcomes(db: &SqliteDatabase, calls: &[Call]) -> Vec<Json> {
    let mut outcomes = Vec::with_capacity(calls.len());
    for call in calls {
        outcomes.push(outcome(db, call).await.unwrap_or_else(|error| json!({"error": error.to_string()})));
    }
    outcomes
}

async fn outcome(db: &SqliteDatabase, call: &Call) -> std::result::Result<Json, Error> {
    let statement = |(sql, values): &(String, Vec<Value>)| Statement::new(sql.clone()).bind_all(values.iter().cloned());
    let (sql, _) = &call.statements[0];
    Ok(match call.mode {
        Mode::Run => of_result(&db.query(statement(&call.statements[0])).await?),
        Mode::Raw => {
            let result = db.query(statement(&call.statements[0])).await?;
            let rows: Vec<Vec<Json>> =
                result.rows.iter().map(|row| row.values().iter().map(encode).collect()).collect();
            json!({"columns": result.columns, "rows": rows})
        }
        Mode::Batch => {
            let results = db.batch(call.statements.iter().map(statement).collect()).await?;
            json!({"results": results.iter().map(of_result).collect::<Vec<_>>()})
        }
        Mode::Exec => json!({"count": db.exec(sql).await?.count}),
    })
}

/// A result as JavaScript has it: rows as objects, in which the last of several columns of a name counts.
fn of_result(result: &QueryResult) -> Json {
    let object = |values: &[Value]| -> Map<String, Json> {
        result.columns.iter().cloned().zip(values.iter().map(encode)).collect()
    };
    let rows: Vec<_> = result.rows.iter().map(|row| object(row.values())).collect();
    json!({"rows": rows, "meta": of_meta(&result.meta)})
}

fn of_meta(meta: &Meta) -> Json {
    json!({
        "changes": meta.changes,
        "last_row_id": meta.last_row_id.map_or(Json::Null, |rowid| number(rowid as f64)),
        "changed_db": meta.changed_db,
        "rows_read": meta.rows_read,
        "rows_written": meta.rows_written,
    })
}

fn encode(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(integer) => number(*integer as f64),
        Value::Real(real) => number(*real),
        Value::Text(text) => json!(text),
        Value::Blob(bytes) => json!({"blob": hex::encode(bytes)}),
    }
}

/// A number of JavaScript's.
fn number(number: f64) -> Json {
    const SAFE: f64 = 9_007_199_254_740_991.0;
    if !number.is_finite() {
        return Json::Null;
    }
    if number.fract() == 0.0 && number.abs() <= SAFE {
        return json!(number as i64);
    }
    json!({"real": format!("{:x}", number.to_bits())})
}
