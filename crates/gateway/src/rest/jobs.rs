//! Imports and exports in flight, and their files.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use isobar_base::random::{self, NoRandomness};
use isobar_base::sync::IgnorePoison;
use serde_json::Value as Json;
use tokio::sync::watch;

/// Time for which a job and its file are kept, as with D1.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// Most jobs that are kept: an import whose file never comes costs a few hundred bytes.
const JOBS: usize = 1000;

/// Jobs by their ids, which nobody can guess.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: Mutex<HashMap<String, Job>>,
}

/// An import or an export of a database.
#[derive(Debug)]
struct Job {
    /// Id of the database.
    database: String,
    begun: Instant,
    state: State,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    /// An import whose file, with this MD5, has not come.
    Announced { etag: String },
    /// An import whose file has come.
    Uploaded { etag: String, file: Bytes },
    /// A job that runs, or has run.
    Running(watch::Receiver<Option<Outcome>>),
}

/// The end of a job.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// Report of the import, for the client.
    Imported(Json),
    /// The dump.
    Exported(Bytes),
    Failed(String),
}

/// There is no room for another job, or for its file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Jobs {
    /// Adds a job, where there are too many in place of the oldest that does not run. Returns its id: 128 random bits.
    pub(super) fn add(&self, database: &str, state: State) -> Result<Result<String, Full>, NoRandomness> {
        let id = random::hex_id()?;
        let mut jobs = self.jobs.lock().ignore_poison();
        jobs.retain(|_, job| job.begun.elapsed() < KEPT);
        if jobs.len() >= JOBS {
            let idle = jobs.iter().filter(|(_, job)| !job.state.is_in_flight());
            let oldest = idle.min_by_key(|(_, job)| job.begun).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { return Ok(Err(Full)) };
            jobs.remove(&oldest);
        }
        jobs.insert(id.clone(), Job { database: database.to_owned(), begun: Instant::now(), state });
        Ok(Ok(id))
    }

    /// The state of a job, of whichever database.
    pub(super) fn state(&self, id: &str) -> Option<State> {
        let jobs = self.jobs.lock().ignore_poison();
        jobs.get(id).filter(|job| job.begun.elapsed() < KEPT).map(|job| job.state.clone())
    }

    /// The state of a job of this database.
    pub(super) fn state_of(&self, id: &str, database: &str) -> Option<State> {
        let is_its = self.jobs.lock().ignore_poison().get(id).is_some_and(|job| job.database == database);
        is_its.then(|| self.state(id)).flatten()
    }

    /// Keeps the file of an import that waits for it, where all files together have at most `most` bytes then.
    pub(super) fn upload(&self, id: &str, file: Bytes, most: usize) -> Result<(), Full> {
        let mut jobs = self.jobs.lock().ignore_poison();
        jobs.retain(|_, job| job.begun.elapsed() < KEPT);
        let kept: usize = jobs.iter().filter(|(other, _)| *other != id).map(|(_, job)| job.state.bytes()).sum();
        if kept + file.len() > most {
            return Err(Full);
        }
        if let Some(job) = jobs.get_mut(id)
            && let State::Announced { etag } | State::Uploaded { etag, .. } = &job.state
        {
            job.state = State::Uploaded { etag: etag.clone(), file };
        }
        Ok(())
    }

    /// Starts an import whose file has come, once. Returns the file and where to report the outcome; `None` for a job that runs
    /// already, which a repeated request must not start again.
    pub(super) fn start(&self, id: &str) -> Option<(Bytes, watch::Sender<Option<Outcome>>)> {
        let mut jobs = self.jobs.lock().ignore_poison();
        let job = jobs.get_mut(id)?;
        let State::Uploaded { file, .. } = &job.state else { return None };
        let file = file.clone();
        let (sender, receiver) = watch::channel(None);
        job.state = State::Running(receiver);
        Some((file, sender))
    }

    /// Whether a dump of this size may be kept beside the other files.
    pub(super) fn has_room(&self, bytes: usize, most: usize) -> bool {
        let jobs = self.jobs.lock().ignore_poison();
        jobs.values().map(|job| job.state.bytes()).sum::<usize>() + bytes <= most
    }
}

impl State {
    fn is_in_flight(&self) -> bool {
        matches!(self, Self::Running(outcome) if outcome.borrow().is_none())
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Announced { .. } => 0,
            Self::Uploaded { file, .. } => file.len(),
            Self::Running(outcome) => match &*outcome.borrow() {
                Some(Outcome::Exported(dump)) => dump.len(),
                _ => 0,
            },
        }
    }
}

/// Waits for the outcome of a job, for at most this time. A task that ended without one has panicked.
pub(super) async fn wait(mut outcome: watch::Receiver<Option<Outcome>>, time: Duration) -> Option<Outcome> {
    match tokio::time::timeout(time, outcome.wait_for(Option::is_some)).await {
        Ok(Ok(outcome)) => outcome.clone(),
        Ok(Err(_)) => Some(Outcome::Failed("the job ended without a result".to_owned())),
        Err(_) => None,
    }
}

/// Runs a job beside the request.
pub(super) fn spawn(job: impl Future<Output = Outcome> + Send + 'static, done: watch::Sender<Option<Outcome>>) {
    tokio::spawn(async move {
        let outcome = job.await;
        done.send_replace(Some(outcome));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced() -> State {
        State::Announced { etag: "e".to_owned() }
    }

    #[test]
    fn import_starts_once() {
        let jobs = Jobs::default();
        let id = jobs.add("d", announced()).unwrap().unwrap();
        assert!(jobs.start(&id).is_none(), "its file has not come");
        jobs.upload(&id, Bytes::from_static(b"x"), 10).unwrap();
        assert!(jobs.start(&id).is_some());
        assert!(jobs.start(&id).is_none());
        assert!(matches!(jobs.state_of(&id, "d"), Some(State::Running(_))));
        assert!(jobs.state_of(&id, "other").is_none());
    }

    #[test]
    fn files_and_jobs_are_bounded() {
        let jobs = Jobs::default();
        let first = jobs.add("d", announced()).unwrap().unwrap();
        let second = jobs.add("d", announced()).unwrap().unwrap();
        jobs.upload(&first, Bytes::from_static(b"123456"), 10).unwrap();
        assert_eq!(jobs.upload(&second, Bytes::from_static(b"12345"), 10), Err(Full));
        jobs.upload(&first, Bytes::from_static(b"12"), 10).unwrap();
        jobs.upload(&second, Bytes::from_static(b"12345"), 10).unwrap();
        assert!(jobs.has_room(3, 10) && !jobs.has_room(4, 10));
        for _ in 2..=JOBS {
            jobs.add("d", announced()).unwrap().unwrap();
        }
        assert!(jobs.state(&first).is_none() && jobs.state(&second).is_some(), "the oldest has made room");
        let (_sender, receiver) = watch::channel(None);
        let full = Jobs::default();
        for _ in 0..JOBS {
            full.add("d", State::Running(receiver.clone())).unwrap().unwrap();
        }
        assert_eq!(full.add("d", announced()).unwrap(), Err(Full));
    }
}
