//! Cloudflare's SQL API as an executor.

use async_trait::async_trait;
use serde_json::Value as Json;

use super::parse::without_format;
use super::vector::{Builder, Scalar};
use super::{Answer, AnswerColumn, Query, QueryExecutor, QueryStats, Type, time};
use crate::cloudflare::AnalyticsEngineSql;
use crate::{Error, ErrorKind, Result};

/// The same queries on Cloudflare. The answer comes as JSON, in which inf and NaN are null: they are NaN here. What was read is not
/// reported.
#[async_trait]
impl QueryExecutor for AnalyticsEngineSql {
    async fn query(&self, query: &Query) -> Result<Answer> {
        let (sql, format) = without_format(&query.to_sql()?)?;
        let result = AnalyticsEngineSql::query(self, &sql).await?;
        let mut columns = Vec::new();
        let mut vectors = Vec::new();
        for column in &result.columns {
            let ty = Type::from_name(&column.kind).ok_or_else(|| {
                unexpected(format!("the column {} has the unknown type {}", column.name, column.kind))
            })?;
            let mut builder = Builder::new(&ty);
            for row in &result.rows {
                let value = row.get(&column.name).and_then(|value| scalar(value, &ty));
                builder.push(
                    value.ok_or_else(|| unexpected(format!("a value of the column {} is not a {ty}", column.name)))?,
                );
            }
            columns.push(AnswerColumn { name: column.name.clone(), ty });
            vectors.push(builder.finish());
        }
        let rows_before_limit_at_least = result.rows_before_limit_at_least;
        let stats = QueryStats::default();
        Ok(Answer { columns, vectors, rows: result.rows.len(), rows_before_limit_at_least, format, stats })
    }
}

fn unexpected(message: String) -> Error {
    Error::new(ErrorKind::Internal, message).during("query")
}

/// A value of a type out of JSON; 64-bit integers are strings there.
fn scalar(value: &Json, ty: &Type) -> Option<Scalar> {
    Some(match ty {
        Type::Float64 => match value {
            Json::Null => Scalar::Float(f64::NAN),
            value => Scalar::Float(value.as_f64()?),
        },
        Type::String => Scalar::Text(value.as_str()?.to_owned().into()),
        Type::Date => Scalar::Int(time::days(time::parse_date(value.as_str()?.as_bytes())?)),
        Type::DateTime(_) => Scalar::Int(time::parse(value.as_str()?.as_bytes(), ty.zone())?),
        Type::Array(of) => Scalar::List(value.as_array()?.iter().map(|item| scalar(item, of)).collect::<Option<_>>()?),
        Type::Bool => Scalar::Int(match value {
            Json::Bool(value) => (*value).into(),
            value => value.as_i64()?,
        }),
        _ => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Scalar::Int(text.parse::<i64>().ok().or_else(|| text.parse::<u64>().ok().map(|value| value as i64))?)
        }
    })
}
