//! Fair scheduling of tenants at the database: a few requests at a time, one tenant after the other, so that a tenant's load
//! is its own wait.

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

use crate::{Caller, Problem};

/// Requests of one tenant that may wait; more are answered 503 with `Retry-After`.
const WAITING: usize = 1024;
/// A tenant beside which no other has come for so long has all turns.
const ALONE_AFTER: Duration = Duration::from_secs(1);

/// A fair scheduler of tenants' requests. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    line: Arc<Mutex<Line>>,
}

#[derive(Debug)]
struct Line {
    /// Requests that may be in flight at once.
    all: usize,
    /// Of them, those that are not.
    free: usize,
    /// The tenant that has come last, and the one before it, and when.
    last: Option<(String, Instant)>,
    before: Option<(String, Instant)>,
    /// Tenants with requests in flight or waiting, in the order of their turns.
    tenants: VecDeque<Tenant>,
}

#[derive(Debug)]
struct Tenant {
    name: String,
    under_way: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// The right to go on; when it is dropped, it is the next one's.
#[derive(Debug)]
struct Turn {
    turns: Turns,
    tenant: String,
    /// Whether it is taken.
    is_taken: bool,
}

impl Turns {
    /// As many at once as there are processors - more would only wait for each other - and two at least.
    pub(crate) fn new() -> Self {
        Self::of(std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get))
    }

    fn of(processors: usize) -> Self {
        let all = processors.max(2);
        let line = Line { all, free: all, last: None, before: None, tenants: VecDeque::new() };
        Self { line: Arc::new(Mutex::new(line)) }
    }

    /// Waits for the tenant's turn; `None` when too many of the tenant's wait already.
    async fn wait(&self, tenant: &str) -> Option<Turn> {
        let (sender, turn) = oneshot::channel();
        {
            let mut line = self.lock();
            line.note(tenant, Instant::now());
            let at = line.tenants.iter().position(|known| known.name == tenant).unwrap_or_else(|| {
                let new = Tenant { name: tenant.to_owned(), under_way: 0, waiting: VecDeque::new() };
                line.tenants.push_back(new);
                line.tenants.len() - 1
            });
            let waiting = &mut line.tenants[at].waiting;
            if waiting.len() >= WAITING {
                waiting.retain(|waiting| !waiting.is_closed());
            }
            if waiting.len() >= WAITING {
                return None;
            }
            line.tenants[at].waiting.push_back(sender);
        }
        self.go_on();
        turn.await.ok()
    }

    /// Gives turns while there are any to give.
    fn go_on(&self) {
        while let Some((next, turn)) = self.next() {
            // The request that waited may be gone: the turn goes to another one, in this loop.
            if let Err(mut turn) = next.send(turn) {
                turn.is_taken = false;
                self.lock().give_back(&turn.tenant);
            }
        }
    }

    /// The next whose turn it is.
    fn next(&self) -> Option<(oneshot::Sender<Turn>, Turn)> {
        let mut line = self.lock();
        let now = Instant::now();
        let may = |tenant: &Tenant| !tenant.waiting.is_empty() && tenant.under_way < line.limit(&tenant.name, now);
        let at = if line.free == 0 { None } else { line.tenants.iter().position(may) }?;
        let mut tenant = line.tenants.remove(at)?;
        let next = tenant.waiting.pop_front()?;
        tenant.under_way += 1;
        line.free -= 1;
        let turn = Turn { turns: self.clone(), tenant: tenant.name.clone(), is_taken: true };
        line.tenants.push_back(tenant); // after the others' turns
        Some((next, turn))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().ignore_poison()
    }
}

impl Line {
    fn note(&mut self, tenant: &str, now: Instant) {
        match &mut self.last {
            Some((name, at)) if name == tenant => *at = now,
            last => self.before = last.replace((tenant.to_owned(), now)),
        }
    }

    fn give_back(&mut self, tenant: &str) {
        self.free += 1;
        if let Some(at) = self.tenants.iter().position(|known| known.name == tenant) {
            self.tenants[at].under_way -= 1;
            if self.tenants[at].under_way == 0 && self.tenants[at].waiting.is_empty() {
                self.tenants.remove(at);
            }
        }
    }

    /// Requests of this tenant that may be in flight at once: one turn always stays free for another tenant.
    fn limit(&self, tenant: &str, now: Instant) -> usize {
        let others = [&self.last, &self.before].into_iter().flatten().filter(|(name, _)| name != tenant);
        let is_alone = others.into_iter().all(|(_, at)| now.duration_since(*at) > ALONE_AFTER);
        if is_alone { self.all } else { self.all - 1 }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_taken {
            self.turns.lock().give_back(&self.tenant);
            self.turns.go_on();
        }
    }
}

/// Lets a request through when it is its tenant's turn. Its body is read before, so that a slow client keeps no turn.
pub(crate) async fn take_turns(State(turns): State<Turns>, caller: Caller, request: Request, next: Next) -> Response {
    let (parts, body) = request.with_limited_body().into_parts();
    let body = match Bytes::from_request(Request::new(body), &()).await {
        Ok(bytes) => Body::from(bytes),
        Err(rejection) => {
            return Problem::new(rejection.status()).with_detail(rejection.body_text()).into_response();
        }
    };
    let request = Request::from_parts(parts, body);
    let Some(_turn) = turns.wait(caller.tenant().unwrap_or_default()).await else {
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
    async fn tenants_take_turns_and_whoever_goes_away_holds_nobody_up() {
        let turns = Turns::of(2);
        drop(turns.wait("b").await); // there is another
        let held = turns.wait("a").await;
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for (tenant, number) in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("a", 4)] {
            let (own, sender) = (turns.clone(), sender.clone());
            tasks.push(tokio::spawn(async move {
                let turn = own.wait(tenant).await;
                sender.send(format!("{tenant}{number}")).expect("the test listens");
                drop(turn);
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
        let line = turns.lock();
        assert_eq!((line.free, line.tenants.len()), (2, 0));
    }

    #[tokio::test]
    async fn thousands_who_go_away_at_once_are_no_burden() {
        let turns = Turns::of(2);
        drop(turns.wait("b").await);
        let held = turns.wait("a").await;
        let mut tasks = Vec::new();
        for number in 0..10_000 {
            let own = turns.clone();
            tasks
                .push(tokio::spawn(async move { own.wait(&format!("t{}", number % 100)).await.map(std::mem::forget) }));
        }
        let second = turns.wait("c").await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        for task in tasks {
            drop(task.await);
        }
        drop((held, second));
        assert!(turns.wait("a").await.is_some());
    }

    #[tokio::test]
    async fn three_tenants_come_one_after_the_other() {
        let turns = Turns::of(2);
        let held = (turns.wait("x").await, turns.wait("y").await);
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        for (tenant, number) in [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)] {
            let (own, sender) = (turns.clone(), sender.clone());
            tokio::spawn(async move {
                let turn = own.wait(tenant).await;
                sender.send(format!("{tenant}{number}")).expect("the test listens");
                tokio::task::yield_now().await;
                drop(turn);
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
