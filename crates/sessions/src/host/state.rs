//! One object on its thread: the gates and the turn. No handler is known here.
//!
//! **The input gate.** Events of one object take turns, but only at their awaits: an event is polled while no other holds the gate,
//! and the gate is held by `block_concurrency_while`. So code between two awaits runs alone, and code across an await does not, as
//! in a Durable Object. Events that come while the instance starts wait for its start.
//!
//! **A turn** is one poll of one event. When it ends, what it wrote is committed ([`end_turn`](ObjectState::end_turn)); an alarm
//! that it has set is noted in the host's index before that, so that no crash leaves an alarm that nobody wakes.
//!
//! **The output gate.** What a turn has sent waits in `outbox` until its commit, and then in `held` until the commit is durable:
//! with a journal, until its next sync. An event whose turn wrote is not polled again before that, and its result does not leave.
//! An event that only read goes on at once, but its result waits for what earlier turns have committed, as it may have seen it.
//!
//! **Breaking.** A panic, an abort, a failed commit or a database that must not be used again break the *instance*: events in
//! flight fail, sockets end, what was not committed is rolled back. What had been committed before is made durable and leaves.
//! The next event meets a new state, with the same connection where that is sound. A failed sync breaks every object whose
//! commits were in it.

mod alarm;
mod event;
mod held;
mod past;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;

use tokio::sync::Notify;

pub(super) use self::alarm::NewAlarm;
use self::event::Event;
use super::alarms::Alarms;
use super::health::Health;
use super::history::Histories;
use super::log::Log;
use super::memory::{Share, Total};
use super::socket::{Outgoing, Socket, SocketEvent};
use super::storage::Storage;
use crate::pipe::Budget;
use crate::{Error, ErrorKind, ObjectId, Result, ServerSender};

/// Hands a socket's event to the object; done when the object is awake for it.
type Dispatch = Rc<dyn Fn(SocketEvent) -> LocalBoxFuture<'static, ()>>;

/// State shared by the objects of a host.
pub(super) struct Shared {
    pub(super) alarms: Arc<Alarms>,
    pub(super) health: Arc<Health>,
    /// Histories of the objects, where they are kept.
    pub(super) histories: Option<Arc<Histories>>,
    /// Budget of data that waits to be sent to all clients together.
    pub(super) outgoing: Arc<Budget>,
    /// Limit of data that waits to be sent to one client, in bytes.
    pub(super) socket_bytes: usize,
    /// Limit of data handed to an object's handlers that have not ended, in bytes.
    pub(super) incoming_bytes: usize,
    /// Memory of the objects of all threads that are awake.
    pub(super) awake: Arc<Total>,
    /// Number of drains that hold messages of sockets back.
    pub(super) pauses: AtomicUsize,
}

/// An object as its host keeps it, across hibernation.
pub(super) struct ObjectState {
    pub(super) id: ObjectId,
    pub(super) this: Weak<Self>,
    path: Option<PathBuf>,
    /// Shared with the states before and after this one: an object has one connection.
    storage: Rc<RefCell<Option<Storage>>>,
    /// Memory of the object, while it is awake; shared like the connection.
    pub(super) share: Rc<Share>,
    pub(super) shared: Arc<Shared>,
    /// The thread's journal, if it has one.
    log: Option<Rc<Log>>,
    pub(super) dispatch: RefCell<Option<Dispatch>>,
    /// Why the instance is gone, once it is.
    broken: RefCell<Option<Error>>,
    /// The event that holds the input gate, if one does.
    pub(super) input_gate_owner: Cell<Option<GateOwner>>,
    /// The event that is being polled.
    pub(super) current: Cell<u64>,
    events: Cell<u64>,
    /// The event in which the instance starts.
    starting: Cell<Option<u64>>,
    /// Bytes of messages whose handlers have not ended.
    pub(super) incoming: Cell<usize>,
    pub(super) event_ended: Notify,
    /// Wakers of events that wait for the gate, or for a future of their handlers.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    in_flight: Cell<usize>,
    /// Idle connections that keep the instance in memory while there is room.
    lingering: Cell<usize>,
    last_active: Cell<Instant>,
    /// Messages and closes that leave when the turn has committed.
    pub(super) outbox: RefCell<Vec<(ServerSender, Outgoing)>>,
    /// Those of turns that have committed and are not durable yet.
    held: RefCell<Vec<(ServerSender, Outgoing)>>,
    /// Wakers of events that wait until what has committed is durable.
    undurable: RefCell<Vec<Waker>>,
    /// Whether the journal's next sync is to release what the object holds back.
    is_held: Cell<bool>,
    /// Whether the object waits for its file to be brought up to date.
    is_due: Cell<bool>,
    /// Whether the index has the object.
    is_indexed: Cell<bool>,
    /// The alarm as the turn has set it, until it commits.
    pub(super) new_alarm: Cell<Option<NewAlarm>>,
    /// The alarm's handler runs, and has set nothing yet: it has no alarm.
    pub(super) alarm_runs: Cell<bool>,
    /// The alarm's handler is in flight.
    alarm_active: Cell<bool>,
    pub(super) sockets: RefCell<BTreeMap<u64, Socket>>,
    pub(super) next_socket: Cell<u64>,
    pub(super) auto_response: RefCell<Option<(String, String)>>,
}

