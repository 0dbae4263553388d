//! `html_handling` and `not_found_handling` of wrangler's `assets`.

/// Mapping from paths to HTML files, and the paths that redirect: `html_handling` of wrangler's `assets`.
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
    /// Each file under its own name only.
    None,
}

/// Answer for a path without a file: `not_found_handling` of wrangler's `assets`.
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
    /// Parses wrangler's name: `auto-trailing-slash`, `force-trailing-slash`, `drop-trailing-slash`, `none`.
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
    /// Parses wrangler's name: `none`, `404-page`, `single-page-application`.
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
