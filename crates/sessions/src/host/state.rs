//! One object on its thread: the gates and the turn. No handler is known here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::LocalBoxFuture;

use super::alarms::Alarms;
use super::sockets::{Outgoing, Socket, SocketEvent};
use super::storage::{AlarmRow, Storage};
use crate::context::TransactionBody;
use crate::{
    Cursor, Error, ErrorKind, KvListOptions, ObjectId, Result, ServerSender, ServerSocket, SessionBackend, Value,
    WebSocket, limits,
};

type Dispatch = Rc<dyn Fn(SocketEvent)>;

/// An object as its host keeps it, across hibernation.
pub(super) struct ObjectState {
    id: ObjectId,
    pub(super) this: Weak<Self>,
    path: Option<PathBuf>,
    storage: RefCell<Option<Storage>>,
    alarms: Arc<Alarms>,
    pub(super) dispatch: RefCell<Option<Dispatch>>,
    /// Why the instance is gone, once it is.
    broken: RefCell<Option<Error>>,
    /// The event that holds all others, and how often it has said so.
    critical: Cell<Option<(u64, u32)>>,
    /// The event that is being polled.
    current: Cell<u64>,
    events: Cell<u64>,
    /// Whoever waits: for the gate, or for whatever its handler awaits.
    waiting: RefCell<BTreeMap<u64, Waker>>,
    under_way: Cell<usize>,
    last_active: Cell<Instant>,
    /// What leaves when the turn has committed.
    pub(super) outbox: RefCell<Vec<(ServerSender, Outgoing)>>,
    announced: Cell<bool>,
    /// The alarm as the turn has set it, until it commits.
    new_alarm: Cell<Option<Option<i64>>>,
    /// The alarm's handler runs, and has set nothing yet: it has no alarm.
    alarm_runs: Cell<bool>,
    /// The alarm's handler is under way.
    alarm_active: Cell<bool>,
    pub(super) sockets: RefCell<BTreeMap<u64, Socket>>,
    pub(super) next_socket: Cell<u64>,
    pub(super) auto_response: RefCell<Option<(String, String)>>,
}

