//! Browsers without a browser: a fake for tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use isobar_base::sync::IgnorePoison;

use super::engine::check_room;
use super::{
    BrowserEngine, BrowserError, BrowserErrorKind, NetworkPolicy, RenderFormat, RenderJob, Rendered, check_url,
};

/// An image of one pixel.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\
    \0\0\0\nIDATx\xdac\xf8\x0f\0\x01\x01\x01\0\x1c\xb0\x8c\x99\0\0\0\0IEND\xaeB`\x82";
/// A document without a page.
const DOCUMENT: &[u8] =
    b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[]/Count 0>>\nendobj\n\
    trailer\n<</Root 1 0 R>>\n%%EOF\n";

/// Browsers in memory: they render the HTML of a job as it is, without layout or scripts, and reach no network. As many sessions at
/// once as a chromium of this machine: six, three of them of one user. Clones share the sessions.
///
/// A screenshot is an image of one pixel, a PDF has no page, and a job with a URL fails: [`BrowserErrorKind::Forbidden`] for an
/// address that is not public, else [`BrowserErrorKind::Page`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use chrono::TimeDelta;
/// use isobar_objects::browser::{BrowserEngine, MemoryBrowsers, RenderFormat, RenderJob};
///
/// let browsers = MemoryBrowsers::default();
/// let session = browsers.open("user-1", TimeDelta::minutes(1)).await?;
/// let job = RenderJob::html("<p>hello</p>").with_format(RenderFormat::Content);
/// assert_eq!(browsers.render(&session, &job).await?.bytes, "<p>hello</p>");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryBrowsers {
    sessions: Arc<Mutex<Sessions>>,
}

/// The open sessions.
#[derive(Debug, Default)]
struct Sessions {
    opened: u64,
    /// Users, by the id of their session.
    users: HashMap<String, String>,
}

impl MemoryBrowsers {
    fn with<T>(&self, work: impl FnOnce(&mut Sessions) -> T) -> T {
        // Nothing in here panics between two changes that belong together.
        work(&mut self.sessions.lock().ignore_poison())
    }
}

#[async_trait]
impl BrowserEngine for MemoryBrowsers {
    async fn open(&self, user: &str, _: TimeDelta) -> Result<String, BrowserError> {
        self.with(|sessions| {
            check_room(sessions.users.values(), user)?;
            sessions.opened += 1;
            let id = format!("memory-{}", sessions.opened);
            sessions.users.insert(id.clone(), user.to_owned());
            Ok(id)
        })
    }

    async fn render(&self, session: &str, job: &RenderJob) -> Result<Rendered, BrowserError> {
        if !self.with(|sessions| sessions.users.contains_key(session)) {
            return Err(BrowserError::new(BrowserErrorKind::Gone, "the session has ended"));
        }
        if let Some(url) = &job.url {
            check_url(url, NetworkPolicy::Public)?;
            let why = format!("{url}: browsers in memory reach no network");
            return Err(BrowserError::new(BrowserErrorKind::Page, why));
        }
        Ok(match job.format {
            RenderFormat::Screenshot => Rendered::new("image/png", Bytes::from_static(PIXEL)),
            RenderFormat::Pdf => Rendered::new("application/pdf", Bytes::from_static(DOCUMENT)),
            RenderFormat::Content => {
                Rendered::new("text/html; charset=utf-8", job.html.clone().unwrap_or_default().into())
            }
        })
    }

    async fn close(&self, session: &str) -> Result<(), BrowserError> {
        self.with(|sessions| drop(sessions.users.remove(session)));
        Ok(())
    }
}
