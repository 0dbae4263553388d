//! Values, as literals and as parameters.

use isobar_db::Value;

use super::Generator;

const SMALL: [&str; 9] = ["0", "1", "2", "3", "4", "5", "7", "10", "12"];
// Not 2^63 - 1: after a row of that number, SQLite gives out random ones.
const INTEGERS: [&str; 15] = [
    "-1",
    "-2",
    "-17",
    "255",
    "1000",
    "65536",
    "2147483647",
    "-2147483648",
    "4294967296",
    "9007199254740991",
    "9007199254740993",
    "-9007199254740993",
    "4611686018427387905",
    "-9223372036854775808",
    "9223372036854775808",
];
const REALS: [&str; 16] = [
    "0.0",
    "-0.0",
    "1.0",
    "0.1",
    "1.5",
    "-2.5",
    "3.14159",
    "1e3",
    "1e15",
    "1e16",
    "123456789.125",
    "1e308",
    "-1e-308",
    "9e999",
    "-9e999",
    "2.5e-5",
];
const TEXTS: [&str; 26] = [
    "''",
    "'a'",
    "'A'",
    "'b'",
    "'abc'",
    "'ABC'",
    "'abc '",
    "' abc'",
    "'é'",
    "'🦀 crab'",
    "'ß'",
    "'it''s'",
    "'12'",
    "'  12  '",
    "'12abc'",
    "'1e3'",
    "'1.50'",
    "'-0'",
    "'0x1F'",
    "'null'",
    "'%'",
    "'a_c'",
    "'[1,2,{\"a\":3}]'",
    "'{\"a\":1,\"b\":[true,null,\"x\"]}'",
    "'not json'",
    "'2024-02-29 12:34:56'",
];
const BLOBS: [&str; 6] = ["x''", "x'00'", "x'616263'", "x'ff00fe'", "x'e29882'", "zeroblob(5)"];

impl Generator {
    /// A literal or a parameter of any type.
    pub(super) fn value(&mut self) -> String {
        match self.random.below(10) {
            0 => self.or_parameter("NULL"),
            1..4 => self.integer(),
            4..6 => self.real(),
            6..9 => self.text(),
            _ => self.blob(),
        }
    }

    /// A value for a column of this type; in one of eight cases any value.
    pub(super) fn value_for(&mut self, kind: &str) -> String {
        if self.chance(7) {
            return self.value();
        }
        if self.chance(6) {
            return self.or_parameter("NULL");
        }
        match kind {
            "INTEGER" | "INT" | "BOOLEAN" | "BIGINT" => self.integer(),
            "REAL" | "DOUBLE" | "NUMERIC" | "DECIMAL(10,2)" if self.chance(50) => self.real(),
            "REAL" | "DOUBLE" | "NUMERIC" | "DECIMAL(10,2)" => self.integer(),
            "TEXT" | "VARCHAR(10)" | "DATETIME" => self.text(),
            "BLOB" => self.blob(),
            _ => self.value(),
        }
    }

    pub(super) fn integer(&mut self) -> String {
        // Small ones meet each other.
        let integer = if self.chance(80) { self.pick(&SMALL) } else { self.pick(&INTEGERS) };
        self.or_parameter(integer)
    }

    fn real(&mut self) -> String {
        let real = self.pick(&REALS);
        self.or_parameter(real)
    }

    pub(super) fn text(&mut self) -> String {
        let text = self.pick(&TEXTS);
        self.or_parameter(text)
    }

    fn blob(&mut self) -> String {
        let blob = self.pick(&BLOBS);
        self.or_parameter(blob)
    }

    /// The literal, or a parameter with its value, where the statement may have one.
    ///
    /// JavaScript's numbers are REALs, so that an integer of a parameter is, too.
    fn or_parameter(&mut self, literal: &'static str) -> String {
        let binds = self.chance(30);
        let value = parameter(literal);
        let Some(parameters) = self.parameters.as_mut().filter(|_| binds) else { return literal.to_owned() };
        let Some(value) = value else { return literal.to_owned() };
        parameters.push(value);
        format!("?{}", parameters.len())
    }
}

/// Returns the value of a literal as JavaScript binds it; `None` where it is an expression.
fn parameter(literal: &str) -> Option<Value> {
    if literal == "NULL" {
        return Some(Value::Null);
    }
    if let Some(digits) = literal.strip_prefix("x'").and_then(|rest| rest.strip_suffix('\'')) {
        return hex::decode(digits).ok().map(Value::from);
    }
    if let Some(text) = literal.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Some(Value::Text(text.replace("''", "'")));
    }
    literal.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Real)
}
