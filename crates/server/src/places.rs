//! Limits of concurrent connections, in all and from one address.
//!
//! A connection takes two places: one of all, when it is accepted, and one of its address, when that is known (behind a proxy it
//! is known later). IPv6 counts by networks of 64 bits, as one client has all addresses of its own. Both are given back when the
//! connection ends, however it does.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use isobar_base::sync::IgnorePoison;

/// Places for connections.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    most_per_address: usize,
    taken: AtomicUsize,
    by_address: Mutex<HashMap<u128, usize>>,
}

/// The place of a connection; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: Option<u128>,
}

impl Places {
    pub(crate) fn new(most: usize, most_per_address: usize) -> Self {
        Self { most, most_per_address, taken: AtomicUsize::new(0), by_address: Mutex::default() }
    }

    /// A place, if there is one.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place { places: Arc::clone(self), address: None })
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<u128, usize>> {
        // Changed in single steps.
        self.by_address.lock().ignore_poison()
    }
}

impl Place {
    /// Counts the connection for its address; `None` where that has all that one address may have. The place among all is given back then, as
    /// it is dropped here.
    pub(crate) fn of(mut self, address: IpAddr) -> Option<Self> {
        let network = network(address);
        let mut by_address = self.places.by_address();
        let taken = by_address.entry(network).or_default();
        if *taken >= self.places.most_per_address {
            return None;
        }
        *taken += 1;
        drop(by_address);
        self.address = Some(network);
        Some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut by_address = self.places.by_address();
        if let Some(taken) = by_address.get_mut(&address) {
            *taken -= 1;
            if *taken == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// An address as it is counted: of IPv6 the network, because one client has 2^64 addresses.
pub(crate) fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_all_and_by_address() {
        let places = Arc::new(Places::new(3, 2));
        let take = |address: &str| places.take().and_then(|place| place.of(address.parse().unwrap()));
        let first = take("10.0.0.1").unwrap();
        let second = take("::ffff:10.0.0.1").unwrap();
        assert!(take("10.0.0.1").is_none(), "two for one address");
        let other = take("2001:db8::1").unwrap();
        assert!(take("2001:db8::2").is_none() && places.take().is_none(), "three in all");
        drop((first, other));
        assert!(take("2001:db8::1").is_some() && take("10.0.0.1").is_some());
        drop(second);
        assert!(places.by_address().is_empty(), "nothing is kept of addresses that have gone");
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
    }
}
