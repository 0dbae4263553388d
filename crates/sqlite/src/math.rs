//! SQL's mathematical functions, which D1 and Durable Objects have, and which SQLite lacks where it was built without
//! `SQLITE_ENABLE_MATH_FUNCTIONS`.
//!
//! Their results are those of SQLite's own: arguments are read through SQLite's C interface as those functions read them, and the same
//! functions of the C library are called. An argument that is not a number, and a value outside of a function's domain, gives NULL.
#![allow(unsafe_code, reason = "SQLite is C")]

use std::ffi::{CStr, c_int, c_void};
use std::{ptr, slice};

use rusqlite::{Connection, ffi};

/// A function by its name in SQL.
struct Function {
    name: &'static CStr,
    kind: Kind,
}

enum Kind {
    Constant(f64),
    /// Of a real; an integer stays as it is.
    Rounding(fn(f64) -> f64),
    OfOne(fn(f64) -> f64),
    OfTwo(fn(f64, f64) -> f64),
    /// Of a number above 0.
    Logarithm(fn(f64) -> f64),
    /// `log(B, X)`: of a base above 1 and a number above 0.
    LogarithmToBase,
}

// The standard library computes these by formulas of its own, whose last digits differ from the C library's.
unsafe extern "C" {
    safe fn acosh(x: f64) -> f64;
    safe fn asinh(x: f64) -> f64;
    safe fn atanh(x: f64) -> f64;
}

/// The functions that the option adds, those that workerd's authorizer refuses included: they are refused by name here, too.
static FUNCTIONS: [Function; 30] = [
    Function::new(c"acos", Kind::OfOne(f64::acos)),
    Function::new(c"acosh", Kind::OfOne(|x| acosh(x))),
    Function::new(c"asin", Kind::OfOne(f64::asin)),
    Function::new(c"asinh", Kind::OfOne(|x| asinh(x))),
    Function::new(c"atan", Kind::OfOne(f64::atan)),
    Function::new(c"atan2", Kind::OfTwo(f64::atan2)),
    Function::new(c"atanh", Kind::OfOne(|x| atanh(x))),
    Function::new(c"ceil", Kind::Rounding(f64::ceil)),
    Function::new(c"ceiling", Kind::Rounding(f64::ceil)),
    Function::new(c"cos", Kind::OfOne(f64::cos)),
    Function::new(c"cosh", Kind::OfOne(f64::cosh)),
    Function::new(c"degrees", Kind::OfOne(|x| x * (180.0 / std::f64::consts::PI))),
    Function::new(c"exp", Kind::OfOne(f64::exp)),
    Function::new(c"floor", Kind::Rounding(f64::floor)),
    Function::new(c"ln", Kind::Logarithm(f64::ln)),
    Function::new(c"log", Kind::Logarithm(f64::log10)),
    Function::new(c"log", Kind::LogarithmToBase),
    Function::new(c"log10", Kind::Logarithm(f64::log10)),
    Function::new(c"log2", Kind::Logarithm(f64::log2)),
    Function::new(c"mod", Kind::OfTwo(|x, y| x % y)),
    Function::new(c"pi", Kind::Constant(std::f64::consts::PI)),
    Function::new(c"pow", Kind::OfTwo(f64::powf)),
    Function::new(c"power", Kind::OfTwo(f64::powf)),
    Function::new(c"radians", Kind::OfOne(|x| x * (std::f64::consts::PI / 180.0))),
    Function::new(c"sin", Kind::OfOne(f64::sin)),
    Function::new(c"sinh", Kind::OfOne(f64::sinh)),
    Function::new(c"sqrt", Kind::OfOne(f64::sqrt)),
    Function::new(c"tan", Kind::OfOne(f64::tan)),
    Function::new(c"tanh", Kind::OfOne(f64::tanh)),
    Function::new(c"trunc", Kind::Rounding(f64::trunc)),
];

