//! Names and what they stand for, and the expressions of the syntax.
//!
//! ClickHouse lets an alias stand for its expression anywhere in the query, also in `WHERE`, and before a column of the same
//! name, but not within its own expression. So a name is looked up in the aliases first, and an alias is put in as its
//! expression. Aliases that name aliases can double with each step: the number of expressions is bounded.

use std::collections::HashMap;

use sqlparser::ast::{self, BinaryOperator, UnaryOperator, Value};

use super::{aggregates, calls, functions, operators, position, unsupported};
use crate::Result;
use crate::query::exec::Budget;
use crate::query::names::{extracted, identifier, name_of, unit_name};
use crate::query::parse::unescape;
use crate::query::plan::{AggregateCall, Comparison, Expr, ExprKind, Function, Output};
use crate::query::position::{Position, error_at};
use crate::query::vector::Scalar;
use crate::query::{Column, Type, Unit};

/// Most expressions that a query may come to when its aliases are put in.
const MAX_EXPRESSIONS: usize = 20_000;
/// Deepest expression, aliases put in: what follows it, here and in the executor, needs stack for each level.
const MAX_DEPTH: usize = 1000;

/// The meaning of names in one `SELECT`. An alias goes before a column of the same name, but within its own expression.
pub(super) struct Scope<'q> {
    columns: Vec<(String, Type)>,
    /// The names by which the source may be called: alias and dataset.
    names: Vec<String>,
    pub(super) now: i64,
    /// The columns of a dataset that are used; the others are not read.
    used: Vec<usize>,
    is_dataset: bool,
    aliases: HashMap<String, &'q ast::Expr>,
    /// The aliases within whose expressions we are.
    open: Vec<String>,
    pub(super) calls: Vec<AggregateCall>,
    /// Where an aggregate function is not allowed.
    forbids_aggregates: Option<&'static str>,
    expressions: usize,
    /// Number of expressions within which we are.
    depth: usize,
    /// The memory of the query, of which constants take theirs.
    budget: &'q Budget,
}

impl<'q> Scope<'q> {
    pub(super) fn new(
        columns: Vec<(String, Type)>,
        names: Vec<String>,
        now: i64,
        is_dataset: bool,
        budget: &'q Budget,
    ) -> Self {
        Self {
            columns,
            names,
            now,
            used: Vec::new(),
            is_dataset,
            aliases: HashMap::new(),
            open: Vec::new(),
            calls: Vec::new(),
            forbids_aggregates: None,
            expressions: 0,
            depth: 0,
            budget,
        }
    }

    pub(super) fn add_aliases(&mut self, projection: &'q [ast::SelectItem]) -> Result<()> {
        for item in projection {
            let ast::SelectItem::ExprWithAlias { expr, alias } = item else { continue };
            let name = identifier(alias);
            if self.aliases.get(&name).is_some_and(|before| *before != expr) {
                return Err(error_at(alias.span.start.into(), format!("the alias {name} is given to two expressions")));
            }
            self.aliases.insert(name, expr);
        }
        Ok(())
    }

    /// The used columns of the dataset, in the order of the plan.
    pub(super) fn dataset_columns(&self) -> Vec<Column> {
        self.used.iter().filter_map(|column| Column::from_name(&self.columns[*column].0)).collect()
    }

    /// The name of a column of the plan.
    pub(super) fn column_name(&self, number: usize) -> &str {
        let number = if self.is_dataset { self.used[number] } else { number };
        &self.columns[number].0
    }

    fn column(&mut self, number: usize, position: Position) -> Expr {
        let ty = self.columns[number].1.clone();
        let number = if !self.is_dataset {
            number
        } else if let Some(used) = self.used.iter().position(|used| *used == number) {
            used
        } else {
            self.used.push(number);
            self.used.len() - 1
        };
        Expr { kind: ExprKind::Column(number), ty, position }
    }

    /// The columns of `*`.
    pub(super) fn all_columns(&mut self, position: Position) -> Result<Vec<Output>> {
        if self.columns.is_empty() {
            return Err(error_at(position, "* needs a FROM clause"));
        }
        let names: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let columns = names.into_iter().enumerate();
        Ok(columns.map(|(number, name)| Output { name, expr: self.column(number, position) }).collect())
    }

    /// The expression of an alias.
    pub(super) fn aliased(&mut self, alias: &str, expr: &ast::Expr) -> Result<Expr> {
        self.open.push(alias.to_owned());
        let found = self.expr(expr);
        self.open.pop();
        found
    }

