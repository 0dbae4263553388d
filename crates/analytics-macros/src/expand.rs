//! The implementation that the macro writes.
//!
//! Three parts: `schema()`, a static with the names; `with_point`, which puts borrowed values into arrays on the stack and calls the function
//! with them; and checks of the limits at compile time. The checks stand twice: in a constant beside the implementation for types that are
//! known there, so that an event which is never written fails, too; and within `with_point` for those that have the struct's parameters. All
//! paths are absolute and go through the crate that `crate = "..."` names.

use proc_macro2::{TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::{DeriveInput, Result, parse_quote};

use crate::attributes::{Position, StructAttributes};
use crate::columns::Columns;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let attributes = StructAttributes::read(&input.attrs)?;
    let columns = Columns::of(input, &attributes)?;
    let krate = attributes.krate.unwrap_or_else(|| parse_quote!(::isobar_analytics));
    let schema = schema(&columns, &krate);
    let point = point(&columns, &krate);
    let limits = limits(&columns, &krate, |_| true);
    let early = limits_of_concrete_types(&columns, &krate, &input.generics);
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        const _: () = #early;

        #[automatically_derived]
        impl #impl_generics #krate::TypedEvent for #name #type_generics #where_clause {
            fn schema() -> &'static #krate::Schema {
                #schema
            }

            fn with_point<__R>(&self, use_point: impl FnOnce(&#krate::PointRef<'_>) -> __R) -> __R {
                const #limits
                #point
            }
        }
    })
}

