//! Cloudflare's Analytics SQL binding.
//!
//! The binding's answers have rows as objects and no types, so that types are guessed from the first value of a column that is not null; a
//! column of nulls is `Float64`. Numbers pass through JavaScript's doubles: as parameters, integers beyond 2^53 are refused rather than rounded.

use async_trait::async_trait;
use chrono::SecondsFormat;
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::{JsError, Object, js_sys, send};

use crate::query::{Answer, Dialect, Parameter, Query, QueryExecutor, QueryStats, Type, Value, without_format};
use crate::{Error, ErrorKind, Result};

/// Largest whole number that JavaScript has exactly.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// The datasets of the Worker's own account, through the [Analytics SQL binding]. For code inside Workers; it needs no API token.
///
/// The binding reads [`Dialect::AnalyticsSql`]. Its answers name no types: numbers are `Float64`, and texts, times among them, are
/// `String`. Parameters are sent as values beside the text, all by position or all by name. There is no `SHOW`.
///
/// [Analytics SQL binding]: https://developers.cloudflare.com/analytics/sql-api/workers-binding/
#[derive(Debug, Clone)]
pub struct AnalyticsSqlBinding {
    binding: Object,
}

impl AnalyticsSqlBinding {
    /// Creates an executor from a binding, for example `env.ANALYTICS_SQL`.
    ///
    /// ```no_run
    /// use isobar_analytics::Result;
    /// use isobar_analytics::cloudflare::AnalyticsSqlBinding;
    /// use isobar_analytics::query::{Dialect, Query, QueryExecutor, Value};
    /// use isobar_cloudflare::binding::Object;
    ///
    /// /// The visits of a page, out of the Worker's `env`.
    /// async fn visits(env: &Object, page: &str) -> Result<Value> {
    ///     let binding = AnalyticsSqlBinding::new(env.object("ANALYTICS_SQL"))?;
    ///     let text = format!("SELECT count() AS visits FROM {} WHERE blob1 = $1", Dialect::AnalyticsSql.table("web"));
    ///     Ok(binding.query(&Query::new(text).with(page)).await?.value(0, 0))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where the value has no method `query`.
    pub fn new(binding: impl Into<Object>) -> Result<Self> {
        let binding = binding.into();
        if binding.is_nothing() || binding.method("query").is_err() {
            let message = format!("the binding is not an Analytics SQL binding but {:?}", binding.class());
            return Err(Error::new(ErrorKind::Internal, message).during("open"));
        }
        Ok(Self { binding })
    }
}

#[async_trait]
impl QueryExecutor for AnalyticsSqlBinding {
    async fn query(&self, query: &Query) -> Result<Answer> {
        let (text, format) = without_format(query.text())?;
        let request = Object::empty().with("query", text).with_some("params", params(query)?);
        let result = send(ask(&self.binding, request)).await.map_err(failure)?;
        Ok(answer(&result)?.with_format(format))
    }

    fn dialect(&self) -> Dialect {
        Dialect::AnalyticsSql
    }
}

async fn ask(binding: &Object, request: Object) -> Result<Object, JsError> {
    binding.ask("query", &[request.into()]).await.map(Object::from)
}

/// The values of the parameters: an array or an object.
fn params(query: &Query) -> Result<Option<Object>> {
    let named: Vec<_> = query.named_values().collect();
    match (query.values(), &named[..]) {
        ([], []) => Ok(None),
        (values, []) => {
            let values = values.iter().map(parameter).collect::<Result<js_sys::Array>>()?;
            Ok(Some(Object::from(JsValue::from(values))))
        }
        ([], named) => {
            let params = Object::empty();
            for (name, value) in named {
                params.set(name, parameter(value)?);
            }
            Ok(Some(params))
        }
        _ => Err(refused("the binding takes parameters by position or by name, not both in one query".to_owned())),
    }
}

fn parameter(value: &Parameter) -> Result<JsValue> {
    let inexact = |value: &dyn std::fmt::Display| refused(format!("{value} cannot be the value of a parameter"));
    Ok(match value {
        Parameter::Int(value) if value.unsigned_abs() > MAX_SAFE => return Err(inexact(value)),
        Parameter::Int(value) => JsValue::from(*value as f64),
        Parameter::UInt(value) if *value > MAX_SAFE => return Err(inexact(value)),
        Parameter::UInt(value) => JsValue::from(*value as f64),
        Parameter::Float(value) if !value.is_finite() => return Err(inexact(value)),
        Parameter::Float(value) => JsValue::from(*value),
        Parameter::Text(text) => JsValue::from(text.as_str()),
        Parameter::Bool(value) => JsValue::from(*value),
        Parameter::Time(at) => JsValue::from(at.to_rfc3339_opts(SecondsFormat::Secs, true)),
    })
}

/// Reads `{ data: [{ column: value }], statistics: { rows_read } }`.
fn answer(result: &Object) -> Result<Answer> {
    let rows: Vec<Object> = result.object("data").elements().into_iter().map(Object::from).collect();
    let names: Vec<String> =
        rows.first().map(|row| row.entries().into_iter().map(|(name, _)| name).collect()).unwrap_or_default();
    let cells = |name: &str| rows.iter().map(|row| value(&row.get(name))).collect::<Vec<_>>();
    let mut columns = Vec::new();
    let mut answered = vec![Vec::new(); rows.len()];
    for name in names {
        let cells = cells(&name);
        let ty = cells.iter().flatten().next().map_or(Type::Float64, type_of);
        for (row, cell) in answered.iter_mut().zip(cells) {
            row.push(cell.unwrap_or_else(|| absent(&ty)));
        }
        columns.push((name, ty));
    }
    let rows_read = result.object("statistics").number("rows_read").unwrap_or_default() as u64;
    let stats = QueryStats { rows_read, ..QueryStats::default() };
    Ok(Answer::from_rows(columns, answered)?.with_stats(stats))
}

/// A value; `None` for null.
fn value(js: &JsValue) -> Option<Value> {
    if let Some(number) = js.as_f64() {
        return Some(Value::Float(number));
    }
    if let Some(text) = js.as_string() {
        return Some(Value::String(text.into()));
    }
    if js_sys::Array::is_array(js) {
        return Some(Value::Array(js_sys::Array::from(js).iter().filter_map(|item| value(&item)).collect()));
    }
    js.as_bool().map(Value::Bool)
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::String(_) => Type::String,
        Value::Bool(_) => Type::Bool,
        Value::Array(items) => Type::Array(Box::new(items.first().map_or(Type::String, type_of))),
        _ => Type::Float64,
    }
}

/// The value in place of null.
fn absent(ty: &Type) -> Value {
    match ty {
        Type::String => Value::String(bytes::Bytes::new()),
        Type::Bool => Value::Bool(false),
        Type::Array(_) => Value::Array(Vec::new()),
        _ => Value::Float(f64::NAN),
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Query, message).during("query")
}

fn failure(error: JsError) -> Error {
    let kind = if error.retryable { ErrorKind::Unavailable } else { ErrorKind::Query };
    Error::new(kind, error.message.clone()).with_source(error).during("query")
}
