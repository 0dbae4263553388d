//! Syntax to plan: names are looked up, types checked, aggregates found, constants computed.
//!
//! The order is that of the clauses' meaning, not of their place: the source gives the columns, aliases are noted, then come
//! `WHERE`, `GROUP BY`, the output, `HAVING` and `ORDER BY`. An expression over a dataset becomes one over groups where the query
//! aggregates: each part of it must be a key of the group or an aggregate, and is replaced by that column. Constants are computed
//! here, so that an error in one is an error of the query.

mod aggregates;
mod calls;
mod fill;
mod functions;
mod operators;
mod scope;
mod times;

use sqlparser::ast::{self, Spanned};

use self::scope::Scope;
use super::exec::Budget;
use super::names::{identifier, name_of};
use super::parse::Syntax;
use super::plan::{Aggregate, Expr, ExprKind, Output, Select, SortKey, Source, Statement};
use super::position::{Position, error_at};
use super::{Column, Type};
use crate::Result;

/// Makes the plan of a statement; `now` is the time of `now()` in seconds since 1970.
///
/// # Errors
/// [`ErrorKind::Query`](crate::ErrorKind::Query) with the place: an unknown name, a wrong type, a clause that there is not;
/// [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit) where its constants are too large.
pub(super) fn analyze(syntax: &Syntax, now: i64, budget: &Budget) -> Result<Statement> {
    Ok(match syntax {
        Syntax::Select(query) => Statement::Select(Box::new(select(query, now, budget)?)),
        Syntax::ShowTables => Statement::ShowTables,
        Syntax::ShowTimezones => Statement::ShowTimezones,
        Syntax::ShowTimezone => Statement::ShowTimezone,
    })
}

fn position(node: &impl Spanned) -> Position {
    node.span().start.into()
}

/// An error for a clause that Analytics Engine does not have.
fn unsupported<T>(position: Position, clause: &str) -> Result<T> {
    Err(error_at(position, format!("{clause} is not a part of Analytics Engine's SQL")))
}

fn select(query: &ast::Query, now: i64, budget: &Budget) -> Result<Select> {
    let ast::SetExpr::Select(body) = &*query.body else {
        return unsupported(position(query), "UNION and the like");
    };
    check_clauses(query, body)?;
    let (source, columns, names) = source(&body.from, now, budget)?;
    let mut scope = Scope::new(columns, names, now, matches!(source, Source::Dataset { .. }), budget);
    scope.add_aliases(&body.projection)?;

    let filter = body.selection.as_ref().map(|filter| condition(&mut scope, filter, "WHERE")).transpose()?;
    let keys = group_keys(&mut scope, body)?;
    let mut output = outputs(&mut scope, &body.projection)?;
    let mut having = body.having.as_ref().map(|having| condition(&mut scope, having, "")).transpose()?;
    let mut order_by = order(&mut scope, query, &output)?;
    let (limit, offset) = limit(query)?;

    let is_aggregate = !keys.is_empty() || !scope.calls.is_empty() || has_group_by(body);
    if let (Some(having), false) = (&body.having, is_aggregate) {
        return Err(error_at(
            position(having),
            "HAVING needs GROUP BY or an aggregate function; use WHERE to select rows",
        ));
    }
    let mut order_input = Vec::new();
    let aggregate = if is_aggregate {
        output.iter_mut().try_for_each(|output| above(&mut output.expr, &keys, &scope))?;
        having.iter_mut().try_for_each(|having| above(having, &keys, &scope))?;
        let is_below = |key: &SortKey| keys.is_empty() && above(&mut key.expr.clone(), &keys, &scope).is_err();
        // Without groups, an order by columns is that in which the rows come to first_value and last_value.
        order_input = order_by.extract_if(.., |key| is_below(key)).collect();
        order_by.iter_mut().try_for_each(|key| above(&mut key.expr, &keys, &scope))?;
        Some(Aggregate { keys, calls: scope.calls.clone() })
    } else {
        None
    };
    let source = match source {
        Source::Dataset { name, .. } => Source::Dataset { name, columns: scope.dataset_columns() },
        other => other,
    };
    if let Some(key) = order_input.iter().find(|key| key.fill.is_some()) {
        return Err(error_at(key.expr.position, "WITH FILL needs GROUP BY in a query with an aggregate function"));
    }
    let gap_fill = fill::gap_fill(&order_by, &output)?;
    order_by.retain(|key| key.expr.constant().is_none());
    Ok(Select { source, filter, order_input, aggregate, having, output, order_by, gap_fill, limit, offset })
}

