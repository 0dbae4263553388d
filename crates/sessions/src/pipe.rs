//! One direction of a WebSocket: frames that wait, bounded by their bytes.
//!
//! A pipe never blocks its sender: it takes a frame or refuses it, and the two sides decide what that means. The object's end
//! closes a client that does not read (1013); the client's end waits until there is room before it reads on from the network,
//! so that TCP slows its peer down.
//!
//! | bound | default | beyond |
//! |---|---|---|
//! | bytes of one pipe | 64 MiB | refused; a single frame of any size fits an empty pipe |
//! | bytes of all pipes of a host | 128 MiB | refused for pipes with more than 64 KiB, so that a slow client does not close quick ones |
//!
//! A frame counts with 64 bytes more than it has, or a flood of empty ones would cost nothing. Counts are given back when a
//! frame is taken, and when the receiver is dropped; the tests hold that they return to 0. The mutex is of one pipe, and is
//! held for a push or a pop; wakers are called under it, which is safe, as a waker only schedules a task.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use isobar_base::sync::IgnorePoison;

use crate::message::{CloseFrame, Message};

/// Bytes that a waiting frame takes beside its message's.
const FRAME_BYTES: usize = 64;
/// Bytes that may wait for one receiver when the budget of all is used up.
const SHARE_BYTES: usize = 64 * 1024;

/// A frame that travels between the two ends.
#[derive(Debug)]
pub(crate) enum Frame {
    Message(Message),
    Close(CloseFrame),
}

impl Frame {
    /// Returns the bytes that the frame counts for.
    fn bytes(&self) -> usize {
        FRAME_BYTES
            + match self {
                Self::Message(message) => message.as_bytes().len(),
                Self::Close(close) => close.reason.len(),
            }
    }
}

/// Bytes that may wait in all pipes of a host together.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    #[allow(dead_code, reason = "the native hosts have one")]
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }
}

/// Why a frame was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too much waits already.
    Full,
    /// The receiver is gone, or the sender has ended the stream.
    Gone,
}

/// Frames that wait, and the two ends' state.
#[derive(Debug)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    limit: usize,
    budget: Option<Arc<Budget>>,
    senders: usize,
    /// Nothing follows what waits.
    is_ended: bool,
    /// The receiver is gone.
    is_dropped: bool,
    receiver: Option<Waker>,
    waiting_sender: Option<Waker>,
}

impl State {
    /// Queues a frame.
    fn add(&mut self, frame: Frame) {
        self.count(frame.bytes(), true);
        self.frames.push_back(frame);
        self.wake_receiver();
    }

    /// Counts bytes in or out, here and in the budget.
    fn count(&mut self, bytes: usize, more: bool) {
        let used = self.budget.as_ref().map(|budget| &budget.used);
        if more {
            self.bytes += bytes;
            used.map(|used| used.fetch_add(bytes, Ordering::Relaxed));
        } else {
            self.bytes -= bytes;
            used.map(|used| used.fetch_sub(bytes, Ordering::Relaxed));
        }
    }

    /// Whether a frame of this size has no room: a single frame always has.
    fn is_full_with(&self, bytes: usize) -> bool {
        let after = self.bytes + bytes;
        let over = |budget: &Arc<Budget>| budget.used.load(Ordering::Relaxed) + bytes > budget.limit;
        (self.bytes > 0 && after > self.limit) || (after > SHARE_BYTES && self.budget.as_ref().is_some_and(over))
    }

    /// Drops the frames that wait.
    fn clear(&mut self) {
        self.frames = VecDeque::new();
        self.count(self.bytes, false);
    }

    fn wake_receiver(&mut self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }

    fn wake_sender(&mut self) {
        if let Some(waker) = self.waiting_sender.take() {
            waker.wake();
        }
    }
}

type Shared = Arc<Mutex<State>>;

/// Locks the state.
fn lock(state: &Shared) -> MutexGuard<'_, State> {
    // Nothing in here panics between two changes that belong together.
    state.lock().ignore_poison()
}

/// Creates the two ends of a pipe with this limit of bytes.
pub(crate) fn pipe(limit: usize) -> (Sender, Receiver) {
    let state = Arc::new(Mutex::new(State {
        frames: VecDeque::new(),
        bytes: 0,
        limit,
        budget: None,
        senders: 1,
        is_ended: false,
        is_dropped: false,
        receiver: None,
        waiting_sender: None,
    }));
    (Sender(Arc::clone(&state)), Receiver(state))
}

