//! The state of a site during one request.

use std::sync::Arc;

use http::{HeaderMap, Uri};
use isobar_storage::{Error, Key};

use crate::Site;
use crate::deploy::{File, ServedDeploy};
use crate::path::normalized;
use crate::respond::host;
use crate::rules::{HeaderRules, Redirects, SiteRules};

/// A site and its current deploy, unchanged from the start of a request to its end.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) site: Site,
    /// The deploy to serve; `None` where the keys are served as they are.
    pub(crate) deploy: Option<Arc<ServedDeploy>>,
    /// The rules where nothing was deployed.
    pub(crate) rules: Arc<SiteRules>,
}

impl Snapshot {
    pub(crate) async fn of(site: &Site) -> Result<Self, Error> {
        let deploy = match &site.deploys {
            Some(deploys) => deploys.current(&site.store, &site.options).await?,
            None => None,
        };
        Ok(Self::with(site, deploy))
    }

    /// Returns the last known state without asking the store.
    pub(crate) fn last(site: &Site) -> Self {
        Self::with(site, site.deploys.as_ref().and_then(|deploys| deploys.last()))
    }

    /// Returns a state that serves the keys and ignores deploys.
    pub(crate) fn of_keys(site: &Site) -> Self {
        Self::with(site, None)
    }

    fn with(site: &Site, deploy: Option<Arc<ServedDeploy>>) -> Self {
        Self { site: site.clone(), deploy, rules: site.rules.current() }
    }

    pub(crate) fn header_rules(&self) -> &HeaderRules {
        self.deploy.as_ref().map_or(&self.rules.headers, |deploy| deploy.headers())
    }

    pub(crate) fn redirects(&self) -> &Redirects {
        self.deploy.as_ref().map_or(&self.rules.redirects, |deploy| deploy.redirects())
    }

    /// Applies the `_headers` rules for this request to the headers of an answer.
    pub(crate) fn apply_rules(&self, uri: &Uri, request: &HeaderMap, headers: &mut HeaderMap) {
        let rules = self.header_rules();
        if !rules.is_empty() {
            rules.apply(&host(uri, request), &normalized(uri.path()), headers);
        }
    }

    /// Returns the file at a path below the site, which has no leading slash.
    pub(crate) async fn file(&self, name: &str) -> Result<Option<File>, Error> {
        match &self.deploy {
            Some(deploy) => deploy.file(&self.site.store, name).await,
            None => self.object(&format!("{}{name}", self.site.options.prefix)).await,
        }
    }

    /// Returns the file beside another whose name has this suffix.
    pub(crate) async fn variant(&self, file: &File, suffix: &str) -> Result<Option<File>, Error> {
        let key = file.key.as_str();
        match &self.deploy {
            Some(deploy) => {
                let name = key.strip_prefix(&*self.site.options.prefix).unwrap_or(key);
                deploy.beside(file, &format!("{name}{suffix}"))
            }
            None => self.object(&format!("{key}{suffix}")).await,
        }
    }

    /// Returns the object at a key; `None` also where the name is too long for a key.
    pub(crate) async fn object(&self, name: &str) -> Result<Option<File>, Error> {
        let Ok(key) = Key::new(name) else { return Ok(None) };
        Ok(self.site.store.head(&key).await?.map(|meta| File { key, meta, object: None }))
    }
}
