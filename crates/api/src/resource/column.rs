//! Columns: their values, and the form of these in JSON.
//!
//! A column decides four things, each in one place: whether a JSON value is valid and which value of SQLite it becomes
//! ([`Column::value`]); the same for a text in a query ([`Column::value_of_text`]); how a stored value is shown
//! ([`Column::json_of`]); and the sentence that says what is expected ([`Column::expected`]), for errors and documentation.
//! The OpenAPI document is made from the same [`Kind`].
//!
//! | kind | JSON | SQLite |
//! |---|---|---|
//! | text, choice, reference | string | `TEXT` |
//! | integer | number without a fraction, up to 2^53 - 1 | `INTEGER` |
//! | number | number | `REAL` |
//! | boolean | true, false | `INTEGER`: 1, 0 |
//! | timestamp | string, RFC 3339 | `TEXT` in UTC, milliseconds |
//! | json | an object, an array, anything | `TEXT` |
//! | secret | string; shown as `{"sealed": true}` | `BLOB`, sealed by the vault |
//!
//! D1 hands numbers over as JavaScript's, so a whole `REAL` comes back as an integer there: showing a value goes by the kind
//! of the column, not by the type of the value.

use isobar_db::Value;
use serde_json::{Value as Json, json};

use super::format::{Format, Shape};
use crate::id::is_id;
use crate::time::timestamp;

/// Largest integer that every reader of JSON keeps exactly.
const MAX_SAFE: i64 = (1 << 53) - 1;
/// Deepest nesting of a JSON column.
const MAX_DEPTH: usize = 32;

/// A column of a [`Resource`](crate::Resource), as the API shows and takes it.
///
/// Unless said otherwise a column may be null, is writable, and is not sortable.
///
/// ```
/// use isobar_api::{Column, Format, Policy, Resource, Role, Shape};
///
/// let products = Resource::of_tenant("products")
///     .column(Column::text("slug").chars(1..=64).format(Format::Slug).required().immutable())
///     .column(Column::integer("price").range(0..=1_000_000).required().sortable().describe("In cents."))
///     .column(Column::choice("status", &["draft", "public"]).default("draft"))
///     .column(Column::json("attributes", Shape::Object))
///     .column(Column::reference("category", "categories"))
///     .column(Column::timestamp("sold_out_at").read_only());
/// # drop(products);
/// ```
#[derive(Debug, Clone)]
pub struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) default: Option<Json>,
    pub(crate) read_only: bool,
    pub(crate) immutable: bool,
    pub(crate) sortable: bool,
    pub(crate) description: &'static str,
}

/// The type of a column, with its limits.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Text {
        min: usize,
        max: usize,
        format: Option<Format>,
    },
    Integer {
        min: i64,
        max: i64,
    },
    Number,
    Boolean,
    Timestamp,
    Choice(&'static [&'static str]),
    Json {
        shape: Shape,
        max_bytes: usize,
    },
    Reference(&'static str),
    /// Sealed in the vault: taken, never shown.
    Secret {
        max: usize,
    },
}

