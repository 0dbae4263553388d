//! The format of one event on disk.
//!
//! ```text
//! length: u32 | check: u32 | payload
//! check: crc32 of the payload, XOR crc32 of the frame's position in its segment as u64. So bytes within an event are never taken
//!        for a frame, whatever its writer put there. In segments of the first format: crc32 of the payload
//! payload: timestamp ms: i64 | counts of indexes, blobs, doubles: u8 each | sample interval: u32, where the count of indexes has the
//!          highest bit | (length: u16, bytes) for each index and blob | f64 for each double        (all little-endian)
//! ```

use bytes::{Buf, BufMut};
use chrono::{DateTime, Utc};

use crate::{Event, PointRef, limits};

/// Size limit of a payload in bytes. No valid event is larger: 96 + 16 KiB + 160 bytes and their lengths.
const MAX_PAYLOAD: usize = 32 * 1024;

/// Marks, in the count of indexes, a frame that has a sample interval.
const SAMPLED: u8 = 0x80;

/// The time of an event, and the number of points for which it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) milliseconds: i64,
    pub(crate) sample_interval: u32,
}

impl Stamp {
    /// Returns the stamp of an event that stands for itself alone.
    pub(crate) fn at(milliseconds: i64) -> Self {
        Self { milliseconds, sample_interval: 1 }
    }
}

/// Appends a point's frame, whose checksum is not known yet: see [`seal`]. The point is within the limits, so every count and
/// length fits.
pub(crate) fn encode(stamp: Stamp, point: &PointRef<'_>, into: &mut Vec<u8>) {
    let PointRef { index, blobs, doubles } = point;
    let length = size(stamp, point) - HEADER;
    let is_sampled = stamp.sample_interval != 1;
    let indexes = u8::from(index.is_some()) | if is_sampled { SAMPLED } else { 0 };
    let mut head = [0; HEADER + MIN_PAYLOAD];
    head[..4].copy_from_slice(&(length as u32).to_le_bytes());
    head[HEADER..HEADER + 8].copy_from_slice(&stamp.milliseconds.to_le_bytes());
    head[HEADER + 8..].copy_from_slice(&[indexes, blobs.len() as u8, doubles.len() as u8]);
    into.put_slice(&head);
    if is_sampled {
        into.put_u32_le(stamp.sample_interval);
    }
    for bytes in index.iter().chain(blobs.iter()) {
        into.put_u16_le(bytes.len() as u16);
        into.put_slice(bytes);
    }
    doubles.iter().for_each(|double| into.put_f64_le(*double));
}

/// Returns the size in bytes of a point's frame.
pub(crate) fn size(stamp: Stamp, point: &PointRef<'_>) -> usize {
    let PointRef { index, blobs, doubles } = point;
    let bytes = index.iter().chain(blobs.iter()).map(|bytes| 2 + bytes.len()).sum::<usize>();
    let interval = if stamp.sample_interval == 1 { 0 } else { size_of::<u32>() };
    HEADER + MIN_PAYLOAD + interval + bytes + 8 * doubles.len()
}

/// Returns the size in bytes of the [encoded](encode) frame at the beginning of these bytes.
pub(crate) fn length(frames: &[u8]) -> usize {
    HEADER + u32::from_le_bytes(frames[..4].try_into().expect("the slice has four bytes")) as usize
}

/// Returns how many bytes and frames, of those that were [encoded](encode) one behind the other, fit into this many bytes; one
/// at least.
pub(crate) fn fitting(frames: &[u8], room: u64) -> (usize, u64) {
    let mut end = length(frames);
    let mut count = 1;
    while end < frames.len() && (end + length(&frames[end..])) as u64 <= room {
        end += length(&frames[end..]);
        count += 1;
    }
    (end, count)
}

/// Adds the checksums of frames that were [encoded](encode) one behind the other, and binds them to their position in a segment;
/// to none in the first format.
///
/// Done by the writer thread and not by those who write, as the position is known only when the segment is.
pub(crate) fn seal(frames: &mut [u8], position: Option<u64>) {
    let mut at = 0;
    while at < frames.len() {
        let end = at + length(&frames[at..]);
        let crc = crc32fast::hash(&frames[at + HEADER..end]);
        let check = crc ^ position_check(position.map(|position| position + at as u64));
        frames[at + 4..at + HEADER].copy_from_slice(&check.to_le_bytes());
        at = end;
    }
}

/// The part of the check that is the position's; none in the first format.
fn position_check(position: Option<u64>) -> u32 {
    position.map_or(0, |position| crc32fast::hash(&position.to_le_bytes()))
}

