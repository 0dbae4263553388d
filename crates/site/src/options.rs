//! How a site is served.

use http::HeaderMap;
use isobar_storage::{Error, Key, ObjectStore};

use crate::Fingerprints;
use crate::rules::{self, HeaderRules, Redirects};

/// What is said of a file that never changes under its name.
pub(crate) const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Options of a [`Site`](crate::Site).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SiteOptions {
    /// What the site's keys start with: `static/`, say.
    pub prefix: String,
    /// What `Cache-Control` says where the object itself says nothing.
    pub cache: CachePolicy,
    /// Which files never change under their name.
    pub fingerprints: Fingerprints,
    /// Look for precompressed variants: `.br`, `.zst`, `.gz` beside the file.
    pub precompressed: bool,
    /// Which file answers which path.
    pub html_handling: HtmlHandling,
    /// What answers a path that no file answers.
    pub not_found_handling: NotFoundHandling,
    /// What `_headers` says.
    pub headers: HeaderRules,
    /// What `_redirects` says.
    pub redirects: Redirects,
    /// Serve what was deployed under the prefix, where something was.
    pub deploys: bool,
    /// Show what is in a folder without an index.
    pub listing: bool,
    /// Say in `Server-Timing` what has decided an answer, and call the store so.
    pub server_timing: Option<String>,
    /// Answer paths with a segment that begins with a dot, other than `/.well-known/`.
    pub dotfiles: bool,
    /// Say what keeps pages safe in a browser: see [`with_security_headers`](Self::with_security_headers).
    pub security_headers: bool,
    /// Headers of every HTML file besides, unless `_headers` says otherwise: a `Content-Security-Policy`, say. Default: none.
    pub page_headers: HeaderMap,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            cache: CachePolicy::default(),
            fingerprints: Fingerprints::default(),
            precompressed: true,
            html_handling: HtmlHandling::default(),
            not_found_handling: NotFoundHandling::default(),
            headers: HeaderRules::default(),
            redirects: Redirects::default(),
            deploys: false,
            listing: false,
            server_timing: None,
            dotfiles: false,
            security_headers: true,
            page_headers: HeaderMap::new(),
        }
    }
}

impl SiteOptions {
    /// What the site's keys start with; a missing `/` at the end is added.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        if !self.prefix.is_empty() && !self.prefix.ends_with('/') {
            self.prefix.push('/');
        }
        self
    }

    /// What `Cache-Control` says where the object itself says nothing.
    #[must_use]
    pub fn with_cache(mut self, cache: CachePolicy) -> Self {
        self.cache = cache;
        self
    }

    /// Which files never change under their name: those get [`CachePolicy::hashed`], and of [`Deploys`](crate::Deploys) the
    /// earlier ones' stay reachable. Default: [by their name](Fingerprints::by_name).
    #[must_use]
    pub fn with_fingerprints(mut self, fingerprints: Fingerprints) -> Self {
        self.fingerprints = fingerprints;
        self
    }

    /// Returns the `Cache-Control` of the file at this key.
    pub(crate) fn cache_control(&self, key: &str) -> &str {
        let path = key.strip_prefix(&*self.prefix).unwrap_or(key);
        if self.fingerprints.has(path) { &self.cache.hashed } else { &self.cache.default }
    }

    /// Look for precompressed variants.
    #[must_use]
    pub fn with_precompressed(mut self, precompressed: bool) -> Self {
        self.precompressed = precompressed;
        self
    }

    /// Which file answers which path.
    #[must_use]
    pub fn with_html_handling(mut self, html_handling: HtmlHandling) -> Self {
        self.html_handling = html_handling;
        self
    }

    /// What answers a path that no file answers.
    #[must_use]
    pub fn with_not_found_handling(mut self, not_found_handling: NotFoundHandling) -> Self {
        self.not_found_handling = not_found_handling;
        self
    }

    /// What `_headers` says.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderRules) -> Self {
        self.headers = headers;
        self
    }

    /// What `_redirects` says.
    #[must_use]
    pub fn with_redirects(mut self, redirects: Redirects) -> Self {
        self.redirects = redirects;
        self
    }

    /// What the files `_headers` and `_redirects` under the prefix say, where there are such files. They are read once: a
    /// site that is to follow their changes is made anew. What of them is ignored is in the warnings of both.
    ///
    /// # Errors
    /// The store's error; [`ErrorKind::TooLarge`](isobar_storage::ErrorKind::TooLarge) for more than 8 MiB.
    pub async fn with_rules_of(self, store: &dyn ObjectStore) -> Result<Self, Error> {
        let headers = self.rules(store, rules::HEADERS).await?.map(|text| HeaderRules::parse(&text));
        let redirects =
            self.rules(store, rules::REDIRECTS).await?.map(|text| Redirects::parse(&text, self.html_handling));
        Ok(self.with_headers(headers.unwrap_or_default()).with_redirects(redirects.unwrap_or_default()))
    }

    async fn rules(&self, store: &dyn ObjectStore, name: &str) -> Result<Option<String>, Error> {
        rules::read(store, &Key::new(format!("{}{name}", self.prefix))?).await
    }

    /// Serve the current one of the [`Deploys`](crate::Deploys) under the prefix, with its `_headers` and `_redirects` in the
    /// place of these options'; where nothing was ever deployed, the keys as they are. What is deployed is served at once where
    /// the store has a [`generation`](ObjectStore::generation). Elsewhere the pointer is looked at once a second, and with
    /// answers in memory what they are good for comes on top: `fresh`, and `stale_while_revalidate` for who does not ask first.
    #[must_use]
    pub fn with_deploys(mut self, deploys: bool) -> Self {
        self.deploys = deploys;
        self
    }

    /// Show what is in a folder that has no index: as a page, or as JSON where `Accept` wants that
    /// (`{"path", "entries": [{"name", "size", "modified"}], "next"}`, 1000 names at once, the following ones with
    /// `?after=NEXT`). What is never answered - dotfiles, files of rules - is not shown either. A folder's path without its
    /// slash is sent to the one with it. Comes before `not_found_handling`. Off.
    #[must_use]
    pub fn with_listing(mut self, listing: bool) -> Self {
        self.listing = listing;
        self
    }

    /// Say in `Server-Timing` what has decided an answer: the rule, what the cache had to do with it, and the store by this
    /// name - its binding, say. It tells the world a little of how the site works. Off.
    #[must_use]
    pub fn with_server_timing(mut self, binding: impl Into<String>) -> Self {
        self.server_timing = Some(binding.into());
        self
    }

    /// Answer paths with a segment that begins with a dot. Without it only `/.well-known/` is answered: what begins with a
    /// dot is seldom meant for everybody.
    #[must_use]
    pub fn with_dotfiles(mut self, dotfiles: bool) -> Self {
        self.dotfiles = dotfiles;
        self
    }

    /// Say what keeps pages safe in a browser, unless `_headers` says otherwise: `X-Content-Type-Options: nosniff` and
    /// `Referrer-Policy: strict-origin-when-cross-origin` with everything, `X-Frame-Options: SAMEORIGIN` with HTML.
    #[must_use]
    pub fn with_security_headers(mut self, security_headers: bool) -> Self {
        self.security_headers = security_headers;
        self
    }

    /// Headers of every HTML file besides, unless `_headers` says otherwise.
    #[must_use]
    pub fn with_page_headers(mut self, headers: HeaderMap) -> Self {
        self.page_headers = headers;
        self
    }
}

