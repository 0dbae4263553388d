//! Storage of the bodies of cached responses.
//!
//! Short bodies are plain bytes. Longer ones are kept in a file in memory where the system has such files (Linux; see
//! `linux.rs`), from which the kernel sends them without a copy.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod region;
#[cfg(not(target_os = "linux"))]
#[path = "other.rs"]
mod region;

use bytes::{Buf, Bytes};
use isobar_storage::{ByteRange, Error};
use sha2::{Digest, Sha256};

pub(crate) use region::Arena;
pub use region::Region;

/// Size of a read from a region, in bytes.
pub(crate) const CHUNK: usize = 64 * 1024;

/// The body of a cached response. Cloning copies no bytes. A server that cannot send a region reads it.
///
/// ```
/// use isobar_site::KeptBody;
///
/// let mut body = KeptBody::Bytes("hello".into());
/// body.advance(2);
/// assert_eq!((body.len(), body.read()?), (3, "llo".into()));
/// # Ok::<_, isobar_storage::Error>(())
/// ```
#[derive(Debug, Clone)]
pub enum KeptBody {
    /// In the memory of the process.
    Bytes(Bytes),
    /// In a file in memory, from which the kernel can send.
    Region(Region),
}

impl Default for KeptBody {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

impl KeptBody {
    /// Largest body, in bytes, that is kept as plain bytes: copying it behind its head costs less than another system call.
    pub const COPIED_BYTES: usize = 8 * 1024;

    /// Stores a body where it is best sent from: in the arena if there is one and the body is longer than
    /// [`COPIED_BYTES`](Self::COPIED_BYTES). A body that the arena does not take stays plain bytes.
    pub(crate) fn new(bytes: Bytes, arena: Option<&Arena>) -> Self {
        let region = arena.filter(|_| bytes.len() > Self::COPIED_BYTES).and_then(|arena| arena.put(&bytes).ok());
        region.map_or(Self::Bytes(bytes), Self::Region)
    }

    /// Returns its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Region(region) => region.len(),
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the first `count` bytes, or all of them if there are fewer.
    pub fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count.min(bytes.len())),
            Self::Region(region) => region.advance(count),
        }
    }

    /// Returns the memory that it takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Region(region) => region.weight(),
        }
    }

    /// Returns a part of the body. The range must lie within it.
    pub(crate) fn slice(&self, ByteRange { offset, length }: ByteRange) -> Self {
        // It is in memory, so positions fit usize.
        let range = offset as usize..(offset + length) as usize;
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.slice(range)),
            Self::Region(region) => Self::Region(region.slice(range)),
        }
    }

    /// Calls `show` with each chunk in turn.
    fn for_each_chunk(&self, mut show: impl FnMut(&[u8])) -> Result<(), Error> {
        match self {
            Self::Bytes(bytes) => show(bytes),
            Self::Region(region) => {
                let mut rest = region.clone();
                while !rest.is_empty() {
                    show(&rest.take(CHUNK)?);
                }
            }
        }
        Ok(())
    }

    /// Computes the sha-256 of the body.
    ///
    /// # Errors
    /// `Internal` where the file in memory cannot be read.
    pub(crate) fn sha256(&self) -> Result<[u8; 32], Error> {
        let mut hash = Sha256::new();
        self.for_each_chunk(|chunk| hash.update(chunk))?;
        Ok(hash.finalize().into())
    }

    /// Returns the whole body; the bytes of a region are copied.
    ///
    /// # Errors
    ///
    /// `Internal` where the file in memory cannot be read.
    pub fn read(&self) -> Result<Bytes, Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Region(region) => region.read(0..region.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(offset: u64, length: u64) -> ByteRange {
        ByteRange { offset, length }
    }

    #[test]
    fn stored_body_and_its_parts_are_unchanged() {
        let arena = Arena::new();
        let bytes: Bytes = (0..100_000_u32).map(|at| (at * 7 % 251) as u8).collect::<Vec<_>>().into();
        let kept = KeptBody::new(bytes.clone(), arena.as_ref());
        assert_eq!(matches!(kept, KeptBody::Region(_)), arena.is_some());
        assert_eq!((kept.len(), kept.read().unwrap()), (bytes.len(), bytes.clone()));
        let part = kept.slice(range(4_095, 70_000));
        assert_eq!(part.read().unwrap(), bytes.slice(4_095..74_095));
        let mut chunks = Vec::new();
        part.for_each_chunk(|chunk| chunks.extend_from_slice(chunk)).unwrap();
        assert_eq!(chunks, bytes.slice(4_095..74_095));
        let mut rest = part.clone();
        rest.advance(69_000);
        assert_eq!(rest.read().unwrap(), bytes.slice(73_095..74_095));
        rest.advance(1_001);
        assert!(rest.is_empty());
        assert_eq!(part.slice(range(1, 2)).read().unwrap(), bytes.slice(4_096..4_098));
    }

    #[test]
    fn short_bodies_stay_plain() {
        let arena = Arena::new();
        assert!(matches!(
            KeptBody::new(Bytes::from(vec![1; KeptBody::COPIED_BYTES]), arena.as_ref()),
            KeptBody::Bytes(_)
        ));
    }
}
