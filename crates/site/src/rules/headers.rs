//! The header rules of `_headers`.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::pattern::{self, Parts, Pattern};
use super::{RuleWarning, is_space, lines};

/// Most rules of one file. wrangler also accepts one more than its limit of 100, as it checks after adding.
const RULES: usize = 101;

/// Header rules, as in `_headers`: for a path, or a host and a path, headers to set and to remove.
///
/// ```text
/// /assets/*
///   Cache-Control: public, max-age=31536000, immutable
///   ! X-Frame-Options
/// https://:project.example.com/*
///   X-Robots-Tag: noindex
/// ```
///
/// Every rule that matches applies, in the order of the file. The first value for a header replaces the site's,
/// further values are added to it. Of two rules for the same path the later one applies, at the position of the earlier.
///
/// Some headers cannot be set by a rule, and a line that does so becomes a [warning](Self::warnings): those that frame the response
/// or belong to the connection (`Content-Length`, `Transfer-Encoding`, `Connection`, `Keep-Alive`, `Proxy-Connection`, `TE`,
/// `Trailer`, `Upgrade`, `HTTP2-Settings`; Cloudflare silently drops most of them), `Date`, and those by which caches
/// and clients identify the bytes that they have: `Content-Encoding`, `Content-Range`, `ETag`, `Last-Modified`, `Repr-Digest`,
/// `Content-Digest`. Values for `Vary` are added to the site's.
///
/// ```
/// use isobar_site::{HeaderRules, SiteOptions};
///
/// let rules = HeaderRules::parse("/docs/*\n  X-Robots-Tag: noindex\n  ETag: \"mine\"\n");
/// assert_eq!(rules.warnings()[0].line, 3);
/// let options = SiteOptions::default().with_headers(rules);
/// # drop(options);
/// ```
#[derive(Debug, Clone, Default)]
pub struct HeaderRules {
    rules: Vec<Rule>,
    warnings: Vec<RuleWarning>,
}

/// The headers of one path.
#[derive(Debug, Clone)]
struct Rule {
    /// The pattern as written in the file.
    path: String,
    line: usize,
    pattern: Pattern,
    /// Headers to set, with placeholders in their values, in the order of the first line of each name.
    set: Vec<(HeaderName, String)>,
    unset: Vec<HeaderName>,
}

impl HeaderRules {
    /// Parses the file. A line that is not a rule becomes a [warning](Self::warnings); the other lines apply.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut read = Reading::default();
        for (number, line) in lines(text, &mut read.warnings) {
            if is_address(line) {
                read.end_rule();
                if read.rules.len() >= RULES {
                    let message = format!("ignored with all that follows: there are already {RULES} rules");
                    read.warn(number, line, message);
                    break;
                }
                read.begin_rule(number, line);
            } else if !read.is_skipping {
                read.header(number, line);
            }
        }
        read.end_rule();
        let Reading { rules, mut warnings, .. } = read;
        warnings.sort_by_key(|warning| warning.line);
        Self { rules: last_of_each_path(rules, &mut warnings), warnings }
    }

    /// Returns warnings about ignored lines, and about lines that are probably mistakes.
    ///
    /// ```
    /// use isobar_site::HeaderRules;
    ///
    /// let rules = HeaderRules::parse("/*\n  X-Frame-Options: DENY\n  Content-Length: 5\n");
    /// assert_eq!((rules.warnings().len(), rules.warnings()[0].line), (1, 3));
    /// ```
    #[must_use]
    pub fn warnings(&self) -> &[RuleWarning] {
        &self.warnings
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule depends on the host of a request.
    #[cfg(feature = "cache")]
    pub(crate) fn has_hosts(&self) -> bool {
        self.rules.iter().any(|rule| rule.pattern.is_absolute())
    }

    /// Applies the rules for a request's host and path to the headers of a response.
    pub(crate) fn apply(&self, host: &str, path: &str, headers: &mut HeaderMap) {
        if self.rules.is_empty() {
            return;
        }
        let absolute = format!("https://{host}{path}");
        let own_vary: Vec<HeaderValue> = headers.get_all(header::VARY).iter().cloned().collect();
        let mut ours: Vec<&HeaderName> = Vec::new();
        for rule in &self.rules {
            let Some(captures) = rule.pattern.captures(path, &absolute) else { continue };
            for name in &rule.unset {
                headers.remove(name);
            }
            for (name, template) in &rule.set {
                // With captured values it may be an invalid header value.
                let Ok(value) = HeaderValue::from_bytes(pattern::fill(template, &captures).as_bytes()) else {
                    continue;
                };
                if ours.contains(&name) {
                    headers.append(name, value);
                } else {
                    headers.insert(name, value);
                    ours.push(name);
                }
            }
        }
        keep_vary(&own_vary, headers);
    }
}

