//! Batches and records as they stand in a log.
//!
//! ```text
//! batch    magic u32, CRC-32 of all that follows u32, run u64, number u64, length of the records u32, 0 u32; records; zeros up to
//!          a multiple of 512 bytes
//! records  1 name      handle, length, bytes: a database, as a path
//!          2 header    handle, 32 bytes: a write-ahead log begins anew
//!          3 frame     handle, number, base, size of a page, 24 bytes, difference: a frame of the write-ahead log
//! ```
//! Fixed numbers are little-endian, the others of variable length. A frame's page is a difference from that of an earlier frame, its
//! base, which this log has, too, or from zeros where the base is 0.
//!
//! The checksum covers everything behind it, the number and the run included, so that a batch of an earlier use of
//! the log, or of another journal, is not taken for one of this. Records are read without trust: a length that
//! leads beyond its batch, or a page size that SQLite does not have, is refused.

use super::{delta, varint};
pub(super) use crate::wal_file::{FRAME_HEADER, WAL_HEADER, frame_offset};

/// Alignment of batches in bytes: a batch that is synced shares no sector with the next.
pub(super) const SECTOR: usize = 512;
/// Bytes before a batch's records.
pub(super) const BATCH_HEADER: usize = 32;

const MAGIC: u32 = 0x314a_4249; // IBJ1
const NAME: u8 = 1;
const HEADER: u8 = 2;
const FRAME: u8 = 3;

/// A batch that is being filled.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: vec![0; BATCH_HEADER] }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == BATCH_HEADER
    }

    /// Bytes that it takes in the log.
    pub(super) fn size(&self) -> u64 {
        self.bytes.len().next_multiple_of(SECTOR) as u64
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(BATCH_HEADER);
    }

    pub(super) fn name(&mut self, handle: u32, name: &str) {
        self.bytes.push(NAME);
        varint::put(handle.into(), &mut self.bytes);
        varint::put(name.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(name.as_bytes());
    }

    pub(super) fn header(&mut self, handle: u32, header: &[u8]) {
        debug_assert_eq!(header.len(), WAL_HEADER, "it is the header of a write-ahead log");
        self.bytes.push(HEADER);
        varint::put(handle.into(), &mut self.bytes);
        self.bytes.extend_from_slice(header);
    }

    /// Adds a frame; `base` is an earlier frame with its page, if this log has one.
    pub(super) fn frame(&mut self, handle: u32, number: u32, frame: &[u8], base: Option<(u32, &[u8])>) {
        let (header, page) = frame.split_at(FRAME_HEADER);
        self.frame_header(handle, number, base.map_or(0, |(number, _)| number), page.len());
        self.bytes.extend_from_slice(header);
        match base {
            Some((_, old)) => delta::encode(old, page, &mut self.bytes),
            None => delta::encode(&ZEROS[..page.len()], page, &mut self.bytes),
        }
    }

    /// Adds a frame out of another log.
    pub(super) fn logged_frame(&mut self, handle: u32, frame: &LoggedFrame<'_>) {
        self.frame_header(handle, frame.number, frame.base, frame.page_size);
        self.bytes.extend_from_slice(frame.header);
        self.bytes.extend_from_slice(frame.delta);
    }

    fn frame_header(&mut self, handle: u32, number: u32, base: u32, page_size: usize) {
        self.bytes.push(FRAME);
        for number in [handle, number, base] {
            varint::put(number.into(), &mut self.bytes);
        }
        varint::put(page_size as u64, &mut self.bytes);
    }

    /// The batch as it is written, whole.
    pub(super) fn seal(&mut self, run: u64, number: u64) -> &[u8] {
        let length = u32::try_from(self.bytes.len() - BATCH_HEADER)
            .expect("a batch is no larger than a log, which has 256 MiB at most");
        self.bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&run.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&number.to_le_bytes());
        self.bytes[24..28].copy_from_slice(&length.to_le_bytes());
        let sum = crc32fast::hash(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR), 0);
        &self.bytes
    }
}

/// A page of zeros of the largest size.
pub(super) static ZEROS: [u8; 65_536] = [0; 65_536];

/// A whole batch in a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'l> {
    pub(super) run: u64,
    pub(super) number: u64,
    pub(super) records: &'l [u8],
}

