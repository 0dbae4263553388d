//! The columns of an event: which field is written to which position.
//!
//! | schema file | attribute of the field | position |
//! |---|---|---|
//! | none | `index`, `blob = N`, `double = N` | the attribute's |
//! | none | none | an error: add one, or `skip` |
//! | has the name | none | the file's |
//! | has the name | the same | the file's |
//! | has the name | another | an error |
//! | does not have the name | any | an error that says where to add it |

use std::collections::BTreeMap;

use syn::ext::IdentExt;
use syn::{Data, DeriveInput, Error, Fields, Ident, Result, Type};

use crate::attributes::{FieldAttributes, Position, StructAttributes};
use crate::schema::Schema;

/// A field that is written.
pub(crate) struct Field<'i> {
    pub(crate) ident: &'i Ident,
    pub(crate) kind: &'i Type,
    name: String,
}

/// The columns of a struct.
pub(crate) struct Columns<'i> {
    pub(crate) dataset: String,
    pub(crate) fields: BTreeMap<Position, Field<'i>>,
    /// The schema file, whose names stand also where there is no field.
    pub(crate) schema: Option<Schema>,
}

impl<'i> Columns<'i> {
    pub(crate) fn of(input: &'i DeriveInput, attributes: &StructAttributes) -> Result<Self> {
        let schema = attributes.schema.as_ref().map(Schema::read).transpose()?;
        let mut columns =
            Self { dataset: dataset(input, attributes, schema.as_ref())?, fields: BTreeMap::new(), schema };
        for field in &fields_of(input)?.named {
            let ident = field.ident.as_ref().expect("a named field has a name");
            let read = FieldAttributes::read(&field.attrs)?;
            if read.is_skipped {
                continue;
            }
            let name = read.name.as_ref().map_or_else(|| ident.unraw().to_string(), syn::LitStr::value);
            if columns.fields.values().any(|other| other.name == name) {
                return Err(Error::new(ident.span(), format!("two fields are named {name}")));
            }
            let position = columns.position(ident, &name, read.position)?;
            let taken = columns.fields.insert(position, Field { ident, kind: &field.ty, name });
            if let Some(Field { name, .. }) = taken {
                return Err(Error::new(
                    ident.span(),
                    format!("the field {name} has the position `{position}` already"),
                ));
            }
        }
        if columns.fields.is_empty() {
            return Err(Error::new(input.ident.span(), "an event has at least one field that is written"));
        }
        Ok(columns)
    }

    /// The position of a field, by the schema and by its attribute, which have to agree.
    fn position(&self, ident: &Ident, name: &str, claimed: Option<Position>) -> Result<Position> {
        let failed = |problem: String| Error::new(ident.span(), problem);
        let Some(schema) = &self.schema else {
            return claimed.ok_or_else(|| {
                failed(format!("the field {name} has no position: add #[event(index)], #[event(blob = N)], #[event(double = N)] or #[event(skip)]"))
            });
        };
        match (schema.position(name), claimed) {
            (Some(position), None) => Ok(position),
            (Some(position), Some(claimed)) if position == claimed => Ok(position),
            (Some(position), Some(_)) => {
                Err(failed(format!("{name} has the position `{position}` in {}", schema.shown)))
            }
            (None, _) => Err(failed(format!(
                "{name} is not in {}: add it at the end of \"blobs\" or \"doubles\"; a column never changes its position",
                schema.shown
            ))),
        }
    }

    /// The name at a position: the schema's, or else the field's.
    pub(crate) fn name(&self, position: Position) -> String {
        let field = self.fields.get(&position).map(|field| field.name.clone());
        let Some(schema) = &self.schema else { return field.unwrap_or_default() };
        let named = |names: &[String], number: usize| names.get(number - 1).cloned();
        let known = match position {
            Position::Index => Some(schema.index.clone()),
            Position::Blob(number) => named(&schema.blobs, number),
            Position::Double(number) => named(&schema.doubles, number),
        };
        known.unwrap_or_default()
    }

    /// How many blobs have a field: all up to the last one.
    pub(crate) fn blobs(&self) -> usize {
        self.fields
            .keys()
            .filter_map(|position| if let Position::Blob(number) = position { Some(*number) } else { None })
            .max()
            .unwrap_or(0)
    }

    /// How many doubles have a field: all up to the last one.
    pub(crate) fn doubles(&self) -> usize {
        self.fields
            .keys()
            .filter_map(|position| if let Position::Double(number) = position { Some(*number) } else { None })
            .max()
            .unwrap_or(0)
    }
}

fn fields_of(input: &DeriveInput) -> Result<&syn::FieldsNamed> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(fields),
            _ => Err(Error::new(input.ident.span(), "an event is a struct with named fields: columns have names")),
        },
        _ => Err(Error::new(input.ident.span(), "an event is a struct with named fields")),
    }
}

/// The dataset's name: the schema's, the attribute's, or the struct's in snake case. A schema and an attribute that differ are an error.
fn dataset(input: &DeriveInput, attributes: &StructAttributes, schema: Option<&Schema>) -> Result<String> {
    match (&attributes.dataset, schema) {
        (Some(named), Some(schema)) if named.value() != schema.dataset => {
            Err(Error::new(named.span(), format!("{} is the schema of dataset {}", schema.shown, schema.dataset)))
        }
        (Some(named), _) => Ok(named.value()),
        (None, Some(schema)) => Ok(schema.dataset.clone()),
        (None, None) => Ok(snake_case(&input.ident.unraw().to_string())),
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
