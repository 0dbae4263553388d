//! `html_handling` and `not_found_handling` of wrangler's `assets`.

/// Mapping from paths to HTML files, and the paths that redirect: `html_handling` of wrangler's `assets`.
///
/// Each page has one path; the other ways to write it redirect there with 307. A file takes precedence over a page: where both `docs`
/// and `docs.html` exist, `/docs` is the first.
///
/// ```
/// use isobar_site::HtmlHandling;
/// assert_eq!(HtmlHandling::from_name("drop-trailing-slash"), Some(HtmlHandling::DropTrailingSlash));
/// assert_eq!(HtmlHandling::from_name("DropTrailingSlash"), None);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HtmlHandling {
    /// `/about` for `about.html`, `/docs/` for `docs/index.html`.
    #[default]
    AutoTrailingSlash,
    /// `/about/` for `about.html`, `/docs/` for `docs/index.html`.
    ForceTrailingSlash,
    /// `/about` for `about.html`, `/docs` for `docs/index.html`.
    DropTrailingSlash,
    /// Each file under its own name only: `/about.html`, and no page for `/`.
    None,
}

/// Response for a path without a file: `not_found_handling` of wrangler's `assets`. It applies to GET and HEAD, after redirects and
/// listings; a write to a missing file gets a line of text.
///
/// ```
/// use isobar_site::NotFoundHandling;
/// assert_eq!(NotFoundHandling::from_name("404-page"), Some(NotFoundHandling::NotFoundPage));
/// assert_eq!(NotFoundHandling::default(), NotFoundHandling::NotFoundPage);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotFoundHandling {
    /// A line of text, with 404.
    None,
    /// The `404.html` of the nearest parent folder, with 404. The default of a [`Site`](crate::Site); wrangler's own default is
    /// `none`.
    #[default]
    NotFoundPage,
    /// `/index.html`, with 200: the page's own router handles the path. Only where the client can want a page: a browser that
    /// navigates (`Sec-Fetch-Dest`), or, without that header, a path whose last segment has no extension. A missing script is
    /// answered with 404. (Workers Static Assets answers every path with `/index.html`.)
    SinglePageApplication,
}

impl HtmlHandling {
    /// Parses wrangler's name; `None` for any other: `auto-trailing-slash`, `force-trailing-slash`, `drop-trailing-slash`, `none`.
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
    /// Parses wrangler's name; `None` for any other: `none`, `404-page`, `single-page-application`.
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