/// Of rules for the same path, keeps the last at the position of the first.
fn last_of_each_path(rules: Vec<Rule>, warnings: &mut Vec<RuleWarning>) -> Vec<Rule> {
    let mut kept: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in rules {
        match kept.iter_mut().find(|other| other.path == rule.path) {
            Some(earlier) => {
                let at = warnings.partition_point(|warning| warning.line <= earlier.line);
                warnings.insert(at, RuleWarning::shadowed(earlier.line, &earlier.path, rule.line));
                *earlier = rule;
            }
            None => kept.push(rule),
        }
    }
    kept
}

/// Adds the site's own values of `Vary`: without them a shared cache would serve one client's encoding to all.
fn keep_vary(own: &[HeaderValue], headers: &mut HeaderMap) {
    if own.is_empty() || headers.get_all(header::VARY).iter().eq(own) {
        return;
    }
    let mut names: Vec<String> = Vec::new();
    for value in own.iter().chain(headers.get_all(header::VARY)) {
        for name in String::from_utf8_lossy(value.as_bytes()).split(',').map(str::trim) {
            if !name.is_empty() && !names.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                names.push(name.to_owned());
            }
        }
    }
    let value = if names.iter().any(|name| name == "*") { "*".to_owned() } else { names.join(", ") };
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(header::VARY, value);
    }
}

/// Returns the reason for which a rule cannot set or remove a header; `None` where it can.
fn is_reserved(name: &HeaderName, sets: bool) -> Option<&'static str> {
    match name.as_str() {
        "connection" | "content-length" | "http2-settings" | "keep-alive" | "proxy-connection" | "te" | "trailer"
        | "transfer-encoding" | "upgrade" => Some("ignored: the server frames its responses and keeps its connections"),
        "date" => Some("ignored: the date is when the server answers"),
        "content-encoding" => Some(
            "ignored: the server encodes by what a client accepts; store a precompressed file beside the file, as NAME.br or NAME.gz",
        ),
        "content-range" => Some("ignored: the server says which part of a file it sends"),
        "etag" | "last-modified" | "repr-digest" | "content-digest" if sets => {
            Some("ignored: the server derives it from the file's bytes, or caches would keep old ones")
        }
        "vary" if !sets => Some(
            "ignored where the response depends on a request header; only values that a rule has added can be removed",
        ),
        _ => None,
    }
}

/// State of parsing the file.
#[derive(Default)]
struct Reading {
    rules: Vec<Rule>,
    warnings: Vec<RuleWarning>,
    /// The rule being parsed.
    rule: Option<Rule>,
    is_warned: bool,
    /// The address above was invalid: its headers are skipped without a warning each.
    is_skipping: bool,
}

impl Reading {
    /// Adds a warning about a line.
    fn warn(&mut self, number: usize, line: &str, message: impl Into<String>) {
        self.warnings.push(RuleWarning::new(number, line, message));
    }

    /// Begins the rule of a path; of an invalid path the headers that follow are skipped.
    fn begin_rule(&mut self, number: usize, line: &str) {
        let parts = Parts { host: true, port: false, query: false };
        let read = pattern::address(line, parts).and_then(|path| Ok((Pattern::new(&path)?, path)));
        match read {
            Ok((pattern, path)) => {
                let rule = Rule { path, line: number, pattern, set: Vec::new(), unset: Vec::new() };
                self.rule = Some(rule);
                self.is_warned = false;
                self.is_skipping = false;
            }
            Err(message) => {
                self.is_skipping = true;
                self.warn(number, line, message);
            }
        }
    }

    /// Ends the rule that was begun, if any. One without headers becomes a warning.
    fn end_rule(&mut self) {
        let Some(rule) = self.rule.take() else { return };
        if !rule.set.is_empty() || !rule.unset.is_empty() {
            self.rules.push(rule);
        } else if !self.is_warned {
            self.warn(rule.line, &rule.path, "no headers follow");
        }
    }

    /// Reads a header line of the current rule; an invalid one becomes a warning.
    fn header(&mut self, number: usize, line: &str) {
        if let Err(message) = self.read_header(line) {
            self.warn(number, line, message);
        }
    }

