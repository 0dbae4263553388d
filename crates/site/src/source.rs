//! The parts of a site: store, options, deploys and live rules.
//!
//! It is made once with the site and never replaced; deploys and rules that change meanwhile are behind locks of their own.

use std::sync::Arc;

use isobar_storage::ObjectStore;

use crate::deploy::Follower;
use crate::options::SiteOptions;
use crate::rules::LiveRules;

/// The store and the settings of a site, shared by its clones. The lower rooms take it, and none of them a site.
pub(crate) struct Source {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) options: SiteOptions,
    /// Follows the current deploy; `None` where the options do not enable deploys.
    pub(crate) deploys: Option<Follower>,
    /// The rules where nothing is deployed: at first those of the options.
    pub(crate) rules: LiveRules,
}

impl Source {
    /// Creates the source of a site. Asks the store nothing.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, options: SiteOptions) -> Self {
        let deploys = options.deploys.then(Follower::default);
        let rules = LiveRules::new(options.headers.clone(), options.redirects.clone());
        Self { store, options, deploys, rules }
    }

    /// Whether responses depend on the host of the request, by the `_headers` rules that were last in force.
    #[cfg(feature = "cache")]
    pub(crate) fn varies_by_host(&self) -> bool {
        match self.deploys.as_ref().and_then(Follower::last) {
            Some(deploy) => deploy.headers().has_hosts(),
            None => self.rules.has_hosts(),
        }
    }
}
