//! The journal of a thread's objects, and the gates that wait for its sync.
//!
//! Turns commit without a sync. When the thread has nothing else to run, one sync makes all of them durable, and what they hold back
//! leaves. A turn that is alone waits for nobody.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use isobar_sqlite::journal::{Disk, DiskFile, Follower, Journal, JournalOptions};

use super::health::Health;
use crate::{Error, ErrorKind, Result};

/// Commits after which a sync waits for no more, and the time.
const MOST: usize = 512;
const LONGEST: Duration = Duration::from_millis(1);

/// An object that holds back what its turns let out, until it is durable.
pub(super) trait Held {
    /// All that has committed is durable. Returns whether the object's own file should be brought up to date now.
    fn release(&self) -> bool;

    /// Breaks the object: its commits since the last sync may be lost.
    fn lose(&self, error: &Error);

    /// The object's write-ahead log, if it has one.
    fn wal(&self) -> Option<Arc<dyn DiskFile>>;

    /// Brings the object's own file up to date.
    fn checkpoint(&self);
}

/// The journal of one thread.
pub(super) struct Log {
    journal: RefCell<Journal>,
    number: usize,
    health: Arc<Health>,
    /// Whether the host's health knows of a failure that was got around.
    is_troubled: Cell<bool>,
    /// Objects with commits that are not durable.
    held: RefCell<Vec<Rc<dyn Held>>>,
    /// Objects whose files should be brought up to date.
    due: RefCell<VecDeque<Rc<dyn Held>>>,
    is_checkpointing: Cell<bool>,
    /// Number of the last batch that is durable.
    durable: Cell<u64>,
    commits: Cell<usize>,
    /// Jobs and commits so far, and how many there were when the thread last had nothing else to run.
    activity: Cell<u64>,
    seen: Cell<u64>,
    since: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
    /// Objects that were closed when it was unknown whether their last turns are durable.
    unsure: RefCell<HashSet<String>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("durable", &self.durable).field("commits", &self.commits).finish_non_exhaustive()
    }
}

impl Log {
    /// Creates the log of the thread with this number, for a host in this folder.
    pub(super) fn new(
        root: &Path,
        number: usize,
        options: JournalOptions,
        disk: Arc<dyn Disk>,
        health: &Arc<Health>,
    ) -> Rc<Self> {
        Rc::new(Self {
            journal: RefCell::new(Journal::new(root.join(FOLDER), number, options, disk)),
            number,
            health: Arc::clone(health),
            is_troubled: Cell::new(false),
            held: RefCell::default(),
            due: RefCell::default(),
            is_checkpointing: Cell::new(false),
            durable: Cell::new(0),
            commits: Cell::new(0),
            activity: Cell::new(0),
            seen: Cell::new(0),
            since: Cell::new(None),
            waker: RefCell::default(),
            unsure: RefCell::default(),
        })
    }

    /// Follows the write-ahead log of an object that is opened.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] for an object whose last turns may be lost: it would answer with what may not be.
    pub(super) fn follow(&self, name: &str, file: &Path) -> Result<Follower> {
        if self.unsure.borrow().contains(name) {
            self.health.check_poison()?;
        }
        Ok(self.journal.borrow().follow(name, file))
    }

    /// Whether what is in the write-ahead log of an object that is opened may be copied into its file.
    pub(super) fn may_checkpoint(&self, name: &str) -> bool {
        let mentions = self.journal.borrow().mentions(name);
        !self.journal.borrow().has_failed() && (!mentions || self.settle().is_ok())
    }

