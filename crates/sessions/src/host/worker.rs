//! One thread of the pool: its objects, their events.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use tokio::sync::{mpsc, oneshot};

use super::HostOptions;
use super::alarms::{self, Alarms};
use super::sockets::SocketEvent;
use super::state::ObjectState;
use super::storage::AlarmRow;
use crate::{Error, ErrorKind, ObjectId, Request, Response, Result, SessionContext, SessionObject, limits};

/// What a thread is asked to do.
pub(super) enum Job {
    Fetch(ObjectId, Box<Request>, oneshot::Sender<Result<Response>>),
    Alarm(ObjectId),
    Evict(ObjectId, oneshot::Sender<Result<()>>),
    Stop,
}

/// A thread's objects.
pub(super) struct Worker<O: SessionObject> {
    env: O::Env,
    objects: Option<PathBuf>,
    alarms: Arc<Alarms>,
    options: HostOptions,
    slots: HashMap<[u8; 32], Rc<Slot<O>>>,
}

type Instance<O> = Shared<LocalBoxFuture<'static, Result<Rc<O>>>>;

/// An object: its state, and its instance while it has one.
struct Slot<O: SessionObject> {
    state: Rc<ObjectState>,
    env: O::Env,
    instance: RefCell<Option<Instance<O>>>,
}

impl<O: SessionObject> Worker<O> {
    pub(super) fn new(env: O::Env, objects: Option<PathBuf>, alarms: Arc<Alarms>, options: HostOptions) -> Self {
        Self { env, objects, alarms, options, slots: HashMap::new() }
    }

    /// Works until told to stop: the body of a thread.
    pub(super) fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return }; // every request then fails with "the session host has stopped"
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let tick = self.options.idle.clamp(Duration::from_millis(10), Duration::from_secs(2)) / 2;
            let mut ticks = tokio::time::interval(tick);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    job = jobs.recv() => match job {
                        Some(Job::Stop) | None => break,
                        Some(job) => self.take(job),
                    },
                    _ = ticks.tick() => self.hibernate(),
                }
            }
            self.slots.values().for_each(|slot| slot.state.go_away());
        });
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Fetch(id, request, reply) => {
                let slot = self.slot(&id);
                if slot.state.under_way() >= self.options.events {
                    let message = "Durable Object is overloaded. Too many requests queued.";
                    drop(reply.send(Err(Error::new(ErrorKind::Overloaded, message))));
                    return;
                }
                let answer = slot.event(async move |object: Rc<O>| object.fetch(*request).await);
                // A caller that no longer waits does not want the answer.
                tokio::task::spawn_local(async move { drop(reply.send(answer.await)) });
            }
            Job::Alarm(id) => {
                let slot = self.slot(&id);
                tokio::task::spawn_local(run_alarm(slot));
            }
            Job::Evict(id, reply) => {
                let slot = self.slots.get(id.as_bytes()).cloned();
                tokio::task::spawn_local(async move {
                    if let Some(slot) = slot {
                        while slot.state.under_way() > 0 {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        slot.drop_instance();
                    }
                    drop(reply.send(Ok(())));
                });
            }
            Job::Stop => {}
        }
    }

    /// The object's slot; a broken one is replaced, so that the next event starts anew.
    fn slot(&mut self, id: &ObjectId) -> Rc<Slot<O>> {
        if let Some(slot) = self.slots.get(id.as_bytes())
            && slot.state.broken().is_none()
        {
            return Rc::clone(slot);
        }
        let path = self.objects.as_ref().map(|root| {
            let hex = id.to_string();
            root.join(&hex[..2]).join(hex + ".db")
        });
        let state = match self.slots.remove(id.as_bytes()) {
            // A database in memory outlives the instance that broke.
            Some(broken) if broken.state.is_in_memory() => broken.state.successor(),
            _ => ObjectState::new(id.clone(), path, Arc::clone(&self.alarms)),
        };
        let slot = Rc::new(Slot { state, env: self.env.clone(), instance: RefCell::default() });
        let weak = Rc::downgrade(&slot);
        slot.state.set_dispatch(Rc::new(move |event| {
            if let Some(slot) = weak.upgrade() {
                slot.socket_event(event);
            }
        }));
        self.slots.insert(*id.as_bytes(), Rc::clone(&slot));
        slot
    }

    /// Drops the instances of idle objects, and forgets those that nothing in memory belongs to.
    fn hibernate(&mut self) {
        let idle = self.options.idle;
        self.slots.retain(|_, slot| {
            // Whoever else holds the slot is about to use it.
            let busy = Rc::strong_count(slot) > 1 || slot.state.under_way() > 0;
            if busy || slot.state.idle_for() < idle {
                return true;
            }
            slot.drop_instance();
            slot.state.is_in_memory() || slot.state.has_sockets()
        });
    }
}

