//! Options of a site.

use http::HeaderMap;
use isobar_storage::{Error, Key, ObjectStore};

use crate::fingerprint::Fingerprints;
use crate::handling::{HtmlHandling, NotFoundHandling};
use crate::rules::{self, HeaderRules, Redirects};

/// `Cache-Control` of a file that never changes under its name.
pub(crate) const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Options of a [`Site`](crate::Site).
///
/// ```
/// use isobar_site::{CachePolicy, HtmlHandling, NotFoundHandling, SiteOptions};
///
/// let options = SiteOptions::default()
///     .with_prefix("static")
///     .with_html_handling(HtmlHandling::DropTrailingSlash)
///     .with_not_found_handling(NotFoundHandling::SinglePageApplication)
///     .with_cache(CachePolicy::always("public, max-age=60"))
///     .with_listing(true);
/// assert_eq!(options.prefix, "static/");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SiteOptions {
    /// Prefix of the site's keys, which ends in `/`: `static/`. Keys outside it are not reachable. Default: none, all keys.
    pub prefix: String,
    /// `Cache-Control` of files whose object has none of its own; requests with `Authorization` get none. Default: that of Workers
    /// Static Assets; see [`CachePolicy`].
    pub cache: CachePolicy,
    /// The files that never change under their name. Default: [by their name](Fingerprints::by_name).
    pub fingerprints: Fingerprints,
    /// Serve precompressed variants: `.br`, `.zst`, `.gz` beside the file. Default: on.
    pub precompressed: bool,
    /// Mapping from paths to HTML files. Default: [`HtmlHandling::AutoTrailingSlash`].
    pub html_handling: HtmlHandling,
    /// Answer for a path without a file. Default: [`NotFoundHandling::NotFoundPage`].
    pub not_found_handling: NotFoundHandling,
    /// Header rules, as in `_headers`: at most 101, in force until a deploy has rules of its own. Default: none.
    pub headers: HeaderRules,
    /// Redirect rules, as in `_redirects`: at most 2,000 static and 100 dynamic ones, in force until a deploy has rules of its own.
    /// Default: none.
    pub redirects: Redirects,
    /// Serve the current deploy under the prefix, if there is one: see [`with_deploys`](Self::with_deploys). Default: off.
    pub deploys: bool,
    /// List folders without an index, 1,000 names at a time: see [`with_listing`](Self::with_listing). Default: off.
    pub listing: bool,
    /// Send `Server-Timing`, with this name for the store. Default: none.
    pub server_timing: Option<String>,
    /// Serve paths with a segment that begins with a dot, besides `/.well-known/`. Default: off.
    pub dotfiles: bool,
    /// Send security headers: see [`with_security_headers`](Self::with_security_headers). Default: on.
    pub security_headers: bool,
    /// Additional headers of every HTML file, for example a `Content-Security-Policy`; `_headers` overrides them. Default: none.
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
    /// Sets the prefix of the site's keys. A missing `/` at the end is added.
    ///
    /// ```
    /// # use isobar_site::SiteOptions;
    /// assert_eq!(SiteOptions::default().with_prefix("blog").prefix, "blog/");
    /// assert_eq!(SiteOptions::default().with_prefix("").prefix, "");
    /// ```
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        if !self.prefix.is_empty() && !self.prefix.ends_with('/') {
            self.prefix.push('/');
        }
        self
    }

    /// Sets the `Cache-Control` of files whose object has none of its own.
    ///
    /// ```
    /// use isobar_site::{CachePolicy, SiteOptions};
    /// // Files without a fingerprint may be up to five minutes old; those with one keep their year.
    /// let mut policy = CachePolicy::default();
    /// policy.default = "public, max-age=300".to_owned();
    /// let options = SiteOptions::default().with_cache(policy);
    /// assert!(options.cache.hashed.ends_with("immutable"));
    /// ```
    #[must_use]
    pub fn with_cache(mut self, cache: CachePolicy) -> Self {
        self.cache = cache;
        self
    }

    /// Sets the files that never change under their name. They get [`CachePolicy::hashed`], and those of earlier
    /// [`Deploys`](crate::Deploys) stay reachable. Default: [by their name](Fingerprints::by_name).
    #[must_use]
    pub fn with_fingerprints(mut self, fingerprints: Fingerprints) -> Self {
        self.fingerprints = fingerprints;
        self
    }

    /// Returns the `Cache-Control` of the file at this key, by whether its name has a fingerprint.
    pub(crate) fn cache_control(&self, key: &str) -> &str {
        let path = key.strip_prefix(&*self.prefix).unwrap_or(key);
        if self.fingerprints.has(path) { &self.cache.hashed } else { &self.cache.default }
    }

    /// Sets whether precompressed variants are served: `.br`, `.zst`, `.gz` beside the file.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("a.css")?, "body { margin: 0 }").await?;
    /// store.write(&Key::new("a.css.br")?, "(in Brotli)").await?;
    /// let request = http::Request::get("/a.css").header("accept-encoding", "gzip, br").body(())?;
    ///
    /// let site = Site::new(Arc::new(store.clone()), SiteOptions::default());
    /// assert_eq!(site.respond(&request).await.headers()["content-encoding"], "br");
    /// let plain = Site::new(Arc::new(store), SiteOptions::default().with_precompressed(false));
    /// assert!(!plain.respond(&request).await.headers().contains_key("content-encoding"));
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn with_precompressed(mut self, precompressed: bool) -> Self {
        self.precompressed = precompressed;
        self
    }

    /// Sets the mapping from paths to HTML files.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{HtmlHandling, Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("docs/index.html")?, "<h1>Docs</h1>").await?;
    /// let options = SiteOptions::default().with_html_handling(HtmlHandling::DropTrailingSlash);
    /// let site = Site::new(Arc::new(store), options);
    /// assert_eq!(site.respond(&http::Request::get("/docs").body(())?).await.status(), 200);
    /// let moved = site.respond(&http::Request::get("/docs/").body(())?).await;
    /// assert_eq!((moved.status().as_u16(), moved.headers()["location"].to_str()?), (307, "/docs"));
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn with_html_handling(mut self, html_handling: HtmlHandling) -> Self {
        self.html_handling = html_handling;
        self
    }

    /// Sets the response for a path without a file.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{NotFoundHandling, Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("index.html")?, "<script src=/app.js></script>").await?;
    /// let options = SiteOptions::default().with_not_found_handling(NotFoundHandling::SinglePageApplication);
    /// let site = Site::new(Arc::new(store), options);
    /// // The page's own router knows the path; a script that is missing is no page.
    /// assert_eq!(site.respond(&http::Request::get("/users/17").body(())?).await.status(), 200);
    /// assert_eq!(site.respond(&http::Request::get("/app.js").body(())?).await.status(), 404);
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn with_not_found_handling(mut self, not_found_handling: NotFoundHandling) -> Self {
        self.not_found_handling = not_found_handling;
        self
    }

    /// Sets the header rules, as in `_headers`. They are in force until a deploy becomes current, which has rules of its own, or until
    /// [`Site::reload_rules`](crate::Site::reload_rules) replaces them by the file's. Headers of
    /// [`with_page_headers`](Self::with_page_headers) stay in both cases.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{HeaderRules, Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("draft.html")?, "soon").await?;
    /// let rules = HeaderRules::parse("/draft*\n  X-Robots-Tag: noindex\n");
    /// let site = Site::new(Arc::new(store), SiteOptions::default().with_headers(rules));
    /// let page = site.respond(&http::Request::get("/draft").body(())?).await;
    /// assert_eq!(page.headers()["x-robots-tag"], "noindex");
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderRules) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the redirect rules, as in `_redirects`.
    #[must_use]
    pub fn with_redirects(mut self, redirects: Redirects) -> Self {
        self.redirects = redirects;
        self
    }

    /// Reads the rules from the files `_headers` and `_redirects` under the prefix, where they exist. They are read once;
    /// [`Site::reload_rules`](crate::Site::reload_rules) reads them again. Both rule sets list ignored lines as warnings.
    ///
    /// # Errors
    /// The store's error; [`ErrorKind::TooLarge`](isobar_storage::ErrorKind::TooLarge) for more than 8 MiB.
    ///
    /// ```
    /// use isobar_site::SiteOptions;
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("site/_redirects")?, "/old /new 301\n/broken\n").await?;
    /// let options = SiteOptions::default().with_prefix("site").with_rules_of(&store).await?;
    /// assert_eq!(options.redirects.warnings()[0].line, 2);
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap();
    /// ```
    pub async fn with_rules_of(self, store: &dyn ObjectStore) -> Result<Self, Error> {
        let file = async |name: &str| rules::read(store, &Key::new(format!("{}{name}", self.prefix))?).await;
        let headers = file(rules::HEADERS).await?.map(|text| HeaderRules::parse(&text));
        let redirects = file(rules::REDIRECTS).await?.map(|text| Redirects::parse(&text, self.html_handling));
        Ok(self.with_headers(headers.unwrap_or_default()).with_redirects(redirects.unwrap_or_default()))
    }

    /// Sets whether the current one of the [`Deploys`](crate::Deploys) under the prefix is served, with its `_headers` and
    /// `_redirects` in place of those of these options. Until the first deploy the keys are served as they are. A new deploy is
    /// served at once where the store has a [`generation`](ObjectStore::generation). Elsewhere the pointer is read once a second,
    /// and a cache adds its `fresh_for`, and `stale_while_revalidate` for requests during the revalidation.
    #[must_use]
    pub fn with_deploys(mut self, deploys: bool) -> Self {
        self.deploys = deploys;
        self
    }

    /// Sets whether folders without an index are listed: as a page, or as JSON where `Accept` prefers that
    /// (`{"path", "entries": [{"name", "size", "modified"}], "next"}`, 1000 names at a time, the next ones with
    /// `?after=NEXT`). Files that are never served - dotfiles, files of rules - are not listed. A folder's path without its
    /// slash redirects to the one with it. Applies before `not_found_handling`. Default: off.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("files/a.txt")?, "a").await?;
    /// let site = Site::new(Arc::new(store), SiteOptions::default().with_listing(true));
    /// let request = http::Request::get("/files/").header("accept", "application/json").body(())?;
    /// let listing = site.respond(&request).await;
    /// assert!(listing.headers()["content-type"].to_str()?.starts_with("application/json"));
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn with_listing(mut self, listing: bool) -> Self {
        self.listing = listing;
        self
    }

    /// Sends `Server-Timing` with the rule that decided a response, the state of the cache, and the store by this name, for example
    /// its binding. It discloses a little of how the site works. Default: off.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{Site, SiteOptions};
    /// use isobar_storage::memory::MemoryStore;
    /// # futures_util::FutureExt::now_or_never(async {
    /// let options = SiteOptions::default().with_server_timing("STORAGE");
    /// let site = Site::new(Arc::new(MemoryStore::new()), options);
    /// let response = site.respond(&http::Request::get("/none").body(())?).await;
    /// assert_eq!(response.headers()["server-timing"], r#"rule;desc=missing, cache;desc=bypass, binding;desc="STORAGE""#);
    /// # Ok::<_, http::Error>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn with_server_timing(mut self, binding: impl Into<String>) -> Self {
        self.server_timing = Some(binding.into());
        self
    }

    /// Sets whether paths with a segment that begins with a dot are served. If not, only `/.well-known/` is: such files are
    /// seldom meant to be public. Default: off.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new(".env")?, "SECRET=1").await?;
    /// store.write(&Key::new(".well-known/security.txt")?, "Contact: mailto:a@example.com").await?;
    /// let site = Site::new(Arc::new(store), SiteOptions::default());
    /// assert_eq!(site.respond(&http::Request::get("/.env").body(())?).await.status(), 404);
    /// assert_eq!(site.respond(&http::Request::get("/.well-known/security.txt").body(())?).await.status(), 200);
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn with_dotfiles(mut self, dotfiles: bool) -> Self {
        self.dotfiles = dotfiles;
        self
    }

    /// Sets whether security headers are sent: `X-Content-Type-Options: nosniff` and
    /// `Referrer-Policy: strict-origin-when-cross-origin` with every file, `X-Frame-Options: SAMEORIGIN` with HTML. `_headers`
    /// overrides them.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_site::{Site, SiteOptions};
    /// use isobar_storage::{Key, ObjectStoreExt, memory::MemoryStore};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// store.write(&Key::new("index.html")?, "hello").await?;
    /// let site = Site::new(Arc::new(store), SiteOptions::default());
    /// let page = site.respond(&http::Request::get("/").body(())?).await;
    /// assert_eq!(page.headers()["x-frame-options"], "SAMEORIGIN");
    /// # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap().unwrap();
    /// ```
    #[must_use]
    pub fn with_security_headers(mut self, security_headers: bool) -> Self {
        self.security_headers = security_headers;
        self
    }

    /// Sets additional headers of every HTML file; `_headers` overrides them.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue, header};
    /// use isobar_site::SiteOptions;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'"));
    /// let options = SiteOptions::default().with_page_headers(headers);
    /// # assert_eq!(options.page_headers.len(), 1);
    /// ```
    #[must_use]
    pub fn with_page_headers(mut self, headers: HeaderMap) -> Self {
        self.page_headers = headers;
        self
    }
}

