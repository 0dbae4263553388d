//! `_redirects`.

use std::collections::{HashMap, HashSet};

use http::StatusCode;
use url::Url;

use super::pattern::{self, Parts, Pattern};
use super::{RuleWarning, lines};
use crate::HtmlHandling;

/// Rules without `*` and placeholders, above the first with one.
const STATIC_RULES: usize = 2000;
/// Rules with them, and those below.
const DYNAMIC_RULES: usize = 100;

/// What `_redirects` says: a path, where to, and how.
///
/// ```text
/// /old           /new            301
/// /blog/*        /posts/:splat
/// /users/:id     /user.html?id=:id
/// /app/*         /app            200
/// ```
///
/// Without a status it is 302. 200 answers with another path's file, and the client does not see it. The first rule that
/// matches counts, those without `*` and `:placeholders` before the others. A query goes along unless the target has one.
#[derive(Debug, Clone, Default)]
pub struct Redirects {
    exact: HashMap<String, Target>,
    patterns: Vec<(Pattern, Target)>,
    warnings: Vec<RuleWarning>,
}

#[derive(Debug, Clone)]
struct Target {
    to: String,
    status: u16,
}

/// What becomes of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redirection {
    /// The client is sent there.
    To(StatusCode, String),
    /// It gets what is at this path.
    Rewrite(String),
}

impl Redirects {
    /// Reads the file. A line that says nothing that can be done becomes a [warning](Self::warnings), and the others count.
    #[must_use]
    pub fn parse(text: &str, html: HtmlHandling) -> Self {
        let mut redirects = Self::default();
        let (mut seen, mut warnings) = (HashSet::new(), Vec::new());
        let (mut exact, mut dynamic) = (0, 0);
        for (number, line) in lines(text, &mut warnings) {
            let read = match read_from(line) {
                Err(message) => Err(message),
                Ok((pattern, from, rest)) => {
                    let is_exact = pattern.is_static() && dynamic == 0;
                    let (count, most) =
                        if is_exact { (&mut exact, STATIC_RULES) } else { (&mut dynamic, DYNAMIC_RULES) };
                    *count += 1;
                    if *count > most {
                        let message = format!("there are {most} rules of this kind already; it counts for nothing");
                        warnings.push(RuleWarning::new(number, line, message));
                        // As Workers Static Assets: below the last pattern nothing counts.
                        if is_exact {
                            continue;
                        }
                        break;
                    }
                    read_target(&from, &rest, html).map(|target| (pattern, from, target, is_exact))
                }
            };
            match read {
                Ok((_, from, _, _)) if !seen.insert(from.clone()) => {
                    warnings.push(RuleWarning::new(number, line, format!("there is a rule for {from} already")));
                }
                Ok((_, from, target, true)) => drop(redirects.exact.insert(from, target)),
                Ok((pattern, _, target, false)) => redirects.patterns.push((pattern, target)),
                Err(message) => warnings.push(RuleWarning::new(number, line, message)),
            }
        }
        warnings.sort_by_key(|warning| warning.line);
        redirects.warnings = warnings;
        redirects
    }

