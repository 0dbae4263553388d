//! Patterns of paths with `*` and `:placeholders`.
//!
//! A pattern is a literal, or a regular expression of `regex-lite` that is anchored at both ends and matches in time linear to
//! the path: a rule of a user cannot make a request slow. Its literal beginning is compared first, which decides for most rules.

use regex_lite::Regex;
use url::Url;

/// The pattern of a rule: a path, or `https://host/path`, with at most one `*` and with `:placeholders`.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// Whether it has a host.
    is_absolute: bool,
    /// Prefix of every match; the whole pattern where there is no `regex`.
    literal: String,
    /// Matches in linear time for every rule and path.
    regex: Option<Regex>,
}

/// Captured values by the name of their placeholder; `splat` for `*`.
pub(super) type Captures<'t> = Vec<(String, &'t str)>;

impl Pattern {
    /// Compiles the pattern of a rule.
    ///
    /// # Errors
    /// A message for the user: a second `*`, a placeholder that occurs twice, or one that begins like another.
    pub(super) fn new(rule: &str) -> Result<Self, String> {
        let is_absolute = rule.starts_with("https://");
        let host_end = if is_absolute { rule[8..].find('/').map_or(rule.len(), |at| at + 8) } else { 0 };
        let mut literal = None;
        let mut regex = String::from("^");
        let mut names = Vec::new();
        let mut rest = rule;
        while let Some(next) = rest.chars().next() {
            let at = rule.len() - rest.len();
            let name = if next == '*' { "splat" } else { placeholder(rest).unwrap_or_default() };
            if name.is_empty() {
                regex.push_str(&regex_lite::escape(&rest[..next.len_utf8()]));
                rest = &rest[next.len_utf8()..];
                continue;
            }
            // As in Workers Static Assets, where `:a` is also replaced within `:ab`.
            if names.contains(&name) {
                return Err(format!("{} occurs twice", if next == '*' { "*" } else { &rest[..=name.len()] }));
            }
            let is_begun_by = |other: &&&str| next != '*' && **other != "splat" && name.starts_with(**other);
            if let Some(other) = names.iter().find(is_begun_by) {
                return Err(format!("the placeholder :{name} begins like :{other}: rename it"));
            }
            names.push(name);
            literal.get_or_insert_with(|| rule[..at].to_owned());
            let what = match next {
                '*' => ".*",
                _ if at < host_end => "[^/.]+",
                _ => "[^/]+",
            };
            regex.push_str(&format!("(?<{name}>{what})"));
            rest = &rest[if next == '*' { 1 } else { name.len() + 1 }..];
        }
        let Some(literal) = literal else { return Ok(Self { is_absolute, literal: rule.to_owned(), regex: None }) };
        regex.push('$');
        let regex = Regex::new(&regex).map_err(|error| error.to_string())?;
        Ok(Self { is_absolute, literal, regex: Some(regex) })
    }

    /// Whether the pattern has a host.
    #[cfg(feature = "cache")]
    pub(super) fn is_absolute(&self) -> bool {
        self.is_absolute
    }

    /// Matches a path, or, for a pattern with a host, the URL of the request. Returns the captured values, in the order of the
    /// pattern; `None` where it does not match.
    pub(super) fn captures<'t>(&self, path: &'t str, absolute: &'t str) -> Option<Captures<'t>> {
        let text = if self.is_absolute { absolute } else { path };
        let Some(regex) = &self.regex else { return (text == self.literal).then(Vec::new) };
        if !text.starts_with(&self.literal) {
            return None;
        }
        let captures = regex.captures(text)?;
        let of = |name: &str| Some((name.to_owned(), captures.name(name)?.as_str()));
        Some(regex.capture_names().flatten().filter_map(of).collect())
    }
}

/// Whether a rule has neither `*` nor a placeholder.
pub(super) fn is_literal(rule: &str) -> bool {
    !rule.contains('*') && rule.match_indices(':').all(|(at, _)| placeholder(&rule[at..]).is_none())
}

/// Returns the name of the placeholder at the start of a text: a letter, then letters, digits and `_`.
fn placeholder(text: &str) -> Option<&str> {
    let name = text.strip_prefix(':')?;
    let end = name.find(|char: char| !(char.is_ascii_alphanumeric() || char == '_')).unwrap_or(name.len());
    name.starts_with(|char: char| char.is_ascii_alphabetic()).then(|| &name[..end])
}