impl Column {
    /// A text of at most 1,000 characters, without NUL. See [`chars`](Self::chars) and [`format`](Self::format).
    ///
    /// Characters are Unicode scalar values. The text is stored as it is: it is neither trimmed nor normalized, and lists
    /// compare it by its bytes.
    ///
    /// ```
    /// use isobar_api::{Column, Resource};
    /// let notes = Resource::of_tenant("notes").column(Column::text("title").chars(1..=80).required());
    /// assert_eq!(notes.info().columns[1]["takes"], "must be a text of 1 to 80 characters");
    /// ```
    #[must_use]
    pub fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text { min: 0, max: 1000, format: None })
    }

    /// An integer from -(2^53 - 1) to 2^53 - 1, which every reader of JSON keeps exactly. See [`range`](Self::range).
    ///
    /// A number of JSON with a fraction of zero, such as `5.0`, is an integer, too.
    #[must_use]
    pub fn integer(name: &'static str) -> Self {
        Self::new(name, Kind::Integer { min: -MAX_SAFE, max: MAX_SAFE })
    }

    /// A finite number, stored as a REAL.
    #[must_use]
    pub fn number(name: &'static str) -> Self {
        Self::new(name, Kind::Number)
    }

    /// True or false, stored as 1 or 0.
    #[must_use]
    pub fn boolean(name: &'static str) -> Self {
        Self::new(name, Kind::Boolean)
    }

    /// A time. It is taken as RFC 3339 with any offset, and stored and shown as RFC 3339 in UTC to the millisecond.
    ///
    /// `2026-11-01T13:00:00+01:00` is stored as `2026-11-01T12:00:00.000Z`. Years are 0 to 9999; a fraction beyond
    /// milliseconds is cut.
    #[must_use]
    pub fn timestamp(name: &'static str) -> Self {
        Self::new(name, Kind::Timestamp)
    }

    /// One of the given texts.
    ///
    /// The choices are compared exactly. One that is taken from the declaration later is still shown in the rows that have it,
    /// and can no longer be written.
    ///
    /// ```
    /// use isobar_api::{Column, Resource};
    /// let column = Column::choice("status", &["draft", "public"]).default("draft");
    /// let pages = Resource::of_tenant("pages").column(column);
    /// assert_eq!(pages.info().columns[1]["takes"], "must be one of draft, public");
    /// ```
    #[must_use]
    pub fn choice(name: &'static str, choices: &'static [&'static str]) -> Self {
        Self::new(name, Kind::Choice(choices))
    }

    /// JSON of a shape, stored as text. Limits: 64 KiB, nested at most 32 deep.
    ///
    /// Its size is that of the compact form in which it is stored. Lists can neither filter nor sort by it.
    #[must_use]
    pub fn json(name: &'static str, shape: Shape) -> Self {
        Self::new(name, Kind::Json { shape, max_bytes: 64 * 1024 })
    }

    /// The id of a row of another resource, which must exist within the principal's tenant and, where rows belong to users, be
    /// visible to the principal.
    ///
    /// The row is looked up before the write, in the scope of the principal: a row of another tenant is not found, as one that
    /// does not exist. The lookup and the write are two transactions, so a foreign key in the schema is still needed against a
    /// row that is deleted in between.
    ///
    /// ```
    /// use isobar_api::{Column, Resource};
    /// let orders = Resource::of_tenant("orders").column(Column::reference("customer_id", "customers").required());
    /// assert_eq!(orders.info().columns[1]["takes"], "must be the id of one of customers");
    /// ```
    #[must_use]
    pub fn reference(name: &'static str, resource: &'static str) -> Self {
        Self::new(name, Kind::Reference(resource))
    }

    /// A secret text of 1 byte to 8 KiB. It is sealed by the vault of [`Api::vault`](crate::Api::vault), and shown only as
    /// `{"sealed": true}`.
    ///
    /// The sealed value is bound to table, column and row: copied into another row it cannot be opened. The program opens it
    /// by the vault; there is no request that does. A change to null deletes it. Lists can neither filter nor sort by it.
    #[must_use]
    pub fn secret(name: &'static str) -> Self {
        Self::new(name, Kind::Secret { max: 8 * 1024 })
    }

    fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            required: false,
            default: None,
            read_only: false,
            immutable: false,
            sortable: false,
            description: "",
        }
    }

    /// Sets the least and the largest number of characters of a text. Default: 0 to 1,000.
    ///
    /// ```
    /// use isobar_api::{Column, Resource};
    /// let notes = Resource::of_tenant("notes").column(Column::text("body").chars(0..=10_000));
    /// assert_eq!(notes.info().columns[1]["takes"], "must be a text of 0 to 10000 characters");
    /// ```
    ///
    /// # Panics
    /// When the column is not a text.
    #[must_use]
    pub fn chars(mut self, range: std::ops::RangeInclusive<usize>) -> Self {
        let Kind::Text { min, max, .. } = &mut self.kind else { panic!("{} is not a text", self.name) };
        (*min, *max) = range.into_inner();
        self
    }

    /// Sets the format of a text, which then has at least one character. Default: any text.
    ///
    /// ```
    /// use isobar_api::{Column, Format, Resource};
    /// let pages = Resource::of_tenant("pages").column(Column::text("slug").chars(1..=64).format(Format::Slug));
    /// assert_eq!(pages.info().columns[1]["takes"], "must be 1 to 64 of a-z, 0-9 and -");
    /// ```
    ///
    /// # Panics
    /// When the column is not a text.
    #[must_use]
    pub fn format(mut self, form: Format) -> Self {
        let Kind::Text { min, format, .. } = &mut self.kind else { panic!("{} is not a text", self.name) };
        *min = (*min).max(1);
        *format = Some(form);
        self
    }

    /// Sets the least and the largest value of an integer. Default: -(2^53 - 1) to 2^53 - 1.
    ///
    /// ```
    /// use isobar_api::{Column, Resource};
    /// let tickets = Resource::of_tenant("tickets").column(Column::integer("priority").range(1..=5).default(3));
    /// assert_eq!(tickets.info().columns[1]["takes"], "must be an integer from 1 to 5");
    /// ```
    ///
    /// # Panics
    /// When the column is not an integer.
    #[must_use]
    pub fn range(mut self, range: std::ops::RangeInclusive<i64>) -> Self {
        let Kind::Integer { min, max } = &mut self.kind else { panic!("{} is not an integer", self.name) };
        (*min, *max) = range.into_inner();
        self
    }

    /// Makes the column required: a creation must have it, and it is never null.
    ///
    /// A PATCH without the column leaves it as it is; one that sets it to null is refused with 400.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Sets the value of a row that is created without one. The column is then never null. Default: null.
    ///
    /// The value is written by the API, so the schema needs no default of its own. It is checked when the column is
    /// [added](crate::Resource::column).
    #[must_use]
    pub fn default(mut self, value: impl Into<Json>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Makes the column read-only: requests cannot set it.
    ///
    /// A request that has it is refused with 400, not ignored. The program writes it by statements of its own, and should
    /// increment `revision` with it. A new row gets the column's default, or null. If
    /// the column is required, too, the API cannot create rows: the program inserts them.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Makes the column immutable: it is set at creation, and cannot be changed.
    #[must_use]
    pub fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }

    /// Permits sorting lists by the column. It must be required or have a default, and should have an index.
    ///
    /// A list sorted by it reads its page by the index `(tenant_id, column, id)` where there is one; without an index SQLite
    /// sorts all rows of the tenant for each page.
    ///
    /// ```
    /// use isobar_api::{Column, Resource};
    /// let notes = Resource::of_tenant("notes").column(Column::text("title").required().sortable()).sort("title");
    /// # drop(notes);
    /// ```
    #[must_use]
    pub fn sortable(mut self) -> Self {
        self.sortable = true;
        self
    }

    /// Sets the description in the documentation. Default: empty.
    #[must_use]
    pub fn describe(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Whether it may be null: it is neither required nor has a default.
    pub(crate) fn nullable(&self) -> bool {
        !self.required && self.default.is_none()
    }

    /// Whether lists may be filtered by it.
    ///
    /// JSON has no order and no one form, and a sealed secret is another text each time.
    pub(crate) fn filterable(&self) -> bool {
        !matches!(self.kind, Kind::Json { .. } | Kind::Secret { .. })
    }

    /// Checks a JSON value, and returns the column's value, or the error. A secret is still plain.
    pub(crate) fn value(&self, json: &Json) -> Result<Value, String> {
        if json.is_null() {
            let refused = || format!("must not be null: {}", self.expected());
            return if self.nullable() { Ok(Value::Null) } else { Err(refused()) };
        }
        let wrong = || self.expected();
        match &self.kind {
            Kind::Text { min, max, format } => {
                let text = json.as_str().ok_or_else(wrong)?;
                let fits = (*min..=*max).contains(&text.chars().count()) && !text.contains('\0');
                if fits && format.is_none_or(|format| format.fits(text)) { Ok(text.into()) } else { Err(wrong()) }
            }
            Kind::Integer { min, max } => {
                let whole = json.as_i64().or_else(|| json.as_f64().and_then(whole)).ok_or_else(wrong)?;
                if (*min..=*max).contains(&whole) { Ok(whole.into()) } else { Err(wrong()) }
            }
            Kind::Number => json.as_f64().map(Value::Real).ok_or_else(wrong),
            Kind::Boolean => json.as_bool().map(Value::from).ok_or_else(wrong),
            Kind::Timestamp => json.as_str().and_then(timestamp).map(Value::Text).ok_or_else(wrong),
            Kind::Choice(choices) => {
                json.as_str().filter(|text| choices.contains(text)).map(Value::from).ok_or_else(wrong)
            }
            Kind::Json { shape, max_bytes } => {
                let text = json.to_string();
                let fits = shape.fits(json) && text.len() <= *max_bytes && depth(json) <= MAX_DEPTH;
                if fits { Ok(text.into()) } else { Err(wrong()) }
            }
            Kind::Reference(_) => json.as_str().filter(|text| is_id(text)).map(Value::from).ok_or_else(wrong),
            Kind::Secret { max } => {
                let fits = |text: &&str| (1..=*max).contains(&text.len());
                json.as_str().filter(fits).map(Value::from).ok_or_else(wrong)
            }
        }
    }

    /// Parses the value of a query parameter.
    ///
    /// A text of a text column is not checked against its length or format: a filter that no row can fulfil finds nothing.
    pub(crate) fn value_of_text(&self, text: &str) -> Result<Value, String> {
        let json = match self.kind {
            Kind::Integer { .. } => text.parse::<i64>().map(Json::from).map_err(|_| self.expected())?,
            Kind::Number => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                Json::from(number.ok_or_else(|| self.expected())?)
            }
            Kind::Boolean => text.parse::<bool>().map(Json::from).map_err(|_| self.expected())?,
            // A text that no row can have finds nothing; it is not an error.
            Kind::Text { .. } if !text.contains('\0') => return Ok(text.into()),
            _ => Json::from(text),
        };
        self.value(&json)
    }

    /// Converts a row's value to JSON.
    ///
    /// A value that the kind does not have, written by hand perhaps, is shown as SQLite has it; a text in a JSON column that
    /// is not JSON is null.
    pub(crate) fn json_of(&self, value: &Value) -> Json {
        match (&self.kind, value) {
            (_, Value::Null) => Json::Null,
            (Kind::Boolean, Value::Integer(integer)) => (*integer != 0).into(),
            // D1 does not distinguish an integer from a REAL without a fraction.
            (Kind::Boolean, Value::Real(real)) => (*real != 0.0).into(),
            (Kind::Json { .. }, Value::Text(text)) => serde_json::from_str(text).unwrap_or(Json::Null),
            (Kind::Secret { .. }, _) => json!({"sealed": true}),
            // JSON has one kind of number: as a value of D1 a whole REAL is an integer.
            (Kind::Number, Value::Integer(integer)) => (*integer as f64).into(),
            (Kind::Number, Value::Real(real)) => (*real).into(),
            (_, value) => value.to_json(),
        }
    }

    /// Returns the sentence that follows a field's name in an error: `must be ...`.
    pub(crate) fn expected(&self) -> String {
        match &self.kind {
            Kind::Text { format: Some(Format::Slug), max, .. } => format!("must be 1 to {max} of a-z, 0-9 and -"),
            Kind::Text { format: Some(Format::Email), .. } => "must be an e-mail address".to_owned(),
            Kind::Text { format: Some(Format::Url), .. } => "must be an http or https URL".to_owned(),
            Kind::Text { min, max, .. } => format!("must be a text of {min} to {max} characters"),
            Kind::Integer { min, max } => format!("must be an integer from {min} to {max}"),
            Kind::Number => "must be a number".to_owned(),
            Kind::Boolean => "must be true or false".to_owned(),
            Kind::Timestamp => "must be a time like 2026-11-01T12:00:00Z".to_owned(),
            Kind::Choice(choices) => format!("must be one of {}", choices.join(", ")),
            Kind::Json { shape, max_bytes } => {
                let what = match shape {
                    Shape::Object => "a JSON object",
                    Shape::Array => "a JSON array",
                    Shape::Any => "JSON",
                };
                format!("must be {what} of at most {max_bytes} bytes, nested {MAX_DEPTH} deep at most")
            }
            Kind::Reference(resource) => format!("must be the id of one of {resource}"),
            Kind::Secret { max } => format!("must be a text of 1 to {max} bytes"),
        }
    }
}

