//! Statements that define: tables, indexes, triggers, views, and their changes.

use super::{Column, Generator, Table};

const NAMES: [&str; 9] = ["a", "b", "c", "d", "name", "n", "\"x y\"", "\"select\"", "é"];
const KINDS: [&str; 11] =
    ["INTEGER", "INTEGER", "TEXT", "TEXT", "REAL", "NUMERIC", "BLOB", "", "VARCHAR(10)", "BOOLEAN", "DATETIME"];
const STRICT: [&str; 5] = ["INTEGER", "TEXT", "REAL", "BLOB", "ANY"];
const DEFAULTS: [&str; 8] = ["0", "'none'", "NULL", "1.5", "x'00'", "(1 + 2)", "(lower('ABC'))", "-1"];
const ACTIONS: [&str; 5] = ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"];
/// Checks of a column, whose name stands at each `#`.
const CHECKS: [&str; 6] = [
    "typeof(#) <> 'blob'",
    "# IS NULL OR # < 1000000",
    "length(#) < 20",
    "# <> 'ABC'",
    "coalesce(#, 0) >= -5",
    "# NOT LIKE '%crab'",
];
/// Expressions of a generated column over another, whose name stands at each `#`.
const GENERATED: [&str; 5] = ["# || '!'", "coalesce(#, 0) + 1", "typeof(#)", "length(#)", "upper(#)"];
/// Expressions of an index over a column, whose name stands at each `#`.
const INDEXED: [&str; 6] = ["#", "#", "# DESC", "# COLLATE NOCASE", "lower(#)", "coalesce(#, 0)"];

/// A table while it is defined.
struct Draft {
    columns: Vec<Column>,
    /// The definitions of columns and constraints.
    parts: Vec<String>,
    key: Option<&'static str>,
    is_strict: bool,
    without_rowid: bool,
}

impl Generator {
    /// A new table.
    pub(super) fn create_table(&mut self) -> String {
        let name = self.name("t");
        let mut draft = Draft {
            columns: Vec::new(),
            parts: Vec::new(),
            key: None,
            is_strict: self.chance(15),
            without_rowid: self.chance(15),
        };
        let mut names = NAMES.to_vec();
        if draft.without_rowid || self.chance(70) {
            self.key(&mut draft);
        }
        for _ in 0..1 + self.random.below(4) {
            let column = names.swap_remove(self.random.below(names.len()));
            self.column(&mut draft, column);
        }
        self.constraints(&mut draft);
        let options: Vec<_> = [(draft.without_rowid, "WITHOUT ROWID"), (draft.is_strict, "STRICT")]
            .iter()
            .filter(|it| it.0)
            .map(|it| it.1)
            .collect();
        let sql = format!("CREATE TABLE {name} ({}) {}", draft.parts.join(", "), options.join(", "));
        let Draft { columns, key, without_rowid, .. } = draft;
        self.tables.push(Table { name, columns, is_view: false, has_rowid: !without_rowid, key });
        sql
    }

    /// Adds a primary key.
    fn key(&mut self, draft: &mut Draft) {
        let kind = if self.chance(75) || draft.is_strict { "INTEGER" } else { "TEXT" };
        let more = match kind {
            "INTEGER" if !draft.without_rowid => self.pick(&["", "", "", " AUTOINCREMENT", " ON CONFLICT REPLACE"]),
            _ => "",
        };
        draft.parts.push(format!("id {kind} PRIMARY KEY{more}"));
        draft.columns.push(Column { name: "id", kind, is_generated: false });
        draft.key = Some("id");
    }

