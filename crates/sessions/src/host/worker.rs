//! One thread of the pool: its objects, their events.
//!
//! An id belongs to one thread of the pool for good, so an object needs no lock: its futures are not `Send`, and everything here
//! is in cells. A thread takes jobs from its queue: it polls requests itself, and begins each other one as a task of its `LocalSet`. A
//! slot is an object that has something in memory: an instance, sockets, or callers.
//!
//! **Awake objects are bounded** ([`HostOptions::open_objects`]), as each has a file open. When another one is to wake, the one
//! that has been idle for longest is put to sleep: its instance is dropped and its file closed, its sockets stay. If all are
//! busy, the job waits, in the order of objects ([`waiting`](super::waiting)), and is refused after [`HostOptions::wait`]. Jobs
//! of objects that are awake overtake those that wait. While they have more memory than [`HostOptions::awake_bytes`], idle ones sleep.
//!
//! **Syncs are shared.** The loop prefers jobs over the journal: only when the thread has nothing else to run is the journal
//! synced, once for all turns that have committed meanwhile. The more load, the more turns share a sync.

mod alarm;
mod drain;
mod job;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{LocalBoxFuture, Shared as SharedFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use isobar_sqlite::journal::JournalOptions;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use self::alarm::run_alarm;
pub(super) use self::job::Job;
use super::disk;
use super::log::Log;
use super::memory::Memory;
use super::options::HostOptions;
use super::socket::SocketEvent;
use super::state::{ObjectState, Shared};
use super::waiting::Waiting;
use crate::{Error, ErrorKind, ObjectId, Result, SessionContext, SessionObject, SocketDetails, limits};

/// A thread's objects.
pub(super) struct Worker<O: SessionObject> {
    objects: Objects<O>,
    options: HostOptions,
    /// Requests in flight. They stand in no queue with the thread's tasks, of which a flood of messages into sockets makes thousands:
    /// those that are ready are polled after some dozens of tasks each time.
    requests: FuturesUnordered<LocalBoxFuture<'static, ()>>,
}

type Objects<O> = Rc<ThreadObjects<O>>;
type Instance<O> = SharedFuture<LocalBoxFuture<'static, Result<Rc<O>>>>;

/// The objects of a thread: those that are awake are bounded.
struct ThreadObjects<O: SessionObject> {
    env: O::Env,
    folder: Option<PathBuf>,
    shared: Arc<Shared>,
    log: Option<Rc<Log>>,
    slots: RefCell<HashMap<[u8; 32], Rc<Slot<O>>>>,
    awake: RefCell<HashSet<[u8; 32]>>,
    limit: usize,
    memory: Rc<Memory>,
    is_shedding: Cell<bool>,
    /// Jobs that wait until their object may be awake, and since when.
    waiting: RefCell<Waiting<(Instant, Job)>>,
    /// An object may have become idle.
    room: Notify,
}

/// An object: its state, and its instance while it has one.
struct Slot<O: SessionObject> {
    state: Rc<ObjectState>,
    env: O::Env,
    instance: RefCell<Option<Instance<O>>>,
    /// Number of callers that are about to use it.
    claims: Cell<usize>,
}

impl<O: SessionObject> Worker<O> {
    /// Creates the worker of the thread with this number; the host's folder is `root`.
    pub(super) fn new(
        env: O::Env,
        root: Option<PathBuf>,
        number: usize,
        shared: Arc<Shared>,
        options: HostOptions,
        journal: Option<JournalOptions>,
    ) -> Self {
        let threads = options.threads.max(1);
        let limit = (options.open_objects / threads).max(1);
        let memory = Memory::new(options.awake_bytes / threads, &shared.awake);
        let log = root
            .as_ref()
            .zip(journal)
            .map(|(root, journal)| Log::new(root, number, journal, Arc::clone(&options.journal_disk), &shared.health));
        let folder = root.map(|root| root.join(disk::OBJECTS));
        let objects = Rc::new(ThreadObjects {
            env,
            folder,
            shared,
            log,
            slots: RefCell::default(),
            awake: RefCell::default(),
            limit,
            memory,
            is_shedding: Cell::new(false),
            waiting: RefCell::default(),
            room: Notify::new(),
        });
        Self { objects, options, requests: FuturesUnordered::new() }
    }

