//! Browsers that record their calls and fail, wait or hold as scripted, over any others.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
pub use isobar_testkit::{Call, Release, Script};

use super::{BrowserEngine, BrowserError, RenderJob, Rendered};

isobar_base::operations! {
    /// An operation of [`BrowserEngine`], as its mock's script and record name it.
    #[allow(missing_docs, reason = "the names are the trait's")]
    pub enum Operation {
        Open => "open",
        Render => "render",
        Close => "close",
    }
}

/// Any engine, with a [`Script`] before every [`Operation`]; the subject of `open` is the user, of the others the session.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use chrono::TimeDelta;
/// use isobar_objects::browser::mock::{MockBrowsers, Operation};
/// use isobar_objects::browser::{BrowserEngine, BrowserError, BrowserErrorKind, MemoryBrowsers, RenderJob};
///
/// let browsers = MockBrowsers::new(MemoryBrowsers::default());
/// browsers.script().fail_next(Operation::Render, BrowserError::new(BrowserErrorKind::Gone, "the browser has crashed"));
///
/// let session = browsers.open("user-1", TimeDelta::minutes(1)).await?;
/// let error = browsers.render(&session, &RenderJob::html("<p>hello</p>")).await.unwrap_err();
/// assert_eq!(error.kind(), BrowserErrorKind::Gone);
/// assert!(browsers.script().unplayed().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MockBrowsers {
    inner: Arc<dyn BrowserEngine>,
    script: Script<BrowserError>,
}

impl MockBrowsers {
    /// Creates a mock over this engine; without a script it only records.
    pub fn new(inner: impl BrowserEngine + 'static) -> Self {
        Self { inner: Arc::new(inner), script: Script::new(Operation::ALL) }
    }

    /// Returns the script and the record of calls.
    #[must_use]
    pub fn script(&self) -> &Script<BrowserError> {
        &self.script
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BrowserEngine for MockBrowsers {
    async fn open(&self, user: &str, keep_alive: TimeDelta) -> Result<String, BrowserError> {
        self.script.enter(Operation::Open, user).await?;
        self.inner.open(user, keep_alive).await
    }
    async fn render(&self, session: &str, job: &RenderJob) -> Result<Rendered, BrowserError> {
        self.script.enter(Operation::Render, session).await?;
        self.inner.render(session, job).await
    }
    async fn close(&self, session: &str) -> Result<(), BrowserError> {
        self.script.enter(Operation::Close, session).await?;
        self.inner.close(session).await
    }
}