    /// An expression in which aggregate functions are refused.
    pub(super) fn without_aggregates(&mut self, clause: &'static str, expr: &ast::Expr) -> Result<Expr> {
        let before = self.forbids_aggregates.replace(clause);
        let found = self.expr(expr);
        self.forbids_aggregates = before;
        found
    }

    /// Adds an aggregate function, or finds the same one.
    pub(super) fn aggregate(&mut self, call: AggregateCall, position: Position) -> Result<Expr> {
        if let Some(clause) = self.forbids_aggregates {
            return Err(error_at(position, format!("an aggregate function cannot stand in {clause}")));
        }
        let ty = call.ty.clone();
        let number = self.calls.iter().position(|before| *before == call).unwrap_or(self.calls.len());
        if number == self.calls.len() {
            self.calls.push(call);
        }
        Ok(Expr { kind: ExprKind::Aggregate(number), ty, position })
    }

    /// The meaning of a name: an alias that is not being resolved, or else a column. `SELECT upper(a) AS a` reads the column within the alias.
    fn name(&mut self, ident: &ast::Ident) -> Result<Expr> {
        let name = identifier(ident);
        let at = ident.span.start.into();
        if !self.open.contains(&name)
            && let Some(expr) = self.aliases.get(&name).copied()
        {
            let found = self.aliased(&name, expr)?;
            return Ok(Expr { position: at, ..found });
        }
        match self.columns.iter().position(|(column, _)| *column == name) {
            Some(number) => Ok(self.column(number, at)),
            None => Err(self.unknown(&name, at)),
        }
    }

    fn unknown(&self, name: &str, at: Position) -> crate::Error {
        let known = if self.is_dataset {
            "a dataset has dataset, timestamp, _sample_interval, index1, blob1 to blob20 and double1 to double20"
                .to_owned()
        } else if self.columns.is_empty() {
            "there is no FROM clause (texts stand in single quotes)".to_owned()
        } else {
            let columns: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
            format!("the subquery has {}", columns.join(", "))
        };
        error_at(at, format!("unknown column {name}; {known}"))
    }

    /// Checks an expression of the syntax and makes it one of the plan.
    ///
    /// Counts expressions and their depth, which aliases can make grow without bound in a short text, and takes the memory of constants.
    pub(super) fn expr(&mut self, expr: &ast::Expr) -> Result<Expr> {
        self.expressions += 1;
        if self.expressions > MAX_EXPRESSIONS {
            return Err(error_at(position(expr), format!("the query has more than {MAX_EXPRESSIONS} expressions")));
        }
        if self.depth == MAX_DEPTH {
            let message =
                format!("an expression nests deeper than {MAX_DEPTH} others; use IN in place of OR, or shorter sums");
            return Err(error_at(position(expr), message));
        }
        self.depth += 1;
        let found = self.expr_within(expr);
        self.depth -= 1;
        let found = found?;
        if let Some(constant) = found.constant() {
            self.budget.take(constant.outside())?;
        }
        Ok(found)
    }

