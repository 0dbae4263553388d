//! The typed plan of a query, which no executor has a part in.
//!
//! Made by `analyze`, run by `exec`, shown by `explain`. Names, aliases and spellings are gone: a column is a number among the columns of
//! the step below, a function is a variant whose arguments have been counted and typed, and a constant has been computed. So the executor has
//! no error of types, and says `unreachable!` where there would be one.
//!
//! A `Select` is a fixed pipeline: source, filter, (input order,) aggregate, having, output, order, offset, limit. There are no rules that
//! rewrite it: the bounds of a scan are read off the filter when it runs.

use std::sync::Arc;

use chrono_tz::Tz;

use super::position::Position;
use super::vector::Scalar;
use super::{Column, Type, Unit};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    Select(Box<Select>),
    ShowTables,
    ShowTimezones,
    ShowTimezone,
}

/// One `SELECT`, in the order of execution.
///
/// Expressions of the first steps are over the columns of `source`; from `aggregate` on, where there is one, over its keys and then its calls.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Select {
    pub(super) source: Source,
    /// `WHERE`, over the source's columns.
    pub(super) filter: Option<Expr>,
    /// Order of the rows that a query without `GROUP BY` aggregates, over the source's columns.
    pub(super) order_input: Vec<SortKey>,
    pub(super) aggregate: Option<Aggregate>,
    /// `HAVING`, over the aggregate's columns.
    pub(super) having: Option<Expr>,
    /// The columns of the answer, over the aggregate's columns, or the source's.
    pub(super) output: Vec<Output>,
    /// `ORDER BY`, over the same columns as the output.
    pub(super) order_by: Vec<SortKey>,
    /// Rows that are put in between the sorted ones.
    pub(super) gap_fill: Option<GapFill>,
    pub(super) limit: Option<u64>,
    pub(super) offset: u64,
}

impl Select {
    /// The expressions over the source's columns, but for the filter.
    pub(super) fn of_rows(&self) -> impl Iterator<Item = &Expr> {
        let output = self.output.iter().map(|output| &output.expr);
        let above = output.chain(self.order_by.iter().map(|key| &key.expr));
        let above = above.filter(|_| self.aggregate.is_none());
        let grouped = self.aggregate.iter().flat_map(|aggregate| {
            let calls = aggregate.calls.iter().flat_map(|call| call.arguments.iter().chain(&call.condition));
            aggregate.keys.iter().chain(calls)
        });
        self.order_input.iter().map(|key| &key.expr).chain(grouped).chain(above)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// One row without columns.
    One,
    Dataset {
        name: String,
        columns: Vec<Column>,
    },
    Subquery(Box<Select>),
}

/// Groups: their columns are the keys and then the calls.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Aggregate {
    pub(super) keys: Vec<Expr>,
    pub(super) calls: Vec<AggregateCall>,
}

/// An aggregate function over the source's columns.
///
/// Equal calls are one: `sum(x)` in the list and in `HAVING` has one state for each group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AggregateCall {
    pub(super) function: AggregateFunction,
    pub(super) arguments: Vec<Expr>,
    /// Only rows for which this is true.
    pub(super) condition: Option<Expr>,
    pub(super) is_distinct: bool,
    pub(super) ty: Type,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum AggregateFunction {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    /// The level.
    QuantileExactWeighted(f64),
    ArgMin,
    ArgMax,
    First,
    Last,
    /// The number of values, and whether the second argument is a weight.
    TopK(usize, bool),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) expr: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct SortKey {
    pub(super) expr: Expr,
    pub(super) is_descending: bool,
    /// `WITH FILL`.
    pub(super) fill: Option<Fill>,
}

/// Bounds and step of the values that are put in where a sort key has gaps: of its type, as whole numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fill {
    /// The first value. Default: that of the first row.
    pub(super) from: Option<i128>,
    /// The value before which they end. Default: that of the last row.
    pub(super) to: Option<i128>,
    /// From each value to the next, in the direction of the order.
    pub(super) step: FillStep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FillStep {
    Number(i128),
    /// A number of units of a time.
    Interval(i64, Unit),
}

/// The rows that are put in where a sort key has gaps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GapFill {
    pub(super) fill: Fill,
    pub(super) is_descending: bool,
    /// The first column of the answer with the values that are filled.
    pub(super) column: usize,
    /// The values that these rows have in the columns of the answer.
    pub(super) parts: Vec<FillPart>,
}