    fn column(&mut self, draft: &mut Draft, name: &'static str) {
        let kind = if draft.is_strict { self.pick(&STRICT) } else { self.pick(&KINDS) };
        let mut part = format!("{name} {kind}");
        let others = draft.columns.iter().filter(|column| !column.is_generated).map(|column| column.name);
        let others: Vec<_> = others.collect();
        if !others.is_empty() && self.chance(12) {
            let expression = self.pick(&GENERATED).replace('#', self.pick(&others));
            let storage = self.pick(&["VIRTUAL", "STORED", ""]);
            draft.parts.push(format!("{part} GENERATED ALWAYS AS ({expression}) {storage}"));
            draft.columns.push(Column { name, kind, is_generated: true });
            return;
        }
        if self.chance(15) {
            part.push_str(self.pick(&[" NOT NULL", " NOT NULL DEFAULT 1", " NOT NULL ON CONFLICT IGNORE"]));
        } else if self.chance(25) {
            part.push_str(&format!(" DEFAULT {}", self.pick(&DEFAULTS)));
        }
        if self.chance(12) {
            part.push_str(self.pick(&[" UNIQUE", " UNIQUE ON CONFLICT IGNORE", " UNIQUE ON CONFLICT REPLACE"]));
        }
        if self.chance(18) {
            part.push_str(&format!(" CHECK ({})", self.pick(&CHECKS).replace('#', name)));
        }
        if self.chance(15) {
            part.push_str(self.pick(&[" COLLATE NOCASE", " COLLATE RTRIM", " COLLATE BINARY"]));
        }
        if self.chance(12) {
            part.push_str(&self.reference());
        }
        draft.parts.push(part);
        draft.columns.push(Column { name, kind, is_generated: false });
    }

    /// A reference to the key of an earlier table, if there is one.
    fn reference(&mut self) -> String {
        let tables: Vec<_> = self.tables.iter().filter_map(|table| Some((table.name.clone(), table.key?))).collect();
        if tables.is_empty() {
            return String::new();
        }
        let (table, key) = self.random.pick(&tables);
        let mut sql = format!(" REFERENCES {table} ({key})");
        if self.chance(60) {
            sql.push_str(&format!(" ON DELETE {}", self.pick(&ACTIONS)));
        }
        if self.chance(40) {
            sql.push_str(&format!(" ON UPDATE {}", self.pick(&ACTIONS)));
        }
        if self.chance(15) {
            sql.push_str(" DEFERRABLE INITIALLY DEFERRED");
        }
        sql
    }

    /// Adds constraints of the whole table.
    fn constraints(&mut self, draft: &mut Draft) {
        let plain: Vec<_> = draft.columns.iter().filter(|it| !it.is_generated).map(|it| it.name).collect();
        if plain.len() > 1 && self.chance(15) {
            draft.parts.push(format!("UNIQUE ({}, {})", plain[0], plain[1]));
        }
        if plain.len() > 1 && self.chance(10) {
            draft.parts.push(format!("CONSTRAINT named CHECK ({} IS NOT 'b' OR {} IS NOT 3)", plain[0], plain[1]));
        }
    }

    /// A new index.
    pub(super) fn create_index(&mut self) -> String {
        let name = self.name("i");
        let table = self.target();
        let unique = if self.chance(15) { "UNIQUE " } else { "" };
        let columns: Vec<_> = (0..1 + self.random.below(2))
            .map(|_| {
                let number = self.random.below(table.columns.len());
                self.pick(&INDEXED).replace('#', table.columns[number].name)
            })
            .collect();
        let mut sql = format!("CREATE {unique}INDEX {name} ON {} ({})", table.name, columns.join(", "));
        if self.chance(25) {
            let number = self.random.below(table.columns.len());
            let column = table.columns[number].name;
            sql.push_str(&format!(" WHERE {column} {}", self.pick(&["IS NOT NULL", "> 2", "= 'a'", "IN (1, 2, 3)"])));
        }
        self.indexes.push(name);
        sql
    }

    /// A new view.
    pub(super) fn create_view(&mut self) -> String {
        let name = self.name("v");
        let table = self.any_table();
        let mut columns = table.columns.clone();
        columns.iter_mut().for_each(|column| column.is_generated = false);
        columns.truncate(1 + self.random.below(columns.len()));
        let list: Vec<_> = columns.iter().map(|column| column.name).collect();
        let condition = if self.chance(50) { format!(" WHERE {} IS NOT NULL", list[0]) } else { String::new() };
        let sql = format!("CREATE VIEW {name} AS SELECT {} FROM {}{condition}", list.join(", "), table.name);
        self.tables.push(Table { name, columns, is_view: true, has_rowid: false, key: None });
        sql
    }

