//! The redirect rules of `_redirects`.

use std::collections::{HashMap, HashSet};

use http::StatusCode;
use url::Url;

use super::pattern::{self, Parts, Pattern};
use super::{RuleWarning, is_space, lines};
use crate::handling::HtmlHandling;

/// Most rules without `*` and placeholders before the first rule that has one.
const STATIC_RULES: usize = 2000;
/// Most rules with `*` or placeholders, including all rules after the first of them.
const DYNAMIC_RULES: usize = 100;

/// Redirect rules, as in `_redirects`: a path, a target and a status.
///
/// ```text
/// /old           /new            301
/// /blog/*        /posts/:splat
/// /users/:id     /user.html?id=:id
/// /app/*         /app            200
/// ```
///
/// The default status is 302. With 200 the file of another path is served without a redirect. The first rule that matches
/// applies, rules without `*` and `:placeholders` before the others. The query is kept unless the target has one.
///
/// A target is a path, `https://host/path` or `//host/path`, which keeps the request's scheme. A captured value
/// never turns a target that is a path into one with a host: leading slashes are joined. All as in Workers Static Assets, except
/// that a captured value is inserted literally: there a `:name` or `$&` in it is replaced again.
///
/// ```
/// use std::sync::Arc;
/// use isobar_site::{HtmlHandling, Redirects, Site, SiteOptions};
/// use isobar_storage::memory::MemoryStore;
/// # futures_util::FutureExt::now_or_never(async {
/// let redirects = Redirects::parse("/blog/* /posts/:splat 301", HtmlHandling::default());
/// let site = Site::new(Arc::new(MemoryStore::new()), SiteOptions::default().with_redirects(redirects));
/// let response = site.respond(&http::Request::get("/blog/2026?page=2").body(())?).await;
/// assert_eq!(response.status(), 301);
/// assert_eq!(response.headers()["location"], "/posts/2026?page=2");
/// # Ok::<_, http::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Redirects {
    exact: HashMap<String, (Target, u16)>,
    patterns: Vec<(Pattern, String, u16)>,
    warnings: Vec<RuleWarning>,
}

/// The target of a rule.
#[derive(Debug, Clone)]
struct Target {
    /// The target without query and fragment: a path, or a URL with a host.
    base: String,
    path: String,
    query: Option<String>,
    fragment: Option<String>,
}

/// The effect of a rule on a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redirection {
    /// Redirect the client to this location.
    To(StatusCode, String),
    /// Serve the file of this path.
    Rewrite(String),
}

impl Redirects {
    /// Parses the file. A line that is not a rule becomes a [warning](Self::warnings); the other lines apply.
    #[must_use]
    pub fn parse(text: &str, html: HtmlHandling) -> Self {
        let mut read = Reading::default();
        for (number, line) in lines(text, &mut read.warnings) {
            match read.rule(line, html) {
                Ok(()) => {}
                Err(Refused::Line(message)) => read.warnings.push(RuleWarning::new(number, line, message)),
                Err(Refused::Rest(message)) => {
                    read.warnings.push(RuleWarning::new(number, line, message));
                    break;
                }
            }
        }
        let Reading { mut redirects, mut warnings, .. } = read;
        warnings.sort_by_key(|warning| warning.line);
        redirects.warnings = warnings;
        redirects
    }

    /// Returns warnings about ignored lines, and about lines that are probably mistakes.
    ///
    /// ```
    /// use isobar_site::{HtmlHandling, Redirects};
    ///
    /// let redirects = Redirects::parse("/a /b\n/a /c\n", HtmlHandling::default());
    /// assert_eq!(redirects.warnings()[0].to_string(), "line 2: there is already a rule for /a (/a /c)");
    /// ```
    #[must_use]
    pub fn warnings(&self) -> &[RuleWarning] {
        &self.warnings
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    /// Returns the effect of the rules on this path and query, both percent-encoded; `None` where no rule matches.
    pub(crate) fn find(&self, path: &str, query: Option<&str>) -> Option<Redirection> {
        if let Some((target, status)) = self.exact.get(path) {
            return redirection(target, *status, query);
        }
        self.patterns.iter().find_map(|(pattern, to, status)| {
            let filled = filled(to, &pattern.captures(path, "")?);
            // With captured values the target may be an invalid URL; the rule is then skipped.
            redirection(&Target::of(filled.trim())?, *status, query)
        })
    }
}

/// Returns the effect of a rule that matched: its own query replaces that of the request.
fn redirection(target: &Target, status: u16, query: Option<&str>) -> Option<Redirection> {
    let Target { base, path, query: own, fragment } = target;
    if status == 200 {
        return Some(Redirection::Rewrite(path.clone()));
    }
    let mut location = base.clone();
    let query = own.as_deref().or(query.filter(|query| !query.is_empty()));
    query.iter().for_each(|query| location.extend(["?", query]));
    fragment.iter().for_each(|fragment| location.extend(["#", fragment]));
    Some(Redirection::To(StatusCode::from_u16(status).ok()?, location))
}

/// Inserts captured values into a target. Leading slashes of a path are joined, as several would make it a host.
fn filled(to: &str, captures: &pattern::Captures<'_>) -> String {
    let is_slash = |char: char| char == '/' || char == '\\';
    let names_host =
        to.strip_prefix("//").is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '\\', '?', '#']));
    let filled = pattern::fill(to, captures);
    if names_host || !to.starts_with('/') {
        return filled;
    }
    let (path, rest) = filled.split_at(filled.find(['?', '#']).unwrap_or(filled.len()));
    let mut joined = String::with_capacity(filled.len());
    for char in path.chars() {
        if !is_slash(char) {
            joined.push(char);
        } else if !joined.ends_with('/') {
            joined.push('/');
        }
    }
    joined + rest
}

