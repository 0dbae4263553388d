//! A site as one request sees it.

use std::sync::Arc;

use http::{HeaderMap, Uri};
use isobar_storage::{Error, Key};

use crate::Site;
use crate::deploy::{File, Release};
use crate::path::normalized;
use crate::respond::host;
use crate::rules::{HeaderRules, Redirects};

/// A site, and what of it was deployed last: the same from a request's beginning to its end.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) site: Site,
    /// Without one the keys are the files.
    pub(crate) release: Option<Arc<Release>>,
}

impl View {
    pub(crate) async fn of(site: &Site) -> Result<Self, Error> {
        let release = match &site.releases {
            Some(releases) => releases.current(&site.store, &site.options).await?,
            None => None,
        };
        Ok(Self { site: site.clone(), release })
    }

    /// As far as it is known without asking the store.
    pub(crate) fn last(site: &Site) -> Self {
        Self { site: site.clone(), release: site.releases.as_ref().and_then(|releases| releases.last()) }
    }

    /// The site's keys, whatever was deployed.
    pub(crate) fn of_keys(site: &Site) -> Self {
        Self { site: site.clone(), release: None }
    }

    pub(crate) fn header_rules(&self) -> &HeaderRules {
        self.release.as_ref().map_or(&self.site.options.headers, |release| release.headers())
    }

    pub(crate) fn redirects(&self) -> &Redirects {
        self.release.as_ref().map_or(&self.site.options.redirects, |release| release.redirects())
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
        match &self.release {
            Some(release) => release.file(&self.site.store, name).await,
            None => self.object(&format!("{}{name}", self.site.options.prefix)).await,
        }
    }

    /// What is beside a file, and is called as it is with this behind.
    pub(crate) async fn variant(&self, file: &File, suffix: &str) -> Result<Option<File>, Error> {
        let key = file.key.as_str();
        match &self.release {
            Some(release) => {
                let name = key.strip_prefix(&*self.site.options.prefix).unwrap_or(key);
                release.beside(file, &format!("{name}{suffix}"))
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
