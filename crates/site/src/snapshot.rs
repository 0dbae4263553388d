//! The state of a site during one request.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use isobar_storage::{Error, Key};

use crate::deploy::{File, Follower, ServedDeploy};
use crate::request::RequestTarget;
use crate::rules::{HeaderRules, Redirects, SiteRules};
use crate::source::Source;

/// A site's source with its current deploy and rules, unchanged from the start of a request to its end.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) source: Arc<Source>,
    /// The deploy to serve; `None` where the keys are served as they are.
    pub(crate) deploy: Option<Arc<ServedDeploy>>,
    /// The rules where nothing was deployed.
    rules: Arc<SiteRules>,
}

impl Snapshot {
    /// Returns the current state, for which the pointer to the current deploy may have to be read.
    ///
    /// # Errors
    /// The store's error, where no recent deploy is known.
    pub(crate) async fn current(source: &Arc<Source>) -> Result<Self, Error> {
        let deploy = match &source.deploys {
            Some(deploys) => deploys.current(&source.store, &source.options).await?,
            None => None,
        };
        Ok(Self::with(source, deploy))
    }

    /// Returns the last known state without asking the store.
    pub(crate) fn last(source: &Arc<Source>) -> Self {
        Self::with(source, source.deploys.as_ref().and_then(Follower::last))
    }

    /// Returns a state that serves the keys and ignores deploys.
    pub(crate) fn of_keys(source: &Arc<Source>) -> Self {
        Self::with(source, None)
    }

    /// Returns a snapshot with the rules in force now.
    fn with(source: &Arc<Source>, deploy: Option<Arc<ServedDeploy>>) -> Self {
        Self { source: Arc::clone(source), deploy, rules: source.rules.current() }
    }

    /// Whether both have the same rules, and the same deploy if any.
    #[cfg(feature = "cache")]
    pub(crate) fn has_rules_of(&self, other: &Self) -> bool {
        match (&self.deploy, &other.deploy) {
            (Some(own), Some(other)) => own.is_same_as(other),
            (None, None) => Arc::ptr_eq(&self.rules, &other.rules),
            _ => false,
        }
    }

    /// Returns the `_headers` rules: the deploy's, else the site's.
    pub(crate) fn header_rules(&self) -> &HeaderRules {
        self.deploy.as_ref().map_or(&self.rules.headers, |deploy| deploy.headers())
    }

    /// Returns the `_redirects` rules: the deploy's, else the site's.
    pub(crate) fn redirects(&self) -> &Redirects {
        self.deploy.as_ref().map_or(&self.rules.redirects, |deploy| deploy.redirects())
    }

    /// Applies the `_headers` rules for this request to the headers of a response.
    pub(crate) fn apply_rules(&self, target: &RequestTarget<'_>, headers: &mut HeaderMap) {
        let rules = self.header_rules();
        if !rules.is_empty() {
            rules.apply(&target.host, &target.path, headers);
        }
    }

    /// Applies the `_headers` rules to a response, except to the headers that describe a part of a file.
    pub(crate) fn with_header_rules<B>(&self, target: &RequestTarget<'_>, mut response: Response<B>) -> Response<B> {
        if self.header_rules().is_empty() {
            return response;
        }
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT;
        let is_multipart = |value: &HeaderValue| value.as_bytes().starts_with(b"multipart/byteranges");
        let headers = response.headers_mut();
        let range = headers.get(header::CONTENT_RANGE).cloned();
        let multipart = headers.get(header::CONTENT_TYPE).filter(|value| is_multipart(value)).cloned();
        self.apply_rules(target, headers);
        if is_part {
            headers.remove(header::CONTENT_RANGE);
            range.into_iter().for_each(|range| drop(headers.insert(header::CONTENT_RANGE, range)));
            multipart.into_iter().for_each(|kind| drop(headers.insert(header::CONTENT_TYPE, kind)));
        }
        response
    }

    /// Returns the file at a path below the site, which has no leading slash.
    pub(crate) async fn file(&self, name: &str) -> Result<Option<File>, Error> {
        match &self.deploy {
            Some(deploy) => deploy.file(&self.source.store, name).await,
            None => self.object(&format!("{}{name}", self.source.options.prefix)).await,
        }
    }

    /// Returns the file beside another whose name has this suffix.
    pub(crate) async fn variant(&self, file: &File, suffix: &str) -> Result<Option<File>, Error> {
        let key = file.key.as_str();
        match &self.deploy {
            Some(deploy) => {
                let name = key.strip_prefix(&*self.source.options.prefix).unwrap_or(key);
                deploy.beside(file, &format!("{name}{suffix}"))
            }
            None => self.object(&format!("{key}{suffix}")).await,
        }
    }

    /// Returns the object at a key; `None` also where the name is too long for a key.
    pub(crate) async fn object(&self, name: &str) -> Result<Option<File>, Error> {
        let Ok(key) = Key::new(name) else { return Ok(None) };
        Ok(self.source.store.head(&key).await?.map(|meta| File { key, meta, object: None }))
    }
}
