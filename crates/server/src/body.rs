//! Bodies of requests: how long a client may take for one, and how much memory all of them take.
//!
//! Two limits, of time and of memory. A body must neither pause for too long nor come too slowly on the whole, so that a client
//! cannot hold a request open by a byte now and then. What is held of bodies in memory is counted against one budget, of which
//! one address has a share; a body for which there is no room is given up. Bytes that were read count until the request ends, as
//! its handler may have them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use isobar_base::sync::IgnorePoison;
use tokio::time::{Instant, Sleep};

use crate::options::ServerOptions;
use crate::places::network;

/// Memory for the bodies of all requests, and of those from one address.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    most: usize,
    most_of_address: usize,
    /// The most that one body is charged as it is read; a handler that holds more of it says so.
    most_of_one: usize,
    by_address: Mutex<HashMap<u128, Arc<AtomicUsize>>>,
}

impl Budget {
    /// A budget of `most` bytes, `most_of_address` of them for one address; an address has room for one body in any case.
    pub(crate) fn new(most: usize, most_of_address: usize, most_of_one: usize) -> Self {
        let most_of_address = most_of_address.max(most_of_one);
        Self { used: AtomicUsize::new(0), most, most_of_address, most_of_one, by_address: Mutex::default() }
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<u128, Arc<AtomicUsize>>> {
        // Changed in single steps.
        self.by_address.lock().ignore_poison()
    }

    fn take(&self, share: Option<&AtomicUsize>, bytes: usize) -> Result<(), BodyError> {
        add(&self.used, bytes, self.most).ok_or(BodyError::OverBudget)?;
        if share.is_none_or(|share| add(share, bytes, self.most_of_address).is_some()) {
            return Ok(());
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        Err(BodyError::OverShare)
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

/// Why a body was given up, or may not be held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The client paused for longer than [`body_timeout`](ServerOptions::body_timeout), or sent less than
    /// [`body_rate`](ServerOptions::body_rate).
    #[error("the body came too slowly")]
    Slow,
    /// There is no room in [`body_memory`](ServerOptions::body_memory).
    #[error("the bodies of all requests take too much memory")]
    OverBudget,
    /// There is no room in [`body_memory_per_address`](ServerOptions::body_memory_per_address).
    #[error("the bodies from this address take too much memory")]
    OverShare,
}

/// The bookkeeping of a body. It lives as long as its request: what was read of the body may be in memory until then.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Arc<Budget>,
    /// The address that is charged, and what all of its requests are.
    share: Option<(u128, Arc<AtomicUsize>)>,
    charge: Mutex<Charge>,
    given_up: Mutex<Option<BodyError>>,
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
    pub(crate) fn new(budget: &Arc<Budget>, address: Option<IpAddr>) -> Arc<Self> {
        let share = address.map(|address| {
            let network = network(address);
            (network, Arc::clone(budget.by_address().entry(network).or_default()))
        });
        Arc::new(Self { budget: Arc::clone(budget), share, charge: Mutex::default(), given_up: Mutex::default() })
    }

    /// Counts bytes that were read.
    fn read(&self, bytes: usize) -> Result<(), BodyError> {
        self.change(|charge, most| charge.read = charge.read.saturating_add(bytes).min(most))
    }

    fn change(&self, change: impl FnOnce(&mut Charge, usize)) -> Result<(), BodyError> {
        let share = self.share.as_ref().map(|(_, share)| &**share);
        // Replaced as a whole.
        let mut charge = self.charge.lock().ignore_poison();
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

    fn give_up(&self, reason: BodyError) {
        *self.given_up.lock().ignore_poison() = Some(reason);
    }

    /// Why the body was given up, where it was: for a response of this status, which is the application's to that failure. A
    /// successful one stands.
    pub(crate) fn failure(&self, status: StatusCode) -> Option<BodyError> {
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        *self.given_up.lock().ignore_poison()
    }

    /// Counts the bytes that a handler holds.
    fn hold(&self, bytes: usize) -> Result<(), BodyError> {
        self.change(|charge, _| charge.held = bytes).inspect_err(|reason| self.give_up(*reason))
    }
}

/// The account of a request's body, in the memory that all bodies share ([`body_memory`](ServerOptions::body_memory)). What is
/// read of the body is charged to it, up to [`body_limit`](crate::Application::body_limit), until the request ends.
///
/// ```
/// use isobar_server::{BodyAccount, BodyError};
///
/// /// Gathers a body of any length, as long as there is memory for it.
/// fn gather(account: &BodyAccount, chunks: &[&[u8]]) -> Result<Vec<u8>, BodyError> {
///     let mut bytes = Vec::new();
///     for chunk in chunks {
///         account.hold(bytes.len() + chunk.len())?;
///         bytes.extend_from_slice(chunk);
///     }
///     Ok(bytes)
/// }
/// # let _ = gather;
/// ```
#[derive(Debug, Clone)]
pub struct BodyAccount(Arc<Account>);

impl BodyAccount {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        Self(account)
    }

    /// Sets the bytes of the body that a handler holds in memory now; 0 when it holds none any more. A handler that reads more of
    /// a body into memory than [`body_limit`](crate::Application::body_limit) has to call it: the body is charged with the more of
    /// both.
    ///
    /// # Errors
    /// [`BodyError::OverBudget`] and [`BodyError::OverShare`]. The bytes that were set before stay, and the response is replaced by
    /// the one to [`Refusal::Body`](crate::Refusal::Body) where it is an error.
    pub fn hold(&self, bytes: usize) -> Result<(), BodyError> {
        self.0.hold(bytes)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let charged = self.charge.get_mut().ignore_poison().charged;
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

/// The body of a request. Its client must send it without long pauses and not too slowly; else it ends with
/// [`BodyError::Slow`]. Only the time counts in which a handler waits for the client.
#[derive(Debug)]
pub struct RequestBody {
    inner: Incoming,
    /// The bookkeeping; `None` for a body that is empty from the beginning.
    paced: Option<Paced>,
}

/// The bookkeeping of a body that is being received.
#[derive(Debug)]
struct Paced {
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

impl RequestBody {
    pub(crate) fn new(inner: Incoming, account: Option<&Arc<Account>>, options: &ServerOptions) -> Self {
        let paced = account.map(|account| Paced {
            account: Arc::clone(account),
            pace: Pace { timeout: options.body_timeout, rate: options.body_rate },
            waiting: None,
            waited: Duration::ZERO,
            received: 0,
        });
        Self { inner, paced }
    }
}

impl Paced {
    /// Waits for the client; the error where that takes too long.
    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let (timer, _) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            let patience = self.pace.patience(self.waited, self.received);
            (Box::pin(tokio::time::sleep_until(now + patience)), now)
        });
        timer.as_mut().poll(cx).map(|()| self.give_up(BodyError::Slow))
    }

    /// Ends the wait for the client.
    fn resume(&mut self) {
        if let Some((_, since)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
    }

    fn receive(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.received += bytes as u64;
        self.account.read(bytes).map_err(|reason| self.give_up(reason))
    }

    fn give_up(&self, reason: BodyError) -> BodyError {
        self.account.give_up(reason);
        reason
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = self.get_mut();
        let frame = Pin::new(&mut body.inner).poll_frame(cx);
        let Some(paced) = &mut body.paced else { return frame.map_err(Into::into) };
        let Poll::Ready(frame) = frame else {
            return paced.poll_slow(cx).map(|reason| Some(Err(reason.into())));
        };
        paced.resume();
        let Some(frame) = frame.transpose()? else { return Poll::Ready(None) };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        Poll::Ready(Some(paced.receive(bytes).map(|()| frame).map_err(Into::into)))
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
    fn a_body_may_pause_until_its_mean_rate_is_too_low() {
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
        let first = Account::new(&budget, None);
        let second = Account::new(&budget, None);
        first.read(50).unwrap();
        first.read(50).unwrap(); // 10 of them: the most of one
        assert_eq!(second.read(41), Err(BodyError::OverBudget));
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
        let first = account("192.0.2.1");
        let second = account("192.0.2.1");
        first.read(500).unwrap(); // 100 of them
        first.hold(250).unwrap();
        assert_eq!(second.read(51), Err(BodyError::OverShare));
        assert_eq!(second.hold(51), Err(BodyError::OverShare));
        assert_eq!(second.failure(StatusCode::SERVICE_UNAVAILABLE), Some(BodyError::OverShare));
        assert_eq!(second.failure(StatusCode::OK), None);
        account("192.0.2.2").hold(300).unwrap();
        let proxied = Account::new(&budget, None);
        assert_eq!(proxied.hold(751), Err(BodyError::OverBudget));
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
