//! Randomness of the system: unpredictable, on wasm32 that of JavaScript.

use std::error::Error;
use std::fmt;

/// The system has no randomness. It displays as `no randomness from the system: <cause>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRandomness(getrandom::Error);

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no randomness from the system: {}", self.0)
    }
}

impl Error for NoRandomness {}

/// Fills a buffer with random bytes.
///
/// # Errors
/// When the system has no randomness; what the buffer holds then is not to be used.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(NoRandomness)
}

/// Returns `N` random bytes.
///
/// ```
/// let key: [u8; 32] = isobar_base::random::bytes()?;
/// assert_ne!(key, isobar_base::random::bytes()?);
/// # Ok::<(), isobar_base::random::NoRandomness>(())
/// ```
///
/// # Errors
/// When the system has no randomness.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Returns 128 random bits as 32 lower-case hexadecimal digits: an id that cannot be guessed and that does not come twice.
///
/// # Errors
/// When the system has no randomness.
///
/// ```
/// let id = isobar_base::random::hex_id()?;
/// assert_eq!(id.len(), 32);
/// assert_ne!(id, isobar_base::random::hex_id()?);
/// # Ok::<(), isobar_base::random::NoRandomness>(())
/// ```
pub fn hex_id() -> Result<String, NoRandomness> {
    Ok(format!("{:032x}", u128::from_be_bytes(bytes()?)))
}

/// Returns a random number from 0 to below 1, for jitter; `None` where the system has no randomness.
///
/// ```
/// let share = isobar_base::random::fraction().unwrap_or(1.0);
/// assert!((0.0..=1.0).contains(&share));
/// ```
#[must_use]
pub fn fraction() -> Option<f64> {
    let bytes = bytes().ok()?;
    Some(f64::from(u32::from_le_bytes(bytes)) / 2f64.powi(32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_lower_case_digits_and_differ() {
        let ids: Vec<String> = (0..64).map(|_| hex_id().unwrap()).collect();
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte))));
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    }

    #[test]
    fn fractions_are_at_least_0_and_below_1_and_differ() {
        let fractions: Vec<f64> = (0..64).map(|_| fraction().unwrap()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)), "{fractions:?}");
        assert!(fractions.iter().any(|fraction| *fraction < 0.5) && fractions.iter().any(|fraction| *fraction >= 0.5));
    }
}