    /// Runs jobs until [`Job::Stop`]: the body of a thread.
    pub(super) fn run(mut self, runtime: &Runtime, mut jobs: mpsc::UnboundedReceiver<Job>) {
        tokio::task::LocalSet::new().block_on(runtime, async {
            let tick = self.options.idle.clamp(Duration::from_millis(10), Duration::from_secs(2)) / 2;
            let mut ticks = tokio::time::interval(tick);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let objects = Rc::clone(&self.objects);
            loop {
                tokio::select! {
                    biased; // a job that has come may commit, and share the next sync
                    job = jobs.recv() => match job {
                        Some(Job::Stop) | None => break,
                        Some(job) => self.take(job),
                    },
                    Some(()) = self.requests.next(), if !self.requests.is_empty() => {}
                    () = objects.room.notified(), if !objects.waiting.borrow().is_empty() => self.take_waiting(),
                    () = objects.quiet() => objects.flush(),
                    _ = ticks.tick() => {
                        objects.hibernate(self.options.idle);
                        objects.shed();
                        self.refuse_overdue();
                        self.take_waiting();
                    }
                }
            }
            objects.flush();
            self.requests.clear();
            objects.slots.borrow().values().for_each(|slot| slot.state.go_away());
        });
        let log = self.objects.log.clone();
        if let Some(log) = &log {
            log.forget_due();
        }
        drop(self); // with it the objects' files are closed
        if let Some(log) = log {
            log.finish();
        }
    }

    fn take(&mut self, job: Job) {
        // Jobs are begun in their order, but for those whose object is awake already.
        let goes_last = !self.objects.waiting.borrow().is_empty()
            && matches!(&job, Job::Fetch(id, ..) if !self.objects.awake.borrow().contains(id.as_bytes()));
        let left = if goes_last { Some(job) } else { self.begin(job) };
        if let Some(job) = left {
            self.wait((Instant::now(), job));
        }
    }

    /// Puts a job into the queue.
    fn wait(&mut self, (since, job): (Instant, Job)) {
        if let Job::Fetch(id, ..) | Job::Alarm(id) = &job {
            let id = *id.as_bytes();
            self.objects.waiting.borrow_mut().push(id, (since, job));
        }
    }

    /// Begins the jobs that wait, as far as there is room. Where there is none for the first object there is none for the others.
    fn take_waiting(&mut self) {
        loop {
            let Some(id) = self.objects.waiting.borrow_mut().next(|(_, job)| job.is_abandoned()) else { return };
            if !self.objects.admit(&id) {
                return;
            }
            let jobs = self.objects.waiting.borrow_mut().take(&id);
            for (since, job) in jobs.into_iter().filter(|(_, job)| !job.is_abandoned()) {
                if let Some(job) = self.begin(job) {
                    self.wait((since, job));
                }
            }
        }
    }

    /// Refuses the requests that have waited for too long.
    fn refuse_overdue(&mut self) {
        let wait = self.options.wait;
        let is_over = |(since, job): &(Instant, Job)| {
            matches!(job, Job::Fetch(..)) && (job.is_abandoned() || since.elapsed() >= wait)
        };
        let overdue = self.objects.waiting.borrow_mut().take_if(is_over);
        for (_, job) in overdue {
            if let Job::Fetch(_, _, reply, _) = job {
                let message = "too many session objects are busy at once: try again soon";
                drop(reply.send(Err(Error::new(ErrorKind::Overloaded, message))));
            }
        }
    }

    /// Begins a job, or gives it back when its object may not be awake yet.
    fn begin(&mut self, job: Job) -> Option<Job> {
        match job {
            Job::Fetch(id, request, reply, ticket) => {
                let slot = self.objects.slot(&id);
                if slot.state.in_flight() >= self.options.events {
                    let message = "Durable Object is overloaded. Too many requests queued.";
                    drop(reply.send(Err(Error::new(ErrorKind::Overloaded, message))));
                    return None;
                }
                if !self.objects.admit(id.as_bytes()) {
                    return Some(Job::Fetch(id, request, reply, ticket));
                }
                if let Some(log) = &self.objects.log {
                    log.note();
                }
                let answer = slot.event(async move |object: Rc<O>| object.fetch(*request).await);
                // A caller that no longer waits does not want the answer.
                let objects = Rc::clone(&self.objects);
                let request = AssertUnwindSafe(async move {
                    drop(reply.send(answer.await));
                    drop(ticket);
                    objects.event_ended();
                });
                // The object is reset by the panic of a handler; another one ends this request alone.
                self.requests.push(request.catch_unwind().map(drop).boxed_local());
            }
            Job::Alarm(id) => {
                if !self.objects.admit(id.as_bytes()) {
                    return Some(Job::Alarm(id));
                }
                let slot = self.objects.slot(&id).claim();
                let objects = Rc::clone(&self.objects);
                tokio::task::spawn_local(async move {
                    run_alarm(&slot.0).await;
                    drop(slot);
                    objects.event_ended();
                });
            }
            Job::Evict(id, reply) => {
                let slot = self.objects.slots.borrow().get(id.as_bytes()).cloned();
                let objects = Rc::clone(&self.objects);
                tokio::task::spawn_local(async move {
                    if let Some(slot) = slot {
                        while slot.state.in_flight() > 0 {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        objects.put_to_sleep(&slot);
                    }
                    drop(reply.send(Ok(())));
                });
            }
            Job::Sockets(id, reply) => drop(reply.send(Ok(self.objects.sockets(&id)))),
            Job::Finish(until, done) => self.objects.finish(until, done),
            Job::GoAway(until, done) => self.objects.go_away(until, done),
            Job::Stop => {}
        }
        None
    }
}

impl<O: SessionObject> ThreadObjects<O> {
    /// The sockets of an object, which may be asleep.
    fn sockets(&self, id: &ObjectId) -> Vec<SocketDetails> {
        let slot = self.slots.borrow().get(id.as_bytes()).cloned();
        slot.map_or_else(Vec::new, |slot| slot.state.socket_details())
    }

