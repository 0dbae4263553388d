//! The attributes `#[event(..)]` of a struct and of its fields.
//!
//! Read by syn, key by key, so that an error has the place of the key. An attribute that is unknown is an error and names those that there are.

use syn::{Attribute, Error, LitInt, LitStr, Result};

/// Attributes of the struct.
///
/// All are optional; the schema and the dataset are compared when both are there.
#[derive(Default)]
pub(crate) struct StructAttributes {
    pub(crate) dataset: Option<LitStr>,
    pub(crate) schema: Option<LitStr>,
    /// Path of the crate `isobar_analytics`.
    pub(crate) krate: Option<syn::Path>,
}

impl StructAttributes {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("dataset") {
                    read.dataset = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("schema") {
                    read.schema = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("crate") {
                    read.krate = Some(meta.value()?.parse::<LitStr>()?.parse()?);
                } else {
                    return Err(meta.error("unknown attribute of an event: use dataset, schema or crate"));
                }
                Ok(())
            })?;
        }
        Ok(read)
    }
}

/// The kind and number of a column: `index`, `blob = 1`, `double = 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Position {
    Index,
    Blob(usize),
    Double(usize),
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index => f.write_str("index"),
            Self::Blob(number) => write!(f, "blob = {number}"),
            Self::Double(number) => write!(f, "double = {number}"),
        }
    }
}

/// Attributes of a field.
#[derive(Default)]
pub(crate) struct FieldAttributes {
    pub(crate) position: Option<Position>,
    pub(crate) name: Option<LitStr>,
    pub(crate) is_skipped: bool,
}

impl FieldAttributes {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| {
                let position = if meta.path.is_ident("index") {
                    Position::Index
                } else if meta.path.is_ident("blob") {
                    Position::Blob(number(&meta.value()?.parse()?)?)
                } else if meta.path.is_ident("double") {
                    Position::Double(number(&meta.value()?.parse()?)?)
                } else if meta.path.is_ident("name") {
                    read.name = Some(meta.value()?.parse()?);
                    return Ok(());
                } else if meta.path.is_ident("skip") {
                    read.is_skipped = true;
                    return Ok(());
                } else {
                    return Err(
                        meta.error("unknown attribute of a field: use index, blob = N, double = N, name or skip")
                    );
                };
                match read.position.replace(position) {
                    None => Ok(()),
                    Some(_) => Err(meta.error("a field has one position")),
                }
            })?;
        }
        Ok(read)
    }
}

/// The number of a blob or double: 1 to 20.
fn number(literal: &LitInt) -> Result<usize> {
    match literal.base10_parse()? {
        number @ 1..=20 => Ok(number),
        number => Err(Error::new(
            literal.span(),
            format!("{number} is not a position: blobs and doubles have the numbers 1 to 20"),
        )),
    }
}
