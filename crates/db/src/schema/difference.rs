//! Differences of two schemas.
//!
//! Columns, indexes and foreign keys are compared by their parts, for messages that name what differs; what remains
//! is compared by the words of the SQL, which sees a CHECK or a collation that the PRAGMAs do not report, and does
//! not see space, comments, quotes and case.

use std::fmt;

use serde::Serialize;

use super::{Column, Schema, Table};

/// A difference of two schemas: of the one that is expected and the one that was found. It displays as a sentence.
///
/// | object | messages |
/// |---|---|
/// | `table users`, `view v`, `trigger t` | `is missing`, `is not expected`, `has another definition` |
/// | `column users.email` | `is missing`, `is not expected`, `is TEXT and not TEXT NOT NULL` |
/// | `index by_email` | `is missing`, `is not expected`, `has another definition` |
/// | `foreign key posts (author) to users` | `is missing`, `is not expected` |
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The object: `table users`, `column users.email`, `index by_email`, `view v`, `trigger t`.
    pub object: String,
    /// The difference: `is missing`, `is not expected`, `is ... and not ...`.
    pub message: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object, self.message)
    }
}

impl Schema {
    /// The differences of another schema, which was found, from this one, which is expected. Tables are compared by columns, indexes,
    /// foreign keys and, where these are the same, by the words of their SQL; other objects by the words of their SQL.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::schema::Schema;
    /// use isobar_db::{Database, SqliteDatabase};
    ///
    /// let expected = SqliteDatabase::memory().await?;
    /// expected.exec("CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT NOT NULL)").await?;
    /// let found = SqliteDatabase::memory().await?;
    /// found.exec("CREATE TABLE users (id INTEGER PRIMARY KEY, mail TEXT)").await?;
    /// let differences = Schema::read(&expected).await?.differences(&Schema::read(&found).await?);
    /// assert_eq!(differences[0].to_string(), "column users.mail is TEXT and not TEXT NOT NULL");
    /// # Ok(()) }
    /// # #[cfg(not(feature = "memory"))] fn main() {}
    /// ```
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let mut all = Differences::default();
        all.lists(
            "table ",
            &self.tables,
            &found.tables,
            |table| &table.name,
            |all, table, found| all.table(table, found),
        );
        let sql = |view: &super::View| view.sql.clone();
        all.objects("view ", &self.views, &found.views, |view| &view.name, sql);
        all.objects(
            "trigger ",
            &self.triggers,
            &found.triggers,
            |trigger| &trigger.name,
            |trigger| trigger.sql.clone(),
        );
        all.0
    }
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, object: String, message: impl Into<String>) {
        self.0.push(Difference { object, message: message.into() });
    }

    /// Compares what both lists have by `compare`, and names what one of them lacks, with `kind` before its name.
    fn lists<T>(
        &mut self,
        kind: &str,
        expected: &[T],
        found: &[T],
        name: fn(&T) -> &String,
        mut compare: impl FnMut(&mut Self, &T, &T),
    ) {
        let in_list = |list: &[T], one: &T| list.iter().position(|other| name(other).eq_ignore_ascii_case(name(one)));
        for one in expected {
            match in_list(found, one) {
                Some(index) => compare(self, one, &found[index]),
                None => self.add(format!("{kind}{}", name(one)), "is missing"),
            }
        }
        for one in found.iter().filter(|one| in_list(expected, one).is_none()) {
            self.add(format!("{kind}{}", name(one)), "is not expected");
        }
    }

    fn objects<T>(&mut self, kind: &str, expected: &[T], found: &[T], name: fn(&T) -> &String, sql: fn(&T) -> String) {
        self.lists(kind, expected, found, name, |all, one, other| {
            if words(&sql(one)) != words(&sql(other)) {
                all.add(format!("{kind}{}", name(one)), "has another definition");
            }
        });
    }

    fn table(&mut self, expected: &Table, found: &Table) {
        let before = self.0.len();
        let table = &expected.name;
        if expected.kind != found.kind {
            self.add(format!("table {table}"), format!("is of the kind {:?} and not {:?}", found.kind, expected.kind));
        }
        let columns = format!("column {table}.");
        self.lists(
            &columns,
            &expected.columns,
            &found.columns,
            |column| &column.name,
            |all, one, other| {
                if one != other {
                    let message = format!("is {} and not {}", described(other), described(one));
                    all.add(format!("column {table}.{}", one.name), message);
                }
            },
        );
        self.lists(
            "index ",
            &named(expected),
            &named(found),
            |index| &index.name,
            |all, one, other| {
                let sql = |index: &super::Index| words(index.sql.as_deref().unwrap_or_default());
                if sql(one) != sql(other) {
                    all.add(format!("index {}", one.name), "has another definition");
                }
            },
        );
        for key in expected.foreign_keys.iter().filter(|key| !found.foreign_keys.contains(key)) {
            self.add(format!("foreign key {table} ({}) to {}", key.columns.join(", "), key.table), "is missing");
        }
        for key in found.foreign_keys.iter().filter(|key| !expected.foreign_keys.contains(key)) {
            self.add(format!("foreign key {table} ({}) to {}", key.columns.join(", "), key.table), "is not expected");
        }
        if self.0.len() == before && words(&expected.sql) != words(&found.sql) {
            self.add(format!("table {table}"), "has another definition");
        }
    }
}

/// The indexes that were created by a statement of their own; the others are part of the table's SQL.
fn named(table: &Table) -> Vec<super::Index> {
    table.indexes.iter().filter(|index| index.sql.is_some()).cloned().collect()
}

fn described(column: &Column) -> String {
    let mut words = vec![if column.declared_type.is_empty() { "untyped" } else { &column.declared_type }.to_owned()];
    if column.is_not_null {
        words.push("NOT NULL".to_owned());
    }
    if column.primary_key > 0 {
        words.push(format!("PRIMARY KEY ({})", column.primary_key));
    }
    words.extend(column.default.as_ref().map(|default| format!("DEFAULT {default}")));
    if column.kind != super::ColumnKind::Ordinary {
        words.push(format!("{:?}", column.kind).to_uppercase());
    }
    words.join(" ")
}

/// The words of an object's SQL: without comments, `IF NOT EXISTS`, the quotes of names and the case of keywords.
fn words(sql: &str) -> Vec<String> {
    let mut words: Vec<String> = crate::sql::words(sql)
        .map(|word| match word.chars().next() {
            Some('"' | '`' | '[') => word[1..word.len().max(2) - 1].to_lowercase(),
            Some('\'') => word.to_owned(),
            _ => word.to_ascii_lowercase(),
        })
        .collect();
    if let Some(at) = words.windows(3).position(|three| three == ["if", "not", "exists"]) {
        words.drain(at..at + 3);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_differ_by_words_alone() {
        assert_eq!(
            words("CREATE TABLE IF NOT EXISTS \"Users\" (a INTEGER, -- number\n b)"),
            words("create table users(a integer,b)")
        );
        assert_ne!(words("CHECK (a = 'X')"), words("CHECK (a = 'x')"));
        assert_ne!(words("CHECK (a < 10)"), words("CHECK (a < 1 0)"));
    }
}
