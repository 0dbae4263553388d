//! Expressions over the columns in scope.

use super::Generator;

const BINARY: [&str; 24] = [
    "+",
    "-",
    "*",
    "/",
    "%",
    "||",
    "&",
    "|",
    "<<",
    ">>",
    "=",
    "==",
    "!=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "IS",
    "IS NOT",
    "AND",
    "OR",
    "IS DISTINCT FROM",
    "IS NOT DISTINCT FROM",
];
/// Functions of one argument.
const OF_ONE: [&str; 26] = [
    "abs",
    "length",
    "lower",
    "upper",
    "trim",
    "ltrim",
    "rtrim",
    "hex",
    "quote",
    "typeof",
    "unicode",
    "sign",
    "floor",
    "ceil",
    "round",
    "octet_length",
    "json",
    "json_valid",
    "json_type",
    "json_quote",
    "json_array_length",
    "unhex",
    "date",
    "unixepoch",
    "likely",
    "char",
];
/// Functions of two arguments.
const OF_TWO: [&str; 16] = [
    "ifnull",
    "nullif",
    "coalesce",
    "min",
    "max",
    "instr",
    "substr",
    "trim",
    "round",
    "json_array",
    "json_extract",
    "json_object",
    "printf",
    "concat",
    "concat_ws",
    "json_patch",
];
const OF_THREE: [&str; 7] = ["replace", "substr", "iif", "json_set", "json_insert", "json_remove", "max"];
const PATTERNS: [&str; 9] = ["'a%'", "'%b%'", "'A_C'", "'%'", "'a*'", "'[a-c]*'", "'é%'", "'1%'", "''"];
const PATHS: [&str; 7] = ["'$'", "'$.a'", "'$.b[1]'", "'$[0]'", "'$[#-1]'", "'a'", "'$.b[#]'"];
const TYPES: [&str; 5] = ["INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC"];
const COLLATIONS: [&str; 3] = ["NOCASE", "RTRIM", "BINARY"];
const AGGREGATES: [&str; 9] =
    ["count", "sum", "total", "avg", "min", "max", "group_concat", "json_group_array", "string_agg"];

impl Generator {
    /// An expression over these columns.
    pub(super) fn expression(&mut self, columns: &[String], depth: usize) -> String {
        if depth == 0 || self.chance(25) {
            return self.leaf(columns);
        }
        let depth = depth - 1;
        match self.random.below(16) {
            0..4 => {
                let one = self.expression(columns, depth);
                let operator = self.pick(&BINARY);
                let other = self.expression(columns, depth);
                format!("({one} {operator} {other})")
            }
            4..8 => self.call_of(columns, depth),
            8 => {
                let operator = self.pick(&["-", "+", "~", "NOT "]);
                format!("({operator}{})", self.expression(columns, depth))
            }
            9 => self.case(columns, depth),
            10 => {
                let kind = self.pick(&TYPES);
                format!("CAST({} AS {kind})", self.expression(columns, depth))
            }
            11 => self.like(columns, depth),
            12 => {
                let value = self.expression(columns, depth);
                let not = self.pick(&["", "NOT "]);
                let low = self.leaf(columns);
                format!("({value} {not}BETWEEN {low} AND {})", self.leaf(columns))
            }
            13 => {
                let value = self.expression(columns, depth);
                let not = self.pick(&["", "NOT "]);
                let list: Vec<_> = (0..self.random.below(4)).map(|_| self.leaf(columns)).collect();
                format!("({value} {not}IN ({}))", list.join(", "))
            }
            14 => {
                let collation = self.pick(&COLLATIONS);
                format!("({} COLLATE {collation})", self.expression(columns, depth))
            }
            _ => {
                let operator = self.pick(&["->", "->>"]);
                let path = self.pick(&PATHS);
                format!("({} {operator} {path})", self.leaf(columns))
            }
        }
    }

    /// A column or a value.
    pub(super) fn leaf(&mut self, columns: &[String]) -> String {
        if columns.is_empty() || self.chance(35) { self.value() } else { self.random.pick(columns).clone() }
    }

    fn call_of(&mut self, columns: &[String], depth: usize) -> String {
        let one = self.expression(columns, depth);
        match self.random.below(10) {
            0..5 => format!("{}({one})", self.pick(&OF_ONE)),
            5..9 => {
                let name = self.pick(&OF_TWO);
                let other = match name {
                    "json_extract" => self.pick(&PATHS).to_owned(),
                    _ => self.expression(columns, depth),
                };
                match name {
                    "printf" => format!("printf('%s|%5d|%.3f', {one}, {other}, {one})"),
                    _ => format!("{name}({one}, {other})"),
                }
            }
            _ => {
                let name = self.pick(&OF_THREE);
                let other = if name.starts_with("json") {
                    self.pick(&PATHS).to_owned()
                } else {
                    self.expression(columns, depth)
                };
                match name {
                    "json_remove" => format!("json_remove({one}, {other})"),
                    _ => format!("{name}({one}, {other}, {})", self.leaf(columns)),
                }
            }
        }
    }

    fn case(&mut self, columns: &[String], depth: usize) -> String {
        let condition = self.expression(columns, depth);
        let then = self.leaf(columns);
        let base = if self.chance(30) { format!(" {}", self.leaf(columns)) } else { String::new() };
        let otherwise = if self.chance(70) { format!(" ELSE {}", self.leaf(columns)) } else { String::new() };
        format!("CASE{base} WHEN {condition} THEN {then}{otherwise} END")
    }

    fn like(&mut self, columns: &[String], depth: usize) -> String {
        let value = self.expression(columns, depth);
        let operator = self.pick(&["LIKE", "NOT LIKE", "GLOB", "NOT GLOB"]);
        let pattern = self.pick(&PATTERNS);
        format!("({value} {operator} {pattern})")
    }

    /// A condition that rows pass often.
    pub(super) fn condition(&mut self, columns: &[String]) -> String {
        if columns.is_empty() || self.chance(30) {
            return self.expression(columns, 2);
        }
        let column = self.random.pick(columns).clone();
        match self.random.below(6) {
            0 => format!("{column} = {}", self.integer()),
            1 => format!("{column} > {}", self.value()),
            2 => format!("{column} IS NOT NULL"),
            3 => format!("{column} IN ({}, {}, {})", self.integer(), self.integer(), self.text()),
            4 => format!("{column} <= {} OR {}", self.value(), self.expression(columns, 1)),
            _ => format!("{column} BETWEEN {} AND {}", self.integer(), self.integer()),
        }
    }

    /// An aggregate over these columns.
    pub(super) fn aggregate(&mut self, columns: &[String]) -> String {
        let name = self.pick(&AGGREGATES);
        let distinct = if self.chance(15) { "DISTINCT " } else { "" };
        let filter = match self.chance(20) {
            true => format!(" FILTER (WHERE {})", self.condition(columns)),
            false => String::new(),
        };
        match name {
            "count" if self.chance(50) => format!("count(*){filter}"),
            "string_agg" => format!("string_agg({}, ';'){filter}", self.expression(columns, 1)),
            _ => format!("{name}({distinct}{}){filter}", self.expression(columns, 1)),
        }
    }
}
