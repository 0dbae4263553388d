//! Tokens: 256 bits of randomness, known to the database by their hash alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use isobar_db::Result;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A new token: 43 characters of base64url.
pub(super) fn new() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// Returns the hash of a token that the database stores. The token cannot be derived from it; 256 bits need no slow hash.
pub(super) fn hash(token: &str) -> Bytes {
    hash_bytes(token.as_bytes())
}

pub(super) fn hash_bytes(token: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(token))
}

/// Whether a token has this hash, in a time that does not tell.
pub(super) fn matches(token: &str, expected: &[u8]) -> bool {
    hash(token).ct_eq(expected).into()
}

pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    Ok(isobar_base::random::bytes()?)
}
