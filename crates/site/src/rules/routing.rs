//! `run_worker_first`.

use regex_lite::Regex;

/// Rules of one configuration.
const RULES: usize = 100;
/// Characters of a rule.
const RULE_CHARACTERS: usize = 100;

/// Which requests are the application's before the site is looked at: `run_worker_first`.
///
/// Without any - [`never`](Self::never) - what the site has is answered by the site, and everything else by the application.
#[derive(Debug, Clone)]
pub struct WorkerFirst(Inner);

#[derive(Debug, Clone)]
enum Inner {
    Always,
    Never,
    Paths { worker: Vec<Regex>, site: Vec<Regex> },
}

/// Who answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Worker,
    Site,
    /// The site where it has something for it; whether what it says of missing pages counts, too.
    Either {
        not_found: bool,
    },
}

/// Why a list of rules is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run_worker_first: {0}")]
pub struct RoutingError(String);

impl WorkerFirst {
    /// Every request.
    #[must_use]
    pub fn always() -> Self {
        Self(Inner::Always)
    }

    /// No request.
    #[must_use]
    pub fn never() -> Self {
        Self(Inner::Never)
    }

    /// Requests whose path matches one of these - `/api/*` - and none of those with `!` in front - `!/api/docs/*`. A `*` is
    /// any text.
    ///
    /// # Errors
    /// No rule, more than 100, one of more than 100 characters, one twice or covered by another, one that begins with
    /// neither `/` nor `!/`, or only such with `!`.
    pub fn paths<R: AsRef<str>>(rules: impl IntoIterator<Item = R>) -> Result<Self, RoutingError> {
        let rules: Vec<String> = rules.into_iter().map(|rule| rule.as_ref().to_owned()).collect();
        check(&rules).map_err(RoutingError)?;
        let (site, worker): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.starts_with('!'));
        let compiled =
            |rules: Vec<&String>| rules.into_iter().map(|rule| pattern(rule.trim_start_matches('!'))).collect();
        let (worker, site): (Result<_, _>, Result<_, _>) = (compiled(worker), compiled(site));
        Ok(Self(Inner::Paths { worker: worker.map_err(RoutingError)?, site: site.map_err(RoutingError)? }))
    }

    /// Who answers for this path.
    pub(crate) fn turn(&self, path: &str) -> Turn {
        let any = |patterns: &[Regex]| patterns.iter().any(|pattern| pattern.is_match(path));
        match &self.0 {
            Inner::Always => Turn::Worker,
            Inner::Never => Turn::Either { not_found: false },
            Inner::Paths { site, .. } if any(site) => Turn::Site,
            Inner::Paths { worker, .. } if any(worker) => Turn::Worker,
            Inner::Paths { .. } => Turn::Either { not_found: true },
        }
    }
}

/// Only `*` means anything, and it crosses slashes.
fn pattern(rule: &str) -> Result<Regex, String> {
    let escaped = rule.split('*').map(regex_lite::escape).collect::<Vec<_>>().join(".*");
    Regex::new(&format!("^{escaped}$")).map_err(|error| format!("{rule:?}: {error}"))
}

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
            return Err(format!("{rule:?} says nothing more than {other:?}"));
        }
    }
    match rules.iter().all(|rule| rule.starts_with('!')) {
        true => Err("there must be a rule without !".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_to_whom_they_are_for() {
        let first = WorkerFirst::paths(["/api/*", "!/api/docs/*", "/exact"]).expect("rules");
        for (path, turn) in [
            ("/api/x/y", Turn::Worker),
            ("/api/", Turn::Worker),
            ("/api", Turn::Either { not_found: true }),
            ("/api/docs/x", Turn::Site),
            ("/exact", Turn::Worker),
            ("/exact/", Turn::Either { not_found: true }),
        ] {
            assert_eq!(first.turn(path), turn, "{path}");
        }
        let odd = WorkerFirst::paths(["/a[b]{c}?/*"]).expect("only the star means anything");
        assert_eq!(odd.turn("/a[b]{c}?/x"), Turn::Worker);
        assert_eq!(odd.turn("/ab/x"), Turn::Either { not_found: true });
    }

    #[test]
    fn rules_that_are_none_are_refused() {
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