    fn expr_within(&mut self, expr: &ast::Expr) -> Result<Expr> {
        match expr {
            ast::Expr::Identifier(ident) => self.name(ident),
            ast::Expr::CompoundIdentifier(idents) => self.qualified(idents, position(expr)),
            ast::Expr::Nested(inner) => self.expr(inner),
            ast::Expr::Value(value) => literal(&value.value, false, value.span.start.into()),
            ast::Expr::UnaryOp { op, expr: inner } => self.unary(*op, inner, position(expr)),
            ast::Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            ast::Expr::Between { expr, negated, low, high } => self.between(expr, *negated, low, high),
            ast::Expr::In { expr: inner, target: ast::InTarget::List(list), negated, .. } => {
                let left = self.expr(inner)?;
                let list = list.iter().map(|item| self.expr(item)).collect::<Result<Vec<_>>>()?;
                operators::contained(left, list, *negated)
            }
            ast::Expr::Like { negated, any: false, expr, pattern, escape_char: None } => {
                self.like(expr, pattern, Function::Like { is_negated: *negated, ignores_case: false })
            }
            ast::Expr::ILike { negated, any: false, expr, pattern, escape_char: None } => {
                self.like(expr, pattern, Function::Like { is_negated: *negated, ignores_case: true })
            }
            ast::Expr::Function(function) => self.function(function),
            ast::Expr::Position { expr: needle, r#in } => {
                let arguments = vec![self.expr(r#in)?, self.expr(needle)?];
                functions::scalar("position", arguments, position(expr), self.now)
            }
            ast::Expr::Extract { field, expr: inner, .. } => {
                let Some(name) = extracted(field) else {
                    let message = format!("EXTRACT takes YEAR, MONTH, DAY, HOUR, MINUTE or SECOND, not {field}");
                    return Err(error_at(position(expr), message));
                };
                let inner = self.expr(inner)?;
                functions::scalar(name, vec![inner], position(expr), self.now)
            }
            ast::Expr::Interval(interval) => self.interval(interval, position(expr)),
            other => unsupported(position(other), &format!("the expression {other}")),
        }
    }

    /// A column with its table before it, which is never an alias of the list.
    fn qualified(&mut self, idents: &[ast::Ident], at: Position) -> Result<Expr> {
        let names: Vec<String> = idents.iter().map(identifier).collect();
        let [table, name] = &names[..] else {
            return Err(error_at(at, format!("unknown column {}", names.join("."))));
        };
        if !self.names.contains(table) {
            return Err(error_at(at, format!("unknown table {table} of the column {name}")));
        }
        match self.columns.iter().position(|(column, _)| column == name) {
            Some(number) => Ok(self.column(number, at)),
            None => Err(self.unknown(name, at)),
        }
    }

    fn unary(&mut self, op: UnaryOperator, inner: &ast::Expr, at: Position) -> Result<Expr> {
        match (op, inner) {
            (UnaryOperator::Minus, ast::Expr::Value(value)) if matches!(value.value, Value::Number(..)) => {
                literal(&value.value, true, at)
            }
            (UnaryOperator::Minus, _) => operators::negate(self.expr(inner)?, at),
            (UnaryOperator::Not, _) => operators::logical(Function::Not, vec![self.expr(inner)?], at),
            _ => unsupported(at, &format!("the operator {op}")),
        }
    }

    fn binary(&mut self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr) -> Result<Expr> {
        let at = position(left);
        let function = match op {
            BinaryOperator::Plus => Function::Plus,
            BinaryOperator::Minus => Function::Minus,
            BinaryOperator::Multiply => Function::Multiply,
            BinaryOperator::Divide => Function::Divide,
            BinaryOperator::Modulo => Function::Modulo,
            BinaryOperator::And => Function::And,
            BinaryOperator::Or => Function::Or,
            BinaryOperator::Eq => Function::Compare(Comparison::Equal),
            BinaryOperator::NotEq => Function::Compare(Comparison::NotEqual),
            BinaryOperator::Lt => Function::Compare(Comparison::Less),
            BinaryOperator::LtEq => Function::Compare(Comparison::LessOrEqual),
            BinaryOperator::Gt => Function::Compare(Comparison::Greater),
            BinaryOperator::GtEq => Function::Compare(Comparison::GreaterOrEqual),
            other => return unsupported(at, &format!("the operator {other}")),
        };
        let left = self.expr(left)?;
        let right = self.expr(right)?;
        match function {
            Function::And | Function::Or => operators::logical(function, vec![left, right], at),
            Function::Compare(comparison) => operators::compare(comparison, left, right),
            _ => operators::arithmetic(function, left, right),
        }
    }

    fn between(&mut self, expr: &ast::Expr, is_negated: bool, low: &ast::Expr, high: &ast::Expr) -> Result<Expr> {
        let value = self.expr(expr)?;
        let low = self.expr(low)?;
        let high = self.expr(high)?;
        let [function, lower, upper] = if is_negated {
            [Function::Or, Function::Compare(Comparison::Less), Function::Compare(Comparison::Greater)]
        } else {
            [Function::And, Function::Compare(Comparison::GreaterOrEqual), Function::Compare(Comparison::LessOrEqual)]
        };
        let side = |function: Function, value: Expr, bound: Expr| match function {
            Function::Compare(comparison) => operators::compare(comparison, value, bound),
            _ => unreachable!("both are comparisons"),
        };
        let lower = side(lower, value.clone(), low)?;
        let upper = side(upper, value, high)?;
        operators::logical(function, vec![lower, upper], position(expr))
    }

    fn like(&mut self, expr: &ast::Expr, pattern: &ast::Expr, function: Function) -> Result<Expr> {
        let at = position(expr);
        let sides = vec![self.expr(expr)?, self.expr(pattern)?];
        if let Some(side) = sides.iter().find(|side| side.ty != Type::String) {
            return Err(error_at(side.position, format!("LIKE takes texts; this is a {}", side.ty)));
        }
        calls::call(function, sides, Type::UInt8, at)
    }

    fn function(&mut self, function: &ast::Function) -> Result<Expr> {
        let at = position(&function.name);
        let ast::Function { filter, null_treatment, over, within_group, uses_odbc_syntax, .. } = function;
        if filter.is_some()
            || null_treatment.is_some()
            || over.is_some()
            || !within_group.is_empty()
            || *uses_odbc_syntax
        {
            return unsupported(at, "a clause of a function");
        }
        let name = function.name.to_string();
        let parameters = self.arguments(&function.parameters, at)?;
        let is_distinct = match &function.args {
            ast::FunctionArguments::List(list) => list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct),
            _ => false,
        };
        if aggregates::is_aggregate(&name) {
            let inside = self.forbids_aggregates.unwrap_or("another aggregate function");
            let before = self.forbids_aggregates.replace(inside);
            let arguments = self.arguments(&function.args, at);
            self.forbids_aggregates = before;
            let call = aggregates::call(&name, parameters, arguments?, is_distinct, at)?;
            return self.aggregate(call, at);
        }
        if is_distinct || !parameters.is_empty() {
            return Err(error_at(
                at,
                format!("{name} is not an aggregate function; it takes neither DISTINCT nor parameters"),
            ));
        }
        let arguments = self.arguments(&function.args, at)?;
        functions::scalar(&name, arguments, at, self.now)
    }

    /// The arguments of a function; `count(*)` has none.
    fn arguments(&mut self, arguments: &ast::FunctionArguments, at: Position) -> Result<Vec<Expr>> {
        let list = match arguments {
            ast::FunctionArguments::None => return Ok(Vec::new()),
            ast::FunctionArguments::List(list) if list.clauses.is_empty() => list,
            _ => return unsupported(at, "this among the arguments of a function"),
        };
        if let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard)] = &list.args[..] {
            return Ok(Vec::new());
        }
        let arguments = list.args.iter().map(|argument| match argument {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => self.expr(expr),
            other => unsupported(at, &format!("the argument {other}")),
        });
        arguments.collect()
    }

    fn interval(&mut self, interval: &ast::Interval, at: Position) -> Result<Expr> {
        let unit = match interval.leading_field.as_ref().and_then(unit_name) {
            Some("Year") => Unit::Year,
            Some("Month") => Unit::Month,
            Some("Day") => Unit::Day,
            Some("Hour") => Unit::Hour,
            Some("Minute") => Unit::Minute,
            Some("Second") if interval.last_field.is_none() => Unit::Second,
            _ => {
                let message = "an interval is INTERVAL '1' and one of YEAR, MONTH, DAY, HOUR, MINUTE and SECOND";
                return Err(error_at(at, message));
            }
        };
        let count = self.expr(&interval.value)?;
        let count = match count.constant() {
            Some(Scalar::Int(count)) if count.unsigned_abs() <= 1 << 40 => *count,
            Some(Scalar::Text(text)) => {
                let count = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
                count.filter(|count| count.unsigned_abs() <= 1 << 40).ok_or_else(|| not_whole(&interval.value))?
            }
            _ => return Err(not_whole(&interval.value)),
        };
        Ok(Expr { kind: ExprKind::Const(Scalar::Int(count)), ty: Type::Interval(unit), position: at })
    }
}