    /// Parses `Name: value`, or `! Name`, into the current rule. Values of one name in one rule are joined by commas.
    ///
    /// # Errors
    /// A message for the user; the rule is unchanged.
    fn read_header(&mut self, line: &str) -> Result<(), &'static str> {
        const NOT_A_NAME: &str = "invalid header name";
        let rule = self.rule.as_mut();
        let rule = rule.ok_or("the first header must come after a path that begins with / or https://")?;
        let Some((name, value)) = line.split_once(':') else {
            let name = line.strip_prefix("! ").ok_or("a header is `Name: value`, or `! Name` to remove one")?;
            let name: HeaderName = name.trim_matches(is_space).parse().map_err(|_| NOT_A_NAME)?;
            if let Some(message) = is_reserved(&name, false) {
                self.is_warned = true;
                return Err(message);
            }
            rule.unset.push(name);
            return Ok(());
        };
        let name = name.trim_matches(is_space);
        let value = value.trim_matches(is_space);
        if name.is_empty() || value.is_empty() {
            return Err("a header is `Name: value`, or `! Name` to remove one");
        }
        let name: HeaderName = name.parse().map_err(|_| NOT_A_NAME)?;
        HeaderValue::from_bytes(value.as_bytes()).map_err(|_| "invalid header value")?;
        if let Some(message) = is_reserved(&name, true) {
            self.is_warned = true;
            return Err(message);
        }
        match rule.set.iter_mut().find(|(other, _)| *other == name) {
            Some((_, values)) => values.extend([", ", value]),
            None => rule.set.push((name, value.to_owned())),
        }
        Ok(())
    }
}

