//! XChaCha20-Poly1305 and the form of a sealed value.
//!
//! ```text
//! sealed value   version 1 u8 | algorithm 1 u8 | data key u32 big-endian | nonce 24 | ciphertext and tag 16
//! associated     the first six bytes, and the cell: database, table, column, kind of the key, key; each with its length before it
//! ```
//! XChaCha20's nonce of 24 bytes may be drawn at random for any number of values. The version and the algorithm are
//! bytes of their own, so that a later form can stand beside this one in a database.

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::{Secret, sealed_error};
use crate::{Error, ErrorKind, Result};

/// The length of every key.
pub(super) const KEY_BYTES: usize = 32;
const VERSION: u8 = 1;
const XCHACHA20_POLY1305: u8 = 1;
const NONCE_BYTES: usize = 24;
pub(super) const HEADER_BYTES: usize = 6;

/// Bytes before the nonce: version, algorithm, and the data key's id. They are authenticated with the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: u32,
}

impl Header {
    /// The bytes with which every sealed value of this version begins.
    pub(super) const START: [u8; 2] = [VERSION, XCHACHA20_POLY1305];
    /// The length of the shortest sealed value: the header, the nonce and the tag.
    pub(super) const SEALED_BYTES: usize = HEADER_BYTES + NONCE_BYTES + 16;

    pub(super) fn new(key: u32) -> Self {
        Self { key }
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = self.key.to_be_bytes();
        [VERSION, XCHACHA20_POLY1305, a, b, c, d]
    }

    pub(super) fn read(sealed: &[u8]) -> Result<Self> {
        match sealed {
            [VERSION, XCHACHA20_POLY1305, a, b, c, d, rest @ ..] if rest.len() >= NONCE_BYTES + 16 => {
                Ok(Self { key: u32::from_be_bytes([*a, *b, *c, *d]) })
            }
            [VERSION, XCHACHA20_POLY1305, ..] => Err(sealed_error("the sealed value is cut short")),
            [version, algorithm, ..] => {
                let what = format!("version {version} and algorithm {algorithm}");
                Err(sealed_error(format!("a value of {what} is not a sealed value, or one of a later isobar")))
            }
            _ => Err(sealed_error("the value is not sealed")),
        }
    }
}

/// Seals under a key. The nonce is random; without randomness nothing is sealed.
pub(super) fn seal(key: &[u8; KEY_BYTES], header: Header, associated: &[u8], plain: &[u8]) -> Result<Bytes> {
    let nonce: [u8; NONCE_BYTES] = isobar_base::random::bytes()?;
    let aad = [&header.to_bytes(), associated].concat();
    let payload = Payload { msg: plain, aad: &aad };
    let ciphertext = XChaCha20Poly1305::new(key.into()).encrypt(XNonce::from_slice(&nonce), payload);
    let ciphertext = ciphertext.map_err(|_| Error::new(ErrorKind::TooBig, "the value is too large to seal"))?;
    Ok([&header.to_bytes()[..], &nonce, &ciphertext].concat().into())
}

/// Opens a value whose header has been read. One error stands for every cause: which of key, place and bytes is
/// wrong cannot be known.
pub(super) fn open(key: &[u8; KEY_BYTES], header: Header, associated: &[u8], sealed: &[u8]) -> Result<Secret> {
    let (nonce, ciphertext) = sealed[HEADER_BYTES..].split_at(NONCE_BYTES);
    let aad = [&header.to_bytes(), associated].concat();
    let payload = Payload { msg: ciphertext, aad: &aad };
    let plain = XChaCha20Poly1305::new(key.into()).decrypt(XNonce::from_slice(nonce), payload);
    plain
        .map(Secret::new)
        .map_err(|_| sealed_error("the value was sealed for another place, under another key, or changed"))
}
