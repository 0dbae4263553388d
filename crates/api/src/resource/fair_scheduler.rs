//! Fair scheduling of tenants at the database: a bounded number of requests is in flight, and permits go to the tenants in
//! turn, so that the load of one tenant delays its own requests only.
//!
//! The database runs statements on a bounded number of threads: without turns a tenant that sends a thousand requests at once
//! would have a thousand places in its queue, and another tenant's request the one behind them. So requests wait here, before
//! they reach the database, in a queue of each tenant's own; the tenants are served in turn, one request each.
//!
//! - Permits: one for each processor, at least two. A tenant may hold all of them only while it is alone, that is while no other one
//!   has sent a request for a second; otherwise one is left free, so that another tenant's request starts at once rather than after
//!   one that runs.
//! - Queue: 1,024 waiting requests of a tenant; the next one is answered 429. Waiting costs the request's body in memory, which the
//!   server's own limits bound.
//! - Cancellation: a request that is dropped while it waits has closed its receiver. It is skipped when its turn comes, and its permit
//!   goes to the next one in the same loop; one that is dropped while it runs drops its permit.
//!
//! The mutex is held for a scan of the tenants that are active at the moment, never across an `await` and never while a permit
//! is sent: dropping a permit locks it again. Anonymous requests are one tenant, with an empty name. Inside Workers there is
//! none of this: an isolate has few requests, and its runtime schedules them. The tests below hold the order of turns and the
//! return of permits; `cargo bench -p isobar-api --bench tenants` shows the effect.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::RequestExt;
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use isobar_base::sync::IgnorePoison;
use tokio::sync::oneshot;

use crate::{Principal, Problem};

/// Requests of one tenant that may wait; further ones are answered 429 with `Retry-After`.
const WAITING: usize = 1024;
/// Time without a request of another tenant after which a tenant may have all permits.
const ALONE_AFTER: Duration = Duration::from_secs(1);

/// Hands out permits to the requests of tenants, round robin. Cheap to clone: clones share the queue.
#[derive(Debug, Clone)]
pub(crate) struct FairScheduler {
    queue: Arc<Mutex<Queue>>,
}

/// The state under the mutex. `free` and the tenants' `in_flight` always add up to `all`.
#[derive(Debug)]
struct Queue {
    /// Permits in all: requests that may be in flight at once.
    all: usize,
    /// Permits that are not handed out.
    free: usize,
    /// The tenant of the newest request, the last one of another tenant, and their times.
    last: Option<(String, Instant)>,
    before: Option<(String, Instant)>,
    /// Tenants with requests in flight or waiting, the next to be served first.
    tenants: VecDeque<Tenant>,
}

/// A tenant with requests in flight or waiting; it is removed with its last one, so that the queue does not grow with the
/// tenants that there have been.
#[derive(Debug)]
struct Tenant {
    name: String,
    in_flight: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// The right to use the database. Dropping it hands it to the next waiting request.
#[derive(Debug)]
struct Permit {
    scheduler: FairScheduler,
    tenant: String,
    /// Whether dropping it returns it: false for a permit whose receiver is gone.
    is_taken: bool,
}

impl FairScheduler {
    /// A scheduler with one permit for each processor, and at least two. More would only wait for each other.
    pub(crate) fn new() -> Self {
        Self::of(std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get))
    }

    fn of(processors: usize) -> Self {
        let all = processors.max(2);
        let queue = Queue { all, free: all, last: None, before: None, tenants: VecDeque::new() };
        Self { queue: Arc::new(Mutex::new(queue)) }
    }

    /// Waits for a permit. Returns `None` when the tenant has [`WAITING`] requests waiting already.
    async fn acquire(&self, tenant: &str) -> Option<Permit> {
        let (sender, permit) = oneshot::channel();
        {
            let mut queue = self.lock();
            queue.note(tenant, Instant::now());
            let at = queue.tenants.iter().position(|known| known.name == tenant).unwrap_or_else(|| {
                let new = Tenant { name: tenant.to_owned(), in_flight: 0, waiting: VecDeque::new() };
                queue.tenants.push_back(new);
                queue.tenants.len() - 1
            });
            let waiting = &mut queue.tenants[at].waiting;
            if waiting.len() >= WAITING {
                waiting.retain(|waiting| !waiting.is_closed());
            }
            if waiting.len() >= WAITING {
                return None;
            }
            queue.tenants[at].waiting.push_back(sender);
        }
        self.grant();
        permit.await.ok()
    }

    /// Hands out free permits to waiting requests.
    fn grant(&self) {
        while let Some((next, permit)) = self.next() {
            // The request that waited may be gone: its permit goes to another one, in this loop.
            if let Err(mut permit) = next.send(permit) {
                permit.is_taken = false;
                self.lock().give_back(&permit.tenant);
            }
        }
    }

    /// Returns the next request to be served, and its permit.
    fn next(&self) -> Option<(oneshot::Sender<Permit>, Permit)> {
        let mut queue = self.lock();
        let now = Instant::now();
        let may = |tenant: &Tenant| !tenant.waiting.is_empty() && tenant.in_flight < queue.limit(&tenant.name, now);
        let at = if queue.free == 0 { None } else { queue.tenants.iter().position(may) }?;
        let mut tenant = queue.tenants.remove(at)?;
        let next = tenant.waiting.pop_front()?;
        tenant.in_flight += 1;
        queue.free -= 1;
        let permit = Permit { scheduler: self.clone(), tenant: tenant.name.clone(), is_taken: true };
        queue.tenants.push_back(tenant); // behind the other tenants
        Some((next, permit))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().ignore_poison()
    }
}

