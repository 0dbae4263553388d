//! The object's way back in time.

use chrono::{DateTime, Utc};
use futures_util::future::LocalBoxFuture;

use super::{NO_HISTORY, SessionContext};
use crate::{Bookmark, Error, ErrorKind, Result};

impl SessionContext {
    /// Returns the bookmark of the state that the storage is in: after all that was written before. A host that
    /// [keeps a history](crate::Capabilities::time_travel) can bring that state back.
    ///
    /// A native host makes its history durable by this, which takes some syncs: for a bookmark now and then, rather than one in each
    /// turn.
    ///
    /// ```
    /// # #[cfg(not(feature = "memory"))]
    /// # fn main() {}
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> isobar_sessions::Result<()> {
    /// use isobar_sessions::memory::{HistoryOptions, HostOptions, MemoryHost};
    /// use isobar_sessions::{
    ///     Bookmark, Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject,
    /// };
    ///
    /// struct Draft(SessionContext);
    ///
    /// impl SessionObject for Draft {
    ///     type Env = ();
    ///
    ///     async fn start(context: SessionContext, _: ()) -> Result<Self> {
    ///         Ok(Self(context))
    ///     }
    ///
    ///     async fn fetch(&self, request: Request) -> Result<Response> {
    ///         let Self(context) = self;
    ///         if request.uri().path() == "/undo" {
    ///             if let Some(saved) = context.kv().get::<String>("saved")? {
    ///                 context.restore_on_next_start(&Bookmark::new(saved)).await?;
    ///                 context.abort("the draft goes back to what was saved");
    ///             }
    ///         } else if request.uri().path() == "/save" {
    ///             context.kv().put("saved", &context.current_bookmark().await?.as_str())?;
    ///         } else if request.uri().path() != "/" {
    ///             context.kv().put("text", &request.uri().path())?;
    ///         }
    ///         let text = context.kv().get::<String>("text")?.unwrap_or_default();
    ///         Ok(Response::new(text.into()))
    ///     }
    /// }
    ///
    /// let options = HostOptions::default().with_history(HistoryOptions::default());
    /// let drafts = MemoryHost::<Draft>::with_options("Draft", &options, || ())?;
    /// let draft = drafts.id("letter");
    /// for path in ["/one", "/save", "/two"] {
    ///     drafts.get(&draft, path).await?;
    /// }
    /// drafts.get(&draft, "/undo").await.unwrap_err(); // by the abort
    /// assert_eq!(drafts.get(&draft, "/").await?.into_body().text().await?, "/one");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the host keeps no history; [`ErrorKind::Storage`], [`ErrorKind::StorageFull`] and
    /// [`ErrorKind::Damaged`] when the object's file or its history fails.
    pub async fn current_bookmark(&self) -> Result<Bookmark> {
        self.backend.current_bookmark().await
    }

    /// Returns the bookmark of the state that the storage was in at a time: after the last turn that had committed then.
    ///
    /// A native host compares it with its [`now`](Self::now), in milliseconds. Turns before a crash whose times were not yet kept, of the last
    /// minute at most while the object goes on committing, have that of the next start.
    ///
    /// # Errors
    /// [`ErrorKind::History`] for a time in the future, or before the history's beginning; as
    /// [`current_bookmark`](Self::current_bookmark).
    pub async fn bookmark_for_time(&self, at: DateTime<Utc>) -> Result<Bookmark> {
        self.backend.bookmark_for_time(at).await
    }

    /// Lets the storage be in the state of a bookmark when the object next starts, usually after [`abort`](Self::abort): tables, keys and
    /// alarm, also those that [`delete_all`](Self::delete_all) has deleted. What was written after the bookmark, and what is written until
    /// the object starts anew, is gone from the storage then. Asked again, the last bookmark counts.
    /// On a native host an object that falls asleep first starts anew at once; until it starts anew its history forgets nothing that follows
    /// the bookmark, whatever the history's bounds.
    ///
    /// Returns the bookmark of the state just before the restore, which is yet to come: restoring that one undoes the restore.
    ///
    /// A restore takes as long as writing the whole database, and as much memory, while no other event is delivered. Broken off by a crash, it
    /// has happened, or it happens with the next start.
    ///
    /// # Errors
    /// [`ErrorKind::History`] for a text that is not a bookmark, for one of another object, older than the history or in the future; as
    /// [`current_bookmark`](Self::current_bookmark).
    pub async fn restore_on_next_start(&self, to: &Bookmark) -> Result<Bookmark> {
        self.backend.restore_on_next_start(to).await
    }
}

/// The answer of a host that keeps no history.
pub(super) fn unsupported() -> LocalBoxFuture<'static, Result<Bookmark>> {
    Box::pin(std::future::ready(Err(Error::new(ErrorKind::Unsupported, NO_HISTORY))))
}