/// The sending end; the pipe ends when the last clone is gone.
#[derive(Debug)]
pub(crate) struct Sender(Shared);

impl Sender {
    /// Sets how many bytes may wait here, and in all pipes of this budget.
    #[allow(dead_code, reason = "the native hosts do")]
    pub(crate) fn bound(&self, limit: usize, budget: &Arc<Budget>) {
        let mut state = lock(&self.0);
        state.limit = limit;
        let bytes = state.bytes;
        state.count(bytes, false);
        state.budget = Some(Arc::clone(budget));
        state.count(bytes, true);
    }

    /// Queues a frame.
    pub(crate) fn send(&self, frame: Frame) -> Result<(), Refused> {
        let mut state = lock(&self.0);
        if state.is_ended || state.is_dropped {
            return Err(Refused::Gone);
        }
        if state.is_full_with(frame.bytes()) {
            return Err(Refused::Full);
        }
        state.add(frame);
        Ok(())
    }

    /// Queues a last frame, which always has room; `at_once` in place of all that waits.
    pub(crate) fn end_with(&self, frame: Frame, at_once: bool) -> Result<(), Refused> {
        let mut state = lock(&self.0);
        if state.is_ended || state.is_dropped {
            return Err(Refused::Gone);
        }
        if at_once {
            state.clear();
        }
        state.add(frame);
        state.is_ended = true;
        Ok(())
    }

    /// Says that nothing follows.
    #[cfg(feature = "cloudflare-binding")]
    pub(crate) fn end(&self) {
        let mut state = lock(&self.0);
        state.is_ended = true;
        state.wake_receiver();
    }

    /// Ready when at most this number of bytes waits, or the receiver is gone. One task may wait.
    pub(crate) fn poll_below(&self, cx: &Context<'_>, bytes: usize) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.bytes <= bytes || state.is_dropped {
            return Poll::Ready(());
        }
        state.waiting_sender = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        lock(&self.0).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.senders -= 1;
        if state.senders == 0 {
            state.is_ended = true;
            state.wake_receiver();
        }
    }
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Receiver(Shared);

impl Receiver {
    /// Whether nothing follows what waits.
    pub(crate) fn is_ended(&self) -> bool {
        lock(&self.0).is_ended
    }

    /// The next frame, or `None` when nothing follows.
    pub(crate) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Frame>> {
        let mut state = lock(&self.0);
        if let Some(frame) = state.frames.pop_front() {
            state.count(frame.bytes(), false);
            state.wake_sender();
            return Poll::Ready(Some(frame));
        }
        if state.is_ended {
            return Poll::Ready(None);
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.is_dropped = true;
        state.clear();
        state.wake_sender();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: usize) -> Frame {
        Frame::Message(Message::Text("x".repeat(bytes)))
    }

    fn next(receiver: &mut Receiver) -> Poll<Option<Frame>> {
        receiver.poll_next(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_pipe_is_bounded_by_bytes_and_ends_at_once_when_it_must() {
        let (sender, mut receiver) = pipe(1000);
        sender.send(text(5000)).unwrap(); // one message always has room
        assert_eq!(sender.send(text(1)), Err(Refused::Full));
        sender.end_with(Frame::Close(CloseFrame::new(1013, "slow")), true).unwrap();
        assert_eq!(sender.send(text(1)), Err(Refused::Gone));
        assert!(matches!(next(&mut receiver), Poll::Ready(Some(Frame::Close(close))) if close.code == 1013));
        assert!(matches!(next(&mut receiver), Poll::Ready(None)));
    }

    #[test]
    fn pipes_share_a_budget_and_give_it_back() {
        let budget = Budget::new(200_000);
        let (full, full_receiver) = pipe(1 << 20);
        full.bound(1 << 20, &budget);
        full.send(text(199_000)).unwrap();
        let (other, mut other_receiver) = pipe(1 << 20);
        other.bound(1 << 20, &budget);
        other.send(text(60_000)).unwrap(); // its share
        assert_eq!(other.send(text(60_000)), Err(Refused::Full));
        drop(full_receiver);
        other.send(text(60_000)).unwrap();
        while let Poll::Ready(Some(_)) = next(&mut other_receiver) {}
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_pipe_without_senders_ends() {
        let (sender, mut receiver) = pipe(1000);
        let clone = sender.clone();
        drop(sender);
        clone.send(text(1)).unwrap();
        drop(clone);
        assert!(matches!(next(&mut receiver), Poll::Ready(Some(_))));
        assert!(matches!(next(&mut receiver), Poll::Ready(None)));
    }
}
