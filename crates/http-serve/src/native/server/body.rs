//! Bodies of requests: how long a client may take for one, and how much memory all of them take.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::ServerOptions;
use crate::Problem;

/// Memory for the bodies of all requests.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    most: usize,
    /// The most that one body is charged: whoever keeps more of it in memory has limits of their own.
    most_of_one: usize,
}

impl Budget {
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self { used: AtomicUsize::new(0), most, most_of_one }
    }
}

/// Why a body was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum GivenUp {
    #[error("the body came too slowly")]
    Slow = 1,
    #[error("the bodies of all requests take too much memory")]
    OverBudget = 2,
}

/// The bookkeeping of a body. It lives as long as its request: what was read of the body may be in memory until then.
#[derive(Debug)]
pub(super) struct Account {
    budget: Arc<Budget>,
    charged: AtomicUsize,
    /// A [`GivenUp`]; 0 while it is not.
    given_up: AtomicU8,
}

impl Account {
    pub(super) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        let (charged, given_up) = (AtomicUsize::new(0), AtomicU8::new(0));
        Arc::new(Self { budget: Arc::clone(budget), charged, given_up })
    }

    fn charge(&self, bytes: usize) -> Result<(), GivenUp> {
        let Budget { used, most, most_of_one } = &*self.budget;
        let charged = self.charged.load(Ordering::Relaxed);
        let bytes = bytes.min(most_of_one.saturating_sub(charged));
        if bytes == 0 {
            return Ok(());
        }
        let more = |used: usize| used.checked_add(bytes).filter(|used| used <= most);
        let is_charged = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if !is_charged {
            return Err(GivenUp::OverBudget);
        }
        self.charged.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// The answer to a request whose body was given up, in place of the one that its handler has made of that.
    pub(super) fn answer(&self, status: StatusCode) -> Option<axum::response::Response> {
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        let given_up = self.given_up.load(Ordering::Relaxed);
        let problem = if given_up == GivenUp::Slow as u8 {
            Problem::new(StatusCode::REQUEST_TIMEOUT).with_detail("the body came too slowly; send it again")
        } else if given_up == GivenUp::OverBudget as u8 {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE);
            let problem = problem.with_detail("too many bodies are being received at once; try again");
            problem.with_retry_after(HeaderValue::from_static("1"))
        } else {
            return None;
        };
        let mut answer = crate::app::unsniffed(problem);
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Some(answer)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.charged.get_mut(), Ordering::Relaxed);
    }
}

/// A body whose client must send it without long pauses and not too slowly. Only the time counts in which somebody waits for
/// the client.
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
    /// How long the client may be waited for now, after this time in all for so many bytes.
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
        self.account.given_up.store(reason as u8, Ordering::Relaxed);
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
        match body.account.charge(bytes) {
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
        let budget = Arc::new(Budget::new(100, 60));
        let (first, second) = (Account::new(&budget), Account::new(&budget));
        first.charge(50).unwrap();
        first.charge(50).unwrap(); // 10 of them: the most of one
        assert_eq!(second.charge(41), Err(GivenUp::OverBudget));
        second.charge(40).unwrap();
        drop(first);
        second.charge(20).unwrap();
        drop(second);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
