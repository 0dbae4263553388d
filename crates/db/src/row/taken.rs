//! Rows whose texts are moved out rather than copied.
//!
//! [`Row::convert_all`] comes here with the values of a result that no one else holds. The common case is a struct whose fields are the
//! columns in their order: its strings are moved. Every other type goes the borrowed way, on a row built of the taken values.
//!
//! An error leaves the values in part taken; its caller drops them with the result.

use std::mem;
use std::sync::Arc;

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, IntoDeserializer, Visitor};

use super::{Column, Row, RowDeserializer};
use crate::value::rfc3339;
use crate::{Error, Result, Value};

/// A row whose values may be taken.
///
/// `values` has as many entries as `columns`; what is taken is replaced by NULL.
pub(super) struct TakenRow<'a> {
    pub(super) columns: &'a Arc<[String]>,
    pub(super) values: &'a mut [Value],
}

/// Any other type is read as a row is elsewhere.
macro_rules! as_row {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value> {
            let row = Row::new(Arc::clone(self.columns), self.values.iter_mut().map(|value| mem::replace(value, Value::Null)).collect());
            RowDeserializer(&row).$method($($name,)* visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for TakenRow<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let is_same = |(column, field): (&String, &&str)| column == field;
        if fields.len() == self.columns.len() && self.columns.iter().zip(fields).all(is_same) {
            let entries = self.columns.iter().zip(self.values);
            let entries = entries.map(|(name, value)| (name.as_str(), TakenColumn(name, value)));
            return visitor.visit_map(MapDeserializer::new(entries));
        }
        let row = Row::new(
            Arc::clone(self.columns),
            self.values.iter_mut().map(|value| mem::replace(value, Value::Null)).collect(),
        );
        RowDeserializer(&row).deserialize_struct(name, fields, visitor)
    }

    as_row! {
        deserialize_any() deserialize_map() deserialize_seq() deserialize_unit() deserialize_identifier()
        deserialize_ignored_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string() deserialize_bytes()
        deserialize_byte_buf() deserialize_option()
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_newtype_struct(name: &'static str)
        deserialize_unit_struct(name: &'static str)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

/// A value that may be taken, and the name of its column.
///
/// Moving applies to `String` and `Option<String>`: their visitors accept `visit_string`. A borrowed form (`&str`) cannot be read
/// from a row in either way, since rows convert to owned types alone.
struct TakenColumn<'a>(&'a str, &'a mut Value);

macro_rules! as_column {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value> {
            Column(self.0, self.1).$method($($name,)* visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for TakenColumn<'_> {
    type Error = Error;

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.1 {
            // A time of SQLite's may have to be read as another text.
            Value::Text(text) if rfc3339(text).is_none() => {
                let text = mem::take(text);
                visitor.visit_string(text).map_err(|error: Error| error.in_column(self.0))
            }
            _ => Column(self.0, self.1).deserialize_string(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if *self.1 == Value::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    as_column! {
        deserialize_any() deserialize_seq() deserialize_map() deserialize_unit() deserialize_identifier()
        deserialize_ignored_any() deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_bytes() deserialize_byte_buf()
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_newtype_struct(name: &'static str)
        deserialize_unit_struct(name: &'static str)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

impl<'de, 'a> IntoDeserializer<'de, Error> for TakenColumn<'a> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}
