//! The writer thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use super::Counts;
use super::segment::Segments;
use crate::{Error, Event, Result};

/// Time for which events gather before the thread wakes up. A flush waits that long at most.
const GATHER: Duration = Duration::from_millis(2);

/// Interval between checks of the events' ages.
const EXPIRE: Duration = Duration::from_secs(60 * 60);

/// A message to the thread.
pub(super) enum Message {
    /// An event to store.
    Event(Event),
    /// Answered when every event before is durable.
    Flush(oneshot::Sender<Result<()>>),
    /// Answered with the result of an attempt to write.
    Probe(oneshot::Sender<Result<()>>),
}

/// The thread that owns the files.
pub(super) struct Writer {
    segments: Segments,
    receiver: Receiver<Message>,
    counts: Arc<Counts>,
    linger: Duration,
    /// The first failure since the last flush reported one.
    failure: Option<Error>,
    expire_at: Instant,
}

impl Writer {
    pub(super) fn new(segments: Segments, receiver: Receiver<Message>, counts: Arc<Counts>, linger: Duration) -> Self {
        let expire_at = Instant::now() + EXPIRE;
        Self { segments, receiver, counts, linger, failure: None, expire_at }
    }

    pub(super) fn run(mut self) {
        let mut waiting = Vec::new();
        loop {
            // With events that are not durable yet, wait for more for a limited time only.
            let message = match self.segments.is_dirty() {
                true => self.receiver.recv_timeout(self.linger),
                false => self.receiver.recv_timeout(self.expire_at.saturating_duration_since(Instant::now())),
            };
            let mut due = false;
            match message {
                Ok(message) => self.take(message, &mut waiting),
                Err(RecvTimeoutError::Timeout) => due = true,
                Err(RecvTimeoutError::Disconnected) => break self.sync(&mut waiting),
            }
            while self.segments.has_room() && self.segments.dirty_for() < self.linger {
                let Ok(message) = self.receiver.try_recv() else { break };
                self.take(message, &mut waiting);
            }
            if waiting.is_empty() && self.segments.is_dirty() {
                // Waking this thread costs more than writing an event, so let many gather for each wake-up.
                std::thread::sleep(GATHER);
            }
            if due || !waiting.is_empty() || !self.segments.has_room() || self.segments.dirty_for() >= self.linger {
                self.sync(&mut waiting);
            }
            if self.expire_at <= Instant::now() {
                self.segments.expire();
                self.expire_at = Instant::now() + EXPIRE;
            }
            self.counts.expired_bytes.fetch_add(self.segments.take_expired_bytes(), Ordering::Relaxed);
        }
    }

    fn take(&mut self, message: Message, waiting: &mut Vec<oneshot::Sender<Result<()>>>) {
        match message {
            Message::Flush(done) => waiting.push(done),
            Message::Event(event) => self.segments.append(&event),
            Message::Probe(done) => {
                let probed = self.segments.probe();
                self.counts.is_failing.store(probed.is_err(), Ordering::Relaxed);
                // The caller may no longer be waiting.
                done.send(probed).ok();
            }
        }
    }

    fn sync(&mut self, waiting: &mut Vec<oneshot::Sender<Result<()>>>) {
        match self.segments.sync() {
            Ok(0) => {}
            Ok(events) => {
                self.counts.stored.fetch_add(events, Ordering::Relaxed);
                self.counts.is_failing.store(false, Ordering::Relaxed);
            }
            Err((error, events)) => self.fail(error, events),
        }
        if waiting.is_empty() {
            return; // the next flush reports the failure
        }
        let failure = self.failure.take();
        for done in waiting.drain(..) {
            // The caller may no longer be waiting.
            done.send(failure.clone().map_or(Ok(()), Err)).ok();
        }
    }

    fn fail(&mut self, error: Error, events: u64) {
        #[cfg(feature = "tracing")]
        tracing::error!(%error, events, "data points were lost");
        self.counts.dropped.fetch_add(events, Ordering::Relaxed);
        self.counts.is_failing.store(true, Ordering::Relaxed);
        self.failure.get_or_insert(error);
    }
}
