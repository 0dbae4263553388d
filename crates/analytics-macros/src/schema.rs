//! The committed schema file.
//!
//! The macro reads it itself and not by `isobar_analytics::Schema`, of which this crate is a dependency. The rules are the same, and the file is an
//! input of the compilation: changing it compiles the events anew.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use syn::{Error, LitStr, Result};

use crate::attributes::Position;

/// The schema of a dataset as its file says it. An unnamed position is empty.
pub(crate) struct Schema {
    /// As the path stands in the attribute.
    pub(crate) shown: String,
    pub(crate) path: PathBuf,
    pub(crate) dataset: String,
    pub(crate) index: String,
    pub(crate) blobs: Vec<String>,
    pub(crate) doubles: Vec<String>,
}

impl Schema {
    /// Reads the file that the attribute names, below the package that is compiled.
    pub(crate) fn read(path: &LitStr) -> Result<Self> {
        let failed = |problem: String| Error::new(path.span(), problem);
        let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| {
            failed("the schema is found by CARGO_MANIFEST_DIR, which cargo sets: build by cargo".to_owned())
        })?;
        let shown = path.value();
        let file = Path::new(&package).join(&shown);
        let text = std::fs::read_to_string(&file)
            .map_err(|error| failed(format!("cannot read the schema {}: {error}", file.display())))?;
        Self::parse(&text, shown.clone(), file).map_err(|problem| failed(format!("invalid schema {shown}: {problem}")))
    }

    pub(crate) fn parse(text: &str, shown: String, path: PathBuf) -> std::result::Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let object = value.as_object().ok_or("it is not an object")?;
        if let Some(key) = object.keys().find(|key| !["dataset", "index", "blobs", "doubles"].contains(&key.as_str())) {
            return Err(format!("unknown field {key:?}: use dataset, index, blobs and doubles"));
        }
        let name = |value: &Value| match value {
            Value::Null => Ok(String::new()),
            Value::String(name) => Ok(name.clone()),
            other => Err(format!("{other} is not a name")),
        };
        let names = |key: &str| match object.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(names)) if names.len() <= 20 => names.iter().map(name).collect(),
            Some(Value::Array(names)) => Err(format!("{key} has {} names, and at most 20 are supported", names.len())),
            Some(_) => Err(format!("{key} is not a list of names")),
        };
        let dataset = object.get("dataset").and_then(Value::as_str).ok_or("it has no dataset")?.to_owned();
        let index = object.get("index").map_or(Ok(String::new()), name)?;
        let schema = Self { shown, path, dataset, index, blobs: names("blobs")?, doubles: names("doubles")? };
        match schema.named_twice() {
            Some(name) => Err(format!("two columns are named {name}")),
            None => Ok(schema),
        }
    }

    /// Returns a name that two columns have.
    fn named_twice(&self) -> Option<String> {
        let mut known = HashSet::new();
        let names = std::iter::once(&self.index).chain(&self.blobs).chain(&self.doubles);
        names.filter(|name| !name.is_empty()).find(|name| !known.insert(*name)).cloned()
    }

    /// Returns the position of a column.
    pub(crate) fn position(&self, name: &str) -> Option<Position> {
        let number = |names: &[String]| names.iter().position(|known| known == name).map(|at| at + 1);
        if self.index == name {
            return Some(Position::Index);
        }
        number(&self.blobs).map(Position::Blob).or_else(|| number(&self.doubles).map(Position::Double))
    }
}
