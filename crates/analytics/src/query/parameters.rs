//! Queries as text with parameters.
//!
//! A value becomes a literal of the text before anything parses it, so that every executor takes the same text, Cloudflare's SQL API among
//! them, which has no parameters. That is safe because one function, `literal`, writes all of them: texts with their quotes and backslashes
//! escaped, numbers in parentheses where they are negative, times by `toDateTime`. Parameters are found by the tokens of the text: a `$1`
//! within a text, a quoted name or a comment is not a parameter.

use chrono::{DateTime, Utc};

use super::float::float;
use super::lexer::{TokenKind, tokens};
use super::position::{Position, check_length, error_at};
use crate::Result;

/// A query in Analytics Engine's SQL, with parameters whose values cannot change it.
///
/// A parameter is `$1`, `$2`, ... by position, or `$name`; it stands where a number, a text or a time may stand. Its value becomes a
/// literal, so the same text runs on any executor.
///
/// ```
/// use isobar_analytics::query::Query;
///
/// let query = Query::new("SELECT sum(double1) FROM visits WHERE blob1 = $1 AND double2 > $least")
///     .with("it's")
///     .with_named("least", -5);
/// let sql = query.to_sql()?;
/// assert_eq!(sql, r"SELECT sum(double1) FROM visits WHERE blob1 = 'it\'s' AND double2 > (-5)");
/// # Ok::<(), isobar_analytics::Error>(())
/// ```
///
/// Numbered and named parameters may be mixed, except by the binding of Analytics SQL. A parameter may stand several times; one without a value
/// is an error, and so is a value without a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    text: String,
    values: Vec<Parameter>,
    named: Vec<(String, Parameter)>,
}

/// The value of a parameter. Made from numbers, texts, `bool`s and times.
///
/// | from | literal |
/// |---|---|
/// | `i32`, `i64`, `u32`, `u64` | `5`, `(-5)` |
/// | `f64` | `2.5`, `2.0`: stays a float |
/// | `&str`, `String` | `'it\'s'` |
/// | `bool` | `true` |
/// | `DateTime<Utc>` | `toDateTime('2026-11-24 01:02:03')` |
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Parameter {
    /// A whole number.
    Int(i64),
    /// An unsigned whole number.
    UInt(u64),
    /// A number. NaN and infinity are errors of [`Query::to_sql`].
    Float(f64),
    /// A text.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A time, in seconds; fractions are cut off.
    Time(DateTime<Utc>),
}

