//! An event: it is polled while no other holds the gate, each poll is a turn, and its result leaves when what precedes it is durable.
//!
//! The order of the checks is the order of the promises: first what the last turn wrote must be durable; a result that was
//! waiting for that is returned even if the instance has broken meanwhile, as it is true; then a broken instance fails; then the
//! gate. A panic in the handler is caught here, at the poll, and resets the object: the thread has other objects to serve.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::ObjectState;
use crate::{Error, ErrorKind, Result};

/// An event in flight.
pub(in crate::host) struct Event<T, F> {
    pub(super) state: Rc<ObjectState>,
    pub(super) event: u64,
    pub(super) work: Pin<Box<F>>,
    /// The journal's batch with what its last turn wrote: it goes on when that is durable.
    pub(super) waits_for: Option<u64>,
    /// Its result, until what precedes that is durable.
    pub(super) result: Option<Box<Result<T>>>,
}

impl<T, F: Future<Output = Result<T>>> Future for Event<T, F> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let state = Rc::clone(&self.state);
        let event = self.event;
        if state.poll_durable(self.waits_for, cx).is_pending() {
            return Poll::Pending;
        }
        if self.waits_for.take().is_some_and(|batch| state.is_durable(batch))
            && let Some(result) = self.result.take()
        {
            return Poll::Ready(*result); // also of an instance that has broken since
        }
        if let Some(error) = state.broken() {
            return Poll::Ready(Err(error));
        }
        if state.input_gate_owner.get().is_some_and(|owner| owner.event != event) {
            state.waiting.borrow_mut().insert(event, cx.waker().clone());
            return Poll::Pending;
        }
        let before = state.current.replace(event);
        // The state is consistent between its own calls, and a panic ends the instance anyway.
        let polled = catch_unwind(AssertUnwindSafe(|| self.work.as_mut().poll(cx)));
        state.current.set(before);
        if polled.is_err() {
            state.break_with(Error::new(ErrorKind::Reset, "the session object panicked and was reset"));
        }
        let mut has_written = false;
        if state.broken().is_none() {
            match state.end_turn(event) {
                Ok(written) => has_written = written,
                Err(error) => state.break_with(error),
            }
        }
        if state.broken.borrow().is_some() {
            state.drop_unsound();
        }
        let pending = state.pending();
        match (state.broken(), polled) {
            (Some(error), _) => Poll::Ready(Err(error)),
            (None, Ok(Poll::Ready(result))) => {
                self.waits_for = pending;
                if state.poll_durable(pending, cx).is_ready() {
                    return Poll::Ready(result);
                }
                self.result = Some(Box::new(result));
                Poll::Pending
            }
            (None, _) => {
                self.waits_for = pending.filter(|_| has_written);
                state.waiting.borrow_mut().insert(event, cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T, F> Drop for Event<T, F> {
    fn drop(&mut self) {
        let state = &self.state;
        state.waiting.borrow_mut().remove(&self.event);
        state.in_flight.set(state.in_flight.get() - 1);
        state.last_active.set(Instant::now());
        state.measure();
        state.event_ended.notify_waiters();
        if state.input_gate_owner.get().is_some_and(|owner| owner.event == self.event) {
            state.input_gate_owner.set(None);
            state.wake_all();
        }
    }
}
