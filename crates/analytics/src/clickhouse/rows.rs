//! Points as rows of the format RowBinary.
//!
//! An insert has as many blobs and doubles as the widest of its points; the server fills in the others. Any bytes are a text, and doubles stay
//! as they are, NaN among them.

use bytes::{BufMut, Bytes};

use crate::PointRef;
use crate::local::frame::Frame;

/// The rows of one insert.
#[derive(Debug)]
pub(super) struct Insert {
    pub(super) points: u64,
    /// Number of blobs of each row.
    pub(super) blobs: usize,
    /// Number of doubles of each row.
    pub(super) doubles: usize,
    pub(super) body: Bytes,
}

/// Takes the rows of the next insert off the beginning of frames with their checksums: at most as many points, and, but for a single
/// point, frames of at most as many bytes. `None` where there are no more.
pub(super) fn take(frames: &mut &[u8], most_points: usize, most_bytes: usize) -> Option<Insert> {
    let (chosen, mut insert) = choose(frames, most_points, most_bytes);
    if insert.points == 0 {
        return None;
    }
    // The bytes of an index and of texts are as many in a frame, doubles are padded.
    let mut body = Vec::with_capacity(chosen + insert.points as usize * 8 * insert.doubles);
    let mut at = 0;
    while at < chosen {
        let frame = read(&frames[at..]);
        at += frame.length();
        let seconds = frame.timestamp.timestamp().clamp(0, u32::MAX.into()) as u32;
        frame.with_point(|_, point| row(seconds, point, &insert, &mut body)).expect(WHOLE);
    }
    insert.body = body.into();
    *frames = &frames[chosen..];
    Some(insert)
}

const WHOLE: &str = "the buffer has whole frames of valid points";

fn read(frames: &[u8]) -> Frame<'_> {
    Frame::read(frames, None).expect(WHOLE)
}

/// The bytes of the frames of an insert, and the insert without its body.
fn choose(frames: &[u8], most_points: usize, most_bytes: usize) -> (usize, Insert) {
    let mut insert = Insert { points: 0, blobs: 0, doubles: 0, body: Bytes::new() };
    let mut end = 0;
    while end < frames.len() && insert.points < most_points.max(1) as u64 {
        let frame = read(&frames[end..]);
        if insert.points > 0 && end + frame.length() > most_bytes {
            break;
        }
        let width = frame.with_point(|_, point| [point.blobs.len(), point.doubles.len()]);
        let [blobs, doubles] = width.expect(WHOLE);
        insert.blobs = insert.blobs.max(blobs);
        insert.doubles = insert.doubles.max(doubles);
        insert.points += 1;
        end += frame.length();
    }
    (end, insert)
}

fn row(seconds: u32, point: &PointRef<'_>, insert: &Insert, body: &mut Vec<u8>) {
    body.put_u32_le(seconds);
    text(point.index.unwrap_or_default(), body);
    for number in 0..insert.blobs {
        text(point.blobs.get(number).copied().unwrap_or_default(), body);
    }
    for number in 0..insert.doubles {
        body.put_f64_le(point.doubles.get(number).copied().unwrap_or_default());
    }
}

/// A text: its length in groups of seven bits, the lowest first, and its bytes.
fn text(text: &[u8], body: &mut Vec<u8>) {
    let mut length = text.len();
    while length >= 0x80 {
        body.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    body.put_u8(length as u8);
    body.put_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataPoint;
    use crate::local::frame::{self, Stamp};

    fn frames(points: &[DataPoint]) -> Vec<u8> {
        let mut frames = Vec::new();
        for (number, point) in points.iter().enumerate() {
            point.with_ref(|point| frame::encode(Stamp::at(1000 * number as i64 + 999), point, &mut frames));
        }
        frame::seal(&mut frames, None);
        frames
    }

    #[test]
    fn rows_are_as_wide_as_the_widest_point() {
        let points = [
            DataPoint::new().with_index("a"),
            DataPoint::new().with_blob(vec![0xFF; 130]).with_blob("b").with_double(1.5),
        ];
        let frames = frames(&points);
        let mut rest = frames.as_slice();
        let insert = take(&mut rest, 10, 1 << 20).expect("there are points");
        assert_eq!((insert.points, insert.blobs, insert.doubles, rest.len()), (2, 2, 1, 0));
        let mut expected = [&0_u32.to_le_bytes()[..], b"\x01a", b"\0", b"\0", &0_f64.to_le_bytes()].concat();
        expected.extend([&1_u32.to_le_bytes()[..], b"\0", b"\x82\x01", &[0xFF; 130], b"\x01b"].concat());
        expected.extend(1.5_f64.to_le_bytes());
        assert_eq!(insert.body, expected);
        assert!(take(&mut rest, 10, 1 << 20).is_none());
    }

    #[test]
    fn inserts_are_bounded_by_points_and_by_bytes() {
        let frames = frames(&vec![DataPoint::new().with_blob("x".repeat(100)); 10]);
        let counts = |most_points, most_bytes| {
            let mut rest = frames.as_slice();
            std::iter::from_fn(|| Some(take(&mut rest, most_points, most_bytes)?.points)).collect::<Vec<_>>()
        };
        assert_eq!(counts(4, 1 << 20), [4, 4, 2]);
        assert_eq!(counts(100, frames.len() / 2), [5, 5]);
        assert_eq!(counts(100, 1), [1; 10], "one point at least");
    }

    #[test]
    fn times_out_of_range_are_the_nearest_that_there_is() {
        let mut frames = Vec::new();
        for at in [-5000, i64::from(u32::MAX) * 1000 + 5000] {
            frame::encode(Stamp::at(at), &PointRef::new(None, &[], &[]), &mut frames);
        }
        frame::seal(&mut frames, None);
        let insert = take(&mut frames.as_slice(), 10, 1 << 20).expect("there are points");
        assert_eq!(insert.body.as_ref(), [0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0]);
    }
}