impl Queue {
    /// Notes a request, for [`limit`](Self::limit): the newest tenant, and the one before it that was another.
    fn note(&mut self, tenant: &str, now: Instant) {
        match &mut self.last {
            Some((name, at)) if name == tenant => *at = now,
            last => self.before = last.replace((tenant.to_owned(), now)),
        }
    }

    /// Takes a permit back, and forgets a tenant that has no more requests.
    fn give_back(&mut self, tenant: &str) {
        self.free += 1;
        if let Some(at) = self.tenants.iter().position(|known| known.name == tenant) {
            self.tenants[at].in_flight -= 1;
            if self.tenants[at].in_flight == 0 && self.tenants[at].waiting.is_empty() {
                self.tenants.remove(at);
            }
        }
    }

    /// Returns the number of requests of this tenant that may be in flight: all permits if no other tenant has sent a request
    /// lately, else all but one.
    fn limit(&self, tenant: &str, now: Instant) -> usize {
        let others = [&self.last, &self.before].into_iter().flatten().filter(|(name, _)| name != tenant);
        let is_alone = others.into_iter().all(|(_, at)| now.duration_since(*at) > ALONE_AFTER);
        if is_alone { self.all } else { self.all - 1 }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_taken {
            self.scheduler.lock().give_back(&self.tenant);
            self.scheduler.grant();
        }
    }
}

/// Middleware that runs a request once its tenant has a permit. The body is read first, so that a slow client holds no permit.
pub(crate) async fn schedule(
    State(scheduler): State<FairScheduler>,
    principal: Principal,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.with_limited_body().into_parts();
    let body = match Bytes::from_request(Request::new(body), &()).await {
        Ok(bytes) => Body::from(bytes),
        Err(rejection) => {
            return Problem::new(rejection.status()).with_detail(rejection.body_text()).into_response();
        }
    };
    let request = Request::from_parts(parts, body);
    let Some(_permit) = scheduler.acquire(principal.tenant().unwrap_or_default()).await else {
        let detail = "your team has too many requests waiting; send fewer at once";
        return Problem::new(StatusCode::TOO_MANY_REQUESTS)
            .with_detail(detail)
            .with_retry_after(http::HeaderValue::from_static("1"))
            .into_response();
    };
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permits_alternate_between_tenants_and_skip_requests_that_are_gone() {
        let scheduler = FairScheduler::of(2);
        drop(scheduler.acquire("b").await); // there is another
        let held = scheduler.acquire("a").await;
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for (tenant, number) in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("a", 4)] {
            let own = scheduler.clone();
            let sender = sender.clone();
            tasks.push(tokio::spawn(async move {
                let permit = own.acquire(tenant).await;
                sender.send(format!("{tenant}{number}")).expect("the test listens");
                drop(permit);
            }));
            tokio::task::yield_now().await; // they come in this order
        }
        // One tenant's load leaves a turn for another.
        assert_eq!(order.recv().await.as_deref(), Some("b1"));
        tasks[1].abort(); // a2 goes away
        tokio::task::yield_now().await;
        drop(held);
        let mut came = Vec::new();
        for _ in 0..3 {
            came.push(order.recv().await.expect("all have their turn"));
        }
        assert_eq!(came, ["a1", "a3", "a4"]);
        for task in tasks {
            drop(task.await); // one of them was ended
        }
        let queue = scheduler.lock();
        assert_eq!((queue.free, queue.tenants.len()), (2, 0));
    }

    #[tokio::test]
    async fn thousands_of_aborted_requests_return_their_permits() {
        let scheduler = FairScheduler::of(2);
        drop(scheduler.acquire("b").await);
        let held = scheduler.acquire("a").await;
        let mut tasks = Vec::new();
        for number in 0..10_000 {
            let own = scheduler.clone();
            tasks.push(tokio::spawn(
                async move { own.acquire(&format!("t{}", number % 100)).await.map(std::mem::forget) },
            ));
        }
        let second = scheduler.acquire("c").await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        for task in tasks {
            drop(task.await);
        }
        drop((held, second));
        assert!(scheduler.acquire("a").await.is_some());
    }

    #[tokio::test]
    async fn three_tenants_are_served_round_robin() {
        let scheduler = FairScheduler::of(2);
        let held = (scheduler.acquire("x").await, scheduler.acquire("y").await);
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (tenant, number) in [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)] {
            let own = scheduler.clone();
            let sender = sender.clone();
            tokio::spawn(async move {
                let permit = own.acquire(tenant).await;
                sender.send(format!("{tenant}{number}")).expect("the test listens");
                tokio::task::yield_now().await;
                drop(permit);
            });
            tokio::task::yield_now().await;
        }
        drop(held.0);
        let mut came = Vec::new();
        for _ in 0..5 {
            came.push(order.recv().await.expect("all have their turn"));
        }
        assert_eq!(came, ["a1", "b1", "c1", "a2", "b2"]);
        drop(held.1);
    }
}
