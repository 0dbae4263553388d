//! The table and the columns of a constraint that does not hold.
//!
//! SQLite reports a violation as text alone, and D1 sends that text on, with or without the code's name behind it. So it is read here, once,
//! for every backend; a form that is not known gives a [`Violation`] with its kind and nothing else.

use crate::{Constraint, Error, ErrorKind};

/// A constraint that does not hold, as far as the database names it.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{Constraint, QueryableExt, SqliteDatabase};
///
/// let db = SqliteDatabase::memory().await?;
/// db.run_script("CREATE TABLE users (tenant, email, UNIQUE (tenant, email)); INSERT INTO users VALUES (1, 'a');").await?;
/// let error = db.prepare("INSERT INTO users VALUES (1, 'a')").run().await.unwrap_err();
/// let violation = error.violation().expect("the error is one of a constraint");
/// assert_eq!(violation.constraint, Constraint::Unique);
/// assert_eq!((violation.table, violation.columns.as_slice()), (Some("users"), &["tenant", "email"][..]));
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
///
/// | constraint | `table` | `columns` | `name` |
/// |---|---|---|---|
/// | UNIQUE, PRIMARY KEY, NOT NULL | the table | the columns | none |
/// | UNIQUE by an index of expressions | none | none | the index's name |
/// | CHECK | none | none | its name or its expression |
/// | FOREIGN KEY, and others | none | none | none |
///
/// Postgres names the table of a CHECK and of a foreign key, and the constraint of the latter, too. A primary key that was given a name
/// of its own is `Unique` there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation<'a> {
    /// The kind of constraint.
    pub constraint: Constraint,
    /// The table: for UNIQUE, PRIMARY KEY and NOT NULL. SQLite does not say which one a foreign key or a CHECK belongs to.
    pub table: Option<&'a str>,
    /// The columns: for UNIQUE, PRIMARY KEY and NOT NULL. Empty for others, and for a unique index of expressions.
    pub columns: Vec<&'a str>,
    /// The name of a CHECK, or its expression where it has none; the name of a unique index of expressions.
    pub name: Option<&'a str>,
}

impl Error {
    /// Returns which constraint does not hold; `None` for errors of other kinds.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::{QueryableExt, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// db.run_script("CREATE TABLE users (age INTEGER CONSTRAINT adult CHECK (age >= 18));").await?;
    /// let error = db.prepare("INSERT INTO users VALUES (7)").run().await.unwrap_err();
    /// assert_eq!(error.violation().and_then(|violation| violation.name), Some("adult"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn violation(&self) -> Option<Violation<'_>> {
        let ErrorKind::Constraint(constraint) = self.kind() else { return None };
        let mut violation = Violation { constraint, table: None, columns: Vec::new(), name: None };
        #[cfg(all(feature = "postgres", not(target_arch = "wasm32")))]
        if let Some(named) = self.named() {
            let columns = named.columns.iter().map(String::as_str).collect();
            return Some(Violation { constraint, table: named.table.as_deref(), columns, name: named.name.as_deref() });
        }
        let Some((_, rest)) = self.message().split_once(" constraint failed: ") else { return Some(violation) };
        // D1 names SQLite's code behind it; a CHECK may have a colon in it.
        let object = rest.rsplit_once(" (extended: SQLITE_CONSTRAINT").map_or(rest, |(object, _)| object);
        let object = object.strip_suffix(": SQLITE_CONSTRAINT").unwrap_or(object);
        match constraint {
            Constraint::Unique | Constraint::PrimaryKey | Constraint::NotNull => {
                match object.strip_prefix("index '").and_then(|name| name.strip_suffix('\'')) {
                    Some(index) => violation.name = Some(index),
                    None => (violation.table, violation.columns) = columns(object),
                }
            }
            Constraint::Check => violation.name = Some(object),
            Constraint::ForeignKey | Constraint::Other => {}
        }
        Some(violation)
    }
}

/// The table and columns of `table.a, table.b`. Names with a dot or a comma in them cannot be told apart, and are left out.
fn columns(object: &str) -> (Option<&str>, Vec<&str>) {
    let Some((table, _)) = object.split_once('.') else { return (None, Vec::new()) };
    let column = |part| -> Option<&str> {
        let (of, column) = str::split_once(part, '.')?;
        (of == table && !column.contains('.')).then_some(column)
    };
    match object.split(", ").map(column).collect() {
        Some(columns) => (Some(table), columns),
        None => (None, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_every_backend_name_tables_and_columns() {
        let of = |constraint, message: &str| {
            let error = Error::new(ErrorKind::Constraint(constraint), message);
            let violation = error.violation().unwrap();
            let text = |text: Option<&str>| text.map(str::to_owned);
            let columns = violation.columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>().join("|");
            (text(violation.table), columns, text(violation.name))
        };
        let some = |text: &str| Some(text.to_owned());
        for suffix in ["", ": SQLITE_CONSTRAINT", ": SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"] {
            let unique = format!("UNIQUE constraint failed: t.a, t.b{suffix}");
            assert_eq!(of(Constraint::Unique, &unique), (some("t"), "a|b".into(), None));
            let check = format!("CHECK constraint failed: a: b{suffix}");
            assert_eq!(of(Constraint::Check, &check), (None, String::new(), some("a: b")));
            let foreign = format!("FOREIGN KEY constraint failed{suffix}");
            assert_eq!(of(Constraint::ForeignKey, &foreign), (None, String::new(), None));
        }
        let index = "UNIQUE constraint failed: index 'by_lower'";
        assert_eq!(of(Constraint::Unique, index), (None, String::new(), some("by_lower")));
        let dotted = "UNIQUE constraint failed: a.b.c";
        assert_eq!(of(Constraint::Unique, dotted), (None, String::new(), None));
        assert_eq!(Error::new(ErrorKind::Sql, "x").violation(), None);
    }
}
