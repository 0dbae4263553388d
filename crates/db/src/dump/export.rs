//! The export.
//!
//! One read transaction, on a connection of its own: the export is of one moment, and holds up nobody. Each table comes with its
//! rows, and behind them all what would be in the rows' way: views, indexes (built once, which is quicker than for each row), and
//! triggers, which must not fire for what they have done already. Several rows go into one INSERT. Generated columns are left
//! out, as SQLite computes them again.

use std::io::Write;
#[cfg(feature = "local")]
use std::path::Path;

use rusqlite::Connection;
#[cfg(feature = "local")]
use rusqlite::OpenFlags;

use super::literal::push as push_value;
use super::{Content, ExportOptions, Report, failed, io_failed};
use crate::sql::{closed, literal, quoted, unquoted, words};
use crate::{Error, ErrorKind, Result};

/// Bytes of an INSERT after which another one begins; a longer row is one of its own.
const INSERT_BYTES: usize = 50_000;

/// Writes the database in a file as SQL: the state of one moment, while others may go on writing.
///
/// `progress` is called as the export goes on, on the calling thread, with growing counts.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_db::dump::{Content, ExportOptions, export};
/// use isobar_db::{QueryableExt, SqliteDatabase};
///
/// # let folder = tempfile::tempdir()?;
/// let file = folder.path().join("app.sqlite");
/// let db = SqliteDatabase::open(&file).await?;
/// db.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1);").await?;
///
/// let mut sql = Vec::new();
/// export(&file, &mut sql, &ExportOptions::default().with_content(Content::Schema), &mut |_| ())?;
/// let sql = String::from_utf8(sql)?;
/// assert!(sql.contains("CREATE TABLE t (a);") && !sql.contains("INSERT"));
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`ErrorKind::PermissionDenied`] and [`Corrupt`](ErrorKind::Corrupt) for the file; [`ErrorKind::Sql`] for a table that is named and
/// does not exist; [`ErrorKind::Unsupported`] for a virtual table whose rows cannot be had out of it (FTS5 with `content=''`); those of
/// the output.
#[cfg(feature = "local")]
pub fn export(
    file: &Path,
    output: &mut dyn Write,
    options: &ExportOptions,
    progress: &mut dyn FnMut(&Report),
) -> Result<Report> {
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        isobar_sqlite::add_math_functions(&connection)?;
        connection.busy_timeout(std::time::Duration::from_secs(30))?;
        connection.execute_batch("PRAGMA query_only = ON; BEGIN")?;
        Ok(connection)
    };
    let connection = open().map_err(|error| failed(&error).in_file(&file.display().to_string()))?;
    export_from(&connection, output, options, progress)
}

/// Writes what a connection sees, which is to be the state of one moment.
pub(crate) fn export_from(
    connection: &Connection,
    output: &mut dyn Write,
    options: &ExportOptions,
    progress: &mut dyn FnMut(&Report),
) -> Result<Report> {
    let mut export = Export { connection, output, options, progress, report: Report::default() };
    export.run()?;
    Ok(export.report)
}

struct Export<'a> {
    connection: &'a Connection,
    output: &'a mut dyn Write,
    options: &'a ExportOptions,
    progress: &'a mut dyn FnMut(&Report),
    report: Report,
}

/// A row of `sqlite_schema`.
struct Object {
    kind: String,
    name: String,
    table: String,
    sql: String,
}

