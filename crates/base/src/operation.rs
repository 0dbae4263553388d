/// Declares the enum of a trait's operations, with the names by which errors, observation and mocks know them alike.
///
/// The enum gets `ALL` (every operation, in this order), `name`, `Display`, `AsRef<str>`, and a conversion into `&'static str`.
///
/// ```
/// isobar_base::operations! {
///     /// An operation of a counter.
///     pub enum Operation {
///         /// `Counter::increment`.
///         Increment => "increment",
///         /// `Counter::reset`.
///         Reset => "reset",
///     }
/// }
///
/// assert_eq!(Operation::ALL.map(Operation::name), ["increment", "reset"]);
/// assert_eq!(Operation::Reset.to_string(), "reset");
/// ```
#[macro_export]
macro_rules! operations {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident => $text:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        $vis enum $name {
            $($(#[$variant_meta])* $variant),+
        }

        impl $name {
            /// All operations, in the trait's order.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// Returns the operation's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl ::std::convert::AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.name()
            }
        }

        impl ::std::convert::From<$name> for &'static str {
            fn from(operation: $name) -> Self {
                operation.name()
            }
        }
    };
}