fn not_whole(value: &ast::Expr) -> crate::Error {
    error_at(position(value), format!("{} is not a whole number of units", name_of(value)))
}

/// The constant of a literal, in the smallest type that holds it.
fn literal(value: &Value, is_negative: bool, at: Position) -> Result<Expr> {
    let (scalar, ty) = match value {
        Value::Number(text, false) => {
            let text = text.replace('_', "");
            let float = || text.parse::<f64>().map_err(|_| error_at(at, format!("{text} is not a number")));
            match text.parse::<u64>() {
                Ok(number) if !is_negative || number == 0 => {
                    let bits = 64 - number.leading_zeros();
                    (Scalar::Int(number as i64), Type::of_bits(bits, false))
                }
                Ok(number) if number <= 1 << 63 => {
                    let number = (number as i64).wrapping_neg();
                    (Scalar::Int(number), Type::of_bits(65 - number.leading_ones().max(number.leading_zeros()), true))
                }
                _ => (Scalar::Float(if is_negative { -float()? } else { float()? }), Type::Float64),
            }
        }
        Value::SingleQuotedString(text) => (Scalar::Text(unescape(text).into()), Type::String),
        Value::Boolean(value) => (Scalar::Int((*value).into()), Type::Bool),
        Value::Null => return unsupported(at, "NULL (unset columns are '' and 0)"),
        other => return unsupported(at, &format!("the literal {other}")),
    };
    Ok(Expr { kind: ExprKind::Const(scalar), ty, position: at })
}
