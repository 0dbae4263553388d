//! The aggregate functions: names, arguments, types.
//!
//! Names are taken in any case. Three spellings become one variant: `sumIf(x, c)` is `sum(x)` with a condition, `quantileWeighted(l, x, w)` is
//! `quantileExactWeighted(l)(x, w)`, `count(x)` is `count()`. The rules for users, with the results of no rows: `query::reference::aggregates`.

use super::calls::Call;
use crate::Result;
use crate::query::Type;
use crate::query::plan::{AggregateCall, AggregateFunction, Expr};
use crate::query::position::{Position, error_at};
use crate::query::vector::Scalar;

/// Most values of `topK`. ClickHouse's limit.
const MAX_TOP: usize = 16_777_215;

/// Whether a name, in which case does not matter, is that of an aggregate function.
pub(super) fn is_aggregate(name: &str) -> bool {
    let names = [
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "quantileexactweighted",
        "quantileweighted",
        "argmin",
        "argmax",
        "first_value",
        "last_value",
        "topk",
        "topkweighted",
        "countif",
        "sumif",
        "avgif",
    ];
    names.contains(&name.to_ascii_lowercase().as_str())
}

/// An aggregate function with its parameters and arguments.
pub(super) fn call(
    name: &str,
    parameters: Vec<Expr>,
    arguments: Vec<Expr>,
    is_distinct: bool,
    position: Position,
) -> Result<AggregateCall> {
    use AggregateFunction as F;
    let lower = name.to_ascii_lowercase();
    let lower = lower.as_str();
    let takes_parameters = matches!(lower, "quantileexactweighted" | "topk" | "topkweighted");
    if !parameters.is_empty() && !takes_parameters {
        return Err(error_at(position, format!("{name} takes no parameters before its arguments")));
    }
    if is_distinct && !matches!(lower, "count" | "sum" | "avg") {
        return Err(error_at(position, format!("{name} does not take DISTINCT; count, sum and avg do")));
    }
    let mut call = Call { name: name.to_owned(), arguments, position };
    let is_if = matches!(lower, "countif" | "sumif" | "avgif");
    let condition = if is_if { Some(condition(&mut call)?) } else { None };
    let function = match lower {
        "count" | "countif" => {
            call.count(if is_if {
                0..=0
            } else {
                usize::from(is_distinct)..=if is_distinct { usize::MAX } else { 1 }
            })?;
            F::Count
        }
        "sum" | "sumif" => F::Sum,
        "avg" | "avgif" => F::Avg,
        "min" => F::Min,
        "max" => F::Max,
        "first_value" => F::First,
        "last_value" => F::Last,
        "argmin" => F::ArgMin,
        "argmax" => F::ArgMax,
        "quantileexactweighted" => F::QuantileExactWeighted(level(&parameters, position)?),
        "quantileweighted" => {
            call.count(3..=3)?;
            F::QuantileExactWeighted(level(&[call.arguments.remove(0)], position)?)
        }
        _ => F::TopK(most(&parameters, position)?, lower == "topkweighted"),
    };
    let ty = result_type(function, &call)?;
    let arguments = if function == F::Count && !is_distinct { Vec::new() } else { call.arguments };
    Ok(AggregateCall { function, arguments, condition, is_distinct, ty })
}

/// Takes the condition off the end of the arguments.
fn condition(call: &mut Call) -> Result<Expr> {
    let expected = if call.name.eq_ignore_ascii_case("countif") { 1 } else { 2 };
    call.count(expected..=expected)?;
    call.check(expected - 1, "a condition (a comparison, or a number of 8 bits)", |ty| {
        matches!(ty, Type::UInt8 | Type::Bool)
    })?;
    Ok(call.arguments.remove(expected - 1))
}

/// Checks the arguments and returns the type of the result.
///
/// | function | argument | result |
/// |---|---|---|
/// | `count` | any | `UInt64` |
/// | `sum` | unsigned, signed, float | `UInt64`, `Int64`, `Float64` |
/// | `avg` | a number; a time | `Float64`; the time's |
/// | `min`, `max`, `first_value`, `last_value`, `argMin`, `argMax`, quantiles | | that of the first argument |
/// | `topK` | | an array of it |
fn result_type(function: AggregateFunction, call: &Call) -> Result<Type> {
    use AggregateFunction as F;
    let first = || call.arguments[0].ty.clone();
    let no_list = |ty: &Type| !matches!(ty, Type::Array(_) | Type::Interval(_));
    Ok(match function {
        F::Count => Type::UInt64,
        F::Sum => {
            call.count(1..=1)?;
            call.check(0, "a number", Type::is_number)?;
            match first().integer() {
                Some((_, is_signed)) => Type::of_bits(64, is_signed),
                None => Type::Float64,
            }
        }
        F::Avg => {
            call.count(1..=1)?;
            call.check(0, "a number or a time", |ty| ty.is_number() || ty.is_time())?;
            if first().is_time() { first() } else { Type::Float64 }
        }
        F::Min | F::Max | F::First | F::Last => {
            call.count(1..=1)?;
            call.check(0, "a number, a text or a time", no_list)?;
            first()
        }
        F::ArgMin | F::ArgMax => {
            call.count(2..=2)?;
            (0..2).try_for_each(|number| call.check(number, "a number, a text or a time", no_list))?;
            first()
        }
        F::QuantileExactWeighted(_) => {
            call.count(2..=2)?;
            call.check(0, "a number or a time", |ty| ty.is_number() || ty.is_time())?;
            call.check(1, "a weight without a sign", |ty| ty.integer().is_some_and(|(_, is_signed)| !is_signed))?;
            first()
        }
        F::TopK(_, is_weighted) => {
            let count = 1 + usize::from(is_weighted);
            call.count(count..=count)?;
            call.check(0, "a number, a text or a time", no_list)?;
            call.check(1, "a weight, a whole number", Type::is_integer)?;
            Type::Array(Box::new(first()))
        }
    })
}

/// The level of a quantile. Default: 0.5, the median.
fn level(parameters: &[Expr], position: Position) -> Result<f64> {
    let [level] = parameters else {
        if parameters.is_empty() {
            return Ok(0.5);
        }
        return Err(error_at(position, "a quantile takes one level"));
    };
    let level = level.constant().and_then(|scalar| scalar.number(&level.ty));
    level.filter(|level| (0.0..=1.0).contains(level)).ok_or_else(|| {
        error_at(
            position,
            "the level of a quantile is a number from 0 to 1, before the arguments: quantileExactWeighted(0.95)(x, w)",
        )
    })
}

/// The number of values of `topK`. Default: 10.
fn most(parameters: &[Expr], position: Position) -> Result<usize> {
    let count = match parameters {
        [] => return Ok(10),
        [count] => match count.constant() {
            Some(Scalar::Int(count)) => usize::try_from(*count).ok(),
            _ => None,
        },
        _ => None,
    };
    count.filter(|count| (1..=MAX_TOP).contains(count)).ok_or_else(|| {
        error_at(position, format!("the number of values of topK is a whole number from 1 to {MAX_TOP}: topK(3)(x)"))
    })
}
