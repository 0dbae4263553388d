//! The trait of engines: the operations on browsers that a session needs.
//!
//! Everything about time and storage is the session object's: it remembers the browser's id, closes it by its alarm, and opens
//! another where an engine has lost it. So an engine keeps no state beyond its process, and an id that it does not know is
//! answered with [`Gone`](BrowserErrorKind::Gone) rather than with a new browser.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::TimeDelta;

use super::{BrowserError, BrowserErrorKind, RenderJob, Rendered};

/// Most sessions at once of an engine of this machine, of all users and of each.
const SESSIONS: usize = 6;
const SESSIONS_OF_USER: usize = 3;

/// A pool of browsers, each session in one of its own.
///
/// ```
/// use async_trait::async_trait;
/// use bytes::Bytes;
/// use chrono::TimeDelta;
/// use isobar_objects::browser::{
///     BrowserEngine, BrowserError, BrowserErrorKind, RenderFormat, RenderJob, Rendered,
/// };
///
/// /// An engine whose pages are blank.
/// #[derive(Debug)]
/// struct Blank;
///
/// #[async_trait]
/// impl BrowserEngine for Blank {
///     async fn open(&self, user: &str, _keep_alive: TimeDelta) -> Result<String, BrowserError> {
///         Ok(format!("browser of {user}"))
///     }
///
///     async fn render(&self, _session: &str, job: &RenderJob) -> Result<Rendered, BrowserError> {
///         match job.format {
///             RenderFormat::Content => Ok(Rendered::new("text/html; charset=utf-8", Bytes::from_static(b"<p></p>"))),
///             _ => Err(BrowserError::new(BrowserErrorKind::Page, "a blank page is not drawn")),
///         }
///     }
///
///     async fn close(&self, _session: &str) -> Result<(), BrowserError> {
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait BrowserEngine: Debug + Send + Sync {
    /// Opens a session for a user, with cookies and storage of its own. Returns its id. The engine may close a session that was idle
    /// for `keep_alive`; [`BrowserSession`](super::BrowserSession) closes it anyway, by its alarm.
    ///
    /// # Errors
    /// [`Full`](super::BrowserErrorKind::Full) when there are too many sessions, or too many of the user's;
    /// [`Unavailable`](super::BrowserErrorKind::Unavailable) when no browser starts.
    async fn open(&self, user: &str, keep_alive: TimeDelta) -> Result<String, BrowserError>;

    /// Renders a page in a session. Several pages may be rendered in one at a time.
    ///
    /// # Errors
    /// [`Gone`](super::BrowserErrorKind::Gone) when the session has ended, [`Page`](super::BrowserErrorKind::Page) when the page
    /// cannot be loaded, [`Forbidden`](super::BrowserErrorKind::Forbidden) when its address is not public,
    /// [`Unavailable`](super::BrowserErrorKind::Unavailable) when the browser does not answer.
    async fn render(&self, session: &str, job: &RenderJob) -> Result<Rendered, BrowserError>;

    /// Closes a session. One that does not exist counts as closed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    async fn close(&self, session: &str) -> Result<(), BrowserError>;
}

/// Checks that a user may open one more session of an engine of this machine, by the users of those that are open.
///
/// # Errors
/// [`BrowserErrorKind::Full`].
pub(super) fn check_room<'u>(open: impl ExactSizeIterator<Item = &'u String>, user: &str) -> Result<(), BrowserError> {
    let all = open.len();
    let own = open.filter(|owner| *owner == user).count();
    if all < SESSIONS && own < SESSIONS_OF_USER {
        return Ok(());
    }
    let why = format!("there are {all} browsers open already, {own} of them yours; close one, or wait");
    Err(BrowserError::new(BrowserErrorKind::Full, why))
}
