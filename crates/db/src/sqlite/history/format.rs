//! Files of a history: a header, and blocks of pages.
//!
//! ```text
//! header   magic 8, CRC-32 of what follows u32, kind u8, 0 u8 x3, history 16, generation u32, frame u32, size of a page u32,
//!          part u32, parts u32, time i64, salts 8, checksums 8
//! block    magic u32, CRC-32 of the head from here on u32, CRC-32 of the payload u32, bytes of the payload u32, and uncompressed u32,
//!          kind u8, ends a commit u8, 0 u8 x2, generation u32, first frame u32, last frame u32, time of its first and of its last
//!          commit i64 x2, salts 8, checksums 8; payload
//! payload  of frames, by zstd: for each frame page u32, pages of the database after its commit or 0 u32, time of the commit i64,
//!          whether it is a difference u8; then the pages
//! ```
//! Numbers are little-endian, times microseconds since 1970. Salts and checksums are those of the write-ahead log, after the last frame.
//! A *base* has every page of the database at its position; its frames are counted by page. A *log* has the frames that follow its
//! position. A difference is by XOR from the version of the page before, which is in the same log.
//!
//! Every part has its own checksum: a header's, a head's, a payload's. So reading heads alone finds the way through
//! a file without reading its pages, and a torn write is found at the place where it is. Lengths are bounded (64
//! MiB) before memory is taken for them.

use std::io::{self, Read};

use super::position::{HistoryId, Position};

/// Bytes of a header.
pub(super) const HEADER: usize = 76;
/// Bytes of a block before its payload.
pub(super) const HEAD: usize = 68;
/// Bytes of a frame before its page.
const FRAME: usize = 17;
/// Bytes from which on a block is written, uncompressed.
pub(super) const BLOCK: usize = 1 << 20;
/// Most bytes of a block that is taken for one.
const MOST: usize = 64 << 20;

const FILE_MAGIC: [u8; 8] = *b"ISOHIST1";
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"IHB1");
/// Level of zstd: a block is compressed beside writes.
const LEVEL: i32 = 1;

/// Content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Base,
    Log,
}

/// Header of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) history: HistoryId,
    /// The state that a base has, and that a log follows.
    pub(crate) start: Position,
    pub(crate) page_size: u32,
    /// Number of this part of a file, of how many: one whole file is part 0 of 1.
    pub(crate) part: (u32, u32),
    /// Time of that state.
    pub(crate) time: i64,
    pub(crate) wal: WalState,
}

/// Salts and checksums of a write-ahead log, by which a file is continued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WalState {
    pub(crate) salts: [u8; 8],
    pub(crate) sums: [u8; 8],
}

/// Content of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKind {
    Frames,
    /// The database's file had everything, and its write-ahead log was not needed: the payload is the file's [`Stamp`](super::stamp::Stamp).
    Rest,
}

