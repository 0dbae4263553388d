//! Checksums of a blob, a CRC-32 for each block of its body, in a trailer behind the body.
//!
//! ```text
//! body  crc32 of each 32 KiB of it ...  "isobarB1"  the blob's id  bytes of the body  crc32 of the trailer from "isobarB1" on
//! ```
//!
//! Numbers are little-endian. So any range of a blob is verified by reading a few bytes more than the range; a blob that lies where
//! another one belongs is recognised by its id. Blobs of isobar before this format are the body alone, and verified by md5 where they are
//! read whole.

use std::fs::File;

use crate::files::read_at;
use crate::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"isobarB1";
/// Bytes that have a checksum of their own. The smaller, the less is read for a short range; the larger, the fewer sums.
pub(super) const BLOCK_BYTES: u64 = 32 * 1024;
const SUM_BYTES: u64 = 4;
const FOOTER_BYTES: u64 = 36;
/// Sums that are in memory at once: of 32 MiB.
const WINDOW: u64 = 1024;

/// Bytes of the trailer of a body of this length.
pub(super) fn trailer_bytes(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES) * SUM_BYTES + FOOTER_BYTES
}

/// The sums of a body that is being written.
#[derive(Debug, Default)]
pub(super) struct NewSums {
    sums: Vec<u8>,
    block: crc32fast::Hasher,
    /// Bytes in the block.
    filled: u64,
}

impl NewSums {
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.block.update(now);
            self.filled += now.len() as u64;
            if self.filled == BLOCK_BYTES {
                self.end_block();
            }
            bytes = later;
        }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        self.sums.extend_from_slice(&block.finalize().to_le_bytes());
        self.filled = 0;
    }

    /// The trailer of the blob with this id (32 hexadecimal digits), whose body has so many bytes.
    pub(super) fn trailer(&mut self, blob: &str, size: u64) -> Vec<u8> {
        if self.filled > 0 {
            self.end_block();
        }
        let mut trailer = std::mem::take(&mut self.sums);
        trailer.extend_from_slice(&footer(blob, size));
        trailer
    }
}

fn footer(blob: &str, size: u64) -> [u8; FOOTER_BYTES as usize] {
    let mut footer = [0; FOOTER_BYTES as usize];
    footer[..8].copy_from_slice(MAGIC);
    // An id of another form than ours has no bytes here, and is the same each time.
    let _ = hex::decode_to_slice(blob, &mut footer[8..24]);
    footer[24..32].copy_from_slice(&size.to_le_bytes());
    let crc = crc32fast::hash(&footer[..32]);
    footer[32..].copy_from_slice(&crc.to_le_bytes());
    footer
}

/// The sums of a blob that is being read.
#[derive(Debug)]
pub(super) struct Sums {
    size: u64,
    /// Those at hand, and the block of the first.
    window: Vec<u8>,
    first: u64,
}

impl Sums {
    /// The sums of an open blob; `None` where it has none and is its body alone.
    pub(super) fn open(file: &File, blob: &str, size: u64, file_bytes: u64, from: u64) -> Result<Option<Self>> {
        if file_bytes == size {
            return Ok(None);
        }
        if file_bytes != size + trailer_bytes(size) {
            return Err(corrupt(format!("has {file_bytes} bytes, {size} in the index and sums behind them")));
        }
        let footer_at = file_bytes - FOOTER_BYTES;
        let first = from / BLOCK_BYTES;
        let sums_at = size + first * SUM_BYTES;
        let mut sums = Self { size, window: Vec::new(), first };
        // Sums and footer by one read where they lie close together.
        let found = if footer_at - sums_at <= WINDOW * SUM_BYTES {
            read(file, sums_at, file_bytes - sums_at, &mut sums.window)?;
            sums.window.split_off((footer_at - sums_at) as usize) // at most a window
        } else {
            let mut found = Vec::new();
            read(file, footer_at, FOOTER_BYTES, &mut found)?;
            found
        };
        if found != footer(blob, size) {
            return Err(corrupt("is damaged, or another blob: its trailer is not what was written".to_owned()));
        }
        Ok(Some(sums))
    }

