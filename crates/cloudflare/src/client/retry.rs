//! When to repeat a request, and after how long: pure, with time and chance injected.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// How often and after how long a request is repeated: exponential backoff with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// How often a request is sent at most; 1 repeats nothing.
    pub attempts: u32,
    /// What the wait after the first attempt is at most; it doubles with each.
    pub base: Duration,
    /// What it never grows beyond.
    pub cap: Duration,
    /// The longest `Retry-After` that is waited for; a longer one is an answer.
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
    /// Repeats nothing.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// How often a request is sent at most.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// What the first wait is at most, and what no wait is longer than.
    #[must_use]
    pub fn with_backoff(mut self, base: Duration, cap: Duration) -> Self {
        (self.base, self.cap) = (base, cap);
        self
    }

    /// The wait after `attempt` (from 1) has failed; `None` when it was the last, or the server asks for more patience
    /// than there is. `chance` is in 0..1: many clients that failed together must not come back together.
    #[must_use]
    pub fn delay(&self, attempt: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
        if attempt >= self.attempts || asked.is_some_and(|asked| asked > self.patience) {
            return None;
        }
        let doubled = self.base.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1)));
        let jittered = doubled.min(self.cap).mul_f64(chance.clamp(0.0, 1.0));
        Some(asked.unwrap_or_default().saturating_add(jittered))
    }
}

/// What `Retry-After` asks for: seconds, or a date (RFC 9110 10.2.3); what is neither asks for nothing.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // A date that has passed asks for nothing more.
    Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default())
}

/// Time and chance, injected so that waits can be tested without waiting.
pub trait Timing: Debug + Send + Sync {
    /// Done after this long.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// A number in 0..1.
    fn chance(&self) -> f64;
}

/// The clock of tokio and the system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemTiming;

impl Timing for SystemTiming {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn chance(&self) -> f64 {
        // Without randomness every wait is the whole one.
        getrandom::u32().map_or(1.0, |random| f64::from(random) / 2f64.powi(32))
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
    fn what_the_server_asks_for_is_waited_for_or_given_up() {
        let retry = Retry::default();
        let asked = Some(Duration::from_secs(60));
        assert!(retry.delay(1, asked, 0.5).is_some_and(|wait| wait >= Duration::from_secs(60)));
        assert_eq!(retry.delay(1, Some(Duration::from_secs(61)), 0.5), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:59:00 GMT").expect("a date");
        let asked = |value: &str| {
            let value = value.parse().expect("a header");
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]), now)
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::from_secs(59)));
        assert_eq!(asked("Thu, 31 Dec 1998 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }
}