    /// Takes a commit. Returns an error, after which the object must be closed, if it cannot be made durable.
    pub(super) fn capture(&self, follower: &mut Follower, frames: u32) -> io::Result<()> {
        let captured = self.journal.borrow_mut().capture(follower, frames);
        if let Err(error) = &captured
            && self.journal.borrow().has_failed()
        {
            self.health.poison(error.to_string());
        }
        captured?;
        self.note();
        if self.commits.replace(self.commits.get() + 1) == 0 {
            self.since.set(Some(Instant::now()));
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        Ok(())
    }

    /// Notes that something runs: it may commit soon.
    pub(super) fn note(&self) {
        self.activity.set(self.activity.get() + 1);
    }

    /// The batch with the last commit of an object, while that is not durable.
    pub(super) fn pending(&self, follower: &Follower) -> Option<u64> {
        Some(follower.batch()).filter(|batch| !self.is_durable(*batch))
    }

    /// Whether a batch is durable.
    pub(super) fn is_durable(&self, batch: u64) -> bool {
        batch <= self.durable.get()
    }

    /// Enters an object that holds something back.
    pub(super) fn hold(&self, object: Rc<dyn Held>) {
        self.held.borrow_mut().push(object);
    }

    /// Ready when commits wait for a sync and there is nothing else to do, or they have waited for long.
    pub(super) fn poll_quiet(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(since) = self.since.get() else {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        let is_quiet = self.seen.replace(self.activity.get()) == self.activity.get();
        if is_quiet || self.commits.get() >= MOST || since.elapsed() >= LONGEST {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref(); // when all that is ready now has run
        Poll::Pending
    }

    /// Makes all commits durable, and lets out what waits for that.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`]: the objects with commits that are not durable are broken, and the host writes no more.
    pub(super) fn flush(&self) -> Result<()> {
        let synced = self.journal.borrow_mut().sync();
        self.conclude(synced)
    }

    /// As [`flush`](Self::flush), and empties the journal.
    fn settle(&self) -> Result<()> {
        let settled = self.journal.borrow_mut().settle();
        self.conclude(settled)
    }

    fn conclude(&self, synced: io::Result<()>) -> Result<()> {
        self.commits.set(0);
        self.since.set(None);
        let held = std::mem::take(&mut *self.held.borrow_mut());
        if let Err(error) = synced {
            self.health.poison(error.to_string());
            let error = Error::new(ErrorKind::Storage, format!("the writes could not be made durable: {error}"));
            held.iter().for_each(|object| object.lose(&error));
            return Err(error);
        }
        let journal = self.journal.borrow();
        self.durable.set(journal.durable());
        let trouble = journal.trouble();
        if self.is_troubled.replace(trouble.is_some()) || trouble.is_some() {
            self.health.mark_journal(self.number, trouble);
        }
        drop(journal);
        let due = held.into_iter().filter(|object| object.release());
        self.due.borrow_mut().extend(due);
        Ok(())
    }

    /// Brings the files of objects that are due up to date, one after the other, unless that is being done. Their write-ahead logs have
    /// not been synced for long, and may take a disk a second together: a thread aside syncs each of them first, so that turns go on.
    pub(super) async fn checkpoint_due(&self) {
        if self.is_checkpointing.replace(true) {
            return;
        }
        loop {
            let next = self.due.borrow_mut().pop_front();
            let Some(object) = next else { break };
            if let Some(wal) = object.wal()
                && let Ok(Err(error)) = tokio::task::spawn_blocking(move || wal.sync()).await
            {
                // What it had is in the journal, which must not be emptied now: another sync would prove nothing.
                let error = self.journal.borrow_mut().fail("a write-ahead log cannot be synced", error);
                self.health.poison(error.to_string());
                break;
            }
            // Nothing may be copied that is not durable, and a busy object always has such commits.
            if self.flush().is_err() {
                break;
            }
            object.checkpoint();
            tokio::task::yield_now().await;
        }
        self.is_checkpointing.set(false);
    }

    /// Whether objects' files should be brought up to date, which nobody does yet.
    pub(super) fn has_due(&self) -> bool {
        !self.is_checkpointing.get() && !self.due.borrow().is_empty()
    }

    /// Forgets the objects that are due: they are about to be closed.
    pub(super) fn forget_due(&self) {
        let due = std::mem::take(&mut *self.due.borrow_mut());
        drop(due); // not while it is borrowed
    }

    /// Ends the following of an object that is closed; `checkpoint` brings its own file up to date. Returns whether SQLite may do that
    /// when it closes the file.
    pub(super) fn close(&self, follower: &mut Follower, checkpoint: impl FnOnce() -> bool) -> bool {
        if self.pending(follower).is_some() && self.flush().is_err() {
            self.unsure.borrow_mut().insert(follower.name().to_owned());
            return false;
        }
        let closed = self.journal.borrow_mut().close(follower, checkpoint);
        closed.unwrap_or(false)
    }

    /// Ends the journal, when all objects are closed.
    pub(super) fn finish(self: Rc<Self>) {
        let Ok(log) = Rc::try_unwrap(self) else { return };
        if let Err(_error) = log.journal.into_inner().finish() {
            #[cfg(feature = "tracing")]
            tracing::error!(error = %_error, "the journal of session objects was not ended in order; the next start recovers it");
        }
    }
}

/// Name of the journal's folder in that of the host.
pub(super) const FOLDER: &str = "journal";
