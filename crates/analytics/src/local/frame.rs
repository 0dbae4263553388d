//! The frame of one event: what is on disk.
//!
//! ```text
//! length: u32 | crc32 of the payload: u32 | payload
//! payload: timestamp ms: i64 | counts of indexes, blobs, doubles: u8 each | (length: u16, bytes) for each index and
//!          blob | f64 for each double        (all little-endian)
//! ```

use bytes::{Buf, BufMut, Bytes};
use chrono::DateTime;

use crate::{DataPoint, Event};

/// No valid event is larger: 96 + 16 KiB + 160 bytes and their lengths.
const MAX_PAYLOAD: usize = 32 * 1024;

/// Appends an event's frame. The event is within the limits, so every count and length fits.
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
    let (length, crc) = ((into.len() - payload) as u32, crc32fast::hash(&into[payload..]));
    into[start..start + 4].copy_from_slice(&length.to_le_bytes());
    into[start + 4..payload].copy_from_slice(&crc.to_le_bytes());
}

/// Takes the next event off the bytes; `None` at the end, and where a frame is torn or damaged.
pub(super) fn decode(bytes: &mut Bytes) -> Option<Event> {
    let mut rest = bytes.clone();
    let (length, crc) = (rest.try_get_u32_le().ok()? as usize, rest.try_get_u32_le().ok()?);
    if length > MAX_PAYLOAD || length > rest.len() {
        return None;
    }
    let mut payload = rest.split_to(length);
    if crc32fast::hash(&payload) != crc {
        return None;
    }
    let event = decode_payload(&mut payload)?;
    *bytes = rest;
    Some(event)
}

fn decode_payload(payload: &mut Bytes) -> Option<Event> {
    let timestamp = DateTime::from_timestamp_millis(payload.try_get_i64_le().ok()?)?;
    let mut counts = [0; 3];
    payload.try_copy_to_slice(&mut counts).ok()?;
    let mut bytes = || {
        let length = usize::from(payload.try_get_u16_le().ok()?);
        // A copy: a slice would keep the whole segment in memory.
        (length <= payload.len()).then(|| Bytes::copy_from_slice(&payload.split_to(length)))
    };
    let indexes = (0..counts[0]).map(|_| bytes()).collect::<Option<_>>()?;
    let blobs = (0..counts[1]).map(|_| bytes()).collect::<Option<_>>()?;
    let doubles = (0..counts[2]).map(|_| payload.try_get_f64_le().ok()).collect::<Option<_>>()?;
    Some(Event { timestamp, point: DataPoint { indexes, blobs, doubles } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_damage_is_seen(
            index in prop::collection::vec(any::<u8>(), 0..96),
            blobs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
            doubles in prop::collection::vec(-1e9..1e9, 0..20), cut in 1usize..8, flip in any::<prop::sample::Index>(),
        ) {
            let point = DataPoint { indexes: vec![index.into()], blobs: blobs.into_iter().map(Bytes::from).collect(), doubles };
            let event = Event { timestamp: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(), point };
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            let mut whole = Bytes::from(bytes.clone());
            prop_assert_eq!(decode(&mut whole), Some(event.clone()));
            prop_assert!(whole.is_empty());
            prop_assert_eq!(decode(&mut Bytes::copy_from_slice(&bytes[..bytes.len() - cut])), None);
            let at = flip.index(bytes.len());
            bytes[at] ^= 1;
            prop_assert_eq!(decode(&mut Bytes::from(bytes)), None);
        }
    }
}
