//! Waits between attempts: exponential, bounded, with jitter. Pure: the caller draws the randomness and sleeps.

use std::time::Duration;

/// Waits that double after each failure, up to a cap.
///
/// ```
/// use std::time::Duration;
///
/// use isobar_base::backoff::Backoff;
///
/// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// assert_eq!(backoff.longest(1), Duration::from_millis(100));
/// assert_eq!(backoff.longest(3), Duration::from_millis(400));
/// assert_eq!(backoff.longest(9), Duration::from_secs(1));
///
/// // Full jitter: clients that failed together do not come back together.
/// let share = isobar_base::random::fraction().unwrap_or(1.0);
/// assert!(backoff.jittered(3, share) <= backoff.longest(3));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// Creates a backoff whose longest wait is `base` after the first failure and never more than `cap`.
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// Returns the longest wait after this many failures, counted from 1; 0 counts as 1.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_base::backoff::Backoff;
    ///
    /// const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    /// let waits: Vec<u64> = (1..=8).map(|failures| RETRY.longest(failures).as_secs()).collect();
    /// assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    /// ```
    #[must_use]
    pub fn longest(&self, failures: u32) -> Duration {
        let factor = 2u32.saturating_pow(failures.saturating_sub(1));
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// Returns this share of the [longest](Self::longest) wait: full jitter for a random share. A share outside of 0..=1 counts
    /// as the nearer bound, and one that is not a number as 1.
    #[must_use]
    pub fn jittered(&self, failures: u32, share: f64) -> Duration {
        let share = if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) };
        let longest = self.longest(failures);
        // A float may be above the longest wait, and above the longest that there is.
        Duration::try_from_secs_f64(longest.as_secs_f64() * share).map_or(longest, |wait| wait.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_never_overflow() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits = [0, 1, 2, 3, 4, 5, 33, u32::MAX].map(|failures| backoff.longest(failures).as_millis());
        assert_eq!(waits, [100, 100, 200, 400, 800, 1000, 1000, 1000]);
        let unbounded = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(unbounded.longest(u32::MAX), Duration::MAX);
    }

    #[test]
    fn a_share_outside_of_its_bounds_counts_as_the_nearer_bound() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits = [0.0, 0.5, 1.0, -1.0, 7.0, f64::NAN].map(|share| backoff.jittered(2, share).as_millis());
        assert_eq!(waits, [0, 100, 200, 0, 200, 200]);
        let unbounded = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(unbounded.jittered(1, 1.0), Duration::MAX);
        assert!(unbounded.jittered(1, 0.5) < Duration::MAX);
    }
}