impl ObjectState {
    pub(super) fn new(
        id: ObjectId,
        path: Option<PathBuf>,
        shared: Arc<Shared>,
        log: Option<Rc<Log>>,
        share: Rc<Share>,
    ) -> Rc<Self> {
        Self::on(id, path, shared, log, share, Rc::default())
    }

    fn on(
        id: ObjectId,
        path: Option<PathBuf>,
        shared: Arc<Shared>,
        log: Option<Rc<Log>>,
        share: Rc<Share>,
        storage: Rc<RefCell<Option<Storage>>>,
    ) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            id,
            this: this.clone(),
            path,
            storage,
            share,
            shared,
            log,
            dispatch: RefCell::default(),
            broken: RefCell::default(),
            input_gate_owner: Cell::default(),
            current: Cell::default(),
            events: Cell::default(),
            starting: Cell::default(),
            incoming: Cell::default(),
            event_ended: Notify::new(),
            waiting: RefCell::default(),
            in_flight: Cell::default(),
            lingering: Cell::default(),
            last_active: Cell::new(Instant::now()),
            outbox: RefCell::default(),
            held: RefCell::default(),
            undurable: RefCell::default(),
            is_held: Cell::default(),
            is_due: Cell::default(),
            is_indexed: Cell::default(),
            new_alarm: Cell::default(),
            alarm_runs: Cell::default(),
            alarm_active: Cell::default(),
            sockets: RefCell::default(),
            next_socket: Cell::default(),
            auto_response: RefCell::default(),
        })
    }

    /// A new state on the database of this one, whose instance is gone.
    pub(super) fn successor(&self) -> Rc<Self> {
        let storage = Rc::clone(&self.storage);
        let share = Rc::clone(&self.share);
        Self::on(self.id.clone(), self.path.clone(), Arc::clone(&self.shared), self.log.clone(), share, storage)
    }

    /// Sets the receiver of the sockets' events.
    pub(super) fn set_dispatch(&self, dispatch: Dispatch) {
        *self.dispatch.borrow_mut() = Some(dispatch);
    }

    /// Returns the error that has ended the instance; `None` while it is sound.
    pub(super) fn broken(&self) -> Option<Error> {
        self.broken.borrow().clone()
    }

    /// Returns the number of events in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Whether an idle connection keeps the instance in memory.
    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.get() > 0
    }

    /// Counts an idle connection until the future is done.
    pub(super) fn linger_until(self: &Rc<Self>, until: LocalBoxFuture<'static, ()>) {
        self.lingering.set(self.lingering.get() + 1);
        let lingerer = Lingerer(Rc::clone(self));
        tokio::task::spawn_local(async move {
            until.await;
            drop(lingerer);
        });
    }

    /// How long since the last event ended.
    pub(super) fn idle_for(&self) -> Duration {
        self.last_active.get().elapsed()
    }

    /// Whether a socket has not been handled to its end.
    pub(super) fn has_sockets(&self) -> bool {
        !self.sockets.borrow().is_empty()
    }

    /// Closes the database of a dormant object; one in memory stays, as if it were opened anew.
    pub(super) fn close_storage(&self) {
        self.wake_for_restore();
        if self.path.is_some() {
            let storage = self.storage.borrow_mut().take();
            drop(storage); // not while it is borrowed: the journal is synced, and others are released
        } else if let Some(storage) = &*self.storage.borrow()
            && storage.renew().is_err()
        {
            storage.condemn();
        }
        self.share.release();
    }

    /// Measures the memory of an object that is awake.
    fn measure(&self) {
        if self.broken.borrow().is_none()
            && let Ok(storage) = self.storage.try_borrow()
        {
            self.share.measure(storage.as_ref().map_or(0, Storage::memory_bytes));
        }
    }

    /// Whether the host keeps nothing on disk.
    pub(super) fn is_in_memory(&self) -> bool {
        self.path.is_none()
    }

    /// Runs `work` as one event: it is polled only while no other event holds the gate, and each poll is a turn - what
    /// it wrote commits, durably, before the next one and before anything leaves.
    pub(super) fn event<T, F>(self: &Rc<Self>, work: F) -> Event<T, F>
    where
        F: Future<Output = Result<T>>,
    {
        let event = self.events.get() + 1;
        self.events.set(event);
        self.in_flight.set(self.in_flight.get() + 1);
        Event { state: Rc::clone(self), event, work: Box::pin(work), waits_for: None, result: None }
    }

    /// As [`event`](Self::event), for the one in which the instance starts.
    pub(super) fn start_event<T, F>(self: &Rc<Self>, work: F) -> Event<T, F>
    where
        F: Future<Output = Result<T>>,
    {
        let event = self.event(work);
        self.starting.set(Some(event.event));
        event
    }

    /// Ends the instance: events in flight fail, uncommitted writes are undone, the sockets break. What turns before have committed and
    /// sent is made durable, and leaves.
    pub(super) fn break_with(&self, error: Error) {
        if self.broken.borrow().is_some() {
            return;
        }
        if self.pending().is_some() && self.flush().is_err() && self.broken.borrow().is_some() {
            return; // with the error of the disk
        }
        self.break_now(error);
    }

    fn break_now(&self, error: Error) {
        #[cfg(feature = "tracing")]
        tracing::warn!(object = %self.id, %error, "a session object was reset");
        if error.kind() == ErrorKind::Damaged {
            self.shared.health.mark_damaged(self.id.as_bytes(), &error.to_string());
        }
        *self.broken.borrow_mut() = Some(error);
        if let Some(storage) = &*self.storage.borrow() {
            storage.roll_back();
        }
        self.wake_for_restore();
        self.drop_unsound();
        self.outbox.borrow_mut().clear();
        self.held.borrow_mut().clear();
        self.sockets.borrow_mut().clear();
        self.wake_all();
        self.wake_undurable();
        self.event_ended.notify_waiters();
    }

    /// Closes a connection that must not be used again; the next event opens another. One that is in use - by a transaction
    /// that is being left - is closed when the event's poll ends.
    fn drop_unsound(&self) {
        let unsound = self.storage.try_borrow_mut().ok().and_then(|mut it| it.take_if(|storage| storage.is_unsound()));
        drop(unsound); // not while it is borrowed: the journal is synced, and others are released
    }

    /// Polls again the events that wait until what has committed is durable.
    fn wake_undurable(&self) {
        let waiting = std::mem::take(&mut *self.undurable.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The journal's batch with the object's last commit, while that is not durable.
    pub(super) fn pending(&self) -> Option<u64> {
        self.storage.borrow().as_ref().and_then(Storage::pending)
    }

    /// Ready when a batch of the journal is durable, or the instance is gone: see [`is_durable`](Self::is_durable).
    pub(super) fn poll_durable(&self, batch: Option<u64>, cx: &Context<'_>) -> Poll<()> {
        let (Some(batch), Some(log)) = (batch, &self.log) else { return Poll::Ready(()) };
        if log.is_durable(batch) || self.broken.borrow().is_some() {
            return Poll::Ready(());
        }
        self.undurable.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    /// Whether a batch of the journal is durable.
    pub(super) fn is_durable(&self, batch: u64) -> bool {
        self.log.as_ref().is_none_or(|log| log.is_durable(batch))
    }

    /// The error for what has committed and may be lost: that with which the instance has ended.
    pub(super) fn lost(&self) -> Error {
        self.broken().unwrap_or_else(|| Error::new(ErrorKind::Reset, "the object was reset"))
    }

    /// Makes durable at once what this object has committed, and with it what others have. Where that fails, the connection is not
    /// used again: it would answer with what may be lost.
    fn flush(&self) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        log.flush().inspect_err(|_| {
            if let Some(storage) = self.storage.borrow().as_ref().filter(|storage| storage.pending().is_some()) {
                storage.condemn();
            }
            self.drop_unsound();
        })
    }

    /// Polls all events that wait for the gate again.
    fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_values().for_each(Waker::wake);
    }

    /// Commits what the turn wrote; what it sent is let out when that is durable. Returns whether it wrote.
    fn end_turn(&self, event: u64) -> Result<bool> {
        let new_alarm = self.new_alarm.take();
        let is_dirty = self.storage.borrow().as_ref().is_some_and(Storage::is_dirty);
        if is_dirty {
            self.commit_turn(new_alarm, self.starting.get() == Some(event))?;
        }
        if let Some(alarm) = new_alarm {
            // The index must not forget an earlier alarm while the object may come to have it again.
            self.flush()?;
            self.wake_at(alarm.due());
        }
        let is_pending = self.pending().is_some();
        self.held.borrow_mut().append(&mut self.outbox.borrow_mut());
        match (&self.log, self.this.upgrade()) {
            (Some(log), Some(this)) if is_pending => {
                if !self.is_held.replace(true) {
                    log.hold(this);
                }
            }
            _ => self.let_out(),
        }
        Ok(is_dirty)
    }

    /// Lets out what is held back.
    fn let_out(&self) {
        let held = std::mem::take(&mut *self.held.borrow_mut());
        for (sender, outgoing) in held {
            match outgoing {
                Outgoing::Message(message) => sender.send(message),
                Outgoing::Close(close) => sender.close(close),
            }
        }
    }

    /// Commits, durably; a draft that now holds something becomes a file.
    fn commit_turn(&self, new_alarm: Option<NewAlarm>, is_starting: bool) -> Result<()> {
        let storage = self.storage.borrow();
        let Some(open) = &*storage else { return Ok(()) };
        let record_wakeup = || -> Result<()> {
            if new_alarm.is_some() || !self.is_indexed.get() {
                let due = self.wakeup_of(new_alarm.and_then(NewAlarm::due));
                self.shared.alarms.record_wakeup(self.id.as_bytes(), self.id.name(), due)?;
                self.is_indexed.set(true);
            }
            Ok(())
        };
        if !open.is_draft() {
            record_wakeup()?;
            return open.commit().inspect_err(|_| drop(open.verdict()));
        }
        open.commit()?;
        // Until it is a file, what is committed in memory is not kept: a failure leaves nothing of it.
        let has_news = open.has_news(is_starting).and_then(|has_news| {
            if has_news {
                record_wakeup()?;
            }
            Ok(has_news)
        });
        if has_news.is_err() {
            open.condemn();
        }
        drop(storage);
        if has_news? { self.publish() } else { Ok(()) }
    }

    /// Makes the draft a file.
    fn publish(&self) -> Result<()> {
        let draft = self.storage.borrow_mut().take();
        let file = draft.map(|draft| draft.publish(self.id.name())).transpose()?;
        *self.storage.borrow_mut() = file;
        self.shared.alarms.set_stored(self.id.as_bytes());
        Ok(())
    }

    /// Runs `work` on the database, which is opened if need be. A database that must not be used again breaks the instance.
    ///
    /// # Errors
    /// Those of `work`, and the error that has ended the instance.
    pub(super) fn with_storage<T>(&self, work: impl FnOnce(&Storage) -> Result<T>) -> Result<T> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        self.open_storage()?;
        // A shared borrow: a transaction's body comes back here.
        let storage = self.storage.borrow();
        let Some(open) = &*storage else { return Err(Error::new(ErrorKind::Internal, "the storage is closed")) };
        let result = work(open);
        let verdict = open.verdict();
        drop(storage);
        let Some(verdict) = verdict else { return result };
        self.break_with(verdict.clone());
        Err(result.err().unwrap_or(verdict))
    }

    /// Opens the database, if it is not open.
    fn open_storage(&self) -> Result<()> {
        if self.storage.borrow().is_some() {
            return Ok(());
        }
        let id = self.id.as_bytes();
        let shared = &self.shared;
        let log = self.log.as_ref();
        let histories = shared.histories.as_ref();
        let opened = match &self.path {
            Some(path) => shared
                .health
                .check_withheld(id)
                .and_then(|()| Storage::open(path, &shared.health, log, histories, || shared.alarms.is_stored(id))),
            None => Storage::memory(&shared.health, histories),
        };
        let opened = opened.inspect_err(|error| {
            if error.kind() == ErrorKind::Damaged {
                shared.health.mark_damaged(id, &error.to_string());
            }
        });
        *self.storage.borrow_mut() = Some(opened?);
        shared.health.mark_sound(id);
        Ok(())
    }

    /// Enters the input gate for the event that is being polled, once more if it holds it already. Only the gate's owner is polled,
    /// so no other event holds it.
    pub(super) fn enter_gate(self: &Rc<Self>) -> GateGuard {
        let event = self.current.get();
        let depth = self.input_gate_owner.get().map_or(0, |owner| owner.depth);
        self.input_gate_owner.set(Some(GateOwner { event, depth: depth + 1 }));
        GateGuard(Rc::clone(self))
    }

    /// Leaves the input gate once; it opens with the last time.
    fn leave_gate(&self) {
        let owner = self.input_gate_owner.get().filter(|owner| owner.depth > 1);
        let left = owner.map(|owner| GateOwner { depth: owner.depth - 1, ..owner });
        self.input_gate_owner.set(left);
        if left.is_none() {
            self.wake_all();
        }
    }
}

/// The event that holds the input gate: no other is polled meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct GateOwner {
    event: u64,
    /// Number of times that it has entered the gate and not left it.
    depth: u32,
}

/// Holds the input gate until it is dropped, with the work that entered it.
pub(super) struct GateGuard(Rc<ObjectState>);

impl Drop for GateGuard {
    fn drop(&mut self) {
        self.0.leave_gate();
    }
}

/// An idle connection of an object, until it is dropped.
struct Lingerer(Rc<ObjectState>);

impl Drop for Lingerer {
    fn drop(&mut self) {
        self.0.lingering.set(self.0.lingering.get() - 1);
        self.0.last_active.set(Instant::now());
    }
}
