//! Randomness for ids, tokens and keys.

use isobar_sessions::{Error, ErrorKind, Result};

/// Returns random bytes that cannot be guessed.
///
/// # Errors
/// [`ErrorKind::Internal`] when the system has no randomness.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let failed = |error| Error::new(ErrorKind::Internal, format!("no randomness: {error}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
