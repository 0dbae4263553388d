//! The names of a dataset's columns.
//!
//! A stored point has positions and no names, in this crate as on Analytics Engine. A [`Schema`] gives them names that last: it is a JSON file
//! beside the code, from which `#[derive(Event)]` takes positions at compile time, `query::to_positions` at run time, and
//! [`Schema::check_succeeds`] sees to it that a new version leaves every old column where it was.

use std::collections::BTreeSet;
use std::fmt;

use crate::{Error, ErrorKind, Result, limits};

/// The position of a column among the values of a data point; displayed as SQL names it: `index1`, `blob2`, `double3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Position {
    /// `index1`.
    Index,
    /// `blob1` to `blob20`, by number.
    Blob(usize),
    /// `double1` to `double20`, by number.
    Double(usize),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("index1"),
            Self::Blob(number) => write!(f, "blob{number}"),
            Self::Double(number) => write!(f, "double{number}"),
        }
    }
}

/// The schema of a dataset: a name for the index and for each position of its blobs and doubles.
///
/// It is committed as a JSON file beside the code that writes the dataset. `#[derive(Event)]` (feature `derive`) takes the positions
/// of a struct's fields from that file, and fails to compile where a field is not in it. A column keeps its position: a new
/// one goes to the end of its list, and one that is not written any more stays where it is, so that old rows stay readable.
///
/// ```
/// use isobar_analytics::{Position, Schema};
///
/// let file = r#"{"dataset": "api_requests", "index": "tenant", "blobs": ["method", "route"], "doubles": ["ms"]}"#;
/// let schema: Schema = serde_json::from_str(file)?;
/// assert_eq!(schema.position("route"), Some(Position::Blob(2)));
/// assert_eq!(schema.position("route").unwrap().to_string(), "blob2");
///
/// let next = Schema::new("api_requests").with_index("tenant").with_blobs(["route", "method"]).with_doubles(["ms"]);
/// let error = next.check_succeeds(&schema).unwrap_err();
/// assert_eq!(error.to_string(), "schema: column method of dataset api_requests has moved from blob1 to blob2");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "File")]
#[non_exhaustive]
pub struct Schema {
    /// Name of the dataset.
    pub dataset: String,
    /// Name of `index1`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Names of the blobs by position; `None` where a position has no name. At most 20.
    pub blobs: Vec<Option<String>>,
    /// Names of the doubles by position; `None` where a position has no name. At most 20.
    pub doubles: Vec<Option<String>>,
}

/// The committed file, before it is checked.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    dataset: String,
    #[serde(default)]
    index: Option<String>,
    #[serde(default)]
    blobs: Vec<Option<String>>,
    #[serde(default)]
    doubles: Vec<Option<String>>,
}

impl TryFrom<File> for Schema {
    type Error = Error;

    fn try_from(file: File) -> Result<Self> {
        let File { dataset, index, blobs, doubles } = file;
        let schema = Self { dataset, index, blobs, doubles };
        schema.check().map(|()| schema)
    }
}

impl Schema {
    /// Creates the schema of a dataset without named columns.
    #[must_use]
    pub fn new(dataset: impl Into<String>) -> Self {
        Self { dataset: dataset.into(), index: None, blobs: Vec::new(), doubles: Vec::new() }
    }

    /// Names the index.
    #[must_use]
    pub fn with_index(mut self, name: impl Into<String>) -> Self {
        self.index = Some(name.into());
        self
    }

