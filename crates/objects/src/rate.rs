//! Limits of what one client may send: token buckets.
//!
//! A bucket has one number: how much of its burst is spent, and when that was. Time gives back `per_second` of it, and an event
//! costs one. A refusal costs nothing, so a client that waits as it is told is let through. One that goes on all the same is
//! refused in silence after the first time, and cut off in the end.

use chrono::{DateTime, Utc};

/// Refusals in a row after which a client is cut off, unless its burst is larger.
const PATIENCE: u32 = 100;

/// A rate limit: a token bucket.
///
/// ```
/// use isobar_objects::Rate;
/// use isobar_objects::chat::ChatOptions;
///
/// // Ten commands at once, two per second in the long run; edits and deletions as by default.
/// let changes = ChatOptions::default().changes;
/// let options = ChatOptions::default().with_rates(Rate::new(10, 2.0), changes);
/// assert_eq!(options.commands.burst, 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Rate {
    /// Events that may come at once, after a pause.
    pub burst: u32,
    /// Events per second in the long run; counted as 0.001 where it is less.
    pub per_second: f64,
}

impl Rate {
    /// Creates a limit of `burst` events at once, and of `per_second` in the long run.
    ///
    /// A burst of 0 refuses everything. Both together bound a client: over a time of `t` seconds it sends `burst + per_second
    /// * t` events at most.
    ///
    /// ```
    /// use isobar_objects::Rate;
    /// // At most 5 + 0.5 * 60 = 35 events in any minute.
    /// let rate = Rate::new(5, 0.5);
    /// assert_eq!((rate.burst, rate.per_second), (5, 0.5));
    /// ```
    #[must_use]
    pub const fn new(burst: u32, per_second: f64) -> Self {
        Self { burst, per_second }
    }
}

/// The decision on one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted,
    /// Over the limit. The sender gets one error for a series: a client that reads nothing gains no queue by it.
    Refused {
        is_first: bool,
        retry_after_ms: i64,
    },
    /// So far over the limit that the client is cut off.
    Abusive,
}

/// The part of its rate that one client has spent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    spent: f64,
    at: i64,
    refused: u32,
}

impl Bucket {
    /// Decides on one event that comes now. A clock that goes back refills nothing and takes nothing.
    pub(crate) fn take(&mut self, rate: Rate, now: DateTime<Utc>) -> Verdict {
        self.refill(rate, now);
        if self.spent + 1.0 <= f64::from(rate.burst) {
            self.spent += 1.0;
            self.refused = self.refused.saturating_sub(1);
            return Verdict::Granted;
        }
        self.refused = self.refused.saturating_add(1);
        if self.refused > PATIENCE.max(rate.burst) {
            return Verdict::Abusive;
        }
        let missing = self.spent + 1.0 - f64::from(rate.burst);
        let retry_after_ms = (missing / rate.per_second.max(0.001) * 1000.0).ceil() as i64;
        Verdict::Refused { is_first: self.refused == 1, retry_after_ms }
    }

    /// Whether forgetting the bucket changes nothing.
    #[cfg(any(test, feature = "chat"))]
    pub(crate) fn is_full(&mut self, rate: Rate, now: DateTime<Utc>) -> bool {
        self.refill(rate, now);
        self.spent <= 0.0
    }

    /// Gives back what the time since the last event has earned.
    fn refill(&mut self, rate: Rate, now: DateTime<Utc>) {
        let now = now.timestamp_millis();
        let elapsed = (now - self.at).max(0) as f64 / 1000.0;
        self.at = now;
        self.spent = (self.spent - elapsed * rate.per_second).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_bucket_grants_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::default();
        let rate = Rate::new(3, 2.0);
        let now = Utc::now();
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, now), Verdict::Granted);
        }
        assert_eq!(bucket.take(rate, now), Verdict::Refused { is_first: true, retry_after_ms: 500 });
        assert_eq!(bucket.take(rate, now), Verdict::Refused { is_first: false, retry_after_ms: 500 });
        assert_eq!(bucket.take(rate, now + TimeDelta::milliseconds(500)), Verdict::Granted);
        assert!(!bucket.is_full(rate, now + TimeDelta::milliseconds(600)));
        assert!(bucket.is_full(rate, now + TimeDelta::seconds(10)));
        // A clock that was ahead for a moment neither locks the client out nor lets it go on for ever.
        bucket.take(rate, now + TimeDelta::days(365));
        let granted = (0..10).filter(|_| bucket.take(rate, now) == Verdict::Granted).count();
        assert_eq!(granted, 2);
        assert_eq!(bucket.take(rate, now + TimeDelta::milliseconds(500)), Verdict::Granted);
    }

    #[test]
    fn a_client_that_does_not_stop_is_abusive_at_twenty_times_its_rate() {
        let mut bucket = Bucket::default();
        let rate = Rate::new(60, 20.0);
        let start = Utc::now();
        let moderate = (0..400).map(|number| bucket.take(rate, start + TimeDelta::milliseconds(number * 45)));
        assert!(!moderate.into_iter().any(|verdict| verdict == Verdict::Abusive));
        let mut bucket = Bucket::default();
        let flood = (0..400).map(|number| bucket.take(rate, start + TimeDelta::microseconds(number * 2_500)));
        assert!(flood.into_iter().any(|verdict| verdict == Verdict::Abusive));
    }
}