    /// Compares whole blocks, of which the first begins at this position; the last of the blob may be shorter.
    pub(super) fn check(&mut self, file: &File, position: u64, bytes: &[u8]) -> Result<()> {
        for (block, bytes) in (position / BLOCK_BYTES..).zip(bytes.chunks(BLOCK_BYTES as usize)) {
            if self.sum(file, block)? != crc32fast::hash(bytes).to_le_bytes() {
                let from = block * BLOCK_BYTES;
                return Err(corrupt(format!("bytes {from} to {} are not what was stored", from + bytes.len() as u64)));
            }
        }
        Ok(())
    }

    fn sum(&mut self, file: &File, block: u64) -> Result<[u8; 4]> {
        let at = |first: u64| usize::try_from(block.checked_sub(first)? * SUM_BYTES).ok();
        let of = |window: &[u8], at: usize| window.get(at..at + 4).and_then(|sum| sum.try_into().ok());
        if let Some(sum) = at(self.first).and_then(|at| of(&self.window, at)) {
            return Ok(sum);
        }
        let count = self.size.div_ceil(BLOCK_BYTES).saturating_sub(block).min(WINDOW);
        self.window.clear();
        self.first = block;
        read(file, self.size + block * SUM_BYTES, count * SUM_BYTES, &mut self.window)?;
        of(&self.window, 0).ok_or_else(|| corrupt("has no more sums".to_owned()))
    }
}

fn read(file: &File, position: u64, length: u64, into: &mut Vec<u8>) -> Result<()> {
    let read = read_at(file, position, length, into).map_err(|error| Error::io("cannot read a file", error))?;
    if read == length { Ok(()) } else { Err(corrupt("became shorter while it was read".to_owned())) }
}

/// An error of a blob, which its reader names.
fn corrupt(what: String) -> Error {
    Error::new(ErrorKind::Corrupt, what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BLOB: &str = "00112233445566778899aabbccddeeff";

    fn blob(body: &[u8]) -> File {
        let mut sums = NewSums::default();
        body.chunks(1000).for_each(|chunk| sums.update(chunk));
        let mut file = tempfile::tempfile().expect("a file");
        let trailer = sums.trailer(BLOB, body.len() as u64);
        assert_eq!(trailer.len() as u64, trailer_bytes(body.len() as u64));
        file.write_all(&[body, &trailer].concat()).expect("there is room");
        file
    }

    fn open(file: &File, blob: &str, size: u64, from: u64) -> Result<Option<Sums>> {
        Sums::open(file, blob, size, file.metadata().expect("it is open").len(), from)
    }

    #[test]
    fn blocks_of_all_lengths_are_compared_from_any_block_on() {
        for length in [0, 1, 32_767, 32_768, 32_769, 200_000] {
            let body: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            let file = blob(&body);
            for from in (0..body.len().max(1)).step_by(BLOCK_BYTES as usize) {
                let mut sums = open(&file, BLOB, body.len() as u64, from as u64).expect("it is sound").expect("sums");
                sums.check(&file, from as u64, &body[from..]).expect("it is what was written");
                // Backwards, too: what is not at hand is read.
                sums.check(&file, 0, &body).expect("it is what was written");
                let mut changed = body[from..].to_vec();
                if let Some(last) = changed.last_mut() {
                    *last ^= 1;
                    assert_eq!(
                        sums.check(&file, from as u64, &changed).expect_err("changed").kind(),
                        ErrorKind::Corrupt
                    );
                }
            }
        }
    }

    #[test]
    fn more_blocks_than_a_window_are_compared() {
        let body = vec![7; (BLOCK_BYTES * (WINDOW + 3)) as usize];
        let file = blob(&body);
        let mut sums = open(&file, BLOB, body.len() as u64, 0).expect("it is sound").expect("sums");
        sums.check(&file, 0, &body).expect("it is what was written");
    }

    #[test]
    fn another_blob_another_length_and_no_trailer_are_told_apart() {
        let file = blob(b"body");
        assert!(open(&file, &"0".repeat(32), 4, 0).is_err(), "another id");
        assert!(open(&file, BLOB, 5, 0).is_err() && open(&file, BLOB, 3, 0).is_err(), "another length");
        let mut old = tempfile::tempfile().expect("a file");
        old.write_all(b"body").expect("there is room");
        assert!(open(&old, BLOB, 4, 0).expect("it is an old one").is_none());
    }
}
