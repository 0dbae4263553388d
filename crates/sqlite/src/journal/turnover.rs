//! The log that is not written to: it is made, or emptied, by a thread while the other one fills.
//!
//! While one log fills, a thread syncs the write-ahead logs behind the other one and empties it, so that the
//! journal's own thread seldom waits for either. Where no thread can be started the work is done at once. A log
//! that cannot be made is no failure: the journal settles until there is one. One whose members could not be synced
//! is: what is durable is unknown then.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::disk::Disk;
use super::half::{Half, Members};

/// The other log.
#[derive(Debug)]
pub(super) enum Spare {
    Done(Outcome),
    /// A thread makes or empties it.
    InWork(JoinHandle<Outcome>),
}

/// State of the other log when work on it has ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Ready(Half),
    /// It could not be made, or nobody has tried yet.
    Unmade,
    /// Write-ahead logs could not be synced, or the log could not be emptied: what is durable is unknown.
    Lost(io::Error),
}

impl Spare {
    /// Makes a log aside.
    pub(super) fn make(disk: &Arc<dyn Disk>, path: PathBuf, size: u64) -> Self {
        let disk = Arc::clone(disk);
        Self::spawn(move || match Half::create(&*disk, path, size) {
            Ok(half) => Outcome::Ready(half),
            Err(_) => Outcome::Unmade,
        })
    }

    /// Empties a full log aside, once its members' write-ahead logs are durable, and gives it this size.
    pub(super) fn empty(mut half: Half, members: Arc<Members>, size: u64) -> Self {
        Self::spawn(move || match members.sync().and_then(|()| half.empty()) {
            Ok(()) => {
                half.grow(size);
                Outcome::Ready(half)
            }
            Err(error) => Outcome::Lost(error),
        })
    }

    fn spawn(work: impl FnOnce() -> Outcome + Send + 'static) -> Self {
        // It is taken out again where no thread can be started.
        let work = Arc::new(Mutex::new(Some(work)));
        let run = move || {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            work.map_or(Outcome::Unmade, |work| work())
        };
        match std::thread::Builder::new().name("isobar-journal".to_owned()).spawn(run.clone()) {
            Ok(thread) => Self::InWork(thread),
            Err(_) => Self::Done(run()),
        }
    }

    /// Waits until it is made or emptied, and takes it.
    pub(super) fn take(&mut self) -> Outcome {
        match std::mem::replace(self, Self::Done(Outcome::Unmade)) {
            Self::Done(outcome) => outcome,
            Self::InWork(thread) => {
                thread.join().unwrap_or_else(|_| Outcome::Lost(io::Error::other("the journal's thread has panicked")))
            }
        }
    }
}
