//! A write-ahead log as SQLite writes it: its header, its frames, and the checksums that chain them.
//!
//! The format is SQLite's ("WAL-mode File Format" in its documentation), which it promises not to change. The log
//! is read beside SQLite, by a descriptor of its own; that is safe since SQLite's locks are on the database's file
//! and on shared memory, not on the log.
//!
//! A frame counts when its salts are the header's and its checksums continue those of all frames before it. After
//! the last such frame there may be old ones, of an earlier use of the file.

/// Bytes of a write-ahead log before its frames.
pub const WAL_HEADER: usize = 32;
/// Bytes of a frame before its page.
pub const FRAME_HEADER: usize = 24;

/// Magic number; with its lowest bit set, checksums are those of big-endian words.
const MAGIC: u32 = 0x377f_0682;
/// The one version of the format.
const VERSION: u32 = 3_007_000;

/// Bytes of a write-ahead log before this frame, which counts from 1.
///
/// ```
/// use isobar_sqlite::frame_offset;
///
/// assert_eq!(frame_offset(1, 4096), 32);
/// assert_eq!(frame_offset(3, 4096), 32 + 2 * (24 + 4096));
/// ```
///
/// # Panics
/// In debug builds for frame 0, which there is not.
#[must_use]
pub fn frame_offset(number: u32, page_size: usize) -> u64 {
    WAL_HEADER as u64 + u64::from(number - 1) * (FRAME_HEADER + page_size) as u64
}

/// Header of a write-ahead log. A log that begins anew has other salts.
///
/// ```
/// use isobar_sqlite::{FRAME_HEADER, WAL_HEADER, WalChain, WalHeader, frame_offset};
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.db");
/// let connection = rusqlite::Connection::open(&path)?;
/// connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)")?;
///
/// let log = std::fs::read(folder.path().join("a.db-wal"))?;
/// let (header, _) = log.split_first_chunk::<WAL_HEADER>().ok_or("no header")?;
/// let header = WalHeader::parse(header).ok_or("not a write-ahead log")?;
/// let first = frame_offset(1, header.page_size()) as usize;
/// let frame = &log[first..first + FRAME_HEADER + header.page_size()];
/// let frame = WalChain::new(&header).next(frame).ok_or("not a frame of this log")?;
/// assert_eq!(frame.page, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalHeader {
    page_size: usize,
    salts: [u8; 8],
    sums: [u32; 2],
    is_big_endian: bool,
}

impl WalHeader {
    /// Reads a header; `None` where it is not one, or not whole.
    #[must_use]
    pub fn parse(bytes: &[u8; WAL_HEADER]) -> Option<Self> {
        let magic = word(bytes, 0);
        let page_size = word(bytes, 8) as usize;
        let is_size = page_size.is_power_of_two() && (512..=65_536).contains(&page_size);
        if magic & !1 != MAGIC || word(bytes, 4) != VERSION || !is_size {
            return None;
        }
        let is_big_endian = magic & 1 == 1;
        let sums = sum(is_big_endian, &bytes[..24], [0, 0]);
        let is_whole = sums == [word(bytes, 24), word(bytes, 28)];
        let salts = [16, 17, 18, 19, 20, 21, 22, 23].map(|at| bytes[at]);
        is_whole.then_some(Self { page_size, salts, sums, is_big_endian })
    }

    /// Returns the bytes in a page.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Returns the salts, which each of its frames has, too.
    #[must_use]
    pub fn salts(&self) -> [u8; 8] {
        self.salts
    }
}

/// Checksums of a write-ahead log up to one of its frames. The next frame has to continue them: that is how SQLite knows a frame
/// from what was in the file before.
///
/// It is a copy of some 20 bytes, so following a log with several cursors costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalChain {
    salts: [u8; 8],
    sums: [u32; 2],
    is_big_endian: bool,
}

/// A frame of a write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalFrame<'f> {
    /// Number of the page, from 1 on.
    pub page: u32,
    /// Pages of the database after the commit that this frame ends; 0 for any other frame.
    pub pages: u32,
    /// The page.
    pub bytes: &'f [u8],
}

impl WalChain {
    /// The checksums before the first frame.
    #[must_use]
    pub fn new(header: &WalHeader) -> Self {
        Self { salts: header.salts, sums: header.sums, is_big_endian: header.is_big_endian }
    }

