//! The names of columns without an alias: their expression as ClickHouse writes it.
//!
//! Clients read answers by the names of columns, so a column without an alias must be called as ClickHouse calls it: by its own
//! functions for operators (`plus(a, 1)`), its numbers and its quotes.

use sqlparser::ast::{self, BinaryOperator, DateTimeField, Expr, UnaryOperator, Value};

use super::float::float;
use super::parse::unescape;

/// The name of an identifier, without its quotes.
pub(super) fn identifier(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(quote) => {
            let doubled = format!("{quote}{quote}");
            ident.value.replace(&doubled, &quote.to_string())
        }
        None => ident.value.clone(),
    }
}

/// The name of an expression.
pub(super) fn name_of(expr: &Expr) -> String {
    let call = |name: &str, arguments: &[&Expr]| {
        let arguments: Vec<String> = arguments.iter().map(|argument| name_of(argument)).collect();
        format!("{name}({})", arguments.join(", "))
    };
    match expr {
        Expr::Identifier(ident) => identifier(ident),
        Expr::CompoundIdentifier(idents) => idents.last().map(identifier).unwrap_or_default(),
        Expr::Nested(inner) => name_of(inner),
        Expr::Value(value) => literal(&value.value, false),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match &**expr {
            Expr::Value(value) if matches!(value.value, Value::Number(..)) => literal(&value.value, true),
            inner => call("negate", &[inner]),
        },
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => call("not", &[expr]),
        Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
            let mut sides = Vec::new();
            flatten(left, op, &mut sides);
            flatten(right, op, &mut sides);
            call(if *op == BinaryOperator::And { "and" } else { "or" }, &sides)
        }
        Expr::BinaryOp { left, op, right } => call(operator(op), &[left, right]),
        Expr::Between { expr, negated, low, high } => {
            let names = if *negated { ["or", "less", "greater"] } else { ["and", "greaterOrEquals", "lessOrEquals"] };
            let [both, lower, upper] = names;
            format!("{both}({}, {})", call(lower, &[expr, low]), call(upper, &[expr, high]))
        }
        Expr::In { expr, target, negated, .. } => {
            let list = match target {
                ast::InTarget::List(list) => list.iter().map(name_of).collect::<Vec<_>>(),
                other => vec![other.to_string()],
            };
            let list = if list.len() == 1 { list.concat() } else { format!("({})", list.join(", ")) };
            format!("{}({}, {list})", if *negated { "notIn" } else { "in" }, name_of(expr))
        }
        Expr::Like { negated, expr, pattern, .. } => call(if *negated { "notLike" } else { "like" }, &[expr, pattern]),
        Expr::ILike { negated, expr, pattern, .. } => {
            call(if *negated { "notILike" } else { "ilike" }, &[expr, pattern])
        }
        Expr::Function(function) => function_name(function),
        Expr::Position { expr, r#in } => call("position", &[r#in, expr]),
        Expr::Extract { field, expr, .. } => call(extracted(field).unwrap_or("extract"), &[expr]),
        Expr::Interval(interval) => {
            let unit = interval.leading_field.as_ref().and_then(unit_name).unwrap_or_default();
            call(&format!("toInterval{unit}"), &[&interval.value])
        }
        other => other.to_string(),
    }
}

fn flatten<'e>(expr: &'e Expr, wanted: &BinaryOperator, into: &mut Vec<&'e Expr>) {
    match expr {
        Expr::BinaryOp { left, op, right } if op == wanted => {
            flatten(left, wanted, into);
            flatten(right, wanted, into);
        }
        other => into.push(other),
    }
}

fn operator(op: &BinaryOperator) -> &'static str {
    match op {
        BinaryOperator::Plus => "plus",
        BinaryOperator::Minus => "minus",
        BinaryOperator::Multiply => "multiply",
        BinaryOperator::Divide => "divide",
        BinaryOperator::Modulo => "modulo",
        BinaryOperator::Eq => "equals",
        BinaryOperator::NotEq => "notEquals",
        BinaryOperator::Lt => "less",
        BinaryOperator::LtEq => "lessOrEquals",
        BinaryOperator::Gt => "greater",
        BinaryOperator::GtEq => "greaterOrEquals",
        _ => "operator",
    }
}

fn function_name(function: &ast::Function) -> String {
    let mut name = function.name.to_string();
    if name.eq_ignore_ascii_case("substring") {
        name = "substring".to_owned();
    }
    let list = |arguments: &ast::FunctionArguments| match arguments {
        ast::FunctionArguments::List(list) => {
            let arguments = list.args.iter().filter_map(|argument| match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(name_of(expr)),
                _ => None,
            });
            Some(arguments.collect::<Vec<_>>().join(", "))
        }
        _ => None,
    };
    if let ast::FunctionArguments::List(arguments) = &function.args
        && arguments.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct)
    {
        name.push_str("Distinct");
    }
    if let Some(parameters) = list(&function.parameters) {
        name.push_str(&format!("({parameters})"));
    }
    format!("{name}({})", list(&function.args).unwrap_or_default())
}

/// The function that `EXTRACT(unit FROM ...)` is.
pub(super) fn extracted(field: &DateTimeField) -> Option<&'static str> {
    Some(match field {
        DateTimeField::Year => "toYear",
        DateTimeField::Month => "toMonth",
        DateTimeField::Day => "toDayOfMonth",
        DateTimeField::Hour => "toHour",
        DateTimeField::Minute => "toMinute",
        DateTimeField::Second => "toSecond",
        _ => return None,
    })
}

/// The unit of an interval.
pub(super) fn unit_name(field: &DateTimeField) -> Option<&'static str> {
    Some(match field {
        DateTimeField::Year => "Year",
        DateTimeField::Month => "Month",
        DateTimeField::Day => "Day",
        DateTimeField::Hour => "Hour",
        DateTimeField::Minute => "Minute",
        DateTimeField::Second => "Second",
        _ => return None,
    })
}

fn literal(value: &Value, is_negative: bool) -> String {
    let sign = if is_negative { "-" } else { "" };
    match value {
        Value::Number(text, _) => {
            let text = text.replace('_', "");
            match text.parse::<u64>() {
                Ok(0) => "0".to_owned(),
                Ok(number) if !is_negative || number <= 1 << 63 => format!("{sign}{number}"),
                _ => {
                    let text = float(text.parse().unwrap_or_default());
                    let point = if text.contains(['.', 'e', 'n', 'i']) { "" } else { "." };
                    format!("{sign}{text}{point}")
                }
            }
        }
        Value::SingleQuotedString(text) => quoted(&unescape(text)),
        Value::Boolean(value) => value.to_string(),
        other => other.to_string(),
    }
}

fn quoted(text: &[u8]) -> String {
    let mut quoted = String::from("'");
    for letter in String::from_utf8_lossy(text).chars() {
        match letter {
            '\x08' => quoted.push_str("\\b"),
            '\x0C' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0' => quoted.push_str("\\0"),
            '\\' | '\'' => quoted.extend(['\\', letter]),
            letter => quoted.push(letter),
        }
    }
    quoted.push('\'');
    quoted
}
