//! The rules of `run_worker_first`.

use regex_lite::Regex;

/// Most rules of one configuration.
const RULES: usize = 100;
/// Most characters of a rule.
const RULE_CHARACTERS: usize = 100;

/// The requests that the application answers without looking at the site: `run_worker_first`.
///
/// With [`never`](Self::never) the site answers every request for which it has a file or a redirect, and the application the others.
///
/// ```
/// use std::sync::Arc;
/// use isobar_site::{Site, SiteOptions, WorkerFirst};
/// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// store.write(&Key::new("api/openapi.json")?, "{}").await?;
/// let site = Site::new(Arc::new(store), SiteOptions::default());
/// let request = http::Request::get("/api/openapi.json").body(())?;
///
/// let worker_first = WorkerFirst::paths(["/api/*"])?;
/// assert!(!site.should_serve(&request, &worker_first).await?);
/// let worker_first = WorkerFirst::paths(["/api/*", "!/api/openapi.json"])?;
/// assert!(site.should_serve(&request, &worker_first).await?);
/// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct WorkerFirst(Inner);

/// The compiled rules.
#[derive(Debug, Clone)]
enum Inner {
    Always,
    Never,
    Paths { worker: Vec<Regex>, site: Vec<Regex> },
}

/// The side that answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precedence {
    Worker,
    Site,
    /// The site if it has a response, else the application. `not_found` says whether the site's page for missing files counts.
    Either {
        not_found: bool,
    },
}

/// An invalid list of rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run_worker_first: {0}")]
pub struct RoutingError(String);

impl WorkerFirst {
    /// Sends every request to the application.
    #[must_use]
    pub fn always() -> Self {
        Self(Inner::Always)
    }

    /// Sends no request to the application first.
    #[must_use]
    pub fn never() -> Self {
        Self(Inner::Never)
    }

    /// Sends requests to the application whose path matches one of these rules (`/api/*`) and none of those that begin with `!`
    /// (`!/api/docs/*`). A `*` matches any text.
    ///
    /// # Errors
    /// An empty list, more than 100 rules, a rule of more than 100 characters, a duplicate or a rule covered by another, a rule
    /// that begins with neither `/` nor `!/`, or only rules with `!`.
    ///
    /// ```
    /// use isobar_site::WorkerFirst;
    ///
    /// assert!(WorkerFirst::paths(["/api/*", "!/api/docs/*"]).is_ok());
    /// let refused = WorkerFirst::paths(["/api/*", "/api/rows"]).unwrap_err();
    /// assert_eq!(refused.to_string(), r#"run_worker_first: "/api/rows" is already covered by "/api/*""#);
    /// ```
    pub fn paths<R: AsRef<str>>(rules: impl IntoIterator<Item = R>) -> Result<Self, RoutingError> {
        let rules: Vec<String> = rules.into_iter().map(|rule| rule.as_ref().to_owned()).collect();
        check(&rules).map_err(RoutingError)?;
        let (site, worker): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.starts_with('!'));
        let compiled = |rules: Vec<&String>| {
            rules.into_iter().map(|rule| pattern(rule.trim_start_matches('!'))).collect::<Result<Vec<_>, _>>()
        };
        let worker = compiled(worker).map_err(RoutingError)?;
        let site = compiled(site).map_err(RoutingError)?;
        Ok(Self(Inner::Paths { worker, site }))
    }

    /// Returns the side that answers this path.
    pub(crate) fn precedence(&self, path: &str) -> Precedence {
        let any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(path));
        match &self.0 {
            Inner::Always => Precedence::Worker,
            Inner::Never => Precedence::Either { not_found: false },
            Inner::Paths { site, .. } if any(site) => Precedence::Site,
            Inner::Paths { worker, .. } if any(worker) => Precedence::Worker,
            Inner::Paths { .. } => Precedence::Either { not_found: true },
        }
    }
}

/// Compiles a rule, in which only `*` is special; it matches slashes, too.
fn pattern(rule: &str) -> Result<Regex, String> {
    let escaped = rule.split('*').map(regex_lite::escape).collect::<Vec<_>>().join(".*");
    Regex::new(&format!("^{escaped}$")).map_err(|error| format!("{rule:?}: {error}"))
}

/// Checks a list of rules as wrangler does.
///
/// # Errors
/// A message for the user, with the first rule that is invalid.
fn check(rules: &[String]) -> Result<(), String> {
    if rules.is_empty() || rules.len() > RULES {
        return Err(format!("there must be 1 to {RULES} rules, not {}", rules.len()));
    }
    for (index, rule) in rules.iter().enumerate() {
        if !rule.starts_with('/') && !rule.starts_with("!/") {
            return Err(format!("{rule:?} must begin with / or !/"));
        }
        if rule.encode_utf16().count() > RULE_CHARACTERS {
            return Err(format!("{rule:?} has more than {RULE_CHARACTERS} characters"));
        }
        let covers =
            |other: &String| other == rule || other.strip_suffix('*').is_some_and(|start| rule.starts_with(start));
        let others = rules.iter().enumerate().filter(|(other, _)| *other != index);
        if let Some((_, other)) = others.into_iter().find(|(_, other)| covers(other)) {
            return Err(format!("{rule:?} is already covered by {other:?}"));
        }
    }
    match rules.iter().all(|rule| rule.starts_with('!')) {
        true => Err("at least one rule must not begin with !".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_follows_the_rules() {
        let first = WorkerFirst::paths(["/api/*", "!/api/docs/*", "/exact"]).expect("the rules are valid");
        for (path, precedence) in [
            ("/api/x/y", Precedence::Worker),
            ("/api/", Precedence::Worker),
            ("/api", Precedence::Either { not_found: true }),
            ("/api/docs/x", Precedence::Site),
            ("/exact", Precedence::Worker),
            ("/exact/", Precedence::Either { not_found: true }),
        ] {
            assert_eq!(first.precedence(path), precedence, "{path}");
        }
        let odd = WorkerFirst::paths(["/a[b]{c}?/*"]).expect("only the star is special");
        assert_eq!(odd.precedence("/a[b]{c}?/x"), Precedence::Worker);
        assert_eq!(odd.precedence("/ab/x"), Precedence::Either { not_found: true });
    }

    #[test]
    fn invalid_rules_are_refused() {
        for rules in [
            vec![],
            vec!["api"],
            vec!["!api"],
            vec!["!/only"],
            vec!["/a", "/a"],
            vec!["/a/*", "/a/b"],
            vec![&*format!("/{}", "x".repeat(100))],
        ] {
            assert!(WorkerFirst::paths(&rules).is_err(), "{rules:?}");
        }
        assert!(WorkerFirst::paths((0..=RULES).map(|number| format!("/{number}"))).is_err());
    }
}
