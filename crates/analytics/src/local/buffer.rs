//! The buffer between those who write and the writer thread.
//!
//! A point is encoded straight into the buffer, under its lock: no allocation, no message, and no wake-up but for the first point
//! after a pause and where a batch is complete. The thread takes all of the buffer by exchanging it for an empty one.
//!
//! Two allocations of the buffer's size are made when the sink is opened and go to and fro for as long as it lives, which makes a write's time
//! even. One mutex has everything, the counts too: it is held for a copy of a frame, and by the thread for an exchange. `work` wakes the
//! thread, `room` those who wait for space; both are signalled without the lock or by it, and waiters look at the state again.
//!
//! Requests (a flush, a probe, a seal) are answered after every point that was written before them is durable, since the thread takes both in
//! one exchange.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use isobar_base::sync::IgnorePoison;

use super::frame::{self, Stamp};
use super::options::{FullPolicy, LocalOptions, MonotonicClock};
use crate::{DropReason, Error, PointRef, Result, SinkStats};

/// Interval at which a clock that is not the system's is looked at.
const POLL: Duration = Duration::from_millis(5);

/// The answer to a request, which the writer thread gives.
pub(crate) type Answer = oneshot::Sender<Result<()>>;

/// A request to the writer thread besides storing points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// An attempt to write.
    Probe,
    /// Removing what has expired.
    Expire,
    /// Ending the current segment.
    #[cfg(feature = "query")]
    Seal,
}

/// Frames that wait for the disk, and the counts of all points.
///
/// Invariants under the lock: `frames[start..]` are whole frames without checksums, `points` of them; `points` and their bytes are within the
/// limits; `written` is the number of points that were ever accepted.
#[derive(Debug)]
pub(crate) struct Buffer {
    state: Mutex<State>,
    /// Signalled when the thread has something to do.
    work: Condvar,
    /// Signalled when the thread has emptied the buffer.
    room: Condvar,
    limits: Limits,
}

#[derive(Debug)]
struct Limits {
    points: usize,
    bytes: usize,
    batch_points: usize,
    batch_bytes: usize,
    linger: Duration,
    policy: FullPolicy,
    clock: Option<MonotonicClock>,
}

#[derive(Debug)]
struct State {
    frames: Vec<u8>,
    /// Offset of the oldest frame; those before it were evicted.
    start: usize,
    points: usize,
    /// Time at which the oldest point was written.
    since: Instant,
    flushes: Vec<Answer>,
    requests: Vec<(Request, Answer)>,
    stats: SinkStats,
    is_closed: bool,
    /// Whether the last attempt to store points failed.
    is_failing: bool,
    /// Whether the thread has ended, or is about to, so that requests get no answer.
    is_over: bool,
    /// Whether the thread waits for the first point.
    is_idle: bool,
    /// Whether the thread knows that a batch is complete.
    is_complete: bool,
    /// Number of threads that wait for room.
    waiting: usize,
}

/// All that waited for the thread at one moment.
#[derive(Debug)]
pub(crate) struct Batch {
    frames: Vec<u8>,
    start: usize,
    pub(crate) points: usize,
    /// Answered when every point up to this batch is durable.
    flushes: Vec<Answer>,
    /// Other requests, to be answered after that.
    pub(crate) requests: Vec<(Request, Answer)>,
}

impl Batch {
    /// The frames, in the order in which they were written.
    pub(crate) fn frames(&mut self) -> &mut [u8] {
        &mut self.frames[self.start..]
    }

    /// Answers those who wait for the batch to be durable, with the failure if there is one. That stays where none of them is waiting any
    /// more, and the next flush reports it.
    pub(crate) fn answer_flushes(&mut self, failure: &mut Option<Error>) {
        let answer = failure.clone().map_or(Ok(()), Err);
        let mut is_heard = false;
        for flush in self.flushes.drain(..) {
            is_heard |= flush.send(answer.clone()).is_ok();
        }
        if is_heard {
            *failure = None;
        }
    }
}

