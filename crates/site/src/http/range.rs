//! `Range`: which bytes, in how many pieces (RFC 9110 14).
//!
//! The ranges of a client are bounded before they are served: ranges that overlap or touch are joined, so that no byte is sent twice;
//! a header with more than 128 ranges, or that leads to more than 32 pieces, or to more bytes than the file has, gets the whole
//! file. So a short request cannot cause a response that is much longer than the file.

use isobar_storage::ByteRange;

/// Most pieces of a response after joining; a request for more gets the whole file.
const MAX_PIECES: usize = 32;
/// Most ranges of a header; one with more is not parsed and gets the whole file.
const MAX_SPECS: usize = 128;
/// Overhead of a piece in bytes: its boundary and headers.
const PIECE_OVERHEAD: u64 = 120;

/// The bytes that a `Range` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// The whole file: the unit is not bytes, the header is malformed, or the pieces cost more than the whole.
    Whole,
    /// These bytes: 206.
    One(ByteRange),
    /// These pieces: 206 and multipart/byteranges.
    Many(Vec<ByteRange>),
    /// No byte of the file: 416.
    Unsatisfiable,
}

/// Parses a `Range` header against a representation of `size` bytes. Ranges outside the file are dropped; those that overlap or touch
/// are joined, so that no byte is sent twice.
pub(crate) fn parse(header: &str, size: u64) -> Ranges {
    let Some((unit, set)) = header.split_once('=') else { return Ranges::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ranges::Whole;
    }
    if set.split(',').count() > MAX_SPECS {
        return Ranges::Whole; // no genuine client sends so many
    }
    let mut pieces = Vec::new();
    for spec in set.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
        match piece(spec, size) {
            None => return Ranges::Whole,
            Some(resolved) => pieces.extend(resolved),
        }
    }
    if set.split(',').all(|spec| spec.trim().is_empty()) {
        return Ranges::Whole;
    }
    let pieces = join(pieces);
    let cost: u64 = pieces.iter().map(|piece| piece.length + PIECE_OVERHEAD).sum();
    match pieces.len() {
        0 => Ranges::Unsatisfiable,
        1 => Ranges::One(pieces[0]),
        count if count > MAX_PIECES || cost >= size => Ranges::Whole,
        _ => Ranges::Many(pieces),
    }
}

/// Returns `None` when the range is malformed, and `Some(None)` when it is valid but outside the file.
fn piece(spec: &str, size: u64) -> Option<Option<ByteRange>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX)) // beyond u64 is beyond every object
    };
    let first = first.trim();
    let last = last.trim();
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Some((length > 0).then(|| ByteRange { offset: size - length, length }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some((first < size).then(|| ByteRange { offset: first, length: last.min(size - 1) - first + 1 }))
}

/// Joins pieces that overlap or touch, in the order of the first piece of each group.
fn join(pieces: Vec<ByteRange>) -> Vec<ByteRange> {
    let mut joined: Vec<ByteRange> = Vec::new();
    for piece in pieces {
        let mut piece = piece;
        let mut place = None;
        // A joined piece may touch another one, so repeat until none touch.
        while let Some(index) = joined.iter().position(|other| touches(*other, piece)) {
            let other = joined.remove(index);
            let end = (other.offset + other.length).max(piece.offset + piece.length);
            piece.offset = piece.offset.min(other.offset);
            piece.length = end - piece.offset;
            place = Some(place.map_or(index, |place: usize| place.min(index)));
        }
        joined.insert(place.unwrap_or(joined.len()), piece);
    }
    joined
}

/// Whether two pieces overlap, or one begins where the other ends.
fn touches(a: ByteRange, b: ByteRange) -> bool {
    a.offset <= b.offset + b.length && b.offset <= a.offset + a.length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(offset: u64, length: u64) -> ByteRange {
        ByteRange { offset, length }
    }

    #[test]
    fn range_headers_follow_rfc_9110() {
        let table = [
            ("bytes=0-0", Ranges::One(range(0, 1))),
            ("bytes=9990-", Ranges::One(range(9990, 10))),
            ("bytes=-5", Ranges::One(range(9995, 5))),
            ("BYTES = 5-9", Ranges::One(range(5, 5))),
            ("bytes=0-99999999999999999999999", Ranges::One(range(0, 10_000))),
            ("bytes=-99999", Ranges::One(range(0, 10_000))),
            ("bytes=0-1,5-6", Ranges::Many(vec![range(0, 2), range(5, 2)])),
            ("bytes=5-6, 0-1", Ranges::Many(vec![range(5, 2), range(0, 2)])),
            ("bytes=0-4,5-9,3-7", Ranges::One(range(0, 10))),
            ("bytes=0-1,20000-", Ranges::One(range(0, 2))),
            ("bytes=10000-", Ranges::Unsatisfiable),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=0-4999,5001-", Ranges::Whole),
            ("bytes=5-4", Ranges::Whole),
            ("bytes=a-b", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("bytes=,", Ranges::Whole),
            ("bytes=1", Ranges::Whole),
            ("items=0-1", Ranges::Whole),
            ("nonsense", Ranges::Whole),
        ];
        for (header, want) in table {
            assert_eq!(parse(header, 10_000), want, "{header}");
        }
        assert_eq!(parse("bytes=0-", 0), Ranges::Unsatisfiable);
        let many =
            format!("bytes={}", (0..40).map(|at| format!("{}-{}", at * 10, at * 10 + 1)).collect::<Vec<_>>().join(","));
        assert_eq!(parse(&many, 1_000_000), Ranges::Whole);
    }
}