/// Adds SQL's mathematical functions to a connection whose SQLite was built without them.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// isobar_sqlite::add_math_functions(&connection)?;
/// let got: (f64, Option<f64>) = connection.query_row("SELECT pow(2, 0.5), sqrt(-1)", [], |row| row.try_into())?;
/// assert_eq!(got, (2f64.sqrt(), None));
/// # Ok::<(), rusqlite::Error>(())
/// ```
///
/// # Errors
/// SQLite's: there is no memory.
pub fn add_math_functions(connection: &Connection) -> rusqlite::Result<()> {
    if has_own() { Ok(()) } else { register(connection) }
}

/// Whether SQLite was built with functions of its own.
///
/// Both would work side by side; SQLite's own are preferred, as whoever built it with them expects.
fn has_own() -> bool {
    // SAFETY: the name is a C string, which is not kept.
    unsafe { ffi::sqlite3_compileoption_used(c"ENABLE_MATH_FUNCTIONS".as_ptr()) != 0 }
}

/// Registers all functions with the flags that SQLite's own have. The state of each is a pointer into
/// [`FUNCTIONS`], which is static, so nothing is freed when the connection is closed.
fn register(connection: &Connection) -> rusqlite::Result<()> {
    // As SQLite's own they may stand in indexes, in constraints and in the schema.
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;
    for function in &FUNCTIONS {
        let own = ptr::from_ref(function).cast_mut().cast::<c_void>();
        let arguments = function.kind.arguments();
        let name = function.name.as_ptr();
        // SAFETY: the connection is open, the name is a C string, and `call` takes the function that it gets as a static one.
        let code = unsafe {
            let handle = connection.handle();
            ffi::sqlite3_create_function_v2(handle, name, arguments, flags, own, Some(call), None, None, None)
        };
        if code != ffi::SQLITE_OK {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        }
    }
    Ok(())
}

/// Runs a function of [`FUNCTIONS`] for SQLite. Without a result it is NULL, and so is one that is not a number.
unsafe extern "C" fn call(context: *mut ffi::sqlite3_context, count: c_int, values: *mut *mut ffi::sqlite3_value) {
    let count = usize::try_from(count).unwrap_or_default();
    // SAFETY: SQLite gives what `register` has given it, which is static, and as many values as it says; without any the pointer may
    // be null.
    let (function, values) = unsafe {
        let function = &*ffi::sqlite3_user_data(context).cast::<Function>();
        (function, if count == 0 { &[] } else { slice::from_raw_parts(values, count) })
    };
    // SAFETY: the values are SQLite's, for as long as this call takes.
    let arguments = values.iter().map(|value| unsafe { Argument::read(*value) });
    // SAFETY: the context is that of this call.
    unsafe {
        match function.kind.result(&arguments.collect::<Vec<_>>()) {
            Some(Outcome::Integer(value)) => ffi::sqlite3_result_int64(context, value),
            Some(Outcome::Real(value)) => ffi::sqlite3_result_double(context, value),
            None => {}
        }
    }
}

/// A value as SQLite's own functions read it.
#[derive(Clone, Copy)]
struct Argument {
    /// Whether it is a number, or text that is one.
    is_number: bool,
    /// Where it is a whole one.
    integer: Option<i64>,
    /// Of other text its beginning, else 0.
    real: f64,
}

impl Argument {
    /// Reads a value.
    ///
    /// # Safety
    /// The value has to be one that SQLite has passed to the function that runs.
    unsafe fn read(value: *mut ffi::sqlite3_value) -> Self {
        // SAFETY: as above.
        unsafe {
            let kind = ffi::sqlite3_value_numeric_type(value);
            Self {
                is_number: [ffi::SQLITE_INTEGER, ffi::SQLITE_FLOAT].contains(&kind),
                integer: (kind == ffi::SQLITE_INTEGER).then(|| ffi::sqlite3_value_int64(value)),
                real: ffi::sqlite3_value_double(value),
            }
        }
    }
}

enum Outcome {
    Integer(i64),
    Real(f64),
}

impl Function {
    const fn new(name: &'static CStr, kind: Kind) -> Self {
        Self { name, kind }
    }
}

impl Kind {
    /// Returns the number of arguments.
    fn arguments(&self) -> c_int {
        match self {
            Self::Constant(_) => 0,
            Self::Rounding(_) | Self::OfOne(_) | Self::Logarithm(_) => 1,
            Self::OfTwo(_) | Self::LogarithmToBase => 2,
        }
    }