impl Target {
    /// Parses a URL as a browser at this site would; `None` where it is invalid.
    fn of(to: &str) -> Option<Self> {
        const HERE: &str = "site.invalid";
        // Any number of slashes is followed by a host.
        let host = to.strip_prefix('/').map(|rest| (rest, rest.trim_start_matches(['/', '\\'])));
        let host = host.filter(|(rest, host)| rest.len() > host.len()).map(|(_, host)| format!("//{host}"));
        let url = Url::parse(&format!("https://{HERE}/")).ok()?.join(host.as_deref().unwrap_or(to)).ok()?;
        let path = url.path().replace('^', "%5E");
        let base = if url.host_str() == Some(HERE) {
            path.clone()
        } else if to.starts_with("https://") {
            format!("{}{path}", &url[..url::Position::BeforePath])
        } else {
            format!("//{}{path}", &url[url::Position::BeforeUsername..url::Position::BeforePath])
        };
        let some = |part: Option<&str>| part.filter(|part| !part.is_empty()).map(str::to_owned);
        Some(Self { base, path, query: some(url.query()), fragment: some(url.fragment()) })
    }
}

/// State of parsing the file.
#[derive(Default)]
struct Reading {
    redirects: Redirects,
    warnings: Vec<RuleWarning>,
    /// The paths of all rules so far.
    seen: HashSet<String>,
    exact: usize,
    dynamic: usize,
}

/// The reason for which a line is ignored.
enum Refused {
    Line(String),
    /// This line and all below it.
    Rest(String),
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self::Line(message)
    }
}

impl Reading {
    /// Parses a rule. The order of the checks is wrangler's: it decides which lines count towards the limits.
    fn rule(&mut self, line: &str, html: HtmlHandling) -> Result<(), Refused> {
        let words = words(line);
        let (from, to, status) = match words[..] {
            [from, to] => (from, to, "302"),
            [from, to, status] => (from, to, status),
            _ => return Err(format!("a rule is `from to [status]`, and this has {} words", words.len()).into()),
        };
        let from = pattern::address(from, Parts { host: false, port: true, query: false })?;
        let is_exact = pattern::is_literal(&from);
        let counts_as_exact = is_exact && self.dynamic == 0;
        let (count, most) = match counts_as_exact {
            true => (&mut self.exact, STATIC_RULES),
            false => (&mut self.dynamic, DYNAMIC_RULES),
        };
        *count += 1;
        if *count > most {
            let message = format!("ignored: there are already {most} rules of this kind");
            // As in Workers Static Assets, everything after the last pattern is ignored.
            return Err(if counts_as_exact { Refused::Line(message) } else { Refused::Rest(message) });
        }
        let to = pattern::address(to, Parts { host: true, port: true, query: true })?;
        let code = number(status).filter(|status| [200, 301, 302, 303, 307, 308].contains(status));
        let status = code.ok_or_else(|| format!("the status must be 200, 301, 302, 303, 307 or 308, not {status}"))?;
        let is_path = pattern::split_host(&to).is_none();
        let is_index = to.ends_with("/index") || to.ends_with("/index.html");
        if is_path && is_index && (from.ends_with("/*") || (from.ends_with('/') && html != HtmlHandling::None)) {
            return Err(String::from("infinite loop: /index.html redirects back to /").into());
        }
        if !self.seen.insert(from.clone()) {
            return Err(format!("there is already a rule for {from}").into());
        }
        if status == 200 && !is_path {
            return Err(String::from("with 200 the target must be a path of this site").into());
        }
        if is_exact && self.redirects.patterns.is_empty() {
            let target =
                Target::of(&to).ok_or_else(|| format!("invalid target {to}: it is neither a path nor a URL"))?;
            self.redirects.exact.insert(from, (target, status));
        } else {
            self.redirects.patterns.push((Pattern::new(&from)?, to, status));
        }
        Ok(())
    }
}