/// Refuses the clauses that sqlparser reads and Analytics Engine does not have.
fn check_clauses(query: &ast::Query, body: &ast::Select) -> Result<()> {
    let at = position(query);
    let ast::Query { with, fetch, locks, for_clause, settings, format_clause, pipe_operators, .. } = query;
    let refused = [
        (with.is_some(), "WITH"),
        (fetch.is_some(), "FETCH"),
        (!locks.is_empty() || for_clause.is_some(), "FOR"),
        (settings.is_some(), "SETTINGS"),
        (format_clause.is_some(), "FORMAT before the end"),
        (!pipe_operators.is_empty(), "|>"),
        (body.distinct.is_some(), "SELECT DISTINCT (use GROUP BY)"),
        (body.top.is_some(), "TOP"),
        (body.into.is_some(), "INTO"),
        (body.exclude.is_some(), "EXCLUDE"),
        (!body.lateral_views.is_empty(), "LATERAL VIEW"),
        (body.prewhere.is_some(), "PREWHERE"),
        (!body.connect_by.is_empty(), "CONNECT BY"),
        (!body.cluster_by.is_empty() || !body.distribute_by.is_empty() || !body.sort_by.is_empty(), "SORT BY"),
        (!body.named_window.is_empty() || body.qualify.is_some(), "WINDOW"),
        (body.value_table_mode.is_some(), "AS STRUCT"),
        (body.select_modifiers.is_some() || !body.optimizer_hints.is_empty(), "a modifier of SELECT"),
    ];
    match refused.into_iter().find(|(is_there, _)| *is_there) {
        Some((_, clause)) => unsupported(at, clause),
        None => Ok(()),
    }
}

type Columns = Vec<(String, Type)>;

/// The source, its columns, and the names by which they may be qualified.
fn source(from: &[ast::TableWithJoins], now: i64, budget: &Budget) -> Result<(Source, Columns, Vec<String>)> {
    let table = match from {
        [] => return Ok((Source::One, Vec::new(), Vec::new())),
        [table] if table.joins.is_empty() => table,
        [first, ..] => return unsupported(position(first), "JOIN"),
    };
    let alias_of =
        |alias: &Option<ast::TableAlias>| alias.iter().map(|alias| identifier(&alias.name)).collect::<Vec<_>>();
    match &table.relation {
        ast::TableFactor::Table { name, alias, args: None, version: None, sample: None, .. } => {
            let [ast::ObjectNamePart::Identifier(ident)] = &name.0[..] else {
                return Err(error_at(
                    position(name),
                    format!("a dataset has a name without points, which {name} is not"),
                ));
            };
            let name = identifier(ident);
            let columns = Column::all().map(|column| (column.to_string(), value_type(column)));
            let mut names = alias_of(alias);
            names.push(name.clone());
            Ok((Source::Dataset { name, columns: Vec::new() }, columns.collect(), names))
        }
        ast::TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
            let below = select(subquery, now, budget)?;
            let columns = below.output.iter().map(|output| (output.name.clone(), output.expr.ty.clone())).collect();
            Ok((Source::Subquery(Box::new(below)), columns, alias_of(alias)))
        }
        other => unsupported(position(other), "this in FROM (a dataset or a subquery)"),
    }
}

fn value_type(column: Column) -> Type {
    match column {
        Column::Dataset | Column::Index | Column::Blob(_) => Type::String,
        Column::Timestamp => Type::DateTime(None),
        Column::SampleInterval => Type::UInt32,
        Column::Double(_) => Type::Float64,
    }
}

/// A condition; aggregates are refused in that of a clause with a name.
fn condition(scope: &mut Scope<'_>, expr: &ast::Expr, clause: &'static str) -> Result<Expr> {
    let condition = if clause.is_empty() { scope.expr(expr)? } else { scope.without_aggregates(clause, expr)? };
    if condition.ty.is_number() {
        return Ok(condition);
    }
    Err(error_at(position(expr), format!("a condition is a number or a comparison; this is a {}", condition.ty)))
}

fn has_group_by(body: &ast::Select) -> bool {
    !matches!(&body.group_by, ast::GroupByExpr::Expressions(keys, _) if keys.is_empty())
}

fn group_keys(scope: &mut Scope<'_>, body: &ast::Select) -> Result<Vec<Expr>> {
    let keys = match &body.group_by {
        ast::GroupByExpr::Expressions(keys, modifiers) if modifiers.is_empty() => keys,
        other => return unsupported(position(other), "GROUP BY ALL or WITH TOTALS"),
    };
    let mut found = Vec::new();
    for key in keys {
        let key = match positional(key) {
            Some(number) => match number.checked_sub(1).and_then(|number| body.projection.get(number)) {
                Some(ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. }) => expr,
                _ => return Err(no_item(key, number, body.projection.len())),
            },
            None => key,
        };
        found.push(scope.without_aggregates("GROUP BY", key)?);
    }
    Ok(found)
}

