//! Comparing a body with the digest of its object.
//!
//! It is the second line behind CRCs: for blobs and rows that were written before there were any, and for `fsck`, which trusts no sum that lies
//! beside the bytes. The digest of an object out of parts is that of its parts' digests, so it has to know where each part ends.

use md5::Md5;
use sha2::Digest;

use crate::{ChecksumAlgorithm, Error, ErrorKind, ObjectMeta, Result};

/// Hashes an object's whole body as it is read: its md5, or, of a multipart object, the md5 of its segments' md5s, which is
/// what its etag begins with.
#[derive(Debug)]
pub(super) struct Verify {
    key: String,
    expected: String,
    running: Md5,
    /// Of a multipart object: the digests of the segments that are over, and their number.
    segments: Option<(Md5, usize)>,
    /// Segments without bytes, which no chunk ends.
    empty: usize,
}

impl Verify {
    /// Expects the body that the metadata describe; `empty` of its segments have no bytes: the last part may be empty.
    pub(super) fn of(meta: &ObjectMeta, empty: usize) -> Self {
        let md5 = meta.checksum(ChecksumAlgorithm::Md5).map(|md5| md5.hex.clone());
        let segments = md5.is_none().then(|| (Md5::new(), 0));
        let expected = md5.unwrap_or_else(|| meta.etag.clone());
        Self { key: meta.key.to_string(), expected, running: Md5::new(), segments, empty }
    }

    /// Compares a body that is at hand, and was put whole.
    pub(super) fn whole(meta: &ObjectMeta, body: &[u8]) -> Result<()> {
        let mut verify = Self::of(meta, 0);
        verify.update(body, true);
        verify.finish()
    }

    /// More bytes, which may end a segment.
    pub(super) fn update(&mut self, bytes: &[u8], ends_segment: bool) {
        self.running.update(bytes);
        if ends_segment && let Some((digests, count)) = &mut self.segments {
            digests.update(std::mem::take(&mut self.running).finalize());
            *count += 1;
        }
    }

    /// Compares.
    pub(super) fn finish(mut self) -> Result<()> {
        for _ in 0..self.empty {
            self.update(&[], true);
        }
        let got = match self.segments {
            None => hex::encode(self.running.finalize()),
            Some((digests, count)) => format!("{}-{count}", hex::encode(digests.finalize())),
        };
        if got == self.expected {
            return Ok(());
        }
        let message = format!("the body of {} is not what was stored: {got} instead of {}", self.key, self.expected);
        Err(Error::new(ErrorKind::Corrupt, message))
    }
}
