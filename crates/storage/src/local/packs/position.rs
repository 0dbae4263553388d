//! Positions in the packs.

use std::collections::BTreeMap;

/// Weight of an object in its pack besides its body, in bytes: about the size of its metadata.
pub(in crate::local) const HEAD_WEIGHT: u64 = 256;

/// Where a small body lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::local) struct PackLocation {
    pub(in crate::local) pack: u64,
    pub(in crate::local) position: u64,
    pub(in crate::local) size: u64,
    /// The CRC-32 of the body; `None` in rows of indexes before version 4.
    pub(in crate::local) crc: Option<u32>,
}

impl PackLocation {
    /// Whether it is the same place, whatever is known of the CRC.
    pub(in crate::local) fn is_at(self, other: Self) -> bool {
        (self.pack, self.position, self.size) == (other.pack, other.position, other.size)
    }

    /// Returns the bytes that count in the decision whether a pack is worth its room.
    pub(in crate::local) fn weight(&self) -> u64 {
        self.size + HEAD_WEIGHT
    }
}

/// Where the next frame goes, and the id of the one that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::local) struct LogPosition {
    pub(in crate::local) pack: u64,
    pub(in crate::local) position: u64,
    pub(in crate::local) last: u64,
}

impl LogPosition {
    /// Where a frame would go that begins the next pack.
    pub(in crate::local) fn next_pack(self) -> Self {
        Self { pack: self.pack + 1, position: 0, ..self }
    }
}

/// Packs, and how many bytes each has.
pub(in crate::local) type Sizes = BTreeMap<u64, u64>;