/// Replaces each `:name` by its captured value. Inserted values are not searched for placeholders.
pub(super) fn fill(template: &str, captures: &Captures<'_>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find(':') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        // The longest matching name: `:ab` is not `:a` followed by `b`.
        let named = captures.iter().filter(|(name, _)| rest[1..].starts_with(name)).max_by_key(|(name, _)| name.len());
        match named {
            Some((name, value)) => {
                filled.push_str(value);
                rest = &rest[1 + name.len()..];
            }
            None => {
                filled.push(':');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// The parts of a URL that a rule may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) host: bool,
    pub(super) port: bool,
    pub(super) query: bool,
}

/// Parses a URL: dot segments are resolved and characters encoded where necessary.
///
/// # Errors
/// A message for the user: a part that is not allowed here, or a path that cannot be parsed.
pub(super) fn address(text: &str, parts: Parts) -> Result<String, String> {
    if let Some((host, path)) = split_host(text) {
        if !parts.host {
            return Err("only a path is allowed here, without a host".to_owned());
        }
        if !parts.port && host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err("a port is not allowed here".to_owned());
        }
        return Ok(format!("https://{}{}", host.to_ascii_lowercase(), path_of(path, parts)?));
    }
    match text.starts_with('/') || !parts.host {
        true => path_of(text, parts),
        false => Err("it must begin with / or with https://".to_owned()),
    }
}

/// Splits `https://host/rest` into the host and the rest, without the slash between them.
pub(super) fn split_host(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("https://")?.trim_start_matches('/');
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    (!host.is_empty()).then_some((host, path))
}

/// Parses a path with the parts that are allowed.
fn path_of(path: &str, parts: Parts) -> Result<String, String> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let url = Url::parse(&format!("relative://{slash}{path}")).map_err(|error| format!("invalid path: {error}"))?;
    // By the current URL standard; the library implements an older one.
    let mut read = url.path().replace('^', "%5E");
    if parts.query {
        // An empty query or fragment is omitted, as in JavaScript's `search` and `hash`.
        url.query().filter(|query| !query.is_empty()).iter().for_each(|query| read.extend(["?", query]));
        url.fragment().filter(|fragment| !fragment.is_empty()).iter().for_each(|part| read.extend(["#", part]));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_capture_by_name() {
        let capture = |rule: &str, path: &str| {
            let absolute = format!("https://example.com{path}");
            Pattern::new(rule).expect("the pattern is valid").captures(path, &absolute).map(|captures| {
                captures.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
            })
        };
        for (rule, path, want) in [
            ("/a.b", "/a.b", Some("")),
            ("/a.b", "/axb", None),
            ("/*", "/a/b", Some("splat=a/b")),
            ("/a/*", "/a/", Some("splat=")),
            ("/a/*", "/a", None),
            ("/a/*/z", "/a/b/c/z", Some("splat=b/c")),
            ("/blog/:year/:slug", "/blog/2026/x", Some("year=2026,slug=x")),
            ("/blog/:year", "/blog/2026/x", None),
            ("/:a-:b", "/x-y-z", Some("a=x-y,b=z")),
            ("/a:1", "/a:1", Some("")),
            ("https://example.com/*", "/x", Some("splat=x")),
            ("https://:sub.com/x", "/x", Some("sub=example")),
            ("/:ab/:a", "/1/2", Some("ab=1,a=2")),
            ("/(:a)+.?[b]$|{2}", "/(1)+.?[b]$|{2}", Some("a=1")),
            ("https://other.com/*", "/x", None),
        ] {
            assert_eq!(capture(rule, path).as_deref(), want, "{rule} {path}");
        }
        for rule in ["/*/*", "/:a/:a", "/*/:splat", "/:a/:ab", "https://:a.example/:ab"] {
            assert!(Pattern::new(rule).is_err(), "{rule}");
        }
    }

    #[test]
    fn captured_values_are_not_expanded_again() {
        let captures: Captures<'_> = vec![
            ("a".to_owned(), ":b:b"),
            ("b".to_owned(), ":a:a"),
            ("ab".to_owned(), "x"),
            ("splat".to_owned(), "y/z"),
        ];
        assert_eq!(fill("/:a/:b/:ab?q=:splat:none:", &captures), "/:b:b/:a:a/x?q=y/z:none:");
    }

    #[test]
    fn addresses_are_parsed_as_urls() {
        let every = Parts { host: true, port: true, query: true };
        for (text, want) in [
            ("/a b/../c?x=1#y", "/c?x=1#y"),
            ("https://h.example", "https://h.example/"),
            ("https:////h.example//a//b", "https://h.example/a//b"),
            ("/a^b?^#^", "/a%5Eb?^#^"),
            ("/a?#", "/a"),
            ("https://H.example/A?b", "https://h.example/A?b"),
            ("/\u{e9}", "/%C3%A9"),
            ("//a", "//a"),
        ] {
            assert_eq!(address(text, every).as_deref(), Ok(want), "{text}");
        }
        assert!(address("http://h.example/", every).is_err());
        assert!(address("https://h.example:80/", Parts { port: false, ..every }).is_err());
        assert_eq!(address("a?b", Parts { host: false, port: true, query: false }).as_deref(), Ok("/a"));
    }
}
