//! `_headers`.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::pattern::{self, Parts, Pattern};
use super::{RuleWarning, lines};

/// Rules of one file; the lines behind them are left out.
const RULES: usize = 100;

/// What `_headers` says: for a path, or a host and a path, headers to set and to take away.
///
/// ```text
/// /assets/*
///   Cache-Control: public, max-age=31536000, immutable
///   ! X-Frame-Options
/// https://:project.example.com/*
///   X-Robots-Tag: noindex
/// ```
///
/// Every rule that matches applies, in the order of the file. The first value for a header replaces what the site would say,
/// further ones are added to it.
#[derive(Debug, Clone, Default)]
pub struct HeaderRules {
    rules: Vec<Rule>,
    warnings: Vec<RuleWarning>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    /// Values with placeholders, in the order of their names' first lines.
    set: Vec<(HeaderName, String)>,
    unset: Vec<HeaderName>,
}

impl HeaderRules {
    /// Reads the file. A line that says nothing that can be done becomes a [warning](Self::warnings), and the others count.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut read = Reading::default();
        for (number, line) in lines(text, &mut read.warnings) {
            if is_address(line) {
                read.end_rule();
                if read.rules.len() >= RULES {
                    let message = format!("there are {RULES} rules already; this and what follows counts for nothing");
                    read.warnings.push(RuleWarning::new(number, line, message));
                    return Self { rules: read.rules, warnings: read.warnings };
                }
                read.begin_rule(number, line);
            } else if !read.is_skipping {
                read.header(number, line);
            }
        }
        read.end_rule();
        read.warnings.sort_by_key(|warning| warning.line);
        Self { rules: read.rules, warnings: read.warnings }
    }

    /// The lines that count for nothing.
    #[must_use]
    pub fn warnings(&self) -> &[RuleWarning] {
        &self.warnings
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the host of a request matters.
    #[cfg(feature = "cache")]
    pub(crate) fn has_hosts(&self) -> bool {
        self.rules.iter().any(|rule| rule.pattern.is_absolute())
    }

    /// Changes the headers of an answer, by the path as it was asked for and the host it was asked of.
    pub(crate) fn apply(&self, host: &str, path: &str, headers: &mut HeaderMap) {
        if self.rules.is_empty() {
            return;
        }
        let absolute = format!("https://{host}{path}");
        let mut ours: Vec<&HeaderName> = Vec::new();
        for rule in &self.rules {
            let Some(captures) = rule.pattern.captures(path, &absolute) else { continue };
            for name in &rule.unset {
                headers.remove(name);
            }
            for (name, template) in &rule.set {
                // What a path brings into it may be no header's value.
                let Ok(value) = HeaderValue::from_str(&pattern::fill(template, &captures)) else { continue };
                if ours.contains(&name) {
                    headers.append(name, value);
                } else {
                    headers.insert(name, value);
                    ours.push(name);
                }
            }
        }
    }
}

/// The file, read so far.
#[derive(Default)]
struct Reading {
    rules: Vec<Rule>,
    warnings: Vec<RuleWarning>,
    /// The rule that is being read, and where it began.
    rule: Option<(usize, String, Rule)>,
    /// The address above was none: its headers are not worth a warning each.
    is_skipping: bool,
}

impl Reading {
    fn warn(&mut self, number: usize, line: &str, message: impl Into<String>) {
        self.warnings.push(RuleWarning::new(number, line, message));
    }

    fn begin_rule(&mut self, number: usize, line: &str) {
        let parts = Parts { host: true, port: false, query: false };
        match pattern::address(line, parts).and_then(|address| Pattern::new(&address)) {
            Ok(pattern) => {
                let rule = Rule { pattern, set: Vec::new(), unset: Vec::new() };
                (self.rule, self.is_skipping) = (Some((number, line.to_owned(), rule)), false);
            }
            Err(message) => {
                self.is_skipping = true;
                self.warn(number, line, message);
            }
        }
    }

    fn end_rule(&mut self) {
        match self.rule.take() {
            Some((number, line, rule)) if rule.set.is_empty() && rule.unset.is_empty() => {
                self.warn(number, &line, "no headers follow");
            }
            Some((_, _, rule)) => self.rules.push(rule),
            None => {}
        }
    }

    fn header(&mut self, number: usize, line: &str) {
        if let Err(message) = self.read_header(line) {
            self.warn(number, line, message);
        }
    }

    fn read_header(&mut self, line: &str) -> Result<(), &'static str> {
        let rule = self.rule.as_mut().map(|(_, _, rule)| rule);
        let rule = rule.ok_or("a path that begins with / or https:// must stand above the first header")?;
        let Some((name, value)) = line.split_once(':') else {
            let name = line.strip_prefix("! ").ok_or("a header is `Name: value`, or `! Name` to take one away")?;
            rule.unset.push(name.trim().parse().map_err(|_| "this is no header's name")?);
            return Ok(());
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err("a header is `Name: value`, or `! Name` to take one away");
        }
        let name: HeaderName = name.parse().map_err(|_| "this is no header's name")?;
        HeaderValue::from_str(value).map_err(|_| "this is no header's value")?;
        match rule.set.iter_mut().find(|(other, _)| *other == name) {
            Some((_, values)) => values.extend([", ", value]),
            None => rule.set.push((name, value.to_owned())),
        }
        Ok(())
    }
}

/// A line that begins a rule: a path, or something with a scheme.
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
    fn rules_set_add_and_take_away() {
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
    fn what_is_wrong_is_told_with_its_line_and_the_rest_counts() {
        let text = "a: 1\n/x\n/y\n  b: 2\n  c d: 3\n  e\n  f:\n  !g\nhttp://x/\n  h: 4\n/*/*\n/z\n  i: \u{7}";
        let rules = HeaderRules::parse(text);
        let warned: Vec<_> = rules.warnings().iter().map(|warning| warning.line).collect();
        assert_eq!(warned, [1, 2, 5, 6, 7, 8, 9, 11, 12, 13], "{:#?}", rules.warnings());
        assert_eq!(applied(text, "/y"), ["x-site=site", "b=2"]);
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