/// A block without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(super) kind: BlockKind,
    /// The last frame ends a commit.
    pub(super) ends: bool,
    pub(super) generation: u32,
    pub(super) first: u32,
    pub(super) last: u32,
    /// Times of its first and its last commit; the last is 0 where none ends in it.
    pub(super) times: (i64, i64),
    pub(super) wal: WalState,
    /// Bytes of the payload, as it is and uncompressed.
    length: u32,
    raw: u32,
    sum: u32,
}

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'b> {
    pub(super) number: u32,
    pub(super) page: u32,
    /// Pages of the database after the commit that it ends; 0 for any other frame.
    pub(super) pages: u32,
    pub(super) time: i64,
    pub(super) is_difference: bool,
    pub(super) bytes: &'b [u8],
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&FILE_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[if self.kind == Kind::Base { 1 } else { 2 }, 0, 0, 0]);
        out.extend_from_slice(&self.history.0);
        for number in [self.start.generation, self.start.frame, self.page_size, self.part.0, self.part.1] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&self.wal.salts);
        out.extend_from_slice(&self.wal.sums);
        let sum = crc32fast::hash(&out[12..]);
        out[8..12].copy_from_slice(&sum.to_le_bytes());
        out.try_into().expect("the fields have the header's length")
    }

    /// Reads a header; `None` where it is not one, or not whole.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let (magic, rest) = bytes.split_at(8);
        if magic != FILE_MAGIC || crc32fast::hash(&bytes[12..]) != word(bytes, 8) {
            return None;
        }
        let kind = match rest[4] {
            1 => Kind::Base,
            2 => Kind::Log,
            _ => return None,
        };
        Some(Self {
            kind,
            history: HistoryId(array(bytes, 16)),
            start: Position::new(word(bytes, 32), word(bytes, 36)),
            page_size: word(bytes, 40),
            part: (word(bytes, 44), word(bytes, 48)),
            time: i64::from_le_bytes(array(bytes, 52)),
            wal: WalState { salts: array(bytes, 60), sums: array(bytes, 68) },
        })
    }
}

impl BlockHead {
    /// Returns the position of the last frame.
    pub(crate) fn end(&self) -> Position {
        Position::new(self.generation, self.last)
    }

    /// Bytes of the block.
    pub(crate) fn size(&self) -> u64 {
        (HEAD + self.length as usize) as u64
    }

    pub(super) fn payload_size(&self) -> usize {
        self.length as usize
    }

    pub(super) fn to_bytes(self) -> [u8; HEAD] {
        let mut out = Vec::with_capacity(HEAD);
        out.extend_from_slice(&BLOCK_MAGIC.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for number in [self.sum, self.length, self.raw] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&[if self.kind == BlockKind::Frames { 1 } else { 2 }, u8::from(self.ends), 0, 0]);
        for number in [self.generation, self.first, self.last] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.times.0.to_le_bytes());
        out.extend_from_slice(&self.times.1.to_le_bytes());
        out.extend_from_slice(&self.wal.salts);
        out.extend_from_slice(&self.wal.sums);
        let sum = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&sum.to_le_bytes());
        out.try_into().expect("the fields have the head's length")
    }

    fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        if word(bytes, 0) != BLOCK_MAGIC || crc32fast::hash(&bytes[8..]) != word(bytes, 4) {
            return None;
        }
        let kind = match bytes[20] {
            1 => BlockKind::Frames,
            2 => BlockKind::Rest,
            _ => return None,
        };
        let head = Self {
            kind,
            ends: bytes[21] != 0,
            generation: word(bytes, 24),
            first: word(bytes, 28),
            last: word(bytes, 32),
            times: (i64::from_le_bytes(array(bytes, 36)), i64::from_le_bytes(array(bytes, 44))),
            wal: WalState { salts: array(bytes, 52), sums: array(bytes, 60) },
            length: word(bytes, 12),
            raw: word(bytes, 16),
            sum: word(bytes, 8),
        };
        (head.length as usize <= MOST && head.raw as usize <= MOST).then_some(head)
    }
}

/// A block that is being filled with frames.
#[derive(Debug, Default)]
pub(super) struct BlockBuilder {
    heads: Vec<u8>,
    pages: Vec<u8>,
    count: u32,
    times: Option<(i64, i64)>,
    ends: bool,
}