    /// Computes the result; `None` for NULL.
    fn result(&self, arguments: &[Argument]) -> Option<Outcome> {
        let first = arguments.first().filter(|first| first.is_number);
        let second = arguments.get(1);
        let real = match self {
            Self::Constant(value) => *value,
            Self::Rounding(function) => match first?.integer {
                Some(integer) => return Some(Outcome::Integer(integer)),
                None => function(first?.real),
            },
            Self::OfOne(function) => function(first?.real),
            Self::OfTwo(function) => function(first?.real, second.filter(|second| second.is_number)?.real),
            Self::Logarithm(function) => function(first.filter(|first| first.real > 0.0)?.real),
            Self::LogarithmToBase => {
                let base = first.filter(|first| first.real > 0.0)?.real.ln();
                // SQLite does not ask whether the second one is a number: text that begins with one is taken.
                let number = second.filter(|second| base > 0.0 && second.real > 0.0)?.real;
                number.ln() / base
            }
        };
        Some(Outcome::Real(real))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use rusqlite::types::Value;

    use super::*;

    /// Results of workerd, line by line: expression, type, value.
    const WORKERD: &str = include_str!("../testdata/mathematical_functions.txt");

    fn expressions() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        let lines = WORKERD.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| {
            let mut fields = line.split('\t');
            (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap_or_default())
        })
    }

    fn evaluate(connection: &Connection, expression: &str) -> Value {
        connection.query_row(&format!("SELECT {expression}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn results_are_those_of_workerd() {
        let registered = Connection::open_in_memory().unwrap();
        register(&registered).unwrap();
        let added = Connection::open_in_memory().unwrap();
        add_math_functions(&added).unwrap();
        for (expression, kind, value) in expressions() {
            for connection in [&registered, &added] {
                let got = evaluate(connection, expression);
                let is_equal = match (&got, kind) {
                    (Value::Null, "null") => true,
                    (Value::Integer(got), "integer") => value.parse() == Ok(*got),
                    (Value::Real(got), "real") => {
                        // C libraries differ in the last digit.
                        let value: f64 = value.parse().unwrap();
                        *got == value || (got - value).abs() <= 4.0 * f64::EPSILON * value.abs()
                    }
                    _ => false,
                };
                assert!(is_equal, "{expression}: {got:?}, in workerd {kind} {value}");
            }
        }
        assert!(expressions().count() > 700);
    }

    #[test]
    fn registered_functions_equal_those_of_sqlite_to_the_last_bit() {
        let own = Connection::open_in_memory().unwrap();
        let registered = Connection::open_in_memory().unwrap();
        register(&registered).unwrap();
        let names = |connection: &Connection| -> Vec<(String, i64)> {
            let sql = "SELECT DISTINCT name, narg FROM pragma_function_list ORDER BY 1, 2";
            let mut statement = connection.prepare(sql).unwrap();
            statement.query_map([], |row| row.try_into()).unwrap().collect::<Result<_, _>>().unwrap()
        };
        if has_own() {
            assert_eq!(names(&registered), names(&own), "no function is new, and none has other arguments");
        } else {
            assert_eq!(names(&registered).len(), names(&own).len() + FUNCTIONS.len(), "each function is new");
            return;
        }
        for (expression, ..) in expressions() {
            assert_eq!(evaluate(&registered, expression), evaluate(&own, expression), "{expression}");
        }
    }

    #[test]
    fn functions_stand_in_indexes_and_generated_columns() {
        let connection = Connection::open_in_memory().unwrap();
        register(&connection).unwrap();
        let sql = "PRAGMA trusted_schema = OFF;
            CREATE TABLE t (a REAL CHECK (floor(a) >= 0), root REAL AS (sqrt(a)) STORED);
            CREATE INDEX t_log ON t (ln(a));
            INSERT INTO t (a) VALUES (4), (9)";
        connection.execute_batch(sql).unwrap();
        assert!(connection.execute_batch("INSERT INTO t (a) VALUES (-1)").is_err());
        assert_eq!(evaluate(&connection, "(SELECT sum(root) FROM t WHERE ln(a) > 0)"), Value::Real(5.0));
    }
}