    /// Waits until commits wait for a sync, and the thread has nothing else to run.
    async fn quiet(&self) {
        match &self.log {
            Some(log) => std::future::poll_fn(|cx| log.poll_quiet(cx)).await,
            None => std::future::pending().await,
        }
    }

    /// Makes the commits of all objects durable, and lets out what waits for that.
    fn flush(&self) {
        let Some(log) = &self.log else { return };
        if log.flush().is_err() {
            return; // the objects concerned are broken, with the error
        }
        if log.has_due() {
            let log = Rc::clone(log);
            // Behind the answers that have just become ready.
            tokio::task::spawn_local(async move { log.checkpoint_due().await });
        }
    }

    /// The object's slot; a broken one is replaced, so that the next event starts anew.
    fn slot(self: &Rc<Self>, id: &ObjectId) -> Rc<Slot<O>> {
        let known = self.slots.borrow().get(id.as_bytes()).cloned();
        let state = match known {
            Some(slot) if slot.state.broken().is_none() => return slot,
            Some(broken) => broken.state.successor(),
            None => {
                let path = self.folder.as_ref().map(|folder| disk::object_file(folder, id.as_bytes()));
                ObjectState::new(id.clone(), path, Arc::clone(&self.shared), self.log.clone(), self.memory.share())
            }
        };
        let env = self.env.clone();
        let slot = Rc::new(Slot { state, env, instance: RefCell::default(), claims: Cell::default() });
        let weak = Rc::downgrade(&slot);
        let objects = Rc::downgrade(self);
        slot.state.set_dispatch(Rc::new(move |event| {
            let slot = weak.upgrade();
            let objects = objects.upgrade();
            async move {
                if let (Some(slot), Some(objects)) = (slot, objects) {
                    objects.socket_event(&slot, event).await;
                }
            }
            .boxed_local()
        }));
        self.slots.borrow_mut().insert(*id.as_bytes(), Rc::clone(&slot));
        slot
    }

    /// Lets the object be awake, if need be in place of the one that has been idle for longest. Returns whether there is room.
    fn admit(self: &Rc<Self>, id: &[u8; 32]) -> bool {
        if self.awake.borrow().contains(id) {
            return true;
        }
        if self.awake.borrow().len() >= self.limit {
            let Some(longest) = self.longest_idle() else { return false };
            self.put_to_sleep(&longest);
        }
        self.awake.borrow_mut().insert(*id);
        if self.waiting.borrow_mut().wake(id) {
            self.room.notify_one();
        }
        true
    }

    /// The awake object that has been idle for longest; one that an idle connection keeps in memory comes after all others.
    fn longest_idle(&self) -> Option<Rc<Slot<O>>> {
        let slots = self.slots.borrow();
        let mut awake = self.awake.borrow_mut();
        awake.retain(|id| slots.contains_key(id)); // a caller may go before its event begins
        let idle = awake.iter().filter_map(|id| slots.get(id)).filter(|slot| slot.is_idle());
        idle.max_by_key(|slot| (!slot.state.is_lingering(), slot.state.idle_for())).cloned()
    }

    /// An object may be idle now: lets others have its room, and its memory if they have too much.
    fn event_ended(self: &Rc<Self>) {
        self.room.notify_one();
        self.shed();
    }

    /// Puts idle objects to sleep while those that are awake have more memory than they may, other tasks in between.
    fn shed(self: &Rc<Self>) {
        if !self.memory.is_over() || self.is_shedding.replace(true) {
            return;
        }
        let objects = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while objects.memory.is_over() {
                let Some(longest) = objects.longest_idle() else { break };
                objects.put_to_sleep(&longest);
                tokio::task::yield_now().await;
            }
            objects.is_shedding.set(false);
            objects.room.notify_one();
        });
    }

    /// Drops an idle object's instance and its connection; forgets it where nothing in memory belongs to it.
    fn put_to_sleep(&self, slot: &Rc<Slot<O>>) {
        slot.drop_instance();
        let id = crate::SessionBackend::id(&*slot.state).as_bytes();
        let mut slots = self.slots.borrow_mut();
        if slots.get(id).is_some_and(|current| Rc::ptr_eq(current, slot)) {
            self.awake.borrow_mut().remove(id);
            if !slot.state.is_in_memory() && !slot.state.has_sockets() {
                slots.remove(id);
            }
        }
    }

