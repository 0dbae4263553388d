//! A site as one request sees it.

use std::sync::Arc;

use http::{HeaderMap, Uri};
use isobar_storage::{Error, Key};

use crate::Site;
use crate::deploy::{File, ServedDeploy};
use crate::path::normalized;
use crate::respond::host;
use crate::rules::{HeaderRules, Redirects};

/// A site, and what of it was deployed last: the same from a request's beginning to its end.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) site: Site,
    /// Without one the keys are the files.
    pub(crate) deploy: Option<Arc<ServedDeploy>>,
}

impl View {
    pub(crate) async fn of(site: &Site) -> Result<Self, Error> {
        let deploy = match &site.deploys {
            Some(deploys) => deploys.current(&site.store, &site.options).await?,
            None => None,
        };
        Ok(Self { site: site.clone(), deploy })
    }

    /// As far as it is known without asking the store.
    pub(crate) fn last(site: &Site) -> Self {
        Self { site: site.clone(), deploy: site.deploys.as_ref().and_then(|deploys| deploys.last()) }
    }

    /// The site's keys, whatever was deployed.
    pub(crate) fn of_keys(site: &Site) -> Self {
        Self { site: site.clone(), deploy: None }
    }

    pub(crate) fn header_rules(&self) -> &HeaderRules {
        self.deploy.as_ref().map_or(&self.site.options.headers, |deploy| deploy.headers())
    }

    pub(crate) fn redirects(&self) -> &Redirects {
        self.deploy.as_ref().map_or(&self.site.options.redirects, |deploy| deploy.redirects())
    }

    /// What `_headers` says of an answer to this request.
    pub(crate) fn apply_rules(&self, uri: &Uri, request: &HeaderMap, headers: &mut HeaderMap) {
        let rules = self.header_rules();
        if !rules.is_empty() {
            rules.apply(&host(uri, request), &normalized(uri.path()), headers);
        }
    }

    /// The file of a path below the site, without its first slash.
    pub(crate) async fn file(&self, name: &str) -> Result<Option<File>, Error> {
        match &self.deploy {
            Some(deploy) => deploy.file(&self.site.store, name).await,
            None => self.object(&format!("{}{name}", self.site.options.prefix)).await,
        }
    }

    /// What is beside a file, and is called as it is with this behind.
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

    /// The object of a key; a name too long for one names nothing.
    pub(crate) async fn object(&self, name: &str) -> Result<Option<File>, Error> {
        let Ok(key) = Key::new(name) else { return Ok(None) };
        Ok(self.site.store.head(&key).await?.map(|meta| File { key, meta, object: None }))
    }
}