impl BlockBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes, uncompressed.
    pub(super) fn size(&self) -> usize {
        self.heads.len() + self.pages.len()
    }

    /// Adds the frame that follows; its number is counted. Its difference is that from `before`.
    pub(super) fn push(&mut self, page: u32, commit: Option<(u32, i64)>, bytes: &[u8], before: Option<&[u8]>) {
        let (pages, time) = commit.unwrap_or_default();
        self.heads.extend_from_slice(&page.to_le_bytes());
        self.heads.extend_from_slice(&pages.to_le_bytes());
        self.heads.extend_from_slice(&time.to_le_bytes());
        self.heads.push(u8::from(before.is_some()));
        match before {
            Some(before) => self.pages.extend(bytes.iter().zip(before).map(|(new, old)| new ^ old)),
            None => self.pages.extend_from_slice(bytes),
        }
        self.count += 1;
        self.ends = commit.is_some();
        if commit.is_some() {
            self.times = Some((self.times.map_or(time, |(first, _)| first), time));
        }
    }

    /// Adds the frames of another block behind its own.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.heads.append(&mut other.heads);
        self.pages.append(&mut other.pages);
        self.count += std::mem::take(&mut other.count);
        self.ends = other.ends;
        if let Some((first, last)) = other.times.take() {
            self.times = Some((self.times.map_or(first, |(first, _)| first), last));
        }
    }

    /// Takes the frames as a block, whose first has this position.
    pub(super) fn seal(&mut self, first: Position, wal: WalState) -> io::Result<(BlockHead, Vec<u8>)> {
        let mut raw = std::mem::take(&mut self.heads);
        raw.append(&mut self.pages);
        let last = first.frame + std::mem::take(&mut self.count) - 1;
        let head = BlockHead {
            kind: BlockKind::Frames,
            ends: self.ends,
            generation: first.generation,
            first: first.frame,
            last,
            times: self.times.take().unwrap_or_default(),
            wal,
            length: 0,
            raw: length(&raw)?,
            sum: 0,
        };
        sealed(head, &zstd::bulk::compress(&raw, LEVEL)?)
    }
}

/// A block that says that the file has everything up to a position.
pub(super) fn rest(at: Position, time: i64, wal: WalState, stamp: &[u8]) -> io::Result<Vec<u8>> {
    let head = BlockHead {
        kind: BlockKind::Rest,
        ends: true,
        generation: at.generation,
        first: at.frame,
        last: at.frame,
        times: (time, time),
        wal,
        length: 0,
        raw: length(stamp)?,
        sum: 0,
    };
    Ok(sealed(head, stamp)?.1)
}

fn sealed(mut head: BlockHead, payload: &[u8]) -> io::Result<(BlockHead, Vec<u8>)> {
    head.length = length(payload)?;
    head.sum = crc32fast::hash(payload);
    let mut bytes = head.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    Ok((head, bytes))
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length as usize <= MOST);
    length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a block of a history is too long"))
}

/// Reads the head of the block at the reader's position. `None` at the end, and where the rest is not a block.
pub(super) fn read_head(reader: &mut impl Read) -> io::Result<Option<BlockHead>> {
    let mut bytes = [0; HEAD];
    Ok(if read_whole(reader, &mut bytes)? { BlockHead::parse(&bytes) } else { None })
}

/// Reads the head of the next block of a file that is whole; `None` at its end.
pub(super) fn next_head(reader: &mut impl Read) -> io::Result<Option<BlockHead>> {
    let mut bytes = [0; HEAD];
    let mut first = [0; 1];
    if !read_whole(reader, &mut first)? {
        return Ok(None);
    }
    let (begin, rest) = bytes.split_at_mut(1);
    begin.copy_from_slice(&first);
    let head = if read_whole(reader, rest)? { BlockHead::parse(&bytes) } else { None };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the head of a block is damaged");
    head.ok_or_else(damaged).map(Some)
}

/// Reads the payload of a block, behind its head. `None` where it is not whole.
pub(super) fn read_payload(reader: &mut impl Read, head: &BlockHead) -> io::Result<Option<Vec<u8>>> {
    let mut payload = vec![0; head.payload_size()];
    let is_whole = read_whole(reader, &mut payload)? && crc32fast::hash(&payload) == head.sum;
    Ok(is_whole.then_some(payload))
}

/// Fills the buffer; returns `false` where the reader ends before.
pub(super) fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Frames of a block, uncompressed.
pub(super) struct Frames {
    head: BlockHead,
    raw: Vec<u8>,
    page_size: usize,
}

