//! Test files of sqllogictest, through the trait, on the local backend.
//!
//! The files in `files` are the project's own, with the answers of SQLite 3.40.1 by another program. `ISOBAR_SLT` names a file or folder
//! to run in their place: SQLite's own files, for instance (`cargo xtask sqllogictest FOLDER`).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and prints")]

mod record;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use isobar_db::{Error, ErrorKind, QueryResult, Queryable, SqliteDatabase, Statement, Value, sql};
use md5::{Digest, Md5};
use record::{Expected, Record, Sort, parse};

/// Messages of D1's limits that are plain errors of SQL.
const LIMITS: [&str; 7] = [
    "too many terms in compound SELECT",
    "Expression tree is too large",
    "too many columns",
    "too many SQL variables",
    "too many arguments on function",
    "LIKE or GLOB pattern too complex",
    "at most 64 tables in a join",
];

/// Records by their outcome.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    /// Refused by D1's rules, by the message.
    excluded: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        for (message, count) in other.excluded {
            *self.excluded.entry(message).or_default() += count;
        }
    }

    fn line(&self) -> String {
        let excluded: usize = self.excluded.values().sum();
        let all = self.passed + self.failed.len() + excluded;
        let rate = self.passed as f64 * 100.0 / all.max(1) as f64;
        format!(
            "{} of {all} passed ({rate:.2} %), {excluded} excluded by D1's rules, {} failed",
            self.passed,
            self.failed.len()
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_give_the_answers_of_sqlite() {
    let given = std::env::var_os("ISOBAR_SLT").map(PathBuf::from);
    let place = given.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sqllogictest/files"));
    let files = files(&place);
    assert!(!files.is_empty(), "no file *.test or *.slt in {}", place.display());
    let mut all = Tally::default();
    for file in &files {
        let tally = run(file).await;
        println!("{}: {}", file.strip_prefix(&place).unwrap_or(file).display(), tally.line());
        all.add(tally);
    }
    println!("{} files: {}", files.len(), all.line());
    for (message, count) in &all.excluded {
        println!("  excluded {count:>7}: {message}");
    }
    for failure in all.failed.iter().take(20) {
        println!("{failure}");
    }
    assert!(all.failed.is_empty(), "{} records failed", all.failed.len());
    if given.is_none() {
        assert!(all.passed > 500, "only {} records have run", all.passed);
        let messages: Vec<_> = all.excluded.keys().map(String::as_str).collect();
        assert!(messages.contains(&"not authorized to use function: sqlite_version"), "{messages:?}");
        assert!(messages.contains(&"too many terms in compound SELECT"), "{messages:?}");
    }
}

/// The test files of a folder, or the file itself.
fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let mut files = Vec::new();
    let mut folders = vec![place.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.extension().is_some_and(|end| end == "test" || end == "slt");
            if path.is_dir() {
                folders.push(path);
            } else if is_test {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Runs a file on a database of its own.
async fn run(file: &Path) -> Tally {
    let text = std::fs::read_to_string(file).unwrap();
    let records = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let folder = tempfile::tempdir().unwrap();
    let database = SqliteDatabase::open(folder.path().join("db.sqlite")).await.unwrap();
    let mut tally = Tally::default();
    let mut refused = String::new();
    for record in records {
        let result = database.query(Statement::new(record.sql.clone())).await;
        match judge(&record, result) {
            Ok(()) => tally.passed += 1,
            Err(Fault::Excluded(message)) => {
                refused.push_str(&sql::closed(&record.sql));
                refused.push(';');
                *tally.excluded.entry(message).or_default() += 1;
            }
            Err(Fault::Different(message)) if missing(&message).is_some_and(|name| names(&refused, name)) => {
                *tally.excluded.entry("of an object that was refused".to_owned()).or_default() += 1;
            }
            Err(Fault::Different(message)) => {
                tally.failed.push(format!("{}:{}: {message}\n  {}", file.display(), record.line, record.sql));
            }
        }
    }
    tally
}

/// The name in `no such view: v`.
fn missing(message: &str) -> Option<&str> {
    message.split_once("no such ")?.1.split(": ").nth(1)
}

/// Returns whether a name is one of the words of statements.
fn names(statements: &str, name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    sql::words(statements).any(|word| sql::unquoted(word).eq_ignore_ascii_case(name))
}

enum Fault {
    Excluded(String),
    Different(String),
}

fn judge(record: &Record, result: Result<QueryResult, Error>) -> Result<(), Fault> {
    let different = |message: String| Err(Fault::Different(message));
    let result = match (&record.expected, result) {
        (Expected::Failure, Ok(_)) => return different("it succeeds".to_owned()),
        (Expected::Failure, Err(_)) => return Ok(()),
        // SQLite's program takes the rows before the error for all of them.
        (Expected::Values { values, .. }, Err(error))
            if values.is_empty() && error.message().starts_with("integer overflow") =>
        {
            return Ok(());
        }
        (_, Err(error)) => return Err(fault(&error)),
        (_, Ok(result)) => result,
    };
    let (types, sort) = match &record.expected {
        Expected::Values { types, sort, .. } | Expected::Hash { types, sort, .. } => (types, *sort),
        Expected::Success | Expected::Failure => return Ok(()),
    };
    if result.columns.len() != types.len() {
        return different(format!("{} columns in place of {}", result.columns.len(), types.len()));
    }
    let found = shown(&result, types, sort);
    match &record.expected {
        Expected::Values { values, .. } if *values == found => Ok(()),
        Expected::Values { values, .. } => different(format!("{found:?} in place of {values:?}")),
        Expected::Hash { count, md5, .. } if (*count, md5.as_str()) == (found.len(), &*hash(&found)) => Ok(()),
        Expected::Hash { count, .. } => {
            different(format!("{} values of another hash in place of {count}", found.len()))
        }
        Expected::Success | Expected::Failure => Ok(()),
    }
}

/// Whether an error is that of a rule of D1's.
fn fault(error: &Error) -> Fault {
    let message = error.message();
    let message = message.split(": SQLITE_").next().unwrap_or(message);
    let message = message.split(" at offset ").next().unwrap_or(message).to_owned();
    let is_rule = matches!(error.kind(), ErrorKind::NotAuthorized | ErrorKind::TooBig)
        || message.starts_with("not authorized")
        || LIMITS.iter().any(|limit| message.contains(limit));
    if is_rule { Fault::Excluded(message) } else { Fault::Different(error.to_string()) }
}

/// The values as the files write them, in the order in which they are compared.
fn shown(result: &QueryResult, types: &str, sort: Sort) -> Vec<String> {
    let row = |row: &isobar_db::Row| -> Vec<String> {
        row.values().iter().zip(types.chars()).map(|(value, kind)| show(value, kind)).collect()
    };
    let mut rows: Vec<Vec<String>> = result.rows.iter().map(row).collect();
    if sort == Sort::Rows {
        rows.sort();
    }
    let mut values: Vec<String> = rows.into_iter().flatten().collect();
    if sort == Sort::Values {
        values.sort();
    }
    values
}

/// A value by the type of its column, as SQLite's own program writes it.
fn show(value: &Value, kind: char) -> String {
    let number = match value {
        Value::Null => return "NULL".to_owned(),
        Value::Integer(integer) => *integer as f64,
        Value::Real(real) => *real,
        Value::Text(text) => leading_number(text),
        Value::Blob(bytes) => leading_number(&String::from_utf8_lossy(bytes)),
    };
    match (kind, value) {
        ('I', Value::Integer(integer)) => integer.to_string(),
        ('I', _) => format!("{:.0}", number.trunc()),
        ('R', _) => three_digits(number),
        (_, Value::Integer(integer)) => integer.to_string(),
        (_, Value::Real(real)) => format!("{real:?}"),
        (_, Value::Text(text)) => printable(text),
        (_, Value::Blob(bytes)) => printable(&String::from_utf8_lossy(bytes)),
        (_, Value::Null) => "NULL".to_owned(),
    }
}

/// Three digits behind the point, and 16 significant digits at most, as SQLite's `%.3f` of that time.
fn three_digits(number: f64) -> String {
    if number.abs() < 1e15 {
        return format!("{number:.3}");
    }
    let shortened = format!("{number:.15e}");
    let (digits, exponent) = shortened.split_once('e').unwrap();
    let sign = if digits.starts_with('-') { "-" } else { "" };
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let whole = exponent.parse::<usize>().unwrap() + 1;
    let padded = format!("{digits:0<width$}", width = whole + 3);
    format!("{sign}{}.{}", &padded[..whole], &padded[whole..whole + 3])
}

fn printable(text: &str) -> String {
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    text.bytes().map(|byte| if (b' '..=b'~').contains(&byte) { char::from(byte) } else { '@' }).collect()
}

/// The number that a text begins with; 0 where there is none.
fn leading_number(text: &str) -> f64 {
    let text = text.trim_start();
    let ends = text.char_indices().map(|(at, char)| at + char.len_utf8());
    ends.rev().find_map(|end| text[..end].parse().ok()).filter(|number: &f64| number.is_finite()).unwrap_or_default()
}

fn hash(values: &[String]) -> String {
    let mut md5 = Md5::new();
    for value in values {
        md5.update(value.as_bytes());
        md5.update(b"\n");
    }
    md5.finalize().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[test]
fn objects_that_were_refused_are_named_by_whole_words() {
    let refused = "CREATE VIEW wide AS SELECT 1;";
    assert_eq!(missing("no such table: main.wide: SQLITE_ERROR"), Some("main.wide"));
    assert!(
        names(refused, "main.wide") && names(refused, "WIDE") && !names(refused, "w") && !names(refused, "main.id")
    );
}

#[test]
fn values_are_shown_as_sqlite_shows_them() {
    let shown = |value: Value, kinds: &str| kinds.chars().map(|kind| show(&value, kind)).collect::<Vec<_>>().join(" ");
    assert_eq!(shown(Value::Null, "IRT"), "NULL NULL NULL");
    assert_eq!(shown(Value::Integer(-3), "IRT"), "-3 -3.000 -3");
    assert_eq!(shown(Value::Real(2.75), "IRT"), "2 2.750 2.75");
    assert_eq!(shown(Value::Text("12 é".to_owned()), "IRT"), "12 12.000 12 @@");
    assert_eq!(shown(Value::Real(-2.0_f64.powi(64)), "R"), "-18446744073709550000.000");
    assert_eq!(shown(Value::Text(String::new()), "IT"), "0 (empty)");
    assert_eq!(hash(&["1".to_owned(), "2".to_owned()]), "6ddb4095eb719e2a9f0a3f95677d24e0");
}