impl ObjectState {
    pub(super) fn new(id: ObjectId, path: Option<PathBuf>, alarms: Arc<Alarms>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            id,
            this: this.clone(),
            path,
            storage: RefCell::default(),
            alarms,
            dispatch: RefCell::default(),
            broken: RefCell::default(),
            critical: Cell::default(),
            current: Cell::default(),
            events: Cell::default(),
            waiting: RefCell::default(),
            under_way: Cell::default(),
            last_active: Cell::new(Instant::now()),
            outbox: RefCell::default(),
            announced: Cell::default(),
            new_alarm: Cell::default(),
            alarm_runs: Cell::default(),
            alarm_active: Cell::default(),
            sockets: RefCell::default(),
            next_socket: Cell::default(),
            auto_response: RefCell::default(),
        })
    }

    /// A new state on the database of this one, which is in memory and whose instance is gone.
    pub(super) fn successor(&self) -> Rc<Self> {
        let successor = Self::new(self.id.clone(), None, Arc::clone(&self.alarms));
        *successor.storage.borrow_mut() = self.storage.borrow_mut().take();
        successor
    }

    /// Where the sockets' events go.
    pub(super) fn set_dispatch(&self, dispatch: Dispatch) {
        *self.dispatch.borrow_mut() = Some(dispatch);
    }

    pub(super) fn broken(&self) -> Option<Error> {
        self.broken.borrow().clone()
    }

    /// Events under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.get()
    }

    /// How long since the last event ended.
    pub(super) fn idle_for(&self) -> Duration {
        self.last_active.get().elapsed()
    }

    pub(super) fn has_sockets(&self) -> bool {
        !self.sockets.borrow().is_empty()
    }

    /// Closes the database of a dormant object; one in memory stays.
    pub(super) fn close_storage(&self) {
        if self.path.is_some() {
            *self.storage.borrow_mut() = None;
        }
    }

    pub(super) fn is_in_memory(&self) -> bool {
        self.path.is_none()
    }

    /// Runs `work` as one event: it is polled only while no other event holds the gate, and each poll is a turn - what
    /// it wrote commits, durably, before the next one and before anything leaves.
    pub(super) fn event<T, F>(self: &Rc<Self>, work: F) -> Event<F>
    where
        F: Future<Output = Result<T>>,
    {
        let event = self.events.get() + 1;
        self.events.set(event);
        self.under_way.set(self.under_way.get() + 1);
        Event { state: Rc::clone(self), event, work: Box::pin(work) }
    }

    /// Ends the instance: everything under way fails, what is not committed is undone, the sockets break.
    pub(super) fn break_with(&self, error: Error) {
        if self.broken.borrow().is_some() {
            return;
        }
        #[cfg(feature = "tracing")]
        tracing::warn!(object = %self.id, %error, "a session object was reset");
        *self.broken.borrow_mut() = Some(error);
        if let Some(storage) = &*self.storage.borrow() {
            storage.roll_back();
        }
        self.outbox.borrow_mut().clear();
        self.sockets.borrow_mut().clear();
        self.wake_all();
    }

    fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_values().for_each(Waker::wake);
    }

    /// Commits what the turn wrote, then lets out what it sent.
    fn end_turn(&self) -> Result<()> {
        let new_alarm = self.new_alarm.take();
        if let Some(storage) = &*self.storage.borrow()
            && storage.is_dirty()
        {
            if new_alarm.is_some() || !self.announced.get() {
                self.alarms.announce(self.id.as_bytes(), self.id.name(), new_alarm.flatten())?;
                self.announced.set(true);
            }
            storage.commit()?;
        }
        if let Some(alarm) = new_alarm {
            self.alarms.set(self.id.as_bytes(), alarm);
        }
        for (sender, outgoing) in self.outbox.borrow_mut().drain(..) {
            match outgoing {
                Outgoing::Message(message) => sender.send(message),
                Outgoing::Close(close) => sender.close(close),
            }
        }
        Ok(())
    }

    fn with_storage<T>(&self, work: impl FnOnce(&Storage) -> Result<T>) -> Result<T> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        if self.storage.borrow().is_none() {
            if let Some(folder) = self.path.as_deref().and_then(std::path::Path::parent) {
                super::create_folder(folder).map_err(|error| {
                    let message = format!("cannot create {}: {error}", folder.display());
                    Error::new(ErrorKind::Storage, message).with_source(error)
                })?;
            }
            let storage = Storage::open(self.path.as_deref())?;
            *self.storage.borrow_mut() = Some(storage);
        }
        // A shared borrow: a transaction's body comes back here.
        let storage = self.storage.borrow();
        storage.as_ref().map_or_else(|| Err(Error::new(ErrorKind::Internal, "the storage is closed")), work)
    }

    /// Breaks the instance when SQLite has left the turn's transaction by itself, as `INSERT OR ROLLBACK` makes it: what
    /// the turn writes from there on would stand outside of any.
    fn check_transaction<T>(&self, result: Result<T>) -> Result<T> {
        let lost = self.storage.borrow().as_ref().is_some_and(Storage::has_lost_transaction);
        if lost {
            let message = "the SQL has rolled the object's transaction back, so the object was reset";
            self.break_with(Error::new(ErrorKind::Reset, message));
        }
        result
    }

    /// The stored alarm, for the host.
    pub(super) fn stored_alarm(&self) -> Result<Option<AlarmRow>> {
        self.with_storage(Storage::alarm)
    }

    /// Claims the alarm's handler; whether it was free.
    pub(super) fn claim_alarm(&self) -> bool {
        !self.alarm_active.replace(true)
    }

    /// Tells the object that its alarm runs: nothing is set until it sets something.
    pub(super) fn begin_alarm(&self) {
        self.alarm_runs.set(true);
    }

    /// What is left of an alarm that has run: kept when it was set anew meanwhile, else replaced by `next`. Also for an
    /// instance that the alarm has broken: the database is still there.
    pub(super) fn end_alarm(&self, next: Option<AlarmRow>) -> Result<()> {
        self.alarm_active.set(false);
        let broken = self.broken.borrow().is_some();
        let storage = self.storage.borrow();
        let Some(storage) = &*storage else { return Err(Error::new(ErrorKind::Internal, "the storage is closed")) };
        if self.alarm_runs.replace(false) || broken {
            storage.set_alarm(next)?;
        }
        // The index is set once this is durable: until then it wakes too early at worst.
        storage.commit()?;
        let due = storage.alarm()?.map(|row| row.due);
        self.new_alarm.set(None);
        self.alarms.set(self.id.as_bytes(), due);
        Ok(())
    }

    /// Wakes the object again at this time, whatever is stored.
    pub(super) fn wake_at(&self, due: Option<i64>) {
        self.alarms.set(self.id.as_bytes(), due);
    }

    /// One holder of the gate less.
    fn leave_critical(&self) {
        let left = self.critical.get().and_then(|(holder, depth)| (depth > 1).then_some((holder, depth - 1)));
        self.critical.set(left);
        if left.is_none() {
            self.wake_all();
        }
    }
}

/// Holds the gate until dropped: also when the work that wanted it is dropped.
struct Critical(Rc<ObjectState>);

impl Drop for Critical {
    fn drop(&mut self) {
        self.0.leave_critical();
    }
}

/// An event under way.
pub(super) struct Event<F> {
    state: Rc<ObjectState>,
    event: u64,
    work: Pin<Box<F>>,
}