/// The body of `schema`. The file is an input of the crate, so that it is compiled anew when the file changes.
fn schema(columns: &Columns<'_>, krate: &syn::Path) -> TokenStream {
    let dataset = &columns.dataset;
    let of_file = |names: fn(&crate::schema::Schema) -> usize| columns.schema.as_ref().map_or(0, names);
    let index = Some(columns.name(Position::Index)).filter(|name| !name.is_empty());
    let index = index.map(|name| quote!(.with_index(#name)));
    let blobs = 1..=columns.blobs().max(of_file(|schema| schema.blobs.len()));
    let blobs = blobs.map(|number| columns.name(Position::Blob(number)));
    let doubles = 1..=columns.doubles().max(of_file(|schema| schema.doubles.len()));
    let doubles = doubles.map(|number| columns.name(Position::Double(number)));
    let track = columns.schema.as_ref().and_then(|schema| schema.path.to_str()).map(|path| {
        quote!(
            const _: &[u8] = ::core::include_bytes!(#path);
        )
    });
    quote! {
        #track
        static SCHEMA: ::std::sync::LazyLock<#krate::Schema> = ::std::sync::LazyLock::new(|| {
            #krate::Schema::new(#dataset) #index
                .with_blobs::<&str>([#(#blobs),*])
                .with_doubles::<&str>([#(#doubles),*])
        });
        &SCHEMA
    }
}

/// The statements that make a point of the fields and hand it on.
fn point(columns: &Columns<'_>, krate: &syn::Path) -> TokenStream {
    let mut scratches = Vec::new();
    let mut blob = |position: Position| {
        let field = columns.fields.get(&position)?;
        let ident = field.ident;
        let scratch = format_ident!("scratch_{}", scratches.len());
        let value = quote!(#krate::BlobField::as_blob(&self.#ident, &mut #scratch));
        scratches.push(scratch);
        Some(value)
    };
    let index = blob(Position::Index).map_or_else(|| quote!(None), |value| quote!(Some(#value)));
    let blobs: Vec<_> =
        (1..=columns.blobs()).map(|number| blob(Position::Blob(number)).unwrap_or_else(|| quote!(&[]))).collect();
    let doubles = (1..=columns.doubles()).map(|number| match columns.fields.get(&Position::Double(number)) {
        Some(field) => {
            let ident = field.ident;
            quote!(#krate::DoubleField::as_double(&self.#ident))
        }
        None => quote!(0.0),
    });
    quote! {
        #(let mut #scratches = #krate::Scratch::new();)*
        let index: ::core::option::Option<&[u8]> = #index;
        let blobs: &[&[u8]] = &[#(#blobs),*];
        let doubles: &[f64] = &[#(#doubles),*];
        use_point(&#krate::PointRef::new(index, blobs, doubles))
    }
}

/// The checks of the lengths that these types bound, as a block.
fn limits(columns: &Columns<'_>, krate: &syn::Path, is_checked: impl Fn(&syn::Type) -> bool) -> TokenStream {
    let bounded = |position: &Position| {
        let kind = columns.fields.get(position).map(|field| field.kind).filter(|kind| is_checked(kind));
        kind.map_or_else(
            || quote!(0),
            |kind| quote!(match <#kind as #krate::BlobField>::MAX_BYTES { Some(bytes) => bytes, None => 0 }),
        )
    };
    let blobs = columns.fields.keys().filter(|position| matches!(position, Position::Blob(_))).map(bounded);
    let index = bounded(&Position::Index);
    quote! {
        {
            assert!(#index <= #krate::limits::INDEX_BYTES, "an index has at most 96 bytes");
            assert!(0 #(+ #blobs)* <= #krate::limits::BLOB_BYTES, "the blobs of a data point have at most 16 KiB together");
        }
    }
}

/// The checks for types without lifetimes and parameters: they fail also where the event is never written.
fn limits_of_concrete_types(columns: &Columns<'_>, krate: &syn::Path, generics: &syn::Generics) -> TokenStream {
    let parameters: Vec<String> = generics
        .params
        .iter()
        .filter_map(|parameter| match parameter {
            syn::GenericParam::Type(parameter) => Some(parameter.ident.to_string()),
            syn::GenericParam::Const(parameter) => Some(parameter.ident.to_string()),
            syn::GenericParam::Lifetime(_) => None,
        })
        .collect();
    limits(columns, krate, |kind| is_concrete(quote!(#kind), &parameters))
}

/// Whether these tokens name no lifetime and none of the parameters.
fn is_concrete(tokens: TokenStream, parameters: &[String]) -> bool {
    tokens.into_iter().all(|token| match token {
        TokenTree::Group(group) => is_concrete(group.stream(), parameters),
        TokenTree::Ident(ident) => !parameters.iter().any(|parameter| ident == parameter),
        TokenTree::Punct(punct) => punct.as_char() != '\'',
        TokenTree::Literal(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(input: &str) -> String {
        expand(&syn::parse_str(input).unwrap()).unwrap_err().to_string()
    }

    fn with_schema(fields: &str) -> String {
        format!("#[event(schema = \"tests/schema.json\")] struct A {{ {fields} }}")
    }

    #[test]
    fn invalid_events_do_not_compile_and_the_message_says_why() {
        for (input, expected) in [
            ("enum A { B }", "an event is a struct with named fields"),
            ("struct A(String);", "an event is a struct with named fields: columns have names"),
            ("struct A {}", "an event has at least one field that is written"),
            ("struct A { #[event(skip)] b: u8 }", "an event has at least one field that is written"),
            ("struct A { b: u8 }", "the field b has no position: add #[event(index)]"),
            (
                "struct A { #[event(blob = 0)] b: u8 }",
                "0 is not a position: blobs and doubles have the numbers 1 to 20",
            ),
            ("struct A { #[event(double = 21)] b: u8 }", "21 is not a position"),
            ("struct A { #[event(blob = 1, double = 1)] b: u8 }", "a field has one position"),
            ("struct A { #[event(column = 1)] b: u8 }", "unknown attribute of a field"),
            ("#[event(table = \"x\")] struct A { #[event(blob = 1)] b: u8 }", "unknown attribute of an event"),
            (
                "struct A { #[event(blob = 1)] b: u8, #[event(blob = 1)] c: u8 }",
                "the field b has the position `blob = 1` already",
            ),
            (
                "struct A { #[event(index)] b: u8, #[event(index)] c: u8 }",
                "the field b has the position `index` already",
            ),
            ("struct A { #[event(blob = 1)] b: u8, #[event(blob = 2, name = \"b\")] c: u8 }", "two fields are named b"),
            ("#[event(schema = \"none.json\")] struct A { b: u8 }", "cannot read the schema"),
            (&with_schema("other: u8"), "other is not in tests/schema.json: add it at the end of"),
            (&with_schema("#[event(blob = 1)] status: u8"), "status has the position `blob = 3` in tests/schema.json"),
            (
                "#[event(dataset = \"b\", schema = \"tests/schema.json\")] struct A { status: u8 }",
                "is the schema of dataset visits",
            ),
        ] {
            let error = error(input);
            assert!(error.starts_with(expected) || error.ends_with(expected), "{input}: {error}");
        }
    }

    #[test]
    fn schema_file_gives_positions_and_names_also_of_columns_without_a_field() {
        let code = expand(&syn::parse_str(&with_schema("status: u16, ms: f64")).unwrap()).unwrap().to_string();
        let code = code.replace(' ', "");
        assert!(
            code.contains(r#"new("visits").with_index("tenant").with_blobs::<&str>(["method","","status","plan"])"#),
            "{code}"
        );
        assert!(code.contains(
            "letblobs:&[&[u8]]=&[&[],&[],::isobar_analytics::BlobField::as_blob(&self.status,&mutscratch_0)];"
        ));
        assert!(code.contains("index:::core::option::Option<&[u8]>=None;"), "{code}");
    }

    #[test]
    fn damaged_schema_is_an_error_that_names_the_fault() {
        for (text, expected) in [
            ("[]", "it is not an object"),
            ("{}", "it has no dataset"),
            ("{", "EOF while parsing"),
            (r#"{"dataset": "a", "blob": []}"#, "unknown field \"blob\""),
            (r#"{"dataset": "a", "blobs": [1]}"#, "1 is not a name"),
            (r#"{"dataset": "a", "doubles": "x"}"#, "doubles is not a list of names"),
            (
                r#"{"dataset": "a", "index": "b", "blobs": ["c", null, ""], "doubles": ["b"]}"#,
                "two columns are named b",
            ),
        ] {
            let error = crate::schema::Schema::parse(text, "s".to_owned(), "s".into()).err().unwrap();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