/// Size in bytes of the header: the payload's length (4) and checksum (4).
pub(crate) const HEADER: usize = 8;
/// Size in bytes of the shortest payload: a time and three counts.
const MIN_PAYLOAD: usize = 11;
/// Size in bytes of the longest frame.
pub(crate) const MAX_FRAME: usize = HEADER + MAX_PAYLOAD;

/// A frame with a valid checksum. Its payload is not decoded yet: a reader that wants times alone, or skips by them, does not pay for texts.
pub(crate) struct Frame<'b> {
    pub(crate) timestamp: DateTime<Utc>,
    payload: &'b [u8],
}

impl<'b> Frame<'b> {
    /// The frame at the beginning of these bytes, which are at this position of their segment; `None` where it is torn, damaged, or
    /// was not written there. In segments of the first format no position is given.
    pub(crate) fn read(bytes: &'b [u8], position: Option<u64>) -> Option<Self> {
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
    pub(crate) fn length(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// Decodes the event; `None` where the payload does not have this format.
    pub(crate) fn event(&self) -> Option<Event> {
        self.with_point(|interval, point| Event::new(self.timestamp, point.to_point()).with_sample_interval(interval))
    }

    /// Calls a function with the sample interval and the point; `None` where the payload does not have this format.
    pub(crate) fn with_point<T>(&self, use_point: impl FnOnce(u32, &PointRef<'_>) -> T) -> Option<T> {
        let mut payload = &self.payload[8..];
        let mut counts = [0; 3];
        payload.try_copy_to_slice(&mut counts).ok()?;
        let is_sampled = counts[0] & SAMPLED != 0;
        counts[0] &= !SAMPLED;
        let [indexes, blobs, doubles] = counts.map(usize::from);
        let interval = if is_sampled { payload.try_get_u32_le().ok()? } else { 1 };
        if interval == 0 || indexes > limits::INDEXES || blobs > limits::BLOBS || doubles > limits::DOUBLES {
            return None; // never written
        }
        let mut bytes = || {
            let length = usize::from(payload.try_get_u16_le().ok()?);
            let (bytes, rest) = payload.split_at_checked(length)?;
            payload = rest;
            Some(bytes)
        };
        let index = if indexes == 1 { Some(bytes()?) } else { None };
        let mut texts: [&[u8]; limits::BLOBS] = [&[]; limits::BLOBS];
        for text in &mut texts[..blobs] {
            *text = bytes()?;
        }
        let mut numbers = [0.0; limits::DOUBLES];
        for number in &mut numbers[..doubles] {
            *number = payload.try_get_f64_le().ok()?;
        }
        Some(use_point(interval, &PointRef::new(index, &texts[..blobs], &numbers[..doubles])))
    }
}

/// Returns the length of the payload by the header at the start of these bytes; `None` where no frame has this length.
pub(crate) fn claimed_length(bytes: &[u8]) -> Option<usize> {
    let mut header = bytes.get(..HEADER)?;
    let length = header.get_u32_le() as usize;
    (MIN_PAYLOAD..=MAX_PAYLOAD).contains(&length).then_some(length)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::DataPoint;

    proptest! {
        #[test]
        fn frames_round_trip_and_damage_is_detected(
            index in prop::collection::vec(any::<u8>(), 0..96),
            blobs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
            doubles in prop::collection::vec(-1e9..1e9, 0..20), cut in 1usize..8, flip in any::<prop::sample::Index>(),
            position in 0u64..1 << 40, interval in prop_oneof![Just(1_u32), 2..=u32::MAX],
        ) {
            let point = DataPoint { indexes: vec![index.into()], blobs: blobs.into_iter().map(Bytes::from).collect(), doubles };
            let stamp = Stamp { milliseconds: 1_700_000_000_123, sample_interval: interval };
            let timestamp = DateTime::from_timestamp_millis(stamp.milliseconds).unwrap();
            let event = Event::new(timestamp, point).with_sample_interval(interval);
            let slices: Vec<_> = event.point.blobs.iter().map(Bytes::as_ref).collect();
            let point = PointRef::new(Some(&event.point.indexes[0]), &slices, &event.point.doubles);
            let mut bytes = Vec::new();
            encode(stamp, &point, &mut bytes);
            prop_assert_eq!(bytes.len(), size(stamp, &point));
            let first = bytes.len();
            seal(&mut bytes, None);
            prop_assert!(Frame::read(&bytes, None).is_some(), "the first format");
            encode(stamp, &point, &mut bytes);
            prop_assert_eq!(fitting(&bytes, 2 * first as u64 - 1), (first, 1));
            prop_assert_eq!(fitting(&bytes, 2 * first as u64), (2 * first, 2));
            seal(&mut bytes, Some(position));
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