impl Buffer {
    pub(crate) fn new(options: &LocalOptions) -> Self {
        let limits = Limits {
            points: options.buffer,
            bytes: options.buffer_bytes,
            batch_points: options.batch_points,
            batch_bytes: options.batch_bytes,
            linger: options.linger,
            policy: options.when_full,
            clock: options.monotonic_clock.clone(),
        };
        let state = State {
            frames: Vec::with_capacity(limits.capacity()),
            start: 0,
            points: 0,
            since: limits.now(),
            flushes: Vec::new(),
            requests: Vec::new(),
            stats: SinkStats::default(),
            is_closed: false,
            is_failing: false,
            is_over: false,
            is_idle: false,
            is_complete: false,
            waiting: 0,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), room: Condvar::new(), limits }
    }

    /// Creates an empty batch for [`next`](Self::next) to fill. Its space is exchanged with the buffer's.
    pub(crate) fn batch(&self) -> Batch {
        let frames = Vec::with_capacity(self.limits.capacity());
        Batch { frames, start: 0, points: 0, flushes: Vec::new(), requests: Vec::new() }
    }

    /// Adds a point within the limits, or drops and counts it.
    pub(crate) fn push(&self, stamp: Stamp, point: &PointRef<'_>) {
        let bytes = frame::size(stamp, point);
        let mut state = self.lock();
        if state.points >= self.limits.points || state.bytes() + bytes > self.limits.bytes {
            state = self.make_room(state, bytes);
        }
        if state.is_closed || !self.has_room(&state, bytes) {
            let reason = if state.is_closed { DropReason::Closed } else { DropReason::BufferFull };
            state.stats.count_dropped(reason, 1);
            return;
        }
        if state.points == 0 {
            state.since = self.limits.now();
        }
        frame::encode(stamp, point, &mut state.frames);
        state.points += 1;
        state.stats.written += 1;
        let is_complete = !state.is_complete && self.limits.is_batch(&state);
        if is_complete {
            state.is_complete = true;
        }
        if is_complete || state.is_idle {
            state.is_idle = false;
            drop(state);
            self.work.notify_one();
        }
    }

    /// Counts a point that sampling leaves out.
    pub(crate) fn leave_out(&self) {
        let mut state = self.lock();
        if state.is_closed {
            state.stats.count_dropped(DropReason::Closed, 1);
        } else {
            state.stats.sampled_out += 1;
        }
    }

    /// Does what the policy of a full buffer says, so that there may be room for a frame of this size.
    ///
    /// Evicted frames stay in memory before `start` until there are as many bytes of them as the buffer may have, and are then moved out in one
    /// copy: each byte is moved once at most.
    #[cold]
    fn make_room<'s>(&'s self, mut state: MutexGuard<'s, State>, bytes: usize) -> MutexGuard<'s, State> {
        match self.limits.policy {
            FullPolicy::DropNew => {}
            FullPolicy::DropOld => {
                while state.points > 0 && !self.has_room(&state, bytes) {
                    state.start += frame::length(&state.frames[state.start..]);
                    state.points -= 1;
                    state.stats.count_dropped(DropReason::Evicted, 1);
                }
                if state.frames.len() + bytes > self.limits.capacity() {
                    let start = std::mem::take(&mut state.start);
                    state.frames.drain(..start);
                }
            }
            FullPolicy::Wait(longest) => {
                let deadline = later(Instant::now(), longest);
                state.waiting += 1;
                while !state.is_closed && !self.has_room(&state, bytes) {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    state = self.room.wait_timeout(state, left).ignore_poison().0;
                }
                state.waiting -= 1;
            }
        }
        state
    }

    fn has_room(&self, state: &State, bytes: usize) -> bool {
        state.points < self.limits.points && state.bytes() + bytes <= self.limits.bytes
    }

    /// Waits until points are due or something is requested, and moves them into the batch, which is empty. Returns early, with
    /// an empty batch, at this time. `None` once the sink is closed and all is taken.
    ///
    /// | wakes it | at |
    /// |---|---|
    /// | a point | `linger` after it, or at once where a batch is complete |
    /// | a flush, a request, the close | at once |
    /// | nothing | `until`, the time of the next check of ages |
    pub(crate) fn next(&self, batch: &mut Batch, until: Instant) -> Option<()> {
        let mut state = self.lock();
        loop {
            let wait = until.saturating_duration_since(Instant::now()).min(self.limits.wait(&state));
            let is_requested = !state.flushes.is_empty() || !state.requests.is_empty();
            if is_requested || state.is_closed || self.limits.is_batch(&state) || wait.is_zero() {
                break;
            }
            state.is_idle = state.points == 0;
            let has_clock = self.limits.clock.is_some() && state.points > 0;
            let wait = if has_clock { wait.min(POLL) } else { wait };
            state = self.work.wait_timeout(state, wait).ignore_poison().0;
        }
        state.is_idle = false;
        state.is_complete = false;
        let is_over = state.is_closed && state.points == 0 && state.flushes.is_empty() && state.requests.is_empty();
        // No one may ask for anything between this look and the end of the thread.
        state.is_over |= is_over;
        batch.frames.clear();
        std::mem::swap(&mut state.frames, &mut batch.frames);
        batch.start = std::mem::take(&mut state.start);
        batch.points = std::mem::take(&mut state.points);
        batch.flushes.append(&mut state.flushes);
        batch.requests.append(&mut state.requests);
        if state.waiting > 0 {
            self.room.notify_all();
        }
        (!is_over).then_some(())
    }

    /// Asks the thread to make everything written so far durable. The answer is cancelled where the thread has ended.
    pub(crate) fn flush(&self) -> oneshot::Receiver<Result<()>> {
        self.ask(|state, answer| state.flushes.push(answer))
    }

    /// Asks something of the thread, which it does after everything written so far is durable.
    pub(crate) fn request(&self, request: Request) -> oneshot::Receiver<Result<()>> {
        self.ask(|state, answer| state.requests.push((request, answer)))
    }

    fn ask(&self, add: impl FnOnce(&mut State, Answer)) -> oneshot::Receiver<Result<()>> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.lock();
        if !state.is_over {
            add(&mut state, answer);
        }
        drop(state);
        self.work.notify_one();
        answered
    }

    /// Accepts no further points, and asks the thread to make those before durable and to end. Answered when they are durable, also where it
    /// was closed before; `None` where the thread has ended.
    pub(crate) fn close(&self) -> Option<oneshot::Receiver<Result<()>>> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.lock();
        state.is_closed = true;
        if state.is_over {
            return None;
        }
        state.flushes.push(answer);
        drop(state);
        self.work.notify_one();
        self.room.notify_all();
        Some(answered)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Notes that the thread has ended: requests that wait, and those to come, are cancelled.
    ///
    /// Called when the thread's stack unwinds, too. Senders are dropped, so that those who wait see a cancelled channel and not a hang.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        state.is_closed = true;
        state.flushes.clear();
        state.requests.clear();
        self.room.notify_all();
    }

    pub(crate) fn stats(&self) -> SinkStats {
        self.lock().stats
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.lock().is_failing
    }

    /// Notes whether the last attempt to store points failed.
    pub(crate) fn set_failing(&self, is_failing: bool) {
        self.lock().is_failing = is_failing;
    }

    /// Changes the counts.
    pub(crate) fn count(&self, change: impl FnOnce(&mut SinkStats)) {
        change(&mut self.lock().stats);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is complete before anything can panic: a frame has its size checked before.
        self.state.lock().ignore_poison()
    }
}

