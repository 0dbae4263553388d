//! A limit on failed attempts to sign in, by address.
//!
//! The table is bounded, as addresses cost an attacker little. An address that is not in it counts as new, so forgetting one is
//! no more than a fresh start for it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use isobar_base::sync::IgnorePoison;

/// Most addresses that are remembered, about 4 MiB.
const ADDRESSES: usize = 65_536;

/// Counts failed attempts by address, and blocks an address with too many. An IPv6 network of 64 bits counts as one address.
///
/// Only failures are counted, which a rate limiter of tokens does not do: it takes from its budget before the outcome is known.
///
/// ```
/// use std::time::{Duration, Instant};
/// use isobar_gateway::keys::FailedAttempts;
///
/// let attempts = FailedAttempts::new(2, Duration::from_secs(60));
/// let address = "203.0.113.7".parse().unwrap();
/// let now = Instant::now();
/// attempts.note_failure(address, now);
/// assert_eq!(attempts.blocked_for(address, now), None);
/// attempts.note_failure(address, now);
/// assert_eq!(attempts.blocked_for(address, now), Some(Duration::from_secs(60)));
/// assert_eq!(attempts.blocked_for(address, now + Duration::from_secs(60)), None);
/// ```
#[derive(Debug)]
pub struct FailedAttempts {
    limit: u32,
    window: Duration,
    addresses: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Default for FailedAttempts {
    /// 60 failures a minute.
    fn default() -> Self {
        Self::new(60, Duration::from_secs(60))
    }
}

impl FailedAttempts {
    /// Returns a limit of this many failures within a window of time, which begins with an address's first failure.
    #[must_use]
    pub fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window, addresses: Mutex::default() }
    }

    /// Returns the time for which an address stays blocked; `None` where it is not.
    ///
    /// The clock is the caller's, as for [`note_failure`](Self::note_failure): tests need no waiting.
    #[must_use]
    pub fn blocked_for(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.addresses.lock().ignore_poison().get(&Self::counted(address)).copied()?;
        let left = self.window.checked_sub(now.duration_since(failures.since))?;
        (failures.count >= self.limit && !left.is_zero()).then_some(left)
    }

    /// Counts a failure.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use isobar_gateway::keys::FailedAttempts;
    ///
    /// let attempts = FailedAttempts::new(1, Duration::from_secs(60));
    /// let now = Instant::now();
    /// attempts.note_failure("2001:db8::1".parse().unwrap(), now);
    /// // Another address of the same /64, and one of another network.
    /// assert!(attempts.blocked_for("2001:db8::2".parse().unwrap(), now).is_some());
    /// assert!(attempts.blocked_for("2001:db8:0:1::1".parse().unwrap(), now).is_none());
    /// ```
    pub fn note_failure(&self, address: IpAddr, now: Instant) {
        let mut addresses = self.addresses.lock().ignore_poison();
        if addresses.len() >= ADDRESSES {
            addresses.retain(|_, failures| now.duration_since(failures.since) < self.window);
            // Still full: attempts from this many networks within a window are no business of a limit by address.
            if addresses.len() >= ADDRESSES {
                addresses.clear();
            }
        }
        let failures = addresses.entry(Self::counted(address)).or_insert(Failures { since: now, count: 0 });
        if now.duration_since(failures.since) >= self.window {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// The address as it is counted: itself, or the network of 64 bits that one client usually has.
    pub(crate) fn counted(address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
            address => address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_counted_apart_and_networks_together() {
        let attempts = FailedAttempts::new(2, Duration::from_secs(10));
        let now = Instant::now();
        for from in ["10.0.0.1", "2001:db8::1", "2001:db8::2"] {
            attempts.note_failure(address(from), now);
        }
        assert_eq!(attempts.blocked_for(address("10.0.0.1"), now), None);
        assert!(attempts.blocked_for(address("2001:db8::3"), now).is_some());
        assert_eq!(attempts.blocked_for(address("2001:db8:0:1::"), now), None);
        attempts.note_failure(address("::ffff:10.0.0.1"), now);
        assert!(attempts.blocked_for(address("10.0.0.1"), now).is_some());
    }

    #[test]
    fn window_begins_anew_after_its_end() {
        let attempts = FailedAttempts::new(1, Duration::from_secs(10));
        let now = Instant::now();
        attempts.note_failure(address("10.0.0.1"), now);
        let later = now + Duration::from_secs(11);
        assert_eq!(attempts.blocked_for(address("10.0.0.1"), later), None);
        attempts.note_failure(address("10.0.0.1"), later);
        assert!(attempts.blocked_for(address("10.0.0.1"), later).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let attempts = FailedAttempts::new(1, Duration::from_secs(10));
        let now = Instant::now();
        for number in 0..=ADDRESSES as u32 {
            attempts.note_failure(IpAddr::V4(number.into()), now);
        }
        assert!(attempts.addresses.lock().unwrap().len() <= ADDRESSES);
    }
}
