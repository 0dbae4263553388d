//! The writer thread.
//!
//! One thread per open sink. It exchanges the full buffer for an empty one, so producers wait for a pointer's exchange and never
//! for the disk. Flushes that have come meanwhile are answered by the same sync; a failure that no flush has waited for is
//! reported to the next one.
//!
//! | what happens | points of the batch | `health` | `flush` |
//! |---|---|---|---|
//! | the batch is stored | `stored` | fine | fine, or the failure of an earlier batch, once |
//! | the disk is full, or at its reserve | lost: `dropped`, `storage_full` | tries to write | that error |
//! | another failure of the disk | lost: `dropped`, `failed` | tries to write | that error |
//! | this thread panics | lost, uncounted | closed | an internal error for those who wait, then closed |
//!
//! A batch that has failed is not tried again: its bytes on the disk are unknown, and a point must not be stored twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::buffer::{Batch, Buffer, Request};
use super::segment::{Segments, Stored};
use crate::{DropReason, Error, ErrorKind, Result};

/// Interval between checks of the events' ages.
const EXPIRE: Duration = Duration::from_secs(60 * 60);

/// The thread that owns the files.
pub(super) struct Writer {
    segments: Segments,
    buffer: Arc<Buffer>,
    /// The first failure since the last flush reported one.
    failure: Option<Error>,
    expire_at: Instant,
}

impl Writer {
    pub(super) fn new(segments: Segments, buffer: Arc<Buffer>) -> Self {
        Self { segments, buffer, failure: None, expire_at: Instant::now() + EXPIRE }
    }

    pub(super) fn run(mut self) {
        let mut batch = self.buffer.batch();
        while self.buffer.next(&mut batch, self.expire_at).is_some() {
            self.store(&mut batch);
            if self.expire_at <= Instant::now() {
                self.segments.expire();
                self.expire_at = Instant::now() + EXPIRE;
            }
            for (request, answer) in std::mem::take(&mut batch.requests) {
                let done = self.answer(request);
                self.count_expired();
                // The caller may no longer be waiting.
                answer.send(done).ok();
            }
            self.count_expired();
        }
    }

    fn answer(&mut self, request: Request) -> Result<()> {
        match request {
            Request::Probe => {
                let probed = self.segments.probe();
                self.buffer.set_failing(probed.is_err());
                return probed;
            }
            Request::Expire => self.segments.expire(),
            #[cfg(feature = "query")]
            Request::Seal => self.segments.seal(),
        }
        Ok(())
    }

    fn count_expired(&mut self) {
        let expired = self.segments.take_expired_bytes();
        self.buffer.count(|stats| stats.expired_bytes += expired);
    }

    /// Makes the batch durable and answers those who wait for that. A batch that was stored in part counts so: its first points are durable.
    fn store(&mut self, batch: &mut Batch) {
        let points = batch.points as u64;
        if points > 0 {
            let Stored { points: stored, failure } = self.segments.store(batch.frames());
            self.buffer.set_failing(failure.is_some());
            self.buffer.count(|stats| stats.stored += stored);
            if let Some(error) = failure {
                self.fail(error, points - stored);
            }
        }
        batch.answer_flushes(&mut self.failure);
    }

    /// Counts lost points, and keeps the first failure until a flush reports it.
    fn fail(&mut self, error: Error, points: u64) {
        #[cfg(feature = "tracing")]
        tracing::error!(%error, points, "data points were lost");
        let is_full = error.kind() == ErrorKind::StorageFull;
        let reason = if is_full { DropReason::StorageFull } else { DropReason::Failed };
        self.buffer.count(|stats| stats.count_dropped(reason, points));
        self.failure.get_or_insert(error);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Also when this thread panics: no caller may wait for it without end.
        self.buffer.end();
    }
}
