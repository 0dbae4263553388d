//! Headers that keep pages safe in a browser.
//!
//! They are for pages: HTML of the site. Answers of the API have `nosniff` and problem+json, and need
//! no policy for scripts. Sources: Content Security Policy Level 3, Permissions Policy, and HTML's
//! section on cross-origin opener policies.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Headers of an application's pages, beside those that the site sends by itself. Give them to the site by
/// [`SiteOptions::with_page_headers`](isobar_site::SiteOptions::with_page_headers); rules of `_headers` stand above them.
///
/// ```
/// use isobar_http_serve::SecurityHeaders;
/// let options = isobar_site::SiteOptions::default().with_page_headers(SecurityHeaders::default().page_headers());
/// assert!(options.page_headers["content-security-policy"].to_str()?.contains("script-src 'self'"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SecurityHeaders {
    /// `Content-Security-Policy` (CSP Level 3). Default: scripts, styles, fonts, requests and sockets of the own origin alone,
    /// images and media of it or made by the page, no plugins, frames of and in the own origin alone. Nothing inline.
    pub content_security_policy: Option<HeaderValue>,
    /// `Permissions-Policy`. Default: camera, microphone, screen and full screen for the own origin; no location, payment,
    /// USB, serial, HID, MIDI or sensors.
    pub permissions_policy: Option<HeaderValue>,
    /// `Cross-Origin-Opener-Policy`. Default: `same-origin`.
    pub cross_origin_opener_policy: Option<HeaderValue>,
}

impl Default for SecurityHeaders {
    fn default() -> Self {
        Self {
            content_security_policy: Some(HeaderValue::from_static(
                "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; \
                 img-src 'self' blob: data:; media-src 'self' blob:; frame-src 'self'; manifest-src 'self'; \
                 base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
            )),
            permissions_policy: Some(HeaderValue::from_static(
                "camera=(self), microphone=(self), display-capture=(self), fullscreen=(self), accelerometer=(), \
                 geolocation=(), gyroscope=(), hid=(), magnetometer=(), midi=(), payment=(), serial=(), usb=()",
            )),
            cross_origin_opener_policy: Some(HeaderValue::from_static("same-origin")),
        }
    }
}

impl SecurityHeaders {
    /// Sets another `Content-Security-Policy`; `None` for no such header.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use isobar_http_serve::SecurityHeaders;
    ///
    /// // A page with a map of another origin.
    /// let policy = "default-src 'self'; img-src 'self' https://tiles.example.com";
    /// let headers = SecurityHeaders::default()
    ///     .with_content_security_policy(Some(HeaderValue::from_static(policy)))
    ///     .with_permissions_policy(None)
    ///     .page_headers();
    /// assert_eq!(headers["content-security-policy"], policy);
    /// assert!(!headers.contains_key("permissions-policy"));
    /// assert_eq!(headers["cross-origin-opener-policy"], "same-origin");
    /// ```
    #[must_use]
    pub fn with_content_security_policy(mut self, policy: Option<HeaderValue>) -> Self {
        self.content_security_policy = policy;
        self
    }

    /// Sets another `Permissions-Policy`; `None` for no such header, with which browsers allow the own
    /// origin everything, after asking the user.
    #[must_use]
    pub fn with_permissions_policy(mut self, policy: Option<HeaderValue>) -> Self {
        self.permissions_policy = policy;
        self
    }

    /// Sets another `Cross-Origin-Opener-Policy`; `None` for no such header, which pages need that open
    /// pop-ups of other origins and talk to them, such as some sign-ins.
    #[must_use]
    pub fn with_cross_origin_opener_policy(mut self, policy: Option<HeaderValue>) -> Self {
        self.cross_origin_opener_policy = policy;
        self
    }

    /// Returns the headers of a page: those that are not `None`.
    #[must_use]
    pub fn page_headers(&self) -> HeaderMap {
        let Self { content_security_policy, permissions_policy, cross_origin_opener_policy } = self;
        let headers = [
            (header::CONTENT_SECURITY_POLICY, content_security_policy),
            (PERMISSIONS_POLICY, permissions_policy),
            (CROSS_ORIGIN_OPENER_POLICY, cross_origin_opener_policy),
        ];
        headers.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}