impl Export<'_> {
    fn run(&mut self) -> Result<()> {
        let objects = self.objects()?;
        let of_kind = |kind: &'static str| objects.iter().filter(move |object| object.kind == kind);
        let shadows = self.shadows()?;
        // Lines that the shell and D1 know: the whole script is one transaction, and its order needs no foreign key to hold in between.
        self.line("PRAGMA foreign_keys = OFF;\nBEGIN TRANSACTION;\nPRAGMA defer_foreign_keys = ON;")?;
        let tables: Vec<&Object> = of_kind("table").filter(|object| !shadows.contains(&object.name)).collect();
        let ordinary: Vec<&Object> = tables.iter().copied().filter(|table| !is_virtual(table)).collect();
        // All of them before the first row, and the unique indexes, too: where foreign keys are on, as in D1, a row is refused whose key
        // refers to a table that is not there, or to columns that are not known to be unique.
        for object in ordinary.iter().copied().chain(of_kind("index").filter(|index| is_unique(index))) {
            self.create(object)?;
        }
        for table in &ordinary {
            self.rows(table)?;
        }
        self.sequence(&tables)?;
        let virtual_tables: Vec<&Object> = tables.iter().copied().filter(|table| is_virtual(table)).collect();
        for table in &virtual_tables {
            self.create(table)?;
            self.virtual_rows(table)?;
        }
        for view in of_kind("view") {
            self.create(view)?;
        }
        // A full-text table may take its content from a view.
        for table in &virtual_tables {
            self.rebuild(table)?;
        }
        for object in of_kind("index").filter(|index| !is_unique(index)).chain(of_kind("trigger")) {
            self.create(object)?;
        }
        self.line("COMMIT;")?;
        self.output.flush().map_err(|error| io_failed("cannot write the export", error))
    }

    /// The objects that the options choose, in the order in which they were created.
    fn objects(&self) -> Result<Vec<Object>> {
        let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid";
        let objects = self.list(sql, |row| {
            Ok(Object { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? })
        })?;
        let named = &self.options.tables;
        let is_named = |table: &str| named.iter().any(|name| name.eq_ignore_ascii_case(table));
        let of_table =
            |name: &String| objects.iter().any(|one| one.kind == "table" && one.name.eq_ignore_ascii_case(name));
        if let Some(missing) = named.iter().find(|name| !of_table(name)) {
            return Err(Error::new(ErrorKind::Sql, format!("no such table: {missing}")));
        }
        let is_chosen = |object: &Object| {
            let is_view = object.kind == "view";
            !crate::schema::is_reserved(&object.table) && (named.is_empty() || (!is_view && is_named(&object.table)))
        };
        Ok(objects.into_iter().filter(is_chosen).collect())
    }

    /// Names of the tables that virtual tables keep their data in.
    fn shadows(&self) -> Result<Vec<String>> {
        self.list("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'", |row| row.get(0))
    }

    fn list<T>(&self, sql: &str, map: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        let run = || self.connection.prepare(sql)?.query_map([], map)?.collect::<rusqlite::Result<Vec<T>>>();
        run().map_err(|error| failed(&error))
    }

    fn line(&mut self, sql: &str) -> Result<()> {
        self.report.bytes += sql.len() as u64 + 1;
        let written = self.output.write_all(sql.as_bytes()).and_then(|()| self.output.write_all(b"\n"));
        written.map_err(|error| io_failed("cannot write the export", error))
    }

    fn create(&mut self, object: &Object) -> Result<()> {
        if self.options.content == Content::Rows {
            return Ok(());
        }
        self.line(&format!("{};", closed(&object.sql)))
    }

    /// The rows of an ordinary table.
    fn rows(&mut self, table: &Object) -> Result<()> {
        let name = quoted(&table.name);
        let mut columns: Vec<String> = self.list(
            &format!("SELECT name FROM pragma_table_xinfo({}) WHERE hidden = 0", literal(&table.name)),
            |row| row.get(0),
        )?;
        if let Some(rowid) = self.rowid(table, &columns)? {
            columns.insert(0, rowid.to_owned());
        }
        let list: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
        let list = list.join(", ");
        self.insert(&format!("INSERT INTO {name} ({list}) VALUES"), &format!("SELECT {list} FROM {name}"))
    }

    /// The name of the rowid where it is neither a column nor absent.
    fn rowid(&self, table: &Object, columns: &[String]) -> Result<Option<&'static str>> {
        let name = literal(&table.name);
        let sql = format!(
            "SELECT (SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = {name}), (SELECT count(*) FROM \
             pragma_table_xinfo({name}) WHERE pk > 0 AND type = 'INTEGER' COLLATE NOCASE), (SELECT count(*) FROM \
             pragma_table_xinfo({name}) WHERE pk > 0), EXISTS (SELECT 1 FROM pragma_index_list({name}) WHERE origin = 'pk')"
        );
        let facts = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(bool, i64, i64, bool)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        };
        let (without, integers, keys, has_index) =
            self.connection.query_row(&sql, [], facts).map_err(|error| failed(&error))?;
        let is_alias = integers == 1 && keys == 1 && !has_index;
        let free = ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|name| !columns.iter().any(|one| one.eq_ignore_ascii_case(name)));
        Ok(free.filter(|_| !without && !is_alias))
    }

    /// Writes the rows of a query as INSERT statements.
    fn insert(&mut self, head: &str, query: &str) -> Result<()> {
        if self.options.content == Content::Schema {
            return Ok(());
        }
        self.report.tables += 1;
        let connection = self.connection;
        let mut statement = connection.prepare(query).map_err(|error| failed(&error))?;
        let count = statement.column_count();
        let mut rows = statement.query([]).map_err(|error| failed(&error))?;
        let mut sql = String::new();
        while let Some(row) = rows.next().map_err(|error| failed(&error))? {
            sql.push_str(if sql.is_empty() { head } else { "," });
            sql.push_str("\n(");
            for index in 0..count {
                if index > 0 {
                    sql.push(',');
                }
                push_value(&mut sql, row.get_ref(index).map_err(|error| failed(&error))?);
            }
            sql.push(')');
            self.report.rows += 1;
            if sql.len() >= INSERT_BYTES {
                sql.push(';');
                self.line(&sql)?;
                sql.clear();
                (self.progress)(&self.report);
            }
        }
        if !sql.is_empty() {
            sql.push(';');
            self.line(&sql)?;
        }
        (self.progress)(&self.report);
        Ok(())
    }

    /// The counters of AUTOINCREMENT, which may be beyond the greatest rowid.
    fn sequence(&mut self, tables: &[&Object]) -> Result<()> {
        let exists = !self.list("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'", |_| Ok(()))?.is_empty();
        if !exists || self.options.content == Content::Schema {
            return Ok(());
        }
        // An application may write there what it likes, and SQLite takes what is no counter for none.
        let sql = "SELECT name, seq FROM sqlite_sequence WHERE typeof(name) = 'text' ORDER BY rowid";
        let counters = self.list(sql, |row| {
            let mut seq = String::new();
            push_value(&mut seq, row.get_ref(1)?);
            Ok((row.get::<_, String>(0)?, seq))
        })?;
        for (name, seq) in counters.iter().filter(|(name, _)| tables.iter().any(|table| table.name == *name)) {
            let name = literal(name);
            self.line(&format!("DELETE FROM sqlite_sequence WHERE name = {name};"))?;
            self.line(&format!("INSERT INTO sqlite_sequence (name, seq) VALUES ({name}, {seq});"))?;
        }
        Ok(())
    }

    /// The rows of a virtual table that has rows of its own; it makes its shadow tables out of them.
    fn virtual_rows(&mut self, table: &Object) -> Result<()> {
        let name = quoted(&table.name);
        let columns: Vec<String> = self.list(
            &format!("SELECT name FROM pragma_table_xinfo({}) WHERE hidden = 0", literal(&table.name)),
            |row| row.get(0),
        )?;
        let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        match module_of(table).as_str() {
            "fts5vocab" => Ok(()),
            "rtree" | "rtree_i32" => {
                self.insert(&format!("INSERT INTO {name} ({list}) VALUES"), &format!("SELECT {list} FROM {name}"))
            }
            "fts5" => {
                self.fts5_settings(table)?;
                match content_of(table) {
                    None => {
                        let head = format!("INSERT INTO {name} (rowid, {list}) VALUES");
                        self.insert(&head, &format!("SELECT rowid, {list} FROM {name}"))
                    }
                    Some(content) if content.is_empty() => Err(unsupported(table, "it keeps no content (content='')")),
                    Some(_) => Ok(()),
                }
            }
            other => Err(unsupported(table, &format!("its module {other} is not one that D1 has"))),
        }
    }

    /// Fills a full-text table whose content is another table or a view.
    fn rebuild(&mut self, table: &Object) -> Result<()> {
        let is_elsewhere = module_of(table) == "fts5" && content_of(table).is_some();
        if !is_elsewhere || self.options.content == Content::Schema {
            return Ok(());
        }
        let name = quoted(&table.name);
        self.report.tables += 1;
        self.line(&format!("INSERT INTO {name} ({name}) VALUES ('rebuild');"))
    }

    /// Settings such as `rank` and `automerge`, which FTS5 keeps beside its version.
    fn fts5_settings(&mut self, table: &Object) -> Result<()> {
        if self.options.content == Content::Schema {
            return Ok(());
        }
        let config = quoted(&format!("{}_config", table.name));
        let name = quoted(&table.name);
        let settings = self.list(&format!("SELECT k, v FROM {config} WHERE k <> 'version'"), |row| {
            let mut value = String::new();
            push_value(&mut value, row.get_ref(1)?);
            Ok((row.get::<_, String>(0)?, value))
        })?;
        for (key, value) in settings {
            self.line(&format!("INSERT INTO {name} ({name}, rank) VALUES ({}, {value});", literal(&key)))?;
        }
        Ok(())
    }
}

fn is_virtual(table: &Object) -> bool {
    words(&table.sql).nth(1).is_some_and(|word| word.eq_ignore_ascii_case("VIRTUAL"))
}

fn is_unique(index: &Object) -> bool {
    words(&index.sql).nth(1).is_some_and(|word| word.eq_ignore_ascii_case("UNIQUE"))
}

fn unsupported(table: &Object, why: &str) -> Error {
    let message = format!("cannot export the virtual table {}: {why}; export the other tables by name", table.name);
    Error::new(ErrorKind::Unsupported, message)
}

/// The module of a virtual table, in lower case.
fn module_of(table: &Object) -> String {
    let module = words(&table.sql).skip_while(|word| !word.eq_ignore_ascii_case("USING")).nth(1);
    module.map(str::to_ascii_lowercase).unwrap_or_default()
}

/// The value of FTS5's option `content`, without its quotes.
fn content_of(table: &Object) -> Option<String> {
    let words: Vec<&str> = words(&table.sql).collect();
    let at = words.windows(2).position(|two| two[0].eq_ignore_ascii_case("content") && two[1] == "=")?;
    words.get(at + 2).map(|word| unquoted(word))
}