    /// A new trigger.
    pub(super) fn create_trigger(&mut self) -> String {
        let name = self.name("g");
        let table = self.any_table();
        let time = if table.is_view { "INSTEAD OF" } else { self.pick(&["BEFORE", "AFTER", "AFTER"]) };
        let event = self.pick(&["INSERT", "UPDATE", "DELETE"]);
        let row = if event == "DELETE" { "old" } else { "new" };
        let number = self.random.below(table.columns.len());
        let value = format!("{row}.{}", table.columns[number].name);
        let condition = match self.random.below(3) {
            0 => format!(" WHEN {value} IS NOT NULL"),
            _ => String::new(),
        };
        let body: Vec<_> = (0..1 + self.random.below(2)).map(|_| self.step(&value)).collect();
        let sql =
            format!("CREATE TRIGGER {name} {time} {event} ON {}{condition} BEGIN {} END", table.name, body.concat());
        self.triggers.push(name);
        sql
    }

    /// A statement of a trigger, with its semicolon.
    fn step(&mut self, value: &str) -> String {
        let table = self.tables[0].clone();
        let plain: Vec<_> = table.columns.iter().filter(|column| !column.is_generated).map(|it| it.name).collect();
        let column = *self.random.pick(&plain);
        match self.random.below(6) {
            0 | 1 => format!("INSERT OR IGNORE INTO {} ({column}) VALUES ({value}); ", table.name),
            2 => format!("UPDATE {} SET {column} = {value} WHERE {column} = 3; ", table.name),
            3 => format!("DELETE FROM {} WHERE {column} = {value}; ", table.name),
            4 => {
                let rare = if self.chance(10) { "ROLLBACK, 'rolled back'" } else { "ABORT, 'refused'" };
                let action = self.pick(&["IGNORE", "FAIL, 'failed'", rare]);
                format!("SELECT RAISE({action}) WHERE {value} = 7; ")
            }
            _ => format!("SELECT count(*) FROM {} WHERE {column} IS {value}; ", table.name),
        }
    }

    /// A statement that defines something.
    pub(super) fn definition(&mut self) -> String {
        match self.random.below(14) {
            0..2 => self.create_table(),
            2..5 => self.create_index(),
            5..7 => self.create_trigger(),
            7 => self.create_view(),
            8 if !self.indexes.is_empty() => {
                let number = self.random.below(self.indexes.len());
                format!("DROP INDEX {}", self.indexes.swap_remove(number))
            }
            9 if !self.triggers.is_empty() => {
                let number = self.random.below(self.triggers.len());
                format!("DROP TRIGGER {}", self.triggers.swap_remove(number))
            }
            10 if self.tables.len() > 3 => {
                let number = 1 + self.random.below(self.tables.len() - 1);
                let table = self.tables.remove(number);
                format!("DROP {} {}", if table.is_view { "VIEW" } else { "TABLE" }, table.name)
            }
            11 => self.pick(&["ANALYZE", "REINDEX", "PRAGMA optimize"]).to_owned(),
            12 => {
                let name = self.name("t");
                format!("CREATE TABLE {name} AS SELECT * FROM {} LIMIT 5", self.any_table().name)
            }
            _ => self.alter(),
        }
    }

    /// A change of a table.
    fn alter(&mut self) -> String {
        let number = self.random.below(self.tables.len());
        if self.tables[number].is_view {
            return "CREATE TABLE IF NOT EXISTS t1 (a)".to_owned();
        }
        let table = self.tables[number].name.clone();
        match self.random.below(4) {
            0 => {
                let kind = self.pick(&KINDS);
                let default =
                    self.pick(&["", " DEFAULT 5", " DEFAULT 'x' COLLATE NOCASE", " NOT NULL", " NOT NULL DEFAULT ''"]);
                self.tables[number].columns.push(Column { name: "added", kind, is_generated: false });
                format!("ALTER TABLE {table} ADD COLUMN added {kind}{default}")
            }
            1 => {
                let to = self.name("t");
                self.tables[number].name.clone_from(&to);
                format!("ALTER TABLE {table} RENAME TO {to}")
            }
            2 => {
                let column = self.random.below(self.tables[number].columns.len());
                let from = self.tables[number].columns[column].name;
                self.tables[number].columns[column].name = "renamed";
                format!("ALTER TABLE {table} RENAME COLUMN {from} TO renamed")
            }
            _ if self.tables[number].columns.len() > 1 => {
                let last = self.tables[number].columns.pop();
                format!("ALTER TABLE {table} DROP COLUMN {}", last.map_or("id", |column| column.name))
            }
            _ => format!("ALTER TABLE {table} DROP COLUMN id"),
        }
    }
}
