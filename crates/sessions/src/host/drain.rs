//! The end of a host in order: alarms begin no more, events in flight end, sockets are told.
//!
//! Requests are still taken, as an event in flight may need another object. Messages of sockets are held back until events have ended:
//! a client that sends on and on would not let them. Then all sockets are closed, and what their clients had sent before is handled.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Host;
use super::worker::Job;
use crate::{Error, ErrorKind, Result};

/// Longest time for which clients are waited for, to answer that they are closed.
const GOODBYE: Duration = Duration::from_secs(2);

/// Holds messages of sockets back, until it is dropped, and every other one is.
struct Pause<'h>(&'h AtomicUsize);

impl<'h> Pause<'h> {
    fn begin(pauses: &'h AtomicUsize) -> Self {
        pauses.fetch_add(1, Ordering::SeqCst);
        Self(pauses)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Host {
    /// See [`SessionNamespace::drain`](crate::SessionNamespace::drain).
    pub(super) async fn drain(&self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        let until = begun.checked_add(limit).unwrap_or(begun + Duration::from_secs(u64::from(u32::MAX)));
        self.shared.alarms.stop();
        let pause = Pause::begin(&self.shared.pauses);
        let left = self.each_thread(|done| Job::Finish(until, done)).await;
        drop(pause);
        let goodbye = until.min(Instant::now() + GOODBYE);
        self.each_thread(|done| Job::GoAway(goodbye, done)).await;
        if left == 0 {
            return Ok(());
        }
        let message = format!("events of session objects are still in flight after {limit:?}: {left}");
        Err(Error::new(ErrorKind::Reset, message))
    }

    /// Gives each thread a job, and returns the sum of their answers. A thread that has ended has nothing left.
    async fn each_thread(&self, job: impl Fn(oneshot::Sender<usize>) -> Job) -> usize {
        let mut answers = Vec::new();
        for queue in &self.queues {
            let (done, answer) = oneshot::channel();
            drop(queue.send(job(done)));
            answers.push(answer);
        }
        let mut left = 0;
        for answer in answers {
            left += answer.await.unwrap_or_default();
        }
        left
    }
}