    /// Names the blobs by position, from `blob1` on; an empty name leaves its position without one.
    ///
    /// ```
    /// use isobar_analytics::{Position, Schema};
    ///
    /// let schema = Schema::new("visits").with_blobs(["page", "", "country"]);
    /// assert_eq!(schema.position("country"), Some(Position::Blob(3)));
    /// assert_eq!(schema.blobs[1], None);
    /// ```
    #[must_use]
    pub fn with_blobs<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.blobs = named(names);
        self
    }

    /// Names the doubles by position, from `double1` on; an empty name leaves its position without one.
    #[must_use]
    pub fn with_doubles<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.doubles = named(names);
        self
    }

    /// Returns the column with this name.
    ///
    /// Case matters.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<Position> {
        self.columns().find(|(_, known)| *known == name).map(|(column, _)| column)
    }

    /// Returns the column with this name, for code that cannot do without it.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] where no column has the name.
    pub fn require(&self, name: &str) -> Result<Position> {
        self.position(name).ok_or_else(|| invalid(format!("dataset {} has no column {name}", self.dataset)))
    }

    /// Returns the columns that have a name: the index, the blobs, the doubles.
    ///
    /// ```
    /// use isobar_analytics::Schema;
    ///
    /// let schema = Schema::new("visits").with_index("tenant").with_blobs(["page"]).with_doubles(["ms"]);
    /// let names: Vec<String> = schema.columns().map(|(position, name)| format!("{position} is {name}")).collect();
    /// assert_eq!(names, ["index1 is tenant", "blob1 is page", "double1 is ms"]);
    /// ```
    pub fn columns(&self) -> impl Iterator<Item = (Position, &str)> {
        let index = self.index.as_deref().map(|name| (Position::Index, name));
        let blobs = numbered(&self.blobs).map(|(number, name)| (Position::Blob(number), name));
        let doubles = numbered(&self.doubles).map(|(number, name)| (Position::Double(number), name));
        index.into_iter().chain(blobs).chain(doubles)
    }

    /// Checks the names: each is an identifier, stands once, and is not one of a column in SQL (`blob1`, `timestamp`); and the
    /// number of blobs and doubles is within the limits.
    ///
    /// Reading a file checks it already; this is for a schema that code has put together.
    ///
    /// ```
    /// use isobar_analytics::Schema;
    ///
    /// assert!(Schema::new("visits").with_blobs(["page", "country"]).check().is_ok());
    /// let error = Schema::new("visits").with_blobs(["blob1"]).check().unwrap_err();
    /// assert!(error.to_string().starts_with("schema: invalid name \"blob1\" of blob1 in dataset visits"));
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Schema`], with the name at fault.
    pub fn check(&self) -> Result<()> {
        if !is_identifier(&self.dataset) {
            return Err(invalid(format!("invalid dataset name {:?}: use letters, digits and _", self.dataset)));
        }
        for (kind, count, limit) in
            [("blobs", self.blobs.len(), limits::BLOBS), ("doubles", self.doubles.len(), limits::DOUBLES)]
        {
            if count > limit {
                return Err(invalid(format!(
                    "dataset {} has {count} {kind}, and at most {limit} are supported",
                    self.dataset
                )));
            }
        }
        let mut names = BTreeSet::new();
        for (column, name) in self.columns() {
            if !is_identifier(name) || is_reserved(name) {
                let rule = "use letters, digits and _, and no name of SQL's own columns";
                return Err(invalid(format!("invalid name {name:?} of {column} in dataset {}: {rule}", self.dataset)));
            }
            if !names.insert(name) {
                return Err(invalid(format!("two columns of dataset {} are named {name}", self.dataset)));
            }
        }
        Ok(())
    }

    /// Checks that this schema may replace an older one: every column of that one is where it was, so rows written by it stay
    /// readable.
    ///
    /// ```
    /// use isobar_analytics::Schema;
    ///
    /// let older = Schema::new("visits").with_blobs(["page"]);
    /// assert!(Schema::new("visits").with_blobs(["page", "country"]).check_succeeds(&older).is_ok());
    /// let error = Schema::new("visits").with_blobs(["country"]).check_succeeds(&older).unwrap_err();
    /// assert_eq!(error.message(), "column page (blob1) is missing from dataset visits");
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Schema`], with the first column that has moved, has gone, or has another name.
    pub fn check_succeeds(&self, older: &Self) -> Result<()> {
        if self.dataset != older.dataset {
            return Err(invalid(format!("dataset {} is not dataset {}", self.dataset, older.dataset)));
        }
        for (column, name) in older.columns() {
            match self.position(name) {
                Some(now) if now == column => {}
                Some(now) => {
                    let dataset = &self.dataset;
                    return Err(invalid(format!(
                        "column {name} of dataset {dataset} has moved from {column} to {now}"
                    )));
                }
                None => {
                    return Err(invalid(format!("column {name} ({column}) is missing from dataset {}", self.dataset)));
                }
            }
        }
        Ok(())
    }
}

fn named<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Vec<Option<String>> {
    names.into_iter().map(Into::into).map(|name| Some(name).filter(|name| !name.is_empty())).collect()
}

fn numbered(names: &[Option<String>]) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(names).filter_map(|(number, name)| name.as_deref().map(|name| (number, name)))
}

/// Whether a name needs no quotes in SQL: ASCII letters, digits and `_`, not a digit first.
pub(crate) fn is_identifier(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_letter) && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// Whether this is a name of SQL's own columns.
fn is_reserved(name: &str) -> bool {
    let is_numbered = |prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    ["dataset", "timestamp", "_sample_interval"].contains(&name)
        || ["index", "blob", "double"].into_iter().any(is_numbered)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Schema, message).during("schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> Result<Schema, String> {
        serde_json::from_str(file).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn schema_file_is_checked_when_it_is_read() {
        let blobs = vec!["null"; 21].join(",");
        for (file, expected) in [
            (r#"{"dataset": "a b"}"#.to_owned(), "schema: invalid dataset name \"a b\""),
            (r#"{"dataset": "a", "blobs": ["x", "x"]}"#.to_owned(), "schema: two columns of dataset a are named x"),
            (
                r#"{"dataset": "a", "blobs": ["x"], "index": "x"}"#.to_owned(),
                "schema: two columns of dataset a are named x",
            ),
            (r#"{"dataset": "a", "doubles": ["blob7"]}"#.to_owned(), "schema: invalid name \"blob7\" of double1"),
            (r#"{"dataset": "a", "doubles": ["timestamp"]}"#.to_owned(), "schema: invalid name \"timestamp\""),
            (r#"{"dataset": "a", "blobs": ["1x"]}"#.to_owned(), "schema: invalid name \"1x\" of blob1"),
            (format!(r#"{{"dataset": "a", "blobs": [{blobs}]}}"#), "schema: dataset a has 21 blobs, and at most 20"),
            (r#"{"dataset": "a", "blob": []}"#.to_owned(), "unknown field `blob`"),
        ] {
            let error = read(&file).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let schema = read(r#"{"dataset": "a", "blobs": ["x", null, "z"], "doubles": ["blobs"]}"#).unwrap();
        assert_eq!(schema.position("z"), Some(Position::Blob(3)));
        assert_eq!(schema.position("y"), None);
        assert_eq!(read(&serde_json::to_string(&schema).unwrap()).unwrap(), schema);
    }

    #[test]
    fn successor_keeps_every_column_in_its_place() {
        let older = Schema::new("a").with_index("tenant").with_blobs(["x", "", "z"]).with_doubles(["ms"]);
        let wider =
            Schema::new("a").with_index("tenant").with_blobs(["x", "y", "z", "w"]).with_doubles(["ms", "bytes"]);
        wider.check_succeeds(&older).unwrap();
        let error = older.check_succeeds(&wider).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Schema, "column y (blob2) is missing from dataset a"));
        assert!(Schema::new("b").check_succeeds(&older).is_err());
    }
}
