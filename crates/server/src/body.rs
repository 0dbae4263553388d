//! Bodies of requests: how long a client may take for one, and how much memory all of them take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use isobar_api::BodyBudget;
use tokio::time::{Instant, Sleep};

use super::ServerOptions;
use super::places::network;
use crate::Problem;

/// Memory for the bodies of all requests, and of those from one address.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    most: usize,
    most_of_address: usize,
    /// The most that one body is charged as it is read; a handler that holds more of it says so.
    most_of_one: usize,
    by_address: Mutex<HashMap<u128, Arc<AtomicUsize>>>,
}

impl Budget {
    /// A budget of `most` bytes, `most_of_address` of them for one address; an address has room for one body in any case.
    pub(super) fn new(most: usize, most_of_address: usize, most_of_one: usize) -> Self {
        let most_of_address = most_of_address.max(most_of_one);
        Self { used: AtomicUsize::new(0), most, most_of_address, most_of_one, by_address: Mutex::default() }
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<u128, Arc<AtomicUsize>>> {
        // Changed in single steps.
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, share: Option<&AtomicUsize>, bytes: usize) -> Result<(), GivenUp> {
        add(&self.used, bytes, self.most).ok_or(GivenUp::OverBudget)?;
        if share.is_none_or(|share| add(share, bytes, self.most_of_address).is_some()) {
            return Ok(());
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        Err(GivenUp::OverShare)
    }

    fn give_back(&self, share: Option<&AtomicUsize>, bytes: usize) {
        for used in [Some(&self.used), share].into_iter().flatten() {
            used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

fn add(used: &AtomicUsize, bytes: usize, most: usize) -> Option<usize> {
    let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= most);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()
}

/// Why a body was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum GivenUp {
    #[error("the body came too slowly")]
    Slow,
    #[error("the bodies of all requests take too much memory")]
    OverBudget,
    #[error("the bodies from this address take too much memory")]
    OverShare,
}

impl GivenUp {
    fn problem(self) -> Problem {
        let busy = |detail: &str| {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail(detail);
            problem.with_retry_after(HeaderValue::from_static("1"))
        };
        match self {
            Self::Slow => {
                Problem::new(StatusCode::REQUEST_TIMEOUT).with_detail("the body came too slowly; send it again")
            }
            Self::OverBudget => busy("too many bodies are being received at once; try again"),
            Self::OverShare => busy("too many bodies are being received from your address at once; try again"),
        }
    }
}

/// The bookkeeping of a body. It lives as long as its request: what was read of the body may be in memory until then.
#[derive(Debug)]
pub(super) struct Account {
    budget: Arc<Budget>,
    /// The address that is charged, and what all of its requests are.
    share: Option<(u128, Arc<AtomicUsize>)>,
    charge: Mutex<Charge>,
    given_up: Mutex<Option<GivenUp>>,
}

/// Bytes of a body.
#[derive(Debug, Default)]
struct Charge {
    /// Those that were read, up to the most that one body is charged.
    read: usize,
    /// Those that a handler says it holds.
    held: usize,
    /// Those that are charged: the more of both.
    charged: usize,
}

impl Account {
    /// An account for a body from this address; without one, as for a proxy that many come through, only the whole budget
    /// limits it.
    pub(super) fn new(budget: &Arc<Budget>, address: Option<IpAddr>) -> Arc<Self> {
        let share = address.map(|address| {
            let network = network(address);
            (network, Arc::clone(budget.by_address().entry(network).or_default()))
        });
        Arc::new(Self { budget: Arc::clone(budget), share, charge: Mutex::default(), given_up: Mutex::default() })
    }

    /// Counts bytes that were read.
    fn read(&self, bytes: usize) -> Result<(), GivenUp> {
        self.change(|charge, most| charge.read = charge.read.saturating_add(bytes).min(most))
    }

    fn change(&self, change: impl FnOnce(&mut Charge, usize)) -> Result<(), GivenUp> {
        let share = self.share.as_ref().map(|(_, share)| &**share);
        // Replaced as a whole.
        let mut charge = self.charge.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Charge { ..*charge };
        change(&mut next, self.budget.most_of_one);
        next.charged = next.read.max(next.held);
        match next.charged.checked_sub(charge.charged) {
            Some(0) => {}
            Some(more) => self.budget.take(share, more)?,
            None => self.budget.give_back(share, charge.charged - next.charged),
        }
        *charge = next;
        Ok(())
    }

    fn give_up(&self, reason: GivenUp) {
        *self.given_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// The answer to a request whose body was given up, in place of the one that its handler has made of that.
    pub(super) fn answer(&self, status: StatusCode) -> Option<axum::response::Response> {
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        let given_up = *self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = crate::app::unsniffed(given_up?.problem());
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Some(answer)
    }
}

impl BodyBudget for Account {
    fn hold(&self, bytes: usize) -> Result<(), Problem> {
        self.change(|charge, _| charge.held = bytes).map_err(|reason| {
            self.give_up(reason);
            reason.problem()
        })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let charged = self.charge.get_mut().unwrap_or_else(PoisonError::into_inner).charged;
        self.budget.give_back(self.share.as_ref().map(|(_, share)| &**share), charged);
        let Some((address, share)) = self.share.take() else { return };
        let mut by_address = self.budget.by_address();
        // The map's and this one: no other request of the address is there, and none begins or ends under the lock.
        if Arc::strong_count(&share) == 2 {
            by_address.remove(&address);
        }
        drop(share);
    }
}

/// A body whose client must send it without long pauses and not too slowly. Only the time counts in which a handler waits
/// for the client.
pub(super) struct PacedBody {
    inner: Incoming,
    account: Arc<Account>,
    pace: Pace,
    /// Runs while the client is waited for, since then.
    waiting: Option<(Pin<Box<Sleep>>, Instant)>,
    waited: Duration,
    received: u64,
}

/// How slowly a body may come.
#[derive(Debug, Clone, Copy)]
struct Pace {
    timeout: Duration,
    /// Bytes in a second, on the mean.
    rate: u64,
}

impl Pace {
    /// Returns how long the client may be waited for now, after `waited` in all for the bytes received.
    fn patience(self, waited: Duration, received: u64) -> Duration {
        let Self { timeout, rate } = self;
        let Some(allowed) = received.checked_mul(1000).and_then(|bytes| bytes.checked_div(rate)) else {
            return timeout;
        };
        timeout.min((timeout + Duration::from_millis(allowed)).saturating_sub(waited))
    }
}

impl PacedBody {
    pub(super) fn new(inner: Incoming, account: Arc<Account>, options: &ServerOptions) -> Self {
        let pace = Pace { timeout: options.body_timeout, rate: options.body_rate };
        Self { inner, account, pace, waiting: None, waited: Duration::ZERO, received: 0 }
    }

    fn give_up(&self, reason: GivenUp) -> axum::Error {
        self.account.give_up(reason);
        axum::Error::new(reason)
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let body = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut body.inner).poll_frame(cx) else {
            let (timer, _) = body.waiting.get_or_insert_with(|| {
                let (now, patience) = (Instant::now(), body.pace.patience(body.waited, body.received));
                (Box::pin(tokio::time::sleep_until(now + patience)), now)
            });
            return match timer.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(body.give_up(GivenUp::Slow)))),
                Poll::Pending => Poll::Pending,
            };
        };
        if let Some((_, since)) = body.waiting.take() {
            body.waited += since.elapsed();
        }
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(axum::Error::new)?;
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        body.received += bytes as u64;
        match body.account.read(bytes) {
            Ok(()) => Poll::Ready(Some(Ok(frame))),
            Err(reason) => Poll::Ready(Some(Err(body.give_up(reason)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_the_pause_until_the_mean_is_too_slow() {
        let pace = Pace { timeout: Duration::from_secs(30), rate: 500 };
        let patience = |waited, received| pace.patience(Duration::from_secs(waited), received).as_secs();
        assert_eq!((patience(0, 0), patience(10, 0), patience(40, 0)), (30, 20, 0));
        assert_eq!((patience(40, 10_000), patience(40, 100_000)), (10, 30));
        let without = Pace { rate: 0, ..pace };
        assert_eq!(without.patience(Duration::from_secs(1000), 1).as_secs(), 30);
    }

    #[test]
    fn a_budget_is_charged_up_to_its_end_and_given_back() {
        let budget = Arc::new(Budget::new(100, 100, 60));
        let (first, second) = (Account::new(&budget, None), Account::new(&budget, None));
        first.read(50).unwrap();
        first.read(50).unwrap(); // 10 of them: the most of one
        assert_eq!(second.read(41), Err(GivenUp::OverBudget));
        second.read(40).unwrap();
        drop(first);
        second.read(20).unwrap();
        drop(second);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_address_has_its_share_and_a_handler_counts_what_it_holds() {
        let budget = Arc::new(Budget::new(1000, 300, 100));
        let account = |address: &str| Account::new(&budget, Some(address.parse().unwrap()));
        let (first, second) = (account("192.0.2.1"), account("192.0.2.1"));
        first.read(500).unwrap(); // 100 of them
        first.hold(250).unwrap();
        assert_eq!(second.read(51), Err(GivenUp::OverShare));
        assert_eq!(second.hold(51).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        account("192.0.2.2").hold(300).unwrap();
        let proxied = Account::new(&budget, None);
        assert_eq!(proxied.hold(751).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        proxied.hold(750).unwrap();
        // Less is held: what was read stays charged.
        first.hold(0).unwrap();
        second.read(50).unwrap();
        assert_eq!(budget.used.load(Ordering::Relaxed), 900);
        assert_eq!(budget.by_address().len(), 1);
        drop((first, second, proxied));
        assert_eq!((budget.used.load(Ordering::Relaxed), budget.by_address().len()), (0, 0));
    }
}
