//! The rules of a site while it is served: replaced as a whole, and never by rules that are wrong.
//!
//! `isobar serve` reads the rules again while files are edited. Both files are replaced at once. A file with a line that is wrong
//! now, and was not wrong before, keeps its earlier rules, and the caller learns the lines: a slip while editing must not take
//! the redirects of a site away.

#[cfg(feature = "cache")]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use isobar_base::sync::IgnorePoison;
use isobar_storage::{Error, Key, ObjectStore};

use super::{HEADERS, HeaderRules, REDIRECTS, Redirects, RuleWarning, read};
use crate::handling::HtmlHandling;

/// The rules of `_headers` and `_redirects`.
#[derive(Debug, Default)]
pub(crate) struct SiteRules {
    pub(crate) headers: HeaderRules,
    pub(crate) redirects: Redirects,
}

/// The rules in force, shared by the clones of a site.
#[derive(Debug, Default)]
pub(crate) struct LiveRules {
    current: RwLock<Arc<SiteRules>>,
    /// Changes when the rules do, after they have.
    #[cfg(feature = "cache")]
    version: AtomicU64,
    /// Whether any of them has a host: read for each cached response.
    #[cfg(feature = "cache")]
    has_hosts: AtomicBool,
}

impl LiveRules {
    /// Creates live rules with these in force.
    pub(crate) fn new(headers: HeaderRules, redirects: Redirects) -> Self {
        let live = Self::default();
        live.set(SiteRules { headers, redirects });
        live
    }

    /// Returns the rules in force.
    pub(crate) fn current(&self) -> Arc<SiteRules> {
        Arc::clone(&self.current.read().ignore_poison())
    }

    /// Returns a number that grows with each change of the rules.
    #[cfg(feature = "cache")]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether a `_headers` rule in force has a host. Takes no lock.
    #[cfg(feature = "cache")]
    pub(crate) fn has_hosts(&self) -> bool {
        self.has_hosts.load(Ordering::Relaxed)
    }

    /// Replaces the rules, both files at once.
    fn set(&self, rules: SiteRules) {
        let mut current = self.current.write().ignore_poison();
        #[cfg(feature = "cache")]
        self.has_hosts.store(rules.headers.has_hosts(), Ordering::Relaxed);
        *current = Arc::new(rules);
        #[cfg(feature = "cache")]
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Reads the files of rules again, and replaces the rules of each whose lines are valid. A missing file has no rules.
    ///
    /// # Errors
    /// The store's error; [`ErrorKind::TooLarge`](isobar_storage::ErrorKind::TooLarge) for a file that is too large. No rule is
    /// replaced.
    pub(crate) async fn reload(
        &self,
        store: &dyn ObjectStore,
        prefix: &str,
        html: HtmlHandling,
    ) -> Result<ReloadedRules, Error> {
        let text = async |name: &str| read(store, &Key::new(format!("{prefix}{name}"))?).await;
        let headers = HeaderRules::parse(&text(HEADERS).await?.unwrap_or_default());
        let redirects = Redirects::parse(&text(REDIRECTS).await?.unwrap_or_default(), html);
        let before = self.current();
        let reloaded = ReloadedRules {
            headers: new_warnings(before.headers.warnings(), headers.warnings()),
            redirects: new_warnings(before.redirects.warnings(), redirects.warnings()),
        };
        self.set(SiteRules {
            headers: if reloaded.headers.is_empty() { headers } else { before.headers.clone() },
            redirects: if reloaded.redirects.is_empty() { redirects } else { before.redirects.clone() },
        });
        Ok(reloaded)
    }
}

/// The warnings about invalid lines that were not there before: a line that was ignored from the start keeps no edit from being served.
fn new_warnings(before: &[RuleWarning], now: &[RuleWarning]) -> Vec<RuleWarning> {
    let is_known =
        |warning: &RuleWarning| before.iter().any(|it| (&it.text, &it.message) == (&warning.text, &warning.message));
    now.iter().filter(|warning| !warning.is_shadowed && !is_known(warning)).cloned().collect()
}

/// The outcome of [`Site::reload_rules`](crate::Site::reload_rules): for each file the reasons for which its new text is not in
/// force. Both lists are empty where all rules were replaced. Invalid lines that were there before are not listed again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadedRules {
    /// Invalid lines of `_headers`; where there are some the earlier rules stay in force.
    pub headers: Vec<RuleWarning>,
    /// Invalid lines of `_redirects`; where there are some the earlier rules stay in force.
    pub redirects: Vec<RuleWarning>,
}
