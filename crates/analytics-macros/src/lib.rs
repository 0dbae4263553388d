//! The derive macro of isobar-analytics. Not for use on its own: `isobar-analytics` exports it (feature `derive`), and has the
//! traits that it implements.

mod attributes;
mod columns;
mod expand;
mod schema;

use proc_macro::TokenStream;

/// Implements `TypedEvent` for a struct: its fields become the index, the blobs and the doubles of a data point, by name and fixed
/// position.
///
/// ```
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::{Event, EventSinkExt, Position, TypedEvent};
///
/// #[derive(Event)]
/// #[event(dataset = "api_requests")]
/// struct Request<'a> {
///     #[event(index)]
///     tenant: &'a str,
///     #[event(blob = 1)]
///     method: &'a str,
///     #[event(blob = 2)]
///     status: u16,
///     #[event(double = 1)]
///     ms: f64,
/// }
///
/// let sink = MemorySink::new();
/// sink.write_event(&Request { tenant: "acme", method: "GET", status: 404, ms: 1.5 });
/// let event = &sink.points()[0];
/// assert_eq!((event.blob(2), event.double(1)), (&b"404"[..], 1.5));
/// assert_eq!(Request::schema().position("status"), Some(Position::Blob(2)));
/// ```
///
/// **A committed schema file** fixes the positions. With `#[event(schema = "PATH")]`, a path below the package, a field takes
/// its position from there, by its name. A field that is not in the file does not compile, and the message says which line to add.
/// Columns of the file without a field stay where they are, and are written empty.
///
/// ```json
/// {"dataset": "api_requests", "index": "tenant", "blobs": ["method", "status"], "doubles": ["ms"]}
/// ```
///
/// Attributes of the struct: `dataset = "NAME"` (default: that of the schema file, or else the struct's name in snake case),
/// `schema = "PATH"`, `crate = "PATH"` of `isobar_analytics` where it is exported by another crate. Attributes of a field: `index`;
/// `blob = N`; `double = N`; `name = "NAME"` of the column (default: the field's); `skip`, for a field that is not written. Without a
/// schema file each field needs one of `index`, `blob`, `double` and `skip`; with one, a position is only compared with the file's.
///
/// A field of the index or of a blob implements `BlobField`, one of a double `DoubleField`. Checked at compile time: at most one index,
/// 20 blobs and 20 doubles; no position and no name twice; and, as far as the types bound their length, 96 bytes of index and 16 KiB of
/// blobs. The length of texts is checked when a point is written.
///
/// ```compile_fail
/// #[derive(isobar_analytics::Event)]
/// struct TooMany {
///     #[event(blob = 21)] // AE has 20
///     name: String,
/// }
/// ```
///
/// ```compile_fail
/// #[derive(isobar_analytics::Event)]
/// struct TooLong {
///     #[event(index)] // of 97 bytes, where 96 are supported
///     id: [u8; 97],
/// }
/// ```
#[proc_macro_derive(Event, attributes(event))]
pub fn event(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