macro_rules! from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Parameter {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
from!(i32 => Int, i64 => Int, u32 => UInt, u64 => UInt, f64 => Float, &str => Text, String => Text, bool => Bool, DateTime<Utc> => Time);

impl Query {
    /// Creates a query of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), values: Vec::new(), named: Vec::new() }
    }

    /// Gives the next parameter by position its value: `$1` first.
    ///
    /// ```
    /// use isobar_analytics::query::{Parameter, Query};
    ///
    /// let query = Query::new("SELECT count() FROM web WHERE blob1 = $1 AND double1 BETWEEN $2 AND $3").with("/home").with(-1).with(2.0);
    /// assert_eq!(query.values()[1], Parameter::Int(-1));
    /// let sql = query.to_sql()?;
    /// assert_eq!(sql, "SELECT count() FROM web WHERE blob1 = '/home' AND double1 BETWEEN (-1) AND 2.0");
    /// # Ok::<(), isobar_analytics::Error>(())
    /// ```
    #[must_use]
    pub fn with(mut self, value: impl Into<Parameter>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Gives a parameter its value, by its name without the `$`.
    ///
    /// Of two values of one name the first counts, and the second is one without a parameter.
    #[must_use]
    pub fn with_named(mut self, name: impl Into<String>, value: impl Into<Parameter>) -> Self {
        self.named.push((name.into(), value.into()));
        self
    }

    /// Returns the text as it was given, with its parameters.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the values of the parameters by position: that of `$1` first.
    ///
    /// ```
    /// use isobar_analytics::query::{Parameter, Query};
    ///
    /// let query = Query::new("SELECT $1").with(true);
    /// assert_eq!((query.text(), query.values()), ("SELECT $1", &[Parameter::Bool(true)][..]));
    /// ```
    #[must_use]
    pub fn values(&self) -> &[Parameter] {
        &self.values
    }

    /// Returns the names and values of the parameters by name, without the `$`.
    ///
    /// For executors that send values beside the text.
    ///
    /// ```
    /// use isobar_analytics::query::{Parameter, Query};
    ///
    /// let query = Query::new("SELECT count() FROM web WHERE double1 > $least").with_named("least", 2.5);
    /// let values: Vec<_> = query.named_values().collect();
    /// assert_eq!(values, [("least", &Parameter::Float(2.5))]);
    /// ```
    pub fn named_values(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.named.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns the text in which parameters are literals.
    ///
    /// A query without values is returned as it is, whatever its text: an executor finds what is wrong with that.
    ///
    /// ```
    /// use isobar_analytics::query::Query;
    ///
    /// let message = |query: Query| query.to_sql().unwrap_err().message().to_owned();
    /// assert_eq!(message(Query::new("SELECT $1, $2").with(1)), "line 1, column 12: the parameter $2 has no value");
    /// assert_eq!(message(Query::new("SELECT 1").with(1)), "the query has no parameter $1, which is given a value");
    /// assert!(message(Query::new("SELECT $1").with(f64::NAN)).ends_with("NaN cannot be the value of a parameter"));
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Query`](crate::ErrorKind::Query): a parameter without a value, a value without a parameter, a number that is not
    /// finite; with parameters, a text of more than 256 KiB.
    pub fn to_sql(&self) -> Result<String> {
        if self.values.is_empty() && self.named.is_empty() {
            return Ok(self.text.clone());
        }
        check_length(self.text.len())?;
        let mut used = vec![false; self.values.len() + self.named.len()];
        let mut sql = String::with_capacity(self.text.len());
        for token in tokens(&self.text)? {
            if token.kind != TokenKind::Parameter {
                sql.push_str(token.text);
                continue;
            }
            let position = || Position::of(&self.text, token.at);
            let number = self
                .find(token.text)
                .ok_or_else(|| error_at(position(), format!("the parameter {} has no value", token.text)))?;
            used[number] = true;
            // Before it is made: a value may be long, and used many times.
            if let Parameter::Text(text) = self.value(number) {
                check_length(sql.len().saturating_add(text.len()))?;
            }
            sql.push_str(&literal(self.value(number)).map_err(|message| error_at(position(), message))?);
        }
        match used.iter().position(|is_used| !is_used) {
            Some(number) => {
                let name = self.named.get(number.wrapping_sub(self.values.len()));
                let name = name.map_or_else(|| format!("${}", number + 1), |(name, _)| format!("${name}"));
                Err(error_at(Position::default(), format!("the query has no parameter {name}, which is given a value")))
            }
            None => check_length(sql.len()).map(|()| sql),
        }
    }

    /// The number of the value of a parameter: those by position, then those by name.
    fn find(&self, parameter: &str) -> Option<usize> {
        let name = parameter.strip_prefix('$')?;
        match name.parse::<usize>() {
            Ok(number) => number.checked_sub(1).filter(|number| *number < self.values.len()),
            Err(_) => {
                let number = self.named.iter().position(|(named, _)| named == name)?;
                Some(self.values.len() + number)
            }
        }
    }

    fn value(&self, number: usize) -> &Parameter {
        self.values.get(number).unwrap_or_else(|| &self.named[number - self.values.len()].1)
    }
}

impl From<&str> for Query {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// The literal of a value. The only place where a value becomes a part of a query's text.
fn literal(value: &Parameter) -> Result<String, String> {
    Ok(match value {
        Parameter::Int(value) if *value < 0 => format!("({value})"),
        Parameter::Int(value) => value.to_string(),
        Parameter::UInt(value) => value.to_string(),
        Parameter::Float(value) if !value.is_finite() => {
            return Err(format!("{value} cannot be the value of a parameter"));
        }
        Parameter::Float(value) => {
            let text = float(*value);
            let text = if text.contains(['.', 'e']) { text } else { format!("{text}.0") };
            if text.starts_with('-') { format!("({text})") } else { text }
        }
        Parameter::Text(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        Parameter::Bool(value) => value.to_string(),
        Parameter::Time(at) => format!("toDateTime('{}')", at.format("%Y-%m-%d %H:%M:%S")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_literals() {
        let query = Query::new("SELECT $1, '$1', `$1`, $x -- $1\n").with("' OR 1=1 -- \\").with_named("x", 2.0);
        assert_eq!(query.to_sql().unwrap(), "SELECT '\\' OR 1=1 -- \\\\', '$1', `$1`, 2.0 -- $1\n");
        let query = Query::new("SELECT $1 # $1\n/* /* */ $1 */").with("\n*/, 2");
        assert_eq!(query.to_sql().unwrap(), "SELECT '\n*/, 2' # $1\n/* /* */ $1 */", "no value ends a comment");
    }

    #[test]
    fn parameters_and_values_must_match() {
        let message = |query: Query| query.to_sql().unwrap_err().message().to_owned();
        assert!(message(Query::new("SELECT $1, $2").with(1)).contains("the parameter $2 has no value"));
        assert!(message(Query::new("SELECT $a").with_named("b", 1)).contains("the parameter $a has no value"));
        assert!(message(Query::new("SELECT 1").with(1)).contains("no parameter $1"));
        assert!(message(Query::new("SELECT $1").with(f64::NAN)).contains("NaN cannot"));
    }

    #[test]
    fn values_that_make_the_text_too_long_are_refused_before_they_are_put_in() {
        let many = Query::new(format!("SELECT $1{}", ", $1".repeat(20_000))).with("x".repeat(100_000));
        assert!(many.to_sql().unwrap_err().message().contains("longer than 262144 bytes"));
        let long = Query::new("SELECT $1").with("x".repeat(300_000));
        assert!(long.to_sql().unwrap_err().message().contains("longer than 262144 bytes"));
        assert!(Query::new("SELECT $1").with("x".repeat(200_000)).to_sql().is_ok());
    }
}