    /// Puts the objects to sleep that have been idle for so long.
    fn hibernate(&self, idle: Duration) {
        let awake: Vec<_> = {
            let slots = self.slots.borrow();
            let long_idle =
                |slot: &&Rc<Slot<O>>| slot.is_idle() && !slot.state.is_lingering() && slot.state.idle_for() >= idle;
            slots.values().filter(long_idle).cloned().collect()
        };
        for slot in &awake {
            let has_woken = self.awake.borrow().contains(crate::SessionBackend::id(&*slot.state).as_bytes());
            if has_woken || !slot.state.has_sockets() {
                self.put_to_sleep(slot);
            }
        }
    }

    /// Brings a socket's event to its object, once that may be awake.
    async fn socket_event(self: &Rc<Self>, slot: &Rc<Slot<O>>, event: SocketEvent) {
        let id = *crate::SessionBackend::id(&*slot.state).as_bytes();
        while slot.state.broken().is_none() && !self.admit(&id) {
            drop(tokio::time::timeout(Duration::from_millis(100), self.room.notified()).await);
        }
        let state = Rc::clone(&slot.state);
        let bytes = event.bytes();
        state.incoming.set(state.incoming.get() + bytes);
        let of = Rc::clone(&state);
        let handled = slot.event(async move |object: Rc<O>| event.handle(&*object, &of).await);
        let objects = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Err(_error) = handled.await {
                #[cfg(feature = "tracing")]
                tracing::warn!(error = %_error, "a WebSocket handler failed");
            }
            state.incoming.set(state.incoming.get() - bytes);
            state.event_ended.notify_waiters();
            objects.event_ended();
        });
    }
}

/// Keeps a slot from being put to sleep.
struct Claim<O: SessionObject>(Rc<Slot<O>>);

impl<O: SessionObject> Drop for Claim<O> {
    fn drop(&mut self) {
        self.0.claims.set(self.0.claims.get() - 1);
    }
}

impl<O: SessionObject> Slot<O> {
    fn is_idle(&self) -> bool {
        self.claims.get() == 0 && self.state.in_flight() == 0
    }

    /// Restores an earlier state, if that was asked for and no instance runs.
    fn settle_restore(&self) -> Result<()> {
        if self.instance.borrow().is_some() { Ok(()) } else { self.state.settle_restore() }
    }

    fn claim(self: &Rc<Self>) -> Claim<O> {
        self.claims.set(self.claims.get() + 1);
        Claim(Rc::clone(self))
    }

    /// Runs `work` on the instance, as one event; starts the instance if need be.
    fn event<T: 'static>(
        self: &Rc<Self>,
        work: impl AsyncFnOnce(Rc<O>) -> Result<T> + 'static,
    ) -> LocalBoxFuture<'static, Result<T>> {
        let slot = Rc::clone(self);
        let event = self.state.event(async move {
            let object = slot.instance().await?;
            let result = work(Rc::clone(&object)).await;
            slot.state.share.declare(object.memory());
            result
        });
        Box::pin(event)
    }

    fn instance(self: &Rc<Self>) -> Instance<O> {
        let mut instance = self.instance.borrow_mut();
        instance
            .get_or_insert_with(|| {
                let state = Rc::clone(&self.state);
                let env = self.env.clone();
                // At once: an alarm that comes now is to see the earlier state.
                let settled = state.settle_restore();
                // A task of its own: while `start` holds the gate, the events that wait for it are not polled.
                let task = tokio::task::spawn_local(async move {
                    settled.inspect_err(|error| state.break_with(error.clone()))?;
                    let context = SessionContext::new(Rc::clone(&state) as _);
                    let limit = Duration::from_secs(limits::BLOCK_SECONDS);
                    let started =
                        tokio::time::timeout(limit, state.start_event(async move { O::start(context, env).await }))
                            .await;
                    let started = started.unwrap_or_else(|_| {
                        Err(Error::new(ErrorKind::Reset, "the session object took longer than 30 seconds to start"))
                    });
                    started.map(Rc::new).inspect_err(|error| state.break_with(error.clone()))
                });
                let ended = || Error::new(ErrorKind::Reset, "the session host has stopped");
                async move { task.await.unwrap_or_else(|_| Err(ended())) }.boxed_local().shared()
            })
            .clone()
    }

    fn drop_instance(&self) {
        // An application's Drop may panic; the thread has other objects.
        let instance = self.instance.borrow_mut().take();
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(instance))).is_err() {
            self.state.break_with(Error::new(ErrorKind::Reset, "the session object panicked while it was dropped"));
        }
        self.state.close_storage();
    }
}