/// The value of a column in a row that is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FillPart {
    /// The value that was missing.
    Value,
    /// That of the rows around it: of a sort key before the filled one.
    Group,
    /// The default of its type.
    Default,
}

/// The position is that of the expression in the text, for errors at run time. It takes no part in equality, by which expressions are found
/// among the keys of a `GROUP BY`.
#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    pub(super) ty: Type,
    pub(super) position: Position,
}

impl PartialEq for Expr {
    /// Wherever they stand.
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.ty == other.ty
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ExprKind {
    Const(Scalar),
    /// A column of the rows below.
    Column(usize),
    Call(Function, Vec<Expr>),
    /// An aggregate function, by number; only until the plan is complete.
    Aggregate(usize),
}

impl Expr {
    pub(super) fn constant(&self) -> Option<&Scalar> {
        match &self.kind {
            ExprKind::Const(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Marks the columns of the rows below that it has.
    pub(super) fn mark_columns(&self, is_used: &mut [bool]) {
        match &self.kind {
            ExprKind::Column(number) => is_used[*number] = true,
            ExprKind::Call(_, arguments) => arguments.iter().for_each(|argument| argument.mark_columns(is_used)),
            ExprKind::Const(_) | ExprKind::Aggregate(_) => {}
        }
    }

    /// Whether its evaluation may fail for some rows, so that it must not be evaluated for those that do not need it.
    ///
    /// `AND`, `OR` and `if` use it: an expression that cannot fail is evaluated for all rows, which is faster than choosing some of them.
    pub(super) fn may_fail(&self) -> bool {
        match &self.kind {
            ExprKind::Call(function, arguments) => function.may_fail() || arguments.iter().any(Self::may_fail),
            _ => false,
        }
    }
}

/// A function of the plan: types are checked, names and spellings are gone.
///
/// The rules of each, for users: the module `query::reference`. Here is what the analysis has settled before the executor sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Function {
    Plus,
    Minus,
    Multiply,
    Divide,
    /// By the type of the result: floats by `a - trunc(a / b) * b`, integers by their remainder, an error for 0.
    Modulo,
    /// Of floats, too; the result is an integer, an error for 0.
    IntDiv,
    /// Of a number or an interval.
    Negate,
    /// A time and an interval.
    AddInterval(Unit),
    Compare(Comparison),
    And,
    Or,
    /// 1 where the number is 0.
    Not,
    /// The constants are of the type of the argument; those which that type does not have were left out.
    In {
        set: Arc<Vec<Scalar>>,
        is_negated: bool,
    },
    /// The pattern need not be a constant.
    Like {
        is_negated: bool,
        ignores_case: bool,
    },
    /// Both sides may be of narrower types than the result, and are widened.
    If,
    /// The type of the result says to how many bits.
    ToUInt,
    /// Of a number, a text, a date or a time; the zone is for texts and dates.
    ToDateTime(Tz),
    Part(Part, Tz),
    StartOf(StartOf, Tz),
    ToUnixTimestamp,
    FormatDateTime(Tz),
    /// Code points.
    Length,
    Empty,
    /// ASCII alone, as the next.
    Lower,
    Upper,
    /// By Unicode, as the next.
    LowerUtf8,
    UpperUtf8,
    StartsWith,
    EndsWith,
    /// In bytes, from 1.
    Position,
    /// In code points, from 1.
    Substring,
    Format,
    Bin,
    Hex,
    /// To the base e.
    Log,
    Pow,
    /// To a constant number of places, as the next two.
    Round,
    Floor,
    Ceil,
    Bit(Bit),
    BitNot,
    /// Of floats, too, by their bits.
    BitCount,
}

impl Function {
    /// Those that have an error for some values of the right types. Errors of constants (an invalid pattern, a zone that does not exist) are
    /// found by the analysis.
    fn may_fail(&self) -> bool {
        matches!(
            self,
            Self::Modulo | Self::IntDiv | Self::ToUInt | Self::ToDateTime(_) | Self::ToUnixTimestamp | Self::Bit(_)
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A part of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Year,
    Month,
    DayOfMonth,
    DayOfWeek,
    Hour,
    Minute,
    Second,
    YearMonth,
}

/// The beginning of an interval in which a time lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartOf {
    Week,
    /// A number of units.
    Units(i64, Unit),
    /// A number of seconds of the local day.
    OfDay(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bit {
    And,
    Or,
    Xor,
    HammingDistance,
    RotateLeft,
    RotateRight,
    ShiftLeft,
    ShiftRight,
    Test,
}