impl Frames {
    /// Uncompresses a payload; `None` where it does not fit its head.
    pub(super) fn of(head: BlockHead, payload: &[u8], page_size: u32) -> Option<Self> {
        let raw = zstd::bulk::decompress(payload, head.raw as usize).ok()?;
        let count = (head.last.checked_sub(head.first)? as usize).checked_add(1)?;
        let expected = count.checked_mul(FRAME + page_size as usize)?;
        (raw.len() == expected).then_some(Self { head, raw, page_size: page_size as usize })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Frame<'_>> {
        let count = self.raw.len() / (FRAME + self.page_size);
        let (heads, pages) = self.raw.split_at(count * FRAME);
        let frames = heads.chunks_exact(FRAME).zip(pages.chunks_exact(self.page_size));
        frames.zip(self.head.first..).map(|((head, bytes), number)| Frame {
            number,
            page: word(head, 0),
            pages: word(head, 4),
            time: i64::from_le_bytes(array(head, 8)),
            is_difference: head[16] != 0,
            bytes,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

/// The bytes at an offset, which are there: all lengths are constants.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const WAL: WalState = WalState { salts: [1; 8], sums: [2; 8] };

    fn header() -> Header {
        Header {
            kind: Kind::Log,
            history: HistoryId([3; 16]),
            start: Position::new(7, 9),
            page_size: 512,
            part: (2, 5),
            time: -4,
            wal: WAL,
        }
    }

    fn block() -> (BlockHead, Vec<u8>) {
        let mut block = BlockBuilder::default();
        let mut next = BlockBuilder::default();
        block.push(1, None, &[5; 512], None);
        block.push(2, Some((2, 100)), &[6; 512], None);
        next.push(1, Some((3, 200)), &[7; 512], Some(&[5; 512]));
        block.append(&mut next);
        assert!(next.is_empty() && block.size() > 3 * 512);
        block.seal(Position::new(7, 10), WAL).unwrap()
    }

    #[test]
    fn a_header_comes_back_and_one_with_a_changed_bit_does_not() {
        let bytes = header().to_bytes();
        assert_eq!(Header::parse(&bytes), Some(header()));
        for bit in 0..HEADER * 8 {
            let mut torn = bytes;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&torn), None, "bit {bit}");
        }
    }

    #[test]
    fn frames_come_back_from_a_block() {
        let (sealed, bytes) = block();
        let mut reader = &bytes[..];
        let head = read_head(&mut reader).unwrap().unwrap();
        assert_eq!(head, sealed);
        assert_eq!((head.end(), head.ends, head.times), (Position::new(7, 12), true, (100, 200)));
        assert_eq!(head.size(), bytes.len() as u64);
        let payload = read_payload(&mut reader, &head).unwrap().unwrap();
        let frames = Frames::of(head, &payload, 512).unwrap();
        let read: Vec<_> = frames.iter().map(|frame| (frame.number, frame.page, frame.pages, frame.time)).collect();
        assert_eq!(read, [(10, 1, 0, 0), (11, 2, 2, 100), (12, 1, 3, 200)]);
        let last = frames.iter().last().unwrap();
        assert!(last.is_difference && last.bytes == [7 ^ 5; 512]);
        assert!(Frames::of(head, &payload, 1024).is_none());
    }

    #[test]
    fn a_block_with_one_changed_bit_or_without_its_end_is_not_read() {
        let (_, bytes) = block();
        let read = |bytes: &[u8]| {
            let mut reader = bytes;
            let head = read_head(&mut reader).unwrap()?;
            read_payload(&mut reader, &head).unwrap()
        };
        assert!(read(&bytes).is_some());
        for bit in 0..bytes.len() * 8 {
            let mut torn = bytes.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&torn).is_none(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_none(), "{length}");
        }
    }
}