impl<O: SessionObject> Slot<O> {
    /// Runs `work` on the instance, as one event; starts the instance if need be.
    fn event<T: 'static>(
        self: &Rc<Self>,
        work: impl AsyncFnOnce(Rc<O>) -> Result<T> + 'static,
    ) -> LocalBoxFuture<'static, Result<T>> {
        let slot = Rc::clone(self);
        let event = self.state.event(async move {
            let object = slot.instance().await?;
            work(object).await
        });
        Box::pin(event)
    }

    fn instance(self: &Rc<Self>) -> Instance<O> {
        let mut instance = self.instance.borrow_mut();
        instance
            .get_or_insert_with(|| {
                let (state, env) = (Rc::clone(&self.state), self.env.clone());
                // A task of its own: while `start` holds the gate, the events that wait for it are not polled.
                let task = tokio::task::spawn_local(async move {
                    let context = SessionContext::new(Rc::clone(&state) as _);
                    let limit = Duration::from_secs(limits::BLOCK_SECONDS);
                    let started =
                        tokio::time::timeout(limit, state.event(async move { O::start(context, env).await })).await;
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

    fn socket_event(self: &Rc<Self>, event: SocketEvent) {
        let state = Rc::clone(&self.state);
        let handled = self.event(async move |object: Rc<O>| match event {
            SocketEvent::Message(socket, message) => object.message(&socket, message).await,
            SocketEvent::Closed(socket, close) => {
                let result = object.closed(&socket, close).await;
                state.forget_socket(&socket);
                result
            }
        });
        tokio::task::spawn_local(async move {
            if let Err(_error) = handled.await {
                #[cfg(feature = "tracing")]
                tracing::warn!(error = %_error, "a WebSocket handler failed");
            }
        });
    }
}

/// Runs an object's alarm if it is due; decides what becomes of it.
async fn run_alarm<O: SessionObject>(slot: Rc<Slot<O>>) {
    let state = Rc::clone(&slot.state);
    let now = Utc::now().timestamp_millis();
    let row = match state.stored_alarm() {
        Ok(Some(row)) if row.due <= now => row,
        Ok(later) => return state.wake_at(later.map(|row| row.due)),
        Err(_error) => {
            #[cfg(feature = "tracing")]
            tracing::error!(error = %_error, object = %crate::SessionBackend::id(&*state), "an alarm could not be read");
            return state.wake_at(Some(now + 2_000));
        }
    };
    if !state.claim_alarm() {
        return; // one is under way: its end looks at what is stored
    }
    let (info, running) = (alarms::info(row.scheduled, row.retries), Rc::clone(&state));
    let handled = slot.event(async move |object: Rc<O>| {
        running.begin_alarm(); // not before: `start` sees the alarm as it is set
        object.alarm(info).await
    });
    let result = handled.await;
    let next = result.err().and_then(|_error| {
        let delay = alarms::retry_delay(row.retries, jitter());
        #[cfg(feature = "tracing")]
        tracing::warn!(error = %_error, retries = row.retries, gives_up = delay.is_none(), "an alarm failed");
        let due = Utc::now().timestamp_millis() + i64::try_from(delay?.as_millis()).unwrap_or(i64::MAX);
        Some(AlarmRow { scheduled: row.scheduled, due, retries: row.retries + 1 })
    });
    if let Err(error) = state.end_alarm(next) {
        // The disk's failure, say: it does not count, and the row is still there.
        state.break_with(error);
        state.wake_at(Some(Utc::now().timestamp_millis() + 2_000));
    }
}

/// A random number in 0..=1.
fn jitter() -> f64 {
    let mut byte = [0];
    // Without randomness there is no jitter, which is no harm.
    getrandom::fill(&mut byte).map_or(0.0, |()| f64::from(byte[0]) / 255.0)
}