impl State {
    /// Size of the buffered frames in bytes.
    fn bytes(&self) -> usize {
        self.frames.len() - self.start
    }
}

impl Limits {
    fn now(&self) -> Instant {
        self.clock.as_ref().map_or_else(Instant::now, |MonotonicClock(now)| now())
    }

    /// Time until the oldest point is due; the longest that there is without a point.
    fn wait(&self, state: &State) -> Duration {
        if state.points == 0 {
            return Duration::MAX;
        }
        later(state.since, self.linger).saturating_duration_since(self.now())
    }

    /// Whether a batch is complete. Without a point there is none, however small it may be.
    fn is_batch(&self, state: &State) -> bool {
        state.points > 0 && (state.points >= self.batch_points || state.bytes() >= self.batch_bytes)
    }

    /// Space that is reserved at once, so that no write allocates. It is touched, and so takes memory, only as far as it is used.
    fn capacity(&self) -> usize {
        match self.policy {
            // Evicted frames are moved out of the way only when there are as many of them.
            FullPolicy::DropOld => 2 * self.bytes,
            FullPolicy::DropNew | FullPolicy::Wait(_) => self.bytes,
        }
    }
}

/// The time after a wait, however long that is: one that the clock does not reach ends in a year.
fn later(from: Instant, wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    from.checked_add(wait).unwrap_or_else(|| from + YEAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::frame::Frame;

    fn push(buffer: &Buffer, number: usize) {
        buffer.push(Stamp::at(0), &PointRef::new(None, &[number.to_string().as_bytes()], &[]));
    }

    fn numbers(buffer: &Buffer) -> Vec<usize> {
        numbers_until(buffer, Instant::now())
    }

    fn numbers_until(buffer: &Buffer, until: Instant) -> Vec<usize> {
        let mut batch = buffer.batch();
        buffer.next(&mut batch, until);
        frame::seal(batch.frames(), None);
        let mut rest = &*batch.frames();
        let mut numbers = Vec::new();
        while !rest.is_empty() {
            let frame = Frame::read(rest, None).unwrap();
            numbers.push(std::str::from_utf8(frame.event().unwrap().blob(1)).unwrap().parse().unwrap());
            rest = &rest[frame.length()..];
        }
        numbers
    }

    #[test]
    fn full_buffer_drops_new_points_or_old_ones() {
        for (policy, expected) in [(FullPolicy::DropNew, 0..10), (FullPolicy::DropOld, 990..1000)] {
            let options = LocalOptions::default().with_buffer(10).with_when_full(policy).bounded();
            let buffer = Buffer::new(&options);
            for _ in 0..3 {
                (0..1000).for_each(|number| push(&buffer, number));
                assert_eq!(numbers(&buffer), expected.clone().collect::<Vec<_>>());
            }
            let stats = buffer.stats();
            let drops = if policy == FullPolicy::DropNew { stats.drops.buffer_full } else { stats.drops.evicted };
            assert_eq!((stats.dropped, drops), (3 * 990, 3 * 990));
        }
    }

    #[test]
    fn buffer_of_old_points_is_bounded_in_bytes_and_does_not_grow() {
        let mut options = LocalOptions::default().with_when_full(FullPolicy::DropOld);
        options.buffer_bytes = 1;
        let options = options.bounded();
        let buffer = Buffer::new(&options);
        let capacity = buffer.lock().frames.capacity();
        let blob = vec![0; 10_000];
        (0..1000).for_each(|_| buffer.push(Stamp::at(0), &PointRef::new(None, &[&blob], &[])));
        let state = buffer.lock();
        assert!(state.bytes() <= options.buffer_bytes && state.points == 3, "{} {}", state.bytes(), state.points);
        assert_eq!(state.frames.capacity(), capacity);
    }

    #[test]
    fn waiting_for_room_ends_with_room_or_with_its_time() {
        let wait = FullPolicy::Wait(Duration::from_millis(20));
        let buffer = Buffer::new(&LocalOptions::default().with_buffer(1).with_when_full(wait).bounded());
        push(&buffer, 1);
        push(&buffer, 2);
        assert_eq!((buffer.stats().written, buffer.stats().drops.buffer_full), (1, 1));

        let wait = FullPolicy::Wait(Duration::from_secs(60));
        let buffer = Buffer::new(&LocalOptions::default().with_buffer(1).with_when_full(wait).bounded());
        push(&buffer, 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| push(&buffer, 2));
            while buffer.lock().waiting == 0 {
                std::thread::yield_now();
            }
            assert_eq!(numbers(&buffer), [1]);
            waiting.join().unwrap();
        });
        assert_eq!((numbers(&buffer), buffer.stats().dropped), (vec![2], 0));
    }

    #[test]
    fn waits_without_end_are_no_overflow() {
        let options = LocalOptions::default().with_buffer(1).with_linger(Duration::MAX);
        let buffer = Buffer::new(&options.with_when_full(FullPolicy::Wait(Duration::MAX)).bounded());
        push(&buffer, 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| push(&buffer, 2));
            while buffer.lock().waiting == 0 {
                std::thread::yield_now();
            }
            assert_eq!(numbers(&buffer), [1]);
            waiting.join().unwrap();
        });
        assert_eq!((numbers(&buffer), buffer.stats().dropped), (vec![2], 0));
    }

    #[test]
    fn points_are_due_by_the_clock_of_the_options() {
        let begin = Instant::now();
        let passed = std::sync::Arc::new(Mutex::new(Duration::ZERO));
        let clock = std::sync::Arc::clone(&passed);
        let options = LocalOptions::default().with_linger(Duration::from_secs(3600));
        let options = options.with_monotonic_clock(move || begin + *clock.lock().unwrap());
        let buffer = Buffer::new(&options.bounded());
        push(&buffer, 1);
        assert!(!buffer.limits.wait(&buffer.lock()).is_zero());
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| numbers_until(&buffer, Instant::now() + Duration::from_secs(60)));
            *passed.lock().unwrap() = Duration::from_secs(3600);
            assert_eq!(taken.join().unwrap(), [1]);
        });
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn empty_buffer_is_not_a_batch_however_small_batches_are() {
        let buffer = Buffer::new(&LocalOptions::default().with_batch(0, 0).bounded());
        let mut batch = buffer.batch();
        let until = Instant::now() + Duration::from_millis(30);
        buffer.next(&mut batch, until).unwrap();
        assert!(Instant::now() >= until && batch.points == 0, "it waits for a point until its time is over");
        push(&buffer, 1);
        buffer.next(&mut batch, Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!(batch.points, 1);
    }

    #[test]
    fn failure_stays_until_a_flush_hears_it() {
        let buffer = Buffer::new(&LocalOptions::default().bounded());
        let mut batch = buffer.batch();
        let mut failure = Some(Error::new(crate::ErrorKind::Unavailable, "down"));
        let mut answer = |failure: &mut Option<Error>| {
            buffer.next(&mut batch, Instant::now()).unwrap();
            batch.answer_flushes(failure);
        };
        drop(buffer.flush());
        answer(&mut failure);
        assert!(failure.is_some(), "its caller has gone");
        let [first, second] = [buffer.flush(), buffer.flush()];
        answer(&mut failure);
        let heard =
            |flush: oneshot::Receiver<Result<()>>| futures_util::FutureExt::now_or_never(flush).unwrap().unwrap();
        assert!(failure.is_none() && heard(first).is_err() && heard(second).is_err());
        let third = buffer.flush();
        answer(&mut failure);
        heard(third).unwrap();
    }
}