/// Whether a line begins a rule: a path, or a URL with a scheme.
fn is_address(line: &str) -> bool {
    let scheme = |(before, _): (&str, &str)| !before.is_empty() && !before.contains(char::is_whitespace);
    line.starts_with('/') || line.split_once("://").is_some_and(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(rules: &str, path: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert("x-site", HeaderValue::from_static("site"));
        HeaderRules::parse(rules).apply("example.com", path, &mut headers);
        let shown = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}={}", value.to_str().unwrap_or("?"));
        headers.iter().map(shown).collect()
    }

    #[test]
    fn rules_set_add_and_remove_headers() {
        let rules =
            "# a comment\n/*\n  X-All: 1\n  X-Site: mine\n/a/:name\n  X-Name: <:name>\n  X-All: 2\n/none\n  ! X-Site\n";
        assert_eq!(applied(rules, "/"), ["x-site=mine", "x-all=1"]);
        assert_eq!(applied(rules, "/a/b"), ["x-site=mine", "x-all=1", "x-all=2", "x-name=<b>"]);
        assert_eq!(applied("/none\n! X-Site", "/none"), Vec::<String>::new());
        assert_eq!(applied("/x\n a: 1\n A: 2", "/x"), ["x-site=site", "a=1, 2"]);
        assert_eq!(applied("https://example.com/*\n a: :splat", "/x/y"), ["x-site=site", "a=x/y"]);
        assert_eq!(applied("https://other.example/*\n a: 1", "/x"), ["x-site=site"]);
    }

    #[test]
    fn invalid_lines_give_warnings_and_the_others_apply() {
        let text = "a: 1\n/x\n/y\n  b: 2\n  c d: 3\n  e\n  f:\n  !g\nhttp://x/\n  h: 4\n/*/*\n/z\n  i: \u{7}";
        let rules = HeaderRules::parse(text);
        let warned: Vec<_> = rules.warnings().iter().map(|warning| warning.line).collect();
        assert_eq!(warned, [1, 2, 5, 6, 7, 8, 9, 11, 12, 13], "{:#?}", rules.warnings());
        assert_eq!(applied(text, "/y"), ["x-site=site", "b=2"]);
    }

    #[test]
    fn reserved_headers_are_ignored_with_a_warning_each() {
        let names = [
            "Content-Length: 5",
            "transfer-encoding: chunked",
            "Connection: keep-alive",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: close",
            "TE: trailers",
            "Trailer: x",
            "Upgrade: h2c",
            "HTTP2-Settings: x",
            "Date: Tue, 01 Jan 2030 00:00:00 GMT",
            "Content-Encoding: gzip",
            "Content-Range: bytes 0-1/2",
            "ETag: \"mine\"",
            "Last-Modified: Tue, 01 Jan 2030 00:00:00 GMT",
            "Repr-Digest: sha-256=:AA==:",
            "Content-Digest: sha-256=:AA==:",
            "! Content-Length",
            "! Content-Encoding",
            "! Vary",
        ];
        let text = format!("/*\n{}\n a: 1\n", names.join("\n"));
        let warned: Vec<_> = HeaderRules::parse(&text).warnings.into_iter().map(|warning| warning.line).collect();
        assert_eq!(warned, (2..names.len() + 2).collect::<Vec<_>>());
        assert_eq!(applied(&text, "/x"), ["x-site=site", "a=1"]);
        // A rule with only ignored headers has its warning already.
        assert_eq!(HeaderRules::parse("/x\n Content-Length: 5").warnings.len(), 1);
        assert_eq!(applied("/x\n ! ETag\n ! X-Site", "/x"), Vec::<String>::new());
    }

    #[test]
    fn vary_is_added_to_the_sites() {
        let varied = |own: Option<&'static str>, rules: &str| {
            let mut headers = HeaderMap::new();
            own.into_iter().for_each(|own| drop(headers.insert("vary", HeaderValue::from_static(own))));
            HeaderRules::parse(rules).apply("example.com", "/x", &mut headers);
            let values = headers.get_all("vary").iter().map(|value| value.to_str().unwrap_or("?"));
            values.collect::<Vec<_>>().join(" | ")
        };
        assert_eq!(varied(Some("Accept-Encoding"), "/x\n Vary: Origin"), "Accept-Encoding, Origin");
        assert_eq!(varied(Some("Accept-Encoding"), "/x\n Vary: accept-encoding, Cookie"), "Accept-Encoding, Cookie");
        assert_eq!(varied(Some("Accept-Encoding"), "/x\n Vary: Origin\n/*\n Vary: A"), "Accept-Encoding, Origin, A");
        assert_eq!(varied(Some("Accept-Encoding"), "/x\n ! Vary\n a: 1"), "Accept-Encoding");
        assert_eq!(varied(Some("Accept-Encoding"), "/x\n Vary: *"), "*");
        assert_eq!(varied(Some("Accept-Encoding"), "/x\n a: 1"), "Accept-Encoding");
        assert_eq!(varied(None, "/x\n Vary: Origin"), "Origin");
    }

    #[test]
    fn last_rule_for_a_path_applies_at_the_first_position() {
        let text = "/foo\n a: 1\n b: 1\n/*\n a: star\n/foo\n a: 2\n";
        assert_eq!(applied(text, "/foo"), ["x-site=site", "a=2", "a=star"]);
        let warnings = HeaderRules::parse(text).warnings;
        assert_eq!((warnings.len(), warnings[0].line), (1, 1), "{warnings:?}");
        assert!(warnings[0].message.contains("line 6"), "{warnings:?}");
    }

    #[test]
    fn values_may_have_characters_beyond_ascii() {
        let mut headers = HeaderMap::new();
        HeaderRules::parse("/*\n a: h\u{e9}llo \u{2603}").apply("example.com", "/x", &mut headers);
        assert_eq!(headers["a"].as_bytes(), "h\u{e9}llo \u{2603}".as_bytes());
    }

    #[test]
    fn a_byte_order_mark_and_other_line_ends_are_read_over() {
        for text in ["\u{feff}/x\n a: 1", "\u{feff}# c\r\n/x\r\n a: 1\r\n", "/x\u{feff}\n\u{a0}a: 1\u{a0}"] {
            assert_eq!(applied(text, "/x"), ["x-site=site", "a=1"], "{text:?}");
        }
        assert_eq!(applied("/x^y\n a: 1", "/x%5Ey"), ["x-site=site", "a=1"]);
        assert_eq!(applied("https://example.com//x\n a: 1", "/x"), ["x-site=site", "a=1"]);
    }

    #[test]
    fn limits_hold() {
        let many: String = (0..=RULES).map(|number| format!("/{number}\n a: {number}\n")).collect();
        let rules = HeaderRules::parse(&many);
        assert_eq!((rules.rules.len(), rules.warnings.len()), (RULES, 1));
        let long = format!("/x\n a: {}\n b: 1", "y".repeat(2000));
        assert_eq!(applied(&long, "/x"), ["x-site=site", "b=1"]);
        assert_eq!(HeaderRules::parse(&long).warnings[0].line, 2);
    }
}