impl<'l> Found<'l> {
    /// The batch that begins at this offset, if there is a whole one.
    pub(super) fn at(log: &'l [u8], offset: usize) -> Option<Self> {
        let batch = log.get(offset..)?;
        let word = |at: usize| Some(u32::from_le_bytes(batch.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(batch.get(at..at + 8)?.try_into().ok()?));
        if word(0)? != MAGIC {
            return None;
        }
        let length = usize::try_from(word(24)?).ok()?;
        let end = BATCH_HEADER.checked_add(length)?;
        let summed = batch.get(8..end)?;
        let is_whole = crc32fast::hash(summed) == word(4)?;
        is_whole.then_some(Self { run: long(8)?, number: long(16)?, records: batch.get(BATCH_HEADER..end)? })
    }

    /// Bytes that it takes in the log.
    pub(super) fn size(&self) -> usize {
        (BATCH_HEADER + self.records.len()).next_multiple_of(SECTOR)
    }
}

/// A record of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Record<'l> {
    Name { handle: u64, name: &'l str },
    Header { handle: u64, header: &'l [u8] },
    Frame { handle: u64, frame: LoggedFrame<'l> },
}

/// A frame as a log has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoggedFrame<'l> {
    pub(super) number: u32,
    /// The frame whose page it is a difference from; 0 for none.
    pub(super) base: u32,
    pub(super) page_size: usize,
    pub(super) header: &'l [u8],
    /// The difference.
    pub(super) delta: &'l [u8],
}

impl<'l> Record<'l> {
    /// Takes a record from the front; `None` if there is no whole one.
    pub(super) fn take(input: &mut &'l [u8]) -> Option<Self> {
        let (kind, rest) = input.split_first()?;
        *input = rest;
        let handle = varint::take(input)?;
        match *kind {
            NAME => {
                let length = usize::try_from(varint::take(input)?).ok()?;
                let name = std::str::from_utf8(split(input, length)?).ok()?;
                Some(Self::Name { handle, name })
            }
            HEADER => Some(Self::Header { handle, header: split(input, WAL_HEADER)? }),
            FRAME => {
                let number = u32::try_from(varint::take(input)?).ok().filter(|number| *number > 0)?;
                let base = u32::try_from(varint::take(input)?).ok().filter(|base| *base < number)?;
                let page_size = usize::try_from(varint::take(input)?).ok()?;
                let is_size = page_size.is_power_of_two() && (SECTOR..=ZEROS.len()).contains(&page_size);
                let header = split(input, FRAME_HEADER).filter(|_| is_size)?;
                let delta = *input;
                skip_delta(input)?;
                let delta = &delta[..delta.len() - input.len()];
                Some(Self::Frame { handle, frame: LoggedFrame { number, base, page_size, header, delta } })
            }
            _ => None,
        }
    }
}

/// Takes a difference from the front without applying it.
fn skip_delta(input: &mut &[u8]) -> Option<()> {
    for _ in 0..varint::take(input)? {
        varint::take(input)?;
        let length = usize::try_from(varint::take(input)?).ok()?;
        split(input, length)?;
    }
    Some(())
}

fn split<'l>(input: &mut &'l [u8], length: usize) -> Option<&'l [u8]> {
    let (front, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(front)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(fill: impl FnOnce(&mut Batch)) -> Vec<u8> {
        let mut batch = Batch::default();
        fill(&mut batch);
        batch.seal(11, 5).to_vec()
    }

    #[test]
    fn records_round_trip_through_a_sealed_batch() {
        let frame = [7; FRAME_HEADER + 1024];
        let bytes = sealed(|batch| {
            batch.name(3, "ab/c.db");
            batch.header(3, &[9; WAL_HEADER]);
            batch.frame(3, 2, &frame, Some((1, &[6; 1024])));
        });
        assert!(bytes.len().is_multiple_of(SECTOR));
        let found = Found::at(&bytes, 0).unwrap();
        assert_eq!((found.run, found.number, found.size()), (11, 5, bytes.len()));
        let mut input = found.records;
        assert!(matches!(Record::take(&mut input), Some(Record::Name { handle: 3, name: "ab/c.db" })));
        assert!(matches!(Record::take(&mut input), Some(Record::Header { handle: 3, header }) if header == [9; 32]));
        let Some(Record::Frame { handle: 3, frame }) = Record::take(&mut input) else { panic!("a frame") };
        assert_eq!((frame.number, frame.base, frame.page_size, input.len()), (2, 1, 1024, 0));
        let mut page = [6; 1024];
        delta::apply(&mut page, &mut { frame.delta }).unwrap();
        assert_eq!(page, [7; 1024]);
    }

    #[test]
    fn a_batch_with_one_changed_bit_is_not_found() {
        let bytes = sealed(|batch| batch.name(0, "a.db"));
        let end = BATCH_HEADER + 7;
        for bit in 0..end * 8 {
            let mut torn = bytes.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(Found::at(&torn, 0).is_none(), "bit {bit}");
        }
        assert!(Found::at(&bytes[..end - 1], 0).is_none() && Found::at(&bytes, SECTOR).is_none());
    }

    #[test]
    fn invalid_records_are_refused() {
        let frame = [7; FRAME_HEADER + 512];
        let mut batch = Batch::default();
        batch.frame(0, 1, &frame, None);
        let records = batch.bytes[BATCH_HEADER..].to_vec();
        for length in 0..records.len() {
            assert!(Record::take(&mut &records[..length]).is_none(), "{length}");
        }
        for (at, value) in [(0, 9), (2, 0), (3, 1), (5, 3)] {
            let mut wrong = records.clone();
            wrong[at] = value;
            assert!(Record::take(&mut &wrong[..]).is_none(), "{at}");
        }
    }
}