    /// The lines that count for nothing.
    #[must_use]
    pub fn warnings(&self) -> &[RuleWarning] {
        &self.warnings
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    /// What becomes of this path and query.
    pub(crate) fn find(&self, path: &str, query: Option<&str>) -> Option<Redirection> {
        let (to, status) = match self.exact.get(path) {
            Some(target) => (joined(&target.to), target.status),
            None => self.patterns.iter().find_map(|(pattern, target)| {
                let filled = pattern::fill(&target.to, &pattern.captures(path, "")?);
                Some((joined(filled.trim()), target.status))
            })?,
        };
        // What a path has brought into it may be no address; then it is as if there were no such rule.
        let is_absolute = pattern::split_host(&to).is_some();
        let url = if is_absolute { Url::parse(&to) } else { Url::parse(&format!("https://site.invalid{to}")) }.ok()?;
        // Again: to a URL a backslash is a slash, and a path may bring one.
        let path = if is_absolute { url.path().to_owned() } else { joined(url.path()) };
        if status == 200 {
            return Some(Redirection::Rewrite(path));
        }
        let mut location = if is_absolute { url[..url::Position::BeforePath].to_owned() } else { String::new() };
        location.push_str(&path);
        url.query().or(query).iter().for_each(|query| location.extend(["?", query]));
        url.fragment().iter().for_each(|fragment| location.extend(["#", fragment]));
        Some(Redirection::To(StatusCode::from_u16(status).ok()?, location))
    }
}

/// A path of this server's without runs of slashes: `//host` would be another server. Other addresses stay.
fn joined(target: &str) -> String {
    if !target.starts_with('/') {
        return target.to_owned();
    }
    let mut joined = String::with_capacity(target.len());
    for char in target.chars() {
        if char != '/' || !joined.ends_with('/') {
            joined.push(char);
        }
    }
    joined
}

/// The path that a line is for, and what follows it.
fn read_from(line: &str) -> Result<(Pattern, String, Vec<String>), String> {
    let mut tokens = Vec::new();
    for token in line.split_whitespace() {
        // Behind a space it is a comment; within an address a fragment.
        if token.starts_with('#') && !tokens.is_empty() {
            break;
        }
        tokens.push(token.to_owned());
    }
    if !(2..=3).contains(&tokens.len()) {
        return Err(format!("a rule is `from to [status]`, and this has {} words", tokens.len()));
    }
    let from = pattern::address(&tokens.remove(0), Parts { host: false, port: true, query: false })?;
    Ok((Pattern::new(&from)?, from, tokens))
}

fn read_target(from: &str, rest: &[String], html: HtmlHandling) -> Result<Target, String> {
    let [to, status @ ..] = rest else { return Err("a rule is `from to [status]`".to_owned()) };
    let to = pattern::address(to, Parts { host: true, port: true, query: true })?;
    let status = status.first().map_or("302", String::as_str);
    let status = status.parse().ok().filter(|status| [200, 301, 302, 303, 307, 308].contains(status));
    let status = status.ok_or("the status must be 200, 301, 302, 303, 307 or 308")?;
    let is_ours = pattern::split_host(&to).is_none();
    let is_index = to.ends_with("/index") || to.ends_with("/index.html");
    if is_ours && is_index && (from.ends_with("/*") || (from.ends_with('/') && html != HtmlHandling::None)) {
        return Err("this would go round for ever: /index.html is sent to / again".to_owned());
    }
    if status == 200 && !is_ours {
        return Err("with 200 the target must be a path of this site".to_owned());
    }
    Ok(Target { to, status })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rules: &str, path: &str, query: Option<&str>) -> Option<String> {
        match Redirects::parse(rules, HtmlHandling::default()).find(path, query)? {
            Redirection::To(status, location) => Some(format!("{} {location}", status.as_u16())),
            Redirection::Rewrite(path) => Some(format!("rewrite {path}")),
        }
    }

    #[test]
    fn paths_are_sent_where_the_file_says() {
        let rules = "/old /new 301 # gone\n/blog/* /posts/:splat\n/u/:id /user.html?id=:id 307\n/app/* /app 200\n\
                     /x https://example.com/y#z 308\n/out/* https://example.com/:splat\n/all/* /:splat";
        for (path, query, want) in [
            ("/old", None, Some("301 /new")),
            ("/old", Some("a=b"), Some("301 /new?a=b")),
            ("/old/", None, None),
            ("/blog/a/b", Some("q"), Some("302 /posts/a/b?q")),
            ("/blog//evil.example", None, Some("302 /posts/evil.example")),
            ("/all//evil.example", None, Some("302 /evil.example")),
            ("/all/\\evil.example", None, Some("302 /evil.example")),
            ("/u/7", Some("q"), Some("307 /user.html?id=7")),
            ("/u/7/8", None, None),
            ("/app/deep/er", None, Some("rewrite /app")),
            ("/x", Some("q"), Some("308 https://example.com/y?q#z")),
            ("/out/a", None, Some("302 https://example.com/a")),
            ("/none", None, None),
        ] {
            assert_eq!(found(rules, path, query).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_the_rest_counts() {
        let text = "/a\n/a b c d\n/b /c 404\n/c ftp://x\nhttps://h/ /x\n/* /index.html\n/d/ /index\n/e https://x/ 200\n\
                    /f /1\n/f /2\n/*/* /x\n/g /3";
        let redirects = Redirects::parse(text, HtmlHandling::default());
        let warned: Vec<_> = redirects.warnings().iter().map(|warning| warning.line).collect();
        assert_eq!(warned, [1, 2, 3, 4, 5, 6, 7, 8, 10, 11], "{:#?}", redirects.warnings());
        assert_eq!(found(text, "/f", None).as_deref(), Some("302 /1"));
        assert_eq!(found(text, "/g", None).as_deref(), Some("302 /3"));
    }

    #[test]
    fn limits_hold() {
        let exact: String = (0..STATIC_RULES + 2).map(|number| format!("/s{number} /t\n")).collect();
        let dynamic: String = (0..DYNAMIC_RULES + 2).map(|number| format!("/d{number}/* /t\n")).collect();
        let redirects = Redirects::parse(&format!("{exact}{dynamic}/last /t"), HtmlHandling::default());
        let counts = (redirects.exact.len(), redirects.patterns.len(), redirects.warnings.len());
        assert_eq!(counts, (STATIC_RULES, DYNAMIC_RULES, 3));
    }
}