/// Splits a rule into words. A `#` after white space begins a comment; within a word it begins a fragment.
fn words(line: &str) -> Vec<&str> {
    let words = line.split(is_space).filter(|word| !word.is_empty());
    words.enumerate().take_while(|(index, word)| *index == 0 || !word.starts_with('#')).map(|(_, word)| word).collect()
}

/// Parses a status as JavaScript parses numbers: `301`, `301.0` and `0x12d` are the same.
fn number(text: &str) -> Option<u16> {
    let radix = |prefixes: [&str; 2], radix| {
        let digits = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix))?;
        u16::from_str_radix(digits, radix).ok()
    };
    let number = radix(["0x", "0X"], 16).or_else(|| radix(["0o", "0O"], 8)).or_else(|| radix(["0b", "0B"], 2));
    number.or_else(|| {
        let number: f64 = text.parse().ok()?;
        (number.fract() == 0.0 && (0.0..1000.0).contains(&number)).then_some(number as u16)
    })
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
    fn paths_are_redirected_by_the_file() {
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
            ("/all/a//b", None, Some("302 /a/b")),
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
    fn targets_are_read_as_the_asset_worker_reads_them() {
        for (rule, path, query, want) in [
            ("/s //host.example/path", "/s", None, Some("302 //host.example/path")),
            ("/s //host.example/path", "/s", Some("a=b"), Some("302 //host.example/path?a=b")),
            ("/s ///host.example/path", "/s", None, Some("302 //host.example/path")),
            ("/s //user:pw@host.example:81/x", "/s", None, Some("302 //user:pw@host.example:81/x")),
            ("/s //host.example/path 200", "/s", None, Some("rewrite /path")),
            ("/s /a//b//c", "/s", None, Some("302 /a//b//c")),
            ("/s /a?u=https://x//y#f//g", "/s", None, Some("302 /a?u=https://x//y#f//g")),
            ("/s /a?", "/s", Some("q"), Some("302 /a?q")),
            ("/s /a", "/s", Some(""), Some("302 /a")),
            ("/s https://H.Example:443//p//q", "/s", None, Some("302 https://h.example/p//q")),
            ("/s /x|y^z{1}[2]\"'`<>", "/s", None, Some("302 /x|y%5Ez%7B1%7D[2]%22'%60%3C%3E")),
            ("/s /x?q=|^{}[]\"'`<>\\", "/s", None, Some("302 /x?q=|^{}[]%22%27`%3C%3E\\")),
            ("/s /x 301.0", "/s", None, Some("301 /x")),
            ("/s /x 0x12d", "/s", None, Some("301 /x")),
            ("/s /x 301!", "/s", None, None),
            ("/s //", "/s", None, None),
            ("/s^a /q", "/s%5Ea", None, Some("302 /q")),
            ("/s^:a /q/:a", "/s%5Eb", None, Some("302 /q/b")),
            ("\u{feff}/s\u{feff}/q\u{feff}", "/s", None, Some("302 /q")),
            ("/s\u{85}x /q", "/s%C2%85x", None, Some("302 /q")),
            ("/s /q\r", "/s", None, Some("302 /q")),
            ("/s/* //host.example/:splat", "/s//x", None, Some("302 //host.example//x")),
            ("/s/* //:splat", "/s/host.example/x", None, Some("302 //host.example/x")),
            ("/s/* ///host.example/:splat", "/s/x", None, Some("302 /host.example/x")),
            ("/s/* /\\host.example/:splat", "/s/x", None, Some("302 /host.example/x")),
            ("/s/:a /x?u=https://:a//:a#:a//", "/s/1", Some("z"), Some("302 /x?u=https://1//1#1//")),
            ("/s/:a /q//:a?x=//y", "/s/v", None, Some("302 /q/v?x=//y")),
            ("/s/* https://h.example//p/:splat", "/s/x//y", None, Some("302 https://h.example/p/x//y")),
            ("/s/:a/:ab /x/:a/:ab", "/s/1/2", None, None),
        ] {
            assert_eq!(found(rule, path, query).as_deref(), want, "{rule} of {path}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_give_a_warning() {
        let text = String::from_utf8_lossy(b"# caf\xe9\n/old /new\n/caf\xe9 /foo\n").into_owned();
        let redirects = Redirects::parse(&text, HtmlHandling::default());
        let lines: Vec<_> = redirects.warnings().iter().map(|warning| warning.line).collect();
        assert_eq!(lines, [1], "{:?}", redirects.warnings());
        assert_eq!(found(&text, "/old", None).as_deref(), Some("302 /new"));
    }

    #[test]
    fn invalid_lines_give_warnings_and_the_others_apply() {
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
