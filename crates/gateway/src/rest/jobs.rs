//! Imports and exports in flight, and their files.
//!
//! A job is a small state machine:
//!
//! | state | goes on by |
//! |---|---|
//! | announced: an import's `init` | the upload of its file |
//! | uploaded | another upload, which replaces it; `ingest`, once |
//! | running | its task, which ends it with an outcome |
//! | ended, with an outcome | its time: then it is removed |
//!
//! Clients repeat requests, so that each step may come twice: a second `ingest` finds the job running
//! and only waits. Ids have 128 random bits and are all that the URLs of files need.
//!
//! One lock for all, held for a look or a change, never across an await. The sweep is one task, which
//! sleeps until the next end and goes when there is no job; it holds a weak reference, so that a door
//! that is dropped takes its jobs along. Nothing survives the process: a client that polls afterwards
//! gets 404.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use isobar_base::random::{self, NoRandomness};
use isobar_base::sync::IgnorePoison;
use serde_json::Value as Json;
use tokio::sync::watch;

/// Most jobs that are kept: an import whose file never comes costs a few hundred bytes.
const JOBS: usize = 1000;

/// Jobs by their ids, which nobody can guess.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    jobs: HashMap<String, Job>,
    /// Whether a task removes jobs when their time is over.
    is_swept: bool,
}

/// An import or an export of a database.
#[derive(Debug)]
struct Job {
    /// Id of the database.
    database: String,
    /// Id of the key that began it.
    key: String,
    begun: Instant,
    ends: Instant,
    state: State,
}

/// State of a job.
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

/// There are as many jobs as there may be, and each of them runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Jobs {
    /// Adds a job, which is kept for this time; where there are too many, in place of the oldest that does not run. Returns its id: 128
    /// random bits.
    pub(super) fn add(
        self: &Arc<Self>,
        database: &str,
        key: &str,
        state: State,
        time: Duration,
    ) -> Result<Result<String, TooMany>, NoRandomness> {
        let id = random::hex_id()?;
        let begun = Instant::now();
        let job = Job { database: database.to_owned(), key: key.to_owned(), begun, ends: begun + time, state };
        let mut kept = self.kept.lock().ignore_poison();
        if kept.jobs.len() >= JOBS {
            let idle = kept.jobs.iter().filter(|(_, job)| !job.state.is_in_flight());
            let oldest = idle.min_by_key(|(_, job)| job.begun).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { return Ok(Err(TooMany)) };
            kept.jobs.remove(&oldest);
        }
        kept.jobs.insert(id.clone(), job);
        if !std::mem::replace(&mut kept.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        Ok(Ok(id))
    }

    /// The state of a job, of whichever database.
    pub(super) fn state(&self, id: &str) -> Option<State> {
        let kept = self.kept.lock().ignore_poison();
        kept.jobs.get(id).filter(|job| Instant::now() < job.ends).map(|job| job.state.clone())
    }

    /// The id of the key that began a job.
    pub(super) fn key_of(&self, id: &str) -> Option<String> {
        self.kept.lock().ignore_poison().jobs.get(id).map(|job| job.key.clone())
    }

    /// The state of a job of this database.
    pub(super) fn state_of(&self, id: &str, database: &str) -> Option<State> {
        let is_its = self.kept.lock().ignore_poison().jobs.get(id).is_some_and(|job| job.database == database);
        is_its.then(|| self.state(id)).flatten()
    }

    /// Keeps the file of an import that waits for it.
    pub(super) fn upload(&self, id: &str, file: Bytes) {
        let mut kept = self.kept.lock().ignore_poison();
        if let Some(job) = kept.jobs.get_mut(id)
            && let State::Announced { etag } | State::Uploaded { etag, .. } = &job.state
        {
            job.state = State::Uploaded { etag: etag.clone(), file };
        }
    }

    /// Starts an import whose file has come, once. Returns the file and where to report the outcome; `None` for a job that runs
    /// already, which a repeated request must not start again.
    pub(super) fn start(&self, id: &str) -> Option<(Bytes, watch::Sender<Option<Outcome>>)> {
        let mut kept = self.kept.lock().ignore_poison();
        let job = kept.jobs.get_mut(id)?;
        let (sender, receiver) = watch::channel(None);
        let State::Uploaded { file, .. } = &job.state else { return None };
        let file = file.clone();
        job.state = State::Running(receiver);
        Some((file, sender))
    }

    /// Removes the jobs whose time is over. Returns the time of the next end; `None`, and the sweeping ends, where there is no job.
    fn remove_ended(&self) -> Option<Instant> {
        let mut kept = self.kept.lock().ignore_poison();
        let now = Instant::now();
        kept.jobs.retain(|_, job| now < job.ends);
        let next = kept.jobs.values().map(|job| job.ends).min();
        kept.is_swept = next.is_some();
        next
    }
}

/// Removes jobs when their time is over, for as long as there are some.
async fn sweep(jobs: Weak<Jobs>) {
    loop {
        let Some(next) = jobs.upgrade().and_then(|jobs| jobs.remove_ended()) else { return };
        tokio::time::sleep_until(next.into()).await;
    }
}

impl State {
    /// Whether its task still runs: such a job is not removed for another.
    fn is_in_flight(&self) -> bool {
        matches!(self, Self::Running(outcome) if outcome.borrow().is_none())
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

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn announced() -> State {
        State::Announced { etag: "e".to_owned() }
    }

    fn add(jobs: &Arc<Jobs>, state: State, time: Duration) -> Result<String, TooMany> {
        jobs.add("d", "k", state, time).unwrap()
    }

    #[tokio::test]
    async fn import_starts_once() {
        let jobs = Arc::<Jobs>::default();
        let id = add(&jobs, announced(), HOUR).unwrap();
        assert!(jobs.start(&id).is_none(), "its file has not come");
        jobs.upload(&id, Bytes::from_static(b"x"));
        assert!(jobs.start(&id).is_some());
        assert!(jobs.start(&id).is_none());
        assert!(matches!(jobs.state_of(&id, "d"), Some(State::Running(_))));
        assert!(jobs.state_of(&id, "other").is_none());
    }

    #[tokio::test]
    async fn number_of_jobs_is_bounded() {
        let jobs = Arc::<Jobs>::default();
        let first = add(&jobs, announced(), HOUR).unwrap();
        let second = add(&jobs, announced(), HOUR).unwrap();
        for _ in 2..=JOBS {
            add(&jobs, announced(), HOUR).unwrap();
        }
        assert!(jobs.state(&first).is_none() && jobs.state(&second).is_some(), "the oldest has made room");
        let (_sender, receiver) = watch::channel(None);
        let full = Arc::<Jobs>::default();
        for _ in 0..JOBS {
            add(&full, State::Running(receiver.clone()), HOUR).unwrap();
        }
        assert_eq!(add(&full, announced(), HOUR), Err(TooMany));
    }

    #[tokio::test]
    async fn job_ends_in_its_time_without_a_request() {
        let jobs = Arc::<Jobs>::default();
        let count = || jobs.kept.lock().unwrap().jobs.len();
        for _ in 0..2 {
            add(&jobs, announced(), Duration::from_millis(20)).unwrap();
            add(&jobs, announced(), Duration::from_millis(40)).unwrap();
            assert_eq!(count(), 2);
            for _ in 0..1000 {
                if count() == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(count(), 0);
        }
    }
}
