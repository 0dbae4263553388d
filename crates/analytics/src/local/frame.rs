//! The format of one event on disk.
//!
//! ```text
//! length: u32 | check: u32 | payload
//! check: crc32 of the payload, XOR crc32 of the frame's position in its segment as u64. So bytes within an event are never taken
//!        for a frame, whatever its writer put there. In segments of the first format: crc32 of the payload
//! payload: timestamp ms: i64 | counts of indexes, blobs, doubles: u8 each | (length: u16, bytes) for each index and
//!          blob | f64 for each double        (all little-endian)
//! ```

use bytes::{Buf, BufMut, Bytes};
use chrono::{DateTime, Utc};

use crate::{DataPoint, Event};

/// Size limit of a payload in bytes. No valid event is larger: 96 + 16 KiB + 160 bytes and their lengths.
const MAX_PAYLOAD: usize = 32 * 1024;

/// Appends an event's frame, whose position is not known yet: see [`place`]. The event is within the limits, so every count and
/// length fits.
pub(super) fn encode(event: &Event, into: &mut Vec<u8>) {
    let DataPoint { indexes, blobs, doubles } = &event.point;
    let start = into.len();
    into.put_u64_le(0); // length and checksum, known below
    into.put_i64_le(event.timestamp.timestamp_millis());
    into.put_slice(&[indexes.len() as u8, blobs.len() as u8, doubles.len() as u8]);
    for bytes in indexes.iter().chain(blobs) {
        into.put_u16_le(bytes.len() as u16);
        into.put_slice(bytes);
    }
    doubles.iter().for_each(|double| into.put_f64_le(*double));
    let payload = start + 8;
    let length = (into.len() - payload) as u32;
    let crc = crc32fast::hash(&into[payload..]);
    into[start..start + 4].copy_from_slice(&length.to_le_bytes());
    into[start + 4..payload].copy_from_slice(&crc.to_le_bytes());
}

/// Binds frames that were [encoded](encode) one behind the other to their position in a segment.
pub(super) fn place(frames: &mut [u8], position: u64) {
    let mut at = 0;
    while at < frames.len() {
        let word = |at: usize| u32::from_le_bytes(frames[at..at + 4].try_into().expect("the slice has four bytes"));
        let length = word(at) as usize;
        let check = word(at + 4) ^ position_check(Some(position + at as u64));
        frames[at + 4..at + HEADER].copy_from_slice(&check.to_le_bytes());
        at += HEADER + length;
    }
}

/// The part of the check that is the position's; none in the first format.
fn position_check(position: Option<u64>) -> u32 {
    position.map_or(0, |position| crc32fast::hash(&position.to_le_bytes()))
}

/// Size in bytes of the header: the payload's length and checksum.
pub(super) const HEADER: usize = 8;
/// Size in bytes of the shortest payload: a time and three counts.
const MIN_PAYLOAD: usize = 11;
/// Size in bytes of the longest frame.
pub(super) const MAX_FRAME: usize = HEADER + MAX_PAYLOAD;

/// A frame with a valid checksum.
pub(super) struct Frame<'b> {
    pub(super) timestamp: DateTime<Utc>,
    payload: &'b [u8],
}

impl<'b> Frame<'b> {
    /// The frame at the beginning of these bytes, which are at this position of their segment; `None` where it is torn, damaged, or
    /// was not written there. In segments of the first format no position is given.
    pub(super) fn read(bytes: &'b [u8], position: Option<u64>) -> Option<Self> {
        let length = claimed_length(bytes)?;
        let mut crc = &bytes[4..HEADER];
        let payload = bytes.get(HEADER..HEADER + length)?;
        if crc32fast::hash(payload) ^ position_check(position) != crc.get_u32_le() {
            return None;
        }
        let mut time = payload;
        Some(Self { timestamp: DateTime::from_timestamp_millis(time.get_i64_le())?, payload })
    }

    /// Returns the size of the frame in bytes.
    pub(super) fn length(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// Decodes the event; `None` where the payload does not have this format.
    pub(super) fn event(&self) -> Option<Event> {
        let mut payload = &self.payload[8..];
        let mut counts = [0; 3];
        payload.try_copy_to_slice(&mut counts).ok()?;
        let mut bytes = || {
            let length = usize::from(payload.try_get_u16_le().ok()?);
            let (bytes, rest) = payload.split_at_checked(length)?;
            payload = rest;
            Some(Bytes::copy_from_slice(bytes))
        };
        let indexes = (0..counts[0]).map(|_| bytes()).collect::<Option<_>>()?;
        let blobs = (0..counts[1]).map(|_| bytes()).collect::<Option<_>>()?;
        let doubles = (0..counts[2]).map(|_| payload.try_get_f64_le().ok()).collect::<Option<_>>()?;
        Some(Event { timestamp: self.timestamp, point: DataPoint { indexes, blobs, doubles } })
    }
}

/// Returns the length of the payload by the header at the start of these bytes; `None` where no frame has this length.
pub(super) fn claimed_length(bytes: &[u8]) -> Option<usize> {
    let mut header = bytes.get(..HEADER)?;
    let length = header.get_u32_le() as usize;
    (MIN_PAYLOAD..=MAX_PAYLOAD).contains(&length).then_some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_round_trip_and_damage_is_detected(
            index in prop::collection::vec(any::<u8>(), 0..96),
            blobs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
            doubles in prop::collection::vec(-1e9..1e9, 0..20), cut in 1usize..8, flip in any::<prop::sample::Index>(),
            position in 0u64..1 << 40,
        ) {
            let point = DataPoint { indexes: vec![index.into()], blobs: blobs.into_iter().map(Bytes::from).collect(), doubles };
            let event = Event { timestamp: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(), point };
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            prop_assert!(Frame::read(&bytes, None).is_some(), "the first format");
            let first = bytes.len();
            encode(&event, &mut bytes);
            place(&mut bytes, position);
            let next = Frame::read(&bytes[first..], Some(position + first as u64)).unwrap();
            prop_assert_eq!(next.event(), Some(event.clone()));
            prop_assert!(Frame::read(&bytes[first..], Some(position)).is_none() && Frame::read(&bytes, None).is_none());
            bytes.truncate(first);
            let whole = Frame::read(&bytes, Some(position)).unwrap();
            prop_assert_eq!(whole.length(), bytes.len());
            prop_assert_eq!(whole.event(), Some(event.clone()));
            prop_assert!(Frame::read(&bytes[..bytes.len() - cut], Some(position)).is_none());
            let at = flip.index(bytes.len());
            bytes[at] ^= 1;
            prop_assert!(Frame::read(&bytes, Some(position)).is_none());
        }
    }
}
