//! The end of a thread's work in order: events in flight end, then the sockets are told, and their clients answer.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Slot, ThreadObjects};
use crate::SessionObject;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(2);

impl<O: SessionObject> ThreadObjects<O> {
    /// Answers when no event is in flight and none waits for room, at the latest at this time, with the number of those left. What they
    /// have sent has left.
    pub(super) fn finish(self: &Rc<Self>, until: Instant, done: oneshot::Sender<usize>) {
        let objects = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while objects.left() > 0 && Instant::now() < until && !done.is_closed() {
                tokio::time::sleep(PAUSE).await;
            }
            objects.flush();
            let _ = done.send(objects.left()); // the caller may have gone
        });
    }

    /// Tells every socket that the host goes away. Answers when their clients have answered and no event is in flight, at the latest at
    /// this time, with the number of sockets left.
    pub(super) fn go_away(self: &Rc<Self>, until: Instant, done: oneshot::Sender<usize>) {
        self.flush(); // what was sent before leaves before the close
        let slots: Vec<_> = self.slots.borrow().values().cloned().collect();
        for slot in &slots {
            slot.state.go_away();
            slot.state.event_ended.notify_waiters(); // messages that were held back may come
        }
        let objects = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while (objects.left() > 0 || objects.sockets_left() > 0) && Instant::now() < until && !done.is_closed() {
                tokio::time::sleep(PAUSE).await;
            }
            objects.flush();
            let _ = done.send(objects.sockets_left()); // the caller may have gone
        });
    }

    /// Number of events in flight, and of jobs that wait.
    fn left(&self) -> usize {
        let events = |slot: &Rc<Slot<O>>| slot.state.in_flight() + slot.claims.get();
        self.waiting.borrow().len() + self.slots.borrow().values().map(events).sum::<usize>()
    }

    fn sockets_left(&self) -> usize {
        self.slots.borrow().values().map(|slot| slot.state.sockets.borrow().len()).sum()
    }
}
