//! Random schemas and statements, each case out of its number: tables with defaults, checks, keys, generated columns and collations,
//! indexes, triggers and views, and what is done to them.

mod definitions;
mod expressions;
mod queries;
mod values;
mod writes;

use isobar_db::Value;

use super::{Call, Mode};
use crate::random::Random;

/// Statements of a case.
const STATEMENTS: usize = 110;

/// A column, as far as the statements have to know it.
#[derive(Clone)]
struct Column {
    name: &'static str,
    /// The declared type, with which most values agree.
    kind: &'static str,
    is_generated: bool,
}

/// A table or a view.
#[derive(Clone)]
struct Table {
    name: String,
    columns: Vec<Column>,
    is_view: bool,
    has_rowid: bool,
    /// Name of the column that another table may refer to.
    key: Option<&'static str>,
}

/// A generator of statements over the schema that it has made so far.
///
/// The schema is what the statements were meant to make: where one of them has failed, later ones fail for its sake, on both sides.
pub(super) struct Generator {
    random: Random,
    tables: Vec<Table>,
    indexes: Vec<String>,
    triggers: Vec<String>,
    /// Names that were given.
    names: usize,
    /// Values of the statement at hand; `None` where it can have none.
    parameters: Option<Vec<Value>>,
}

/// Returns the calls of a case.
pub(super) fn case(seed: u64, number: u64) -> Vec<Call> {
    let mut generator = Generator {
        random: Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number)),
        tables: Vec::new(),
        indexes: Vec::new(),
        triggers: Vec::new(),
        names: 0,
        parameters: None,
    };
    let mut calls = generator.beginning();
    let mut statements = calls.len();
    while statements < STATEMENTS {
        let call = generator.call();
        statements += call.statements.len();
        calls.push(call);
    }
    calls.extend(generator.ending());
    calls
}

impl Generator {
    fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    fn pick(&mut self, list: &[&'static str]) -> &'static str {
        self.random.pick::<&'static str>(list)
    }

    /// A new name with this beginning.
    fn name(&mut self, beginning: &str) -> String {
        self.names += 1;
        format!("{beginning}{}", self.names)
    }

    /// The tables that every case begins with, indexed and filled.
    fn beginning(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        for _ in 0..2 + self.random.below(3) {
            calls.push(Call::of(Mode::Run, self.create_table(), Vec::new()));
        }
        for _ in 0..2 + self.random.below(4) {
            let sql = self.create_index();
            calls.push(Call::of(Mode::Run, sql, Vec::new()));
        }
        for _ in 0..8 {
            let (sql, values) = self.bound(Self::insert);
            calls.push(Call::of(Mode::Run, sql, values));
        }
        for _ in 0..self.random.below(4) {
            let sql = self.create_trigger();
            calls.push(Call::of(Mode::Run, sql, Vec::new()));
        }
        if self.chance(60) {
            let sql = self.create_view();
            calls.push(Call::of(Mode::Run, sql, Vec::new()));
        }
        calls
    }

    /// The whole contents, with the types of the values.
    fn ending(&mut self) -> Vec<Call> {
        let tables = self.tables.clone();
        let mut calls = Vec::new();
        for table in tables {
            let columns: Vec<_> = table.columns.iter().map(|column| format!("quote({})", column.name)).collect();
            let sql = format!("SELECT {} FROM {}", columns.join(", "), table.name);
            calls.push(Call::of(Mode::Raw, sql, Vec::new()));
        }
        let schema = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'";
        calls.push(Call::of(Mode::Raw, schema.to_owned(), Vec::new()));
        calls.push(Call::of(Mode::Run, "PRAGMA foreign_key_check".to_owned(), Vec::new()));
        calls
    }

    fn call(&mut self) -> Call {
        match self.random.below(100) {
            0..40 => {
                let statements = (0..2 + self.random.below(12)).map(|_| self.statement()).collect();
                Call { mode: Mode::Batch, statements }
            }
            40..44 => {
                let lines: Vec<_> = (0..1 + self.random.below(4)).map(|_| self.line()).collect();
                Call::of(Mode::Exec, lines.join("\n"), Vec::new())
            }
            44..62 => {
                let (sql, values) = self.bound(Self::query);
                Call::of(Mode::Raw, sql, values)
            }
            62..66 => {
                let sql = self.mistake();
                Call::of(Mode::Run, sql, Vec::new())
            }
            66..74 => {
                let sql = self.definition();
                Call::of(Mode::Run, sql, Vec::new())
            }
            _ => {
                let (sql, values) = self.statement();
                Call::of(Mode::Run, sql, values)
            }
        }
    }

    /// A statement, and its values.
    fn statement(&mut self) -> (String, Vec<Value>) {
        match self.random.below(100) {
            0..40 => self.bound(Self::query),
            40..64 => self.bound(Self::insert),
            64..80 => self.bound(Self::update),
            80..90 => self.bound(Self::delete),
            90..97 => (self.pragma(), Vec::new()),
            _ => (self.definition(), Vec::new()),
        }
    }

    /// A statement without values, on one line.
    fn line(&mut self) -> String {
        match self.random.below(4) {
            0 => self.query(),
            1 => self.insert(),
            2 => self.update(),
            _ => self.delete(),
        }
    }

    /// Makes a statement that may have parameters.
    fn bound(&mut self, make: fn(&mut Self) -> String) -> (String, Vec<Value>) {
        self.parameters = Some(Vec::new());
        let sql = make(self);
        (sql, self.parameters.take().unwrap_or_default())
    }

    /// A table or a view, by chance.
    fn any_table(&mut self) -> Table {
        let number = self.random.below(self.tables.len());
        self.tables[number].clone()
    }

    /// A table, by chance; a view in one of ten cases.
    fn target(&mut self) -> Table {
        let target = self.any_table();
        if target.is_view && self.chance(90) { self.tables[0].clone() } else { target }
    }
}
