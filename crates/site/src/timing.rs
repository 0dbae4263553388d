//! `Server-Timing`: the rule that decided a response.
//!
//! `rule;desc=file, cache;desc=hit, binding;desc="STORAGE"`: for a browser's network panel and for tests, which can tell by it
//! why a response is the one that it is. There are no durations, as a cache would repeat those of another request.

use http::{HeaderName, HeaderValue, Response};

use crate::body::SiteBody;
use crate::options::SiteOptions;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The rule by which a response was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// There is a file for the path.
    File,
    /// `_redirects`.
    Redirects,
    /// The file has another path, by `html_handling`.
    HtmlHandling,
    /// There is no file, and `not_found_handling` has one.
    NotFoundHandling,
    /// The path is not in its canonical form, or invalid.
    Path,
    /// A folder is listed.
    Listing,
    /// There is a file, and the method is neither GET nor HEAD.
    Method,
    /// There is no file.
    Missing,
    /// The store failed.
    Failed,
}

impl Rule {
    /// Returns its name in `Server-Timing`, which is the name of the option or file that decided.
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Redirects => "redirects",
            Self::HtmlHandling => "html_handling",
            Self::NotFoundHandling => "not_found_handling",
            Self::Path => "path",
            Self::Listing => "listing",
            Self::Method => "method",
            Self::Missing => "missing",
            Self::Failed => "failed",
        }
    }
}

/// Adds `Server-Timing` to a response if the options enable it.
pub(crate) fn timed(
    options: &SiteOptions,
    mut response: Response<SiteBody>,
    rule: Rule,
    cache: Option<&'static str>,
) -> Response<SiteBody> {
    let Some(binding) = &options.server_timing else { return response };
    let cache = cache.unwrap_or("bypass");
    let value = format!("rule;desc={}, cache;desc={cache}, binding;desc=\"{binding}\"", rule.name());
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().append(SERVER_TIMING, value);
    }
    response
}
