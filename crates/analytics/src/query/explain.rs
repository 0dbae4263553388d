//! Plans as text.
//!
//! For people who ask why a query is slow: the steps from the answer down to the scan, with the columns that are read and the bounds that
//! narrow them. The text has no grammar and is compared by no program but tests.

use std::fmt::Write as _;

use super::format::plain;
use super::plan::{
    Aggregate, AggregateCall, Expr, ExprKind, Fill, FillPart, FillStep, Function, GapFill, Output, Select, Source,
    Statement,
};
use super::vector::Scalar;
use super::{ScanRequest, Type};

/// The plan of a statement, from its answer down to what it reads.
pub(super) fn explain(statement: &Statement, request: impl Fn(&Select) -> Option<ScanRequest>) -> String {
    let mut text = String::new();
    match statement {
        Statement::Select(select) => lines(select, 0, &request, &mut text),
        Statement::ShowTables => text.push_str("datasets\n"),
        Statement::ShowTimezones | Statement::ShowTimezone => text.push_str("time zones\n"),
    }
    text
}

fn lines(select: &Select, depth: usize, request: &dyn Fn(&Select) -> Option<ScanRequest>, into: &mut String) {
    let below = match &select.source {
        Source::One => Vec::new(),
        Source::Dataset { columns, .. } => columns.iter().map(ToString::to_string).collect(),
        Source::Subquery(below) => below.output.iter().map(|output| output.name.clone()).collect(),
    };
    let above = select.aggregate.as_ref().map_or_else(|| below.clone(), |aggregate| grouped(aggregate, &below));
    let mut line =
        |text: String| writeln!(into, "{}{text}", "  ".repeat(depth)).expect("writing to a text does not fail");
    let output = select.output.iter().map(|output| format!("{}: {}", output.name, output.expr.ty));
    line(format!("select {}", output.collect::<Vec<_>>().join(", ")));
    if select.limit.is_some() || select.offset > 0 {
        let limit = select.limit.map_or_else(|| "all".to_owned(), |limit| limit.to_string());
        line(format!("  limit {limit} offset {}", select.offset));
    }
    let order = |keys: &[super::plan::SortKey], names: &[String]| {
        let keys = keys.iter().map(|key| show(&key.expr, names) + if key.is_descending { " desc" } else { "" });
        keys.collect::<Vec<_>>().join(", ")
    };
    if !select.order_by.is_empty() {
        line(format!("  order by {}", order(&select.order_by, &above)));
    }
    if let Some(gap_fill) = &select.gap_fill {
        line(format!("  fill {}", filled(gap_fill, &select.output)));
    }
    if let Some(having) = &select.having {
        line(format!("  having {}", show(having, &above)));
    }
    if let Some(Aggregate { keys, .. }) = &select.aggregate {
        line(format!("  group by ({}): {}", above[..keys.len()].join(", "), above[keys.len()..].join(", ")));
    }
    if !select.order_input.is_empty() {
        line(format!("  input order by {}", order(&select.order_input, &below)));
    }
    if let Some(filter) = &select.filter {
        line(format!("  where {}", show(filter, &below)));
    }
    match &select.source {
        Source::One => {}
        Source::Dataset { name, .. } => line(format!("  scan {name}: {}{}", below.join(", "), bounds(request(select)))),
        Source::Subquery(select) => lines(select, depth + 1, request, into),
    }
}

/// The gaps that are filled: of which column, and within which bounds.
fn filled(gap_fill: &GapFill, output: &[Output]) -> String {
    let GapFill { fill: Fill { from, to, step }, column, parts, .. } = gap_fill;
    let columns = parts.iter().zip(output).filter(|(part, _)| **part == FillPart::Value);
    let names: Vec<&str> = columns.map(|(_, output)| output.name.as_str()).collect();
    let value = |value: i128| {
        let mut text = Vec::new();
        plain(&Scalar::Int(value as i64), &output[*column].expr.ty, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    let mut text = names.join(", ");
    text.extend(from.map(|from| format!(" from {}", value(from))));
    text.extend(to.map(|to| format!(" to {}", value(to))));
    match step {
        FillStep::Number(number) => text + &format!(" step {number}"),
        FillStep::Interval(count, unit) => text + &format!(" step {count} {unit:?}"),
    }
}

/// The bounds of a scan.
fn bounds(request: Option<ScanRequest>) -> String {
    let mut text = String::new();
    if let Some(ScanRequest { from, until, indexes, .. }) = request {
        let time = |at: i64| super::time::show(at, chrono_tz::Tz::UTC);
        text.extend(from.map(|from| format!("; from {}", time(from))));
        text.extend(until.map(|until| format!("; until {}", time(until))));
        text.extend(indexes.map(|indexes| format!("; {} values of index1", indexes.len())));
    }
    text
}

fn grouped(aggregate: &Aggregate, below: &[String]) -> Vec<String> {
    let keys = aggregate.keys.iter().map(|key| show(key, below));
    keys.chain(aggregate.calls.iter().map(|call| shown_call(call, below))).collect()
}

fn shown_call(call: &AggregateCall, below: &[String]) -> String {
    let arguments: Vec<String> = call.arguments.iter().map(|argument| show(argument, below)).collect();
    let distinct = if call.is_distinct { "distinct " } else { "" };
    let condition = call.condition.as_ref().map(|condition| format!(" if {}", show(condition, below)));
    format!("{:?}({distinct}{}){}", call.function, arguments.join(", "), condition.unwrap_or_default())
}

/// Most characters of an expression that are shown: names and aliases put in, a short query has very long ones.
const SHOWN: usize = 500;

fn show(expr: &Expr, names: &[String]) -> String {
    let shown = show_all(expr, names);
    match shown.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &shown[..end]),
        None => shown,
    }
}

fn show_all(expr: &Expr, names: &[String]) -> String {
    match &expr.kind {
        ExprKind::Const(Scalar::Text(text)) => {
            let begin = &text[..text.len().min(4 * SHOWN)];
            format!("'{}'", String::from_utf8_lossy(begin))
        }
        ExprKind::Const(scalar) => {
            let mut text = Vec::new();
            plain(scalar, &expr.ty, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
        ExprKind::Column(number) => names[*number].clone(),
        ExprKind::Aggregate(number) => format!("aggregate {number}"),
        ExprKind::Call(function, arguments) => {
            let arguments: Vec<String> = arguments.iter().map(|argument| show(argument, names)).collect();
            let name = match function {
                Function::In { set, is_negated } => {
                    let not = if *is_negated { "not " } else { "" };
                    return format!("{} {not}in {} constants", arguments.join(", "), set.len());
                }
                Function::Compare(comparison) => format!("{comparison:?}"),
                Function::Bit(bit) => format!("Bit{bit:?}"),
                Function::ToUInt => format!("To{}", if expr.ty == Type::UInt8 { "UInt8" } else { "UInt32" }),
                other => format!("{other:?}"),
            };
            format!("{name}({})", arguments.join(", "))
        }
    }
}