/// Returns a number without a fraction as an integer, if a reader of JSON keeps it exactly.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= MAX_SAFE as f64).then_some(number as i64)
}

/// The nesting of arrays and objects. It recurses as deep as the JSON is: serde_json has refused more than 128 levels before.
fn depth(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Json::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_by_their_kind() {
        let ok = |column: &Column, json: Json| column.value(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let bad = |column: &Column, json: Json| assert!(column.value(&json).is_err(), "{json} for {}", column.name);
        let slug = Column::text("slug").chars(1..=5).format(Format::Slug).required();
        ok(&slug, json!("a-1"));
        for json in [json!(null), json!(""), json!("A"), json!("abcdef"), json!("a b"), json!(1), json!("é")] {
            bad(&slug, json);
        }
        let priority = Column::integer("priority").range(1..=5);
        assert_eq!(ok(&priority, json!(5.0)), Value::Integer(5));
        assert_eq!(ok(&priority, json!(null)), Value::Null);
        for json in [json!(0), json!(6), json!(1.5), json!("1"), json!(1e300), json!(u64::MAX)] {
            bad(&priority, json);
        }
        let when = Column::timestamp("at");
        assert_eq!(ok(&when, json!("2026-11-01T13:00:00+01:00")), Value::from("2026-11-01T12:00:00.000Z"));
        for json in [json!("2026-11-01"), json!(0), json!("yesterday")] {
            bad(&when, json);
        }
        let config = Column::json("config", Shape::Object);
        ok(&config, json!({"a": [1]}));
        let deep = (0..40).fold(json!({}), |inner, _| json!({ "a": inner }));
        for json in [json!([]), json!("{}"), deep, json!({"a": "x".repeat(70_000)})] {
            bad(&config, json);
        }
        bad(&Column::text("name"), json!("a\u{0}b"));
    }

    #[test]
    fn secrets_are_shown_as_sealed() {
        let secret = Column::secret("token");
        assert_eq!(secret.json_of(&Value::from("plain")), json!({"sealed": true}));
        assert!(!secret.filterable());
    }
}