/// The number of an item of the list, where an expression is a whole number.
fn positional(expr: &ast::Expr) -> Option<usize> {
    match expr {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(text, _), .. }) => text.parse().ok(),
        _ => None,
    }
}

fn no_item(at: &ast::Expr, number: usize, count: usize) -> crate::Error {
    error_at(position(at), format!("there is no column {number}: the list has {count}"))
}

fn outputs(scope: &mut Scope<'_>, projection: &[ast::SelectItem]) -> Result<Vec<Output>> {
    let mut outputs = Vec::new();
    for item in projection {
        match item {
            ast::SelectItem::UnnamedExpr(expr) => outputs.push(Output { name: name_of(expr), expr: scope.expr(expr)? }),
            ast::SelectItem::ExprWithAlias { expr, alias } => {
                outputs.push(Output { name: identifier(alias), expr: scope.aliased(&identifier(alias), expr)? });
            }
            ast::SelectItem::Wildcard(options) if *options == ast::WildcardAdditionalOptions::default() => {
                outputs.extend(scope.all_columns(position(item))?);
            }
            other => return unsupported(position(other), "this in the list of columns"),
        }
    }
    Ok(outputs)
}

fn order(scope: &mut Scope<'_>, query: &ast::Query, output: &[Output]) -> Result<Vec<SortKey>> {
    let Some(order) = &query.order_by else { return Ok(Vec::new()) };
    let ast::OrderByKind::Expressions(keys) = &order.kind else {
        return unsupported(position(query), "ORDER BY ALL");
    };
    let mut found = Vec::new();
    for key in keys {
        let is_descending = match &key.options.sort {
            None | Some(ast::OrderBySort::Asc) => false,
            Some(ast::OrderBySort::Desc) => true,
            Some(_) => return unsupported(position(&key.expr), "ORDER BY USING"),
        };
        if key.options.nulls_first.is_some() || order.interpolate.is_some() {
            return unsupported(position(&key.expr), "NULLS FIRST, NULLS LAST and INTERPOLATE");
        }
        let expr = match positional(&key.expr) {
            Some(number) => match number.checked_sub(1).and_then(|number| output.get(number)) {
                Some(output) => output.expr.clone(),
                None => return Err(no_item(&key.expr, number, output.len())),
            },
            None => scope.expr(&key.expr)?,
        };
        let clause = key.with_fill.as_ref();
        let fill = clause.map(|clause| fill::fill(scope, clause, &expr, is_descending)).transpose()?;
        found.push(SortKey { expr, is_descending, fill });
    }
    Ok(found)
}

/// The limit and the offset.
fn limit(query: &ast::Query) -> Result<(Option<u64>, u64)> {
    let number = |expr: &ast::Expr, clause: &str| match positional(expr) {
        Some(number) => Ok(number as u64),
        None => Err(error_at(position(expr), format!("{clause} takes a whole number"))),
    };
    match &query.limit_clause {
        None => Ok((None, 0)),
        Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
            let limit = limit.as_ref().map(|limit| number(limit, "LIMIT")).transpose()?;
            let offset = offset.as_ref().map(|offset| number(&offset.value, "OFFSET")).transpose()?;
            Ok((limit, offset.unwrap_or(0)))
        }
        Some(_) => unsupported(position(query), "LIMIT BY and LIMIT n, m (use LIMIT m OFFSET n)"),
    }
}

/// Changes an expression over the source into one over the groups: their keys, then the aggregates.
fn above(expr: &mut Expr, keys: &[Expr], scope: &Scope<'_>) -> Result<()> {
    if let Some(key) = keys.iter().position(|key| key == expr) {
        expr.kind = ExprKind::Column(key);
        return Ok(());
    }
    match &mut expr.kind {
        ExprKind::Const(_) => Ok(()),
        ExprKind::Aggregate(number) => {
            expr.kind = ExprKind::Column(keys.len() + *number);
            Ok(())
        }
        ExprKind::Call(_, arguments) => arguments.iter_mut().try_for_each(|argument| above(argument, keys, scope)),
        ExprKind::Column(number) => {
            let name = scope.column_name(*number);
            let message = format!("the column {name} is neither under an aggregate function nor in GROUP BY");
            Err(error_at(expr.position, message))
        }
    }
}