impl<T, F: Future<Output = Result<T>>> Future for Event<F> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let (state, event) = (Rc::clone(&self.state), self.event);
        if let Some(error) = state.broken() {
            return Poll::Ready(Err(error));
        }
        if state.critical.get().is_some_and(|(holder, _)| holder != event) {
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
        if state.broken().is_none()
            && let Err(error) = state.end_turn()
        {
            state.break_with(error);
        }
        match (state.broken(), polled) {
            (Some(error), _) => Poll::Ready(Err(error)),
            (None, Ok(Poll::Ready(result))) => Poll::Ready(result),
            (None, _) => {
                state.waiting.borrow_mut().insert(event, cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<F> Drop for Event<F> {
    fn drop(&mut self) {
        let state = &self.state;
        state.waiting.borrow_mut().remove(&self.event);
        state.under_way.set(state.under_way.get() - 1);
        state.last_active.set(Instant::now());
        if state.critical.get().is_some_and(|(holder, _)| holder == self.event) {
            state.critical.set(None);
            state.wake_all();
        }
    }
}

impl SessionBackend for ObjectState {
    fn id(&self) -> &ObjectId {
        &self.id
    }

    fn exec(&self, sql: &str, parameters: Vec<Value>) -> Result<Cursor> {
        let result = self.with_storage(|storage| storage.exec(sql, &parameters));
        self.check_transaction(result)
    }

    fn database_size(&self) -> Result<u64> {
        self.with_storage(Storage::size)
    }

    fn transaction(&self, body: TransactionBody<'_>) -> Result<()> {
        let (alarm, runs) = (self.new_alarm.get(), self.alarm_runs.get());
        let result = self.with_storage(|storage| storage.transaction(body));
        if result.is_err() {
            self.new_alarm.set(alarm); // undone with the rest
            self.alarm_runs.set(runs);
        }
        self.check_transaction(result)
    }

    fn kv_get(&self, key: &str) -> Result<Option<Bytes>> {
        self.with_storage(|storage| storage.kv_get(key))
    }

    fn kv_put(&self, key: &str, value: Bytes) -> Result<()> {
        self.with_storage(|storage| storage.kv_put(key, &value))
    }

    fn kv_delete(&self, key: &str) -> Result<bool> {
        self.with_storage(|storage| storage.kv_delete(key))
    }

    fn kv_list(&self, options: &KvListOptions) -> Result<Vec<(String, Bytes)>> {
        self.with_storage(|storage| storage.kv_list(options))
    }

    fn delete_all(&self) -> Result<()> {
        self.with_storage(Storage::delete_all)?;
        self.new_alarm.set(Some(None));
        self.alarm_runs.set(false);
        Ok(())
    }

    fn alarm(&self) -> Result<Option<DateTime<Utc>>> {
        if self.alarm_runs.get() {
            return Ok(None);
        }
        let row = self.with_storage(Storage::alarm)?;
        Ok(row.and_then(|row| DateTime::from_timestamp_millis(row.scheduled)))
    }

    fn set_alarm(&self, at: Option<DateTime<Utc>>) -> Result<()> {
        let at = at.map(|at| at.timestamp_millis().max(Utc::now().timestamp_millis()));
        let row = at.map(|at| AlarmRow { scheduled: at, due: at, retries: 0 });
        self.with_storage(|storage| storage.set_alarm(row))?;
        self.new_alarm.set(Some(at));
        self.alarm_runs.set(false);
        Ok(())
    }

    fn accept_websocket(&self, socket: ServerSocket, tags: Vec<String>) -> Result<WebSocket> {
        self.accept(socket, tags)
    }

    fn websockets(&self, tag: Option<&str>) -> Vec<WebSocket> {
        self.open_sockets(tag)
    }

    fn set_auto_response(&self, pair: Option<(String, String)>) -> Result<()> {
        *self.auto_response.borrow_mut() = pair;
        Ok(())
    }

    fn auto_response(&self) -> Option<(String, String)> {
        self.auto_response.borrow().clone()
    }

    fn block_concurrency_while(
        &self,
        work: LocalBoxFuture<'static, Result<()>>,
    ) -> LocalBoxFuture<'static, Result<()>> {
        let this = self.this.clone();
        Box::pin(async move {
            let Some(state) = this.upgrade() else { return Err(Error::new(ErrorKind::Reset, "the object is gone")) };
            let depth = state.critical.get().map_or(0, |(_, depth)| depth);
            state.critical.set(Some((state.current.get(), depth + 1)));
            let critical = Critical(Rc::clone(&state));
            let limit = Duration::from_secs(limits::BLOCK_SECONDS);
            let result = match tokio::time::timeout(limit, work).await {
                Ok(result) => result,
                Err(_) => Err(Error::new(ErrorKind::Reset, "blockConcurrencyWhile() took longer than 30 seconds")),
            };
            drop(critical);
            if let Err(error) = &result {
                // The caller sees the work's own words.
                state.break_with(error.clone());
            }
            result
        })
    }

    fn durable(&self) -> LocalBoxFuture<'static, Result<()>> {
        // A turn ends, and commits, when its event waits.
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(())
        })
    }

    fn wait_until(&self, work: LocalBoxFuture<'static, ()>) {
        if let Some(this) = self.this.upgrade() {
            let event = this.event(async move {
                work.await;
                Ok(())
            });
            tokio::task::spawn_local(async move { drop(event.await) });
        }
    }

    fn abort(&self, reason: &str) {
        self.break_with(Error::new(ErrorKind::Reset, reason));
    }
}
