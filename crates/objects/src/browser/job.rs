//! Pages to render, and rendered pages.
//!
//! The limits are checked by the session object before an engine sees the job, so every engine has the same ones.

use bytes::Bytes;
use serde::Deserialize;

/// Bytes of a page that is given as HTML.
const HTML_BYTES: usize = 1024 * 1024;

/// Format of a rendered page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenderFormat {
    /// An image: PNG.
    Screenshot,
    /// A document: PDF, with backgrounds, in the page's own size or Letter.
    Pdf,
    /// The HTML of the page as it is after loading.
    Content,
}

/// A page to render.
///
/// ```
/// use isobar_objects::browser::{RenderFormat, RenderJob};
///
/// let job = RenderJob::url("https://example.com/").with_format(RenderFormat::Pdf);
/// assert_eq!((job.width, job.height), (1280, 800));
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RenderJob {
    /// Format of the result; the route sets it. Default: a screenshot.
    #[serde(skip, default = "screenshot")]
    pub format: RenderFormat,
    /// URL of the page, `http` or `https`, 2,000 bytes at most. Default: `None`, with `html` given.
    pub url: Option<String>,
    /// The page as HTML, 1 MiB at most. Default: `None`, with `url` given.
    pub html: Option<String>,
    /// Width of the window in CSS pixels, 16 to 4096. Default: 1280.
    #[serde(default = "width")]
    pub width: u32,
    /// Height of the window in CSS pixels, 16 to 4096. Default: 800.
    #[serde(default = "height")]
    pub height: u32,
    /// Whether the screenshot is of the whole page, however long. Default: `false`.
    #[serde(default)]
    pub full_page: bool,
    /// Time after the load of the page for its scripts, in milliseconds; 10,000 at most. Default: 0.
    #[serde(default)]
    pub wait_ms: u32,
}

fn screenshot() -> RenderFormat {
    RenderFormat::Screenshot
}

fn width() -> u32 {
    1280
}

fn height() -> u32 {
    800
}

impl RenderJob {
    /// Creates a job for a screenshot of the page at this URL.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            format: RenderFormat::Screenshot,
            url: Some(url.into()),
            html: None,
            width: width(),
            height: height(),
            full_page: false,
            wait_ms: 0,
        }
    }

    /// Creates a job for a screenshot of a page with this HTML.
    ///
    /// ```
    /// use isobar_objects::browser::{RenderFormat, RenderJob};
    /// let invoice = RenderJob::html("<h1>Invoice 17</h1>").with_format(RenderFormat::Pdf);
    /// assert!(invoice.url.is_none() && invoice.html.is_some());
    /// ```
    pub fn html(html: impl Into<String>) -> Self {
        Self { url: None, html: Some(html.into()), ..Self::url("") }
    }

    /// Sets the format of the result.
    #[must_use]
    pub fn with_format(mut self, format: RenderFormat) -> Self {
        self.format = format;
        self
    }

    /// Checks the fields of a job that a client has sent.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match (&self.url, &self.html) {
            (Some(url), None) if url.len() <= 2000 => {}
            (None, Some(html)) if html.len() <= HTML_BYTES => {}
            _ => return Err("give either url, of 2000 bytes at most, or html, of a MiB at most"),
        }
        if !(16..=4096).contains(&self.width) || !(16..=4096).contains(&self.height) {
            return Err("width and height must be 16 to 4096");
        }
        if self.wait_ms > 10_000 { Err("wait_ms must be 10000 at most") } else { Ok(()) }
    }
}

/// A rendered page.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rendered {
    /// Content type: `image/png`, `application/pdf` or `text/html; charset=utf-8`.
    pub content_type: &'static str,
    /// The image, the document or the HTML; 32 MiB at most.
    pub bytes: Bytes,
}

impl Rendered {
    /// Creates a result, as an engine does.
    #[must_use]
    pub fn new(content_type: &'static str, bytes: Bytes) -> Self {
        Self { content_type, bytes }
    }
}