/// Values of `Cache-Control`. The defaults are those of Workers Static Assets, and one year for files that never change.
///
/// A value that is no valid header value is not sent. `Cache-Control` of `_headers`, and of the object itself, takes precedence.
///
/// ```
/// use isobar_site::{CachePolicy, SiteOptions};
///
/// let mut policy = CachePolicy::default();
/// assert_eq!(policy.hashed, "public, max-age=31536000, immutable");
/// policy.default = "public, max-age=300".to_owned();
/// let options = SiteOptions::default().with_cache(policy);
/// # assert_eq!(options.cache.default, "public, max-age=300");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CachePolicy {
    /// For all other files. Default: `public, max-age=0, must-revalidate`.
    pub default: String,
    /// For files that never change under their name: see [`Fingerprints`]. Default: one year, `immutable`.
    pub hashed: String,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self { default: "public, max-age=0, must-revalidate".to_owned(), hashed: IMMUTABLE.to_owned() }
    }
}

impl CachePolicy {
    /// Returns a policy with one value for every file, hashed or not: `no-store`, `private`.
    ///
    /// ```
    /// use isobar_site::{CachePolicy, SiteOptions};
    ///
    /// // A preview that no cache keeps.
    /// let options = SiteOptions::default().with_cache(CachePolicy::always("no-store"));
    /// # assert_eq!(options.cache.hashed, "no-store");
    /// ```
    pub fn always(value: impl Into<String>) -> Self {
        let value = value.into();
        Self { default: value.clone(), hashed: value }
    }
}
