//! Formats of texts, and shapes of JSON.
//!
//! A format is a rule of a few lines rather than a parser: it decides what a form accepts, and what may stand in a page or in an
//! e-mail without surprise. It is narrower than the standards: RFC 5322 admits addresses in quotes, and RFC 3986 URLs with users.
//! Each has the same rule as a regular expression, which the OpenAPI document shows.

use serde_json::Value as Json;

/// The format of a text.
///
/// ```
/// use isobar_api::Format;
/// assert!(Format::Email.fits("ada@example.com"));
/// assert!(!Format::Url.fits("javascript:alert(1)"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Lower-case letters, digits and `-`.
    Slug,
    /// An e-mail address: ASCII letters, digits and `._%+-` before one `@`, a domain with a dot behind it.
    Email,
    /// An `http` or `https` URL, without a user and in ASCII, with a port of 0 to 65535 or none.
    Url,
}

/// The top-level type of a JSON column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// An object.
    Object,
    /// An array.
    Array,
    /// Anything but null.
    Any,
}

impl Format {
    /// The same as [`fits`](Self::fits) as a regular expression of ECMA-262, for the OpenAPI document.
    pub(crate) fn pattern(self) -> &'static str {
        match self {
            Self::Slug => "^[a-z0-9-]+$",
            Self::Email => "^[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)+$",
            Self::Url => {
                // The ports are those of `is_port`: 0 to 65535, in at most five digits.
                "^https?://[A-Za-z0-9.-]+\
                 (:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[0-5]?[0-9]{1,4}))?\
                 (/[!#-;=?-~]*)?$"
            }
        }
    }

    /// Whether a text has this format.
    ///
    /// The length is not checked here; see [`Column::chars`](crate::Column::chars).
    ///
    /// ```
    /// use isobar_api::Format;
    /// assert!(Format::Slug.fits("a-quick-start") && !Format::Slug.fits("A quick start"));
    /// assert!(Format::Url.fits("https://example.com/a?b=c#d"));
    /// assert!(!Format::Url.fits("https://user@example.com/")); // a user could pass for a host
    /// ```
    #[must_use]
    pub fn fits(self, text: &str) -> bool {
        let all = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        match self {
            Self::Slug => all(text, b"-") && !text.bytes().any(|byte| byte.is_ascii_uppercase()),
            Self::Email => text.split_once('@').is_some_and(|(name, domain)| {
                all(name, b"._%+-") && domain.contains('.') && domain.split('.').all(|label| all(label, b"-"))
            }),
            Self::Url => {
                ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme)).is_some_and(|rest| {
                    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                    let (host, port) = authority.split_once(':').map_or((authority, "80"), |(host, port)| (host, port));
                    all(host, b".-")
                        && is_port(port)
                        && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>".contains(&byte))
                })
            }
        }
    }
}

impl Shape {
    /// Whether JSON has this type. Null is decided by the column before.
    pub(super) fn fits(self, json: &Json) -> bool {
        match self {
            Self::Object => json.is_object(),
            Self::Array => json.is_array(),
            Self::Any => true,
        }
    }
}

/// Whether a text is a port: one to five digits, and 65535 at most.
fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_pattern(format: Format, text: &str) -> bool {
        regex_lite::Regex::new(format.pattern()).expect("the pattern is valid").is_match(text)
    }

    #[test]
    fn formats_accept_valid_texts_only() {
        for (format, text, fits) in [
            (Format::Slug, "a-quick-start-2", true),
            (Format::Slug, "A-quick-start", false),
            (Format::Slug, "", false),
            (Format::Email, "ada@example.com", true),
            (Format::Email, "ada@example", false),
            (Format::Email, "a b@example.com", false),
            (Format::Email, "a@b@example.com", false),
            (Format::Email, "@example.com", false),
            (Format::Email, "a@example..com", false),
            (Format::Url, "https://example.com/a?b=c#d", true),
            (Format::Url, "http://localhost:8787", true),
            (Format::Url, "http://localhost:50123/hook", true),
            (Format::Url, "http://localhost:65535", true),
            (Format::Url, "http://localhost:65536", false),
            (Format::Url, "http://localhost:", false),
            (Format::Url, "javascript:alert(1)", false),
            (Format::Url, "https://", false),
            (Format::Url, "https://user@host/", false),
            (Format::Url, "https://host/<script>", false),
        ] {
            assert_eq!(format.fits(text), fits, "{text}");
            assert_eq!(has_pattern(format, text), fits, "{text}");
        }
    }

    #[test]
    fn ports_of_the_pattern_are_those_of_the_format() {
        let edges =
            [0, 9, 10, 59_999, 60_000, 64_999, 65_000, 65_499, 65_500, 65_529, 65_530, 65_535, 65_536, 66_000, 70_000];
        let ports = edges.iter().map(u32::to_string).chain(["00080", "000080", "+80", "8a"].map(str::to_owned));
        for port in ports {
            let url = format!("http://localhost:{port}/");
            assert_eq!(has_pattern(Format::Url, &url), Format::Url.fits(&url), "{url}");
        }
    }
}
