//! The retry policy: pure, with the clock and randomness injected.
//!
//! The policy only decides: it gets the attempt's number, the outcome and a random share, and says how long to wait, or that it
//! is enough. So each rule has a test without a clock.
//!
//! The wait after attempt `n` is a random share of `min(cap, base * 2^(n - 1))` ("full jitter"), so that clients which failed together do
//! not come back together, and that on top of a `Retry-After`, so that they do not all come back at the moment the server has named. Which
//! outcomes are retried at all is in `request.rs`; this module does not know requests.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use isobar_base::backoff::Backoff;

/// A retry policy: exponential backoff with full jitter.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_cloudflare::client::Retry;
///
/// let retry = Retry::default().with_attempts(3).with_backoff(Duration::from_millis(200), Duration::from_secs(5));
/// assert_eq!(retry.delay(1, None, 1.0), Some(Duration::from_millis(200)));
/// assert_eq!(retry.delay(2, None, 0.5), Some(Duration::from_millis(200)));
/// assert_eq!(retry.delay(3, None, 1.0), None, "the third attempt was the last");
/// ```
///
/// With the defaults a call that fails five times has waited at most 1.5 s (100 + 200 + 400 + 800 ms) in all, besides the time of the
/// attempts, unless the server asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// Maximum number of attempts; 1 disables retries. Default: 5.
    ///
    /// 0 counts as 1.
    pub attempts: u32,
    /// Maximum wait after the first attempt; it doubles with each attempt. Default: 100 ms.
    pub base: Duration,
    /// Maximum wait after any attempt. Default: 10 s.
    pub cap: Duration,
    /// Longest `Retry-After` to wait for; a response with a longer one is returned. Default: 60 s.
    ///
    /// A client that may wait for minutes, a batch job, say, sets more; one that answers a user less.
    pub patience: Duration,
}

impl Default for Retry {
    /// Five attempts, 100 ms doubling up to 10 s, and up to 60 s where the server asks for it.
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(100),
            cap: Duration::from_secs(10),
            patience: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// Returns a policy without retries.
    ///
    /// For callers that retry on their own, and for tests.
    ///
    /// ```
    /// use isobar_cloudflare::client::Retry;
    ///
    /// assert_eq!(Retry::never().delay(1, None, 1.0), None);
    /// ```
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// Sets the maximum number of attempts.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the maximum of the first wait, and of all waits.
    ///
    /// A cap below the base is the wait of every attempt.
    #[must_use]
    pub fn with_backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.base = base;
        self.cap = cap;
        self
    }

    /// Returns the wait after `attempt` (from 1) has failed; `None` if it was the last, or the server asks for a longer wait than
    /// the policy permits. `chance` in 0..1 spreads the retries of clients that failed at the same time.
    ///
    /// A server's wish is waited for whole, and the jittered wait comes on top of it:
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_cloudflare::client::Retry;
    ///
    /// let retry = Retry::default(); // 100 ms at first, 60 s of patience
    /// assert_eq!(retry.delay(1, Some(Duration::from_secs(2)), 1.0), Some(Duration::from_millis(2100)));
    /// assert_eq!(retry.delay(1, Some(Duration::from_secs(61)), 1.0), None, "the response is returned instead");
    /// ```
    #[must_use]
    pub fn delay(&self, attempt: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
        if attempt >= self.attempts || asked.is_some_and(|asked| asked > self.patience) {
            return None;
        }
        let jittered = Backoff::new(self.base, self.cap).jittered(attempt, chance);
        Some(asked.unwrap_or_default().saturating_add(jittered))
    }
}

/// Parses `Retry-After`: seconds, or a date (RFC 9110 10.2.3); `None` for anything else.
///
/// A date that is past means no wait. The header is read as the server's clock has it, so `now` that is behind it waits for longer.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use http::{HeaderMap, header};
/// use isobar_cloudflare::client::retry_after;
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(retry_after(&headers, SystemTime::UNIX_EPOCH), None);
/// headers.insert(header::RETRY_AFTER, "Thu, 01 Jan 1970 00:01:00 GMT".parse()?);
/// assert_eq!(retry_after(&headers, SystemTime::UNIX_EPOCH), Some(Duration::from_secs(60)));
/// headers.insert(header::RETRY_AFTER, "2".parse()?);
/// assert_eq!(retry_after(&headers, SystemTime::now()), Some(Duration::from_secs(2)));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // A date in the past means no wait.
    Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default())
}

/// The clock and randomness, injected so that tests need not wait.
///
/// ```
/// use std::pin::Pin;
/// use std::time::Duration;
///
/// use isobar_cloudflare::client::Timing;
///
/// /// Waits for nothing.
/// #[derive(Debug)]
/// struct AtOnce;
///
/// impl Timing for AtOnce {
///     fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
///         Box::pin(std::future::ready(()))
///     }
///     fn chance(&self) -> f64 {
///         1.0
///     }
/// }
/// ```
pub trait Timing: Debug + Send + Sync {
    /// Completes after this duration.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// Returns a random number in 0..1.
    fn chance(&self) -> f64;
}

/// tokio's clock and the system's randomness.
///
/// Needs a tokio runtime with its timer where a wait is polled; without one that panics, as tokio does.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTiming;

impl Timing for SystemTiming {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn chance(&self) -> f64 {
        // Without randomness every wait is the maximum.
        isobar_base::random::fraction().unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_are_jittered() {
        let retry = Retry::default().with_attempts(9).with_backoff(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<u128> =
            (1..9).filter_map(|attempt| Some(retry.delay(attempt, None, 1.0)?.as_millis())).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
        assert_eq!(retry.delay(9, None, 1.0), None);
        assert_eq!(retry.delay(3, None, 0.5), Some(Duration::from_millis(200)));
        assert_eq!(retry.delay(3, None, 0.0), Some(Duration::ZERO));
        assert_eq!(retry.with_attempts(u32::MAX).delay(1000, None, 1.0), Some(Duration::from_secs(1)));
        assert_eq!(Retry::never().delay(1, None, 1.0), None);
    }

    #[test]
    fn retry_after_is_waited_for_or_given_up() {
        let retry = Retry::default();
        let asked = Some(Duration::from_secs(60));
        assert!(retry.delay(1, asked, 0.5).is_some_and(|wait| wait >= Duration::from_secs(60)));
        assert_eq!(retry.delay(1, Some(Duration::from_secs(61)), 0.5), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:59:00 GMT").expect("the date is valid");
        let asked = |value: &str| {
            let value = value.parse().expect("the header is valid");
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]), now)
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::from_secs(59)));
        assert_eq!(asked("Thu, 31 Dec 1998 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }
}