    /// The checksums after a frame, as its own header has them; `None` where it is a frame of another log. Whether it is whole only
    /// the frames before it show.
    #[must_use]
    pub fn after(header: &WalHeader, frame: &[u8; FRAME_HEADER]) -> Option<Self> {
        let sums = [word(frame, 16), word(frame, 20)];
        (frame[8..16] == header.salts).then_some(Self { sums, ..Self::new(header) })
    }

    /// Returns the checksums, as a frame has them.
    #[must_use]
    pub fn sums(&self) -> [u8; 8] {
        ((u64::from(self.sums[0]) << 32) | u64::from(self.sums[1])).to_be_bytes()
    }

    /// Takes the next frame, header and page. Returns `None`, and stays, where it does not continue the checksums.
    pub fn next<'f>(&mut self, frame: &'f [u8]) -> Option<WalFrame<'f>> {
        let (header, bytes) = frame.split_first_chunk::<FRAME_HEADER>()?;
        if header[8..16] != self.salts {
            return None;
        }
        let sums = sum(self.is_big_endian, &header[..8], self.sums);
        let sums = sum(self.is_big_endian, bytes, sums);
        let page = word(header, 0);
        if sums != [word(header, 16), word(header, 20)] || page == 0 {
            return None;
        }
        self.sums = sums;
        Some(WalFrame { page, pages: word(header, 4), bytes })
    }
}

/// SQLite's checksum of pairs of words, continued from others.
fn sum(is_big_endian: bool, bytes: &[u8], [mut first, mut second]: [u32; 2]) -> [u32; 2] {
    let (pairs, _) = bytes.as_chunks::<8>();
    for &[a, b, c, d, e, f, g, h] in pairs {
        let [one, other] = match is_big_endian {
            true => [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])],
            false => [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])],
        };
        first = first.wrapping_add(one).wrapping_add(second);
        second = second.wrapping_add(other).wrapping_add(first);
    }
    [first, second]
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A database with this page size, a few commits in its log, and the log.
    fn log(page_size: usize) -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("a.db")).unwrap();
        let settings = format!("PRAGMA page_size = {page_size}; PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
        connection.execute_batch(&settings).unwrap();
        for number in 0..20 {
            connection.execute("INSERT INTO t VALUES (randomblob(?1))", [number * 300]).unwrap();
        }
        let log = std::fs::read(folder.path().join("a.db-wal")).unwrap();
        drop(connection);
        (folder, log)
    }

    #[test]
    fn every_frame_that_sqlite_writes_continues_the_checksums() {
        for page_size in [512, 4096, 65_536] {
            let (_folder, log) = log(page_size);
            let header = WalHeader::parse(log.first_chunk().unwrap()).unwrap();
            assert_eq!(header.page_size(), page_size);
            let mut chain = WalChain::new(&header);
            let frames: Vec<_> = log[WAL_HEADER..].chunks_exact(FRAME_HEADER + page_size).collect();
            let mut commits = 0;
            for (frame, number) in frames.iter().zip(1..) {
                assert_eq!(frame_offset(number, page_size) as usize, frame.as_ptr() as usize - log.as_ptr() as usize);
                let read = chain.next(frame).unwrap();
                commits += u32::from(read.pages != 0);
                assert_eq!(WalChain::after(&header, frame.first_chunk().unwrap()), Some(chain));
                assert_eq!(chain.sums(), frame[16..24]);
            }
            assert_eq!(commits, 21);
        }
    }

    #[test]
    fn a_frame_with_one_changed_bit_is_not_taken() {
        let (_folder, log) = log(512);
        let header = WalHeader::parse(log.first_chunk().unwrap()).unwrap();
        let frame = &log[WAL_HEADER..WAL_HEADER + FRAME_HEADER + 512];
        let start = WalChain::new(&header);
        for bit in 0..frame.len() * 8 {
            let mut torn = frame.to_vec();
            torn[bit / 8] ^= 1 << (bit % 8);
            let mut chain = start;
            assert_eq!(chain.next(&torn), None, "bit {bit}");
            assert_eq!(chain, start);
        }
        assert_eq!({ start }.next(&frame[..20]), None);
    }

    #[test]
    fn a_header_with_one_changed_bit_is_not_read() {
        let (_folder, log) = log(512);
        let header: &[u8; WAL_HEADER] = log.first_chunk().unwrap();
        for bit in 0..WAL_HEADER * 8 {
            let mut torn = *header;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(WalHeader::parse(&torn), None, "bit {bit}");
        }
        assert_eq!(WalHeader::parse(&[0; WAL_HEADER]), None);
    }
}