/// Which file answers which path, and which paths are sent to another: `html_handling` of wrangler's `assets`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HtmlHandling {
    /// `/about` for `about.html`, `/docs/` for `docs/index.html`.
    #[default]
    AutoTrailingSlash,
    /// `/about/` and `/docs/`.
    ForceTrailingSlash,
    /// `/about` and `/docs`.
    DropTrailingSlash,
    /// Every file under its own name only.
    None,
}

/// What answers a path that no file answers: `not_found_handling` of wrangler's `assets`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotFoundHandling {
    /// A line of text.
    None,
    /// The nearest `404.html` on the way up, with 404. What a [`Site`](crate::Site) does unless told otherwise; wrangler's own
    /// default is `none`.
    #[default]
    NotFoundPage,
    /// `/index.html`, with 200: the page finds out by itself what the path means. Only where a page can be meant: a browser
    /// that goes there (`Sec-Fetch-Dest`), or, where it does not say, a path whose last segment has no extension. A missing
    /// script is not answered by a page. (Workers Static Assets answers everything with it.)
    SinglePageApplication,
}

impl HtmlHandling {
    /// From wrangler's word for it: `auto-trailing-slash`, `force-trailing-slash`, `drop-trailing-slash`, `none`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "auto-trailing-slash" => Self::AutoTrailingSlash,
            "force-trailing-slash" => Self::ForceTrailingSlash,
            "drop-trailing-slash" => Self::DropTrailingSlash,
            "none" => Self::None,
            _ => return None,
        })
    }
}

impl NotFoundHandling {
    /// From wrangler's word for it: `none`, `404-page`, `single-page-application`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "404-page" => Self::NotFoundPage,
            "single-page-application" => Self::SinglePageApplication,
            _ => return None,
        })
    }
}

/// Values of `Cache-Control`. The defaults are those of Workers Static Assets, and a year for files that never change.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CachePolicy {
    /// For everything else.
    pub default: String,
    /// For files that never change under their name: see [`Fingerprints`].
    pub hashed: String,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self { default: "public, max-age=0, must-revalidate".to_owned(), hashed: IMMUTABLE.to_owned() }
    }
}

impl CachePolicy {
    /// The same for every file.
    pub fn always(value: impl Into<String>) -> Self {
        let value = value.into();
        Self { default: value.clone(), hashed: value }
    }
}
