//! Reading the files of a body.
//!
//! A body is a list of pieces, each a range of one blob, and is read in chunks of 256 KiB. Where a blob has sums, a chunk ends at
//! a block's end whenever it can: then the next chunk begins with a whole block, and no block is read twice. A range that begins
//! or ends within a block has that block read and summed whole, and the asked bytes copied out of it.
//!
//! The last chunk is handed out only after the digest of the whole body, where one is needed, has been compared: a client that
//! knows the length does not ask for more, so an error behind the last chunk would reach nobody.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};

use super::{BlobPart, Blobs, of_blob};
use crate::body::{Chunks, Opened};
use crate::files::{blocking, read_at};
use crate::local::recent::{Mark, Recent};
use crate::local::sums::{BLOCK_BYTES, Sums};
use crate::local::verify::Verify;
use crate::{Error, ErrorKind, Result, read_buffers};

/// Bytes of a blob in memory at once while it is read.
const CHUNK_BYTES: u64 = 256 * 1024;

/// The files of a body, the next one last.
pub(in crate::local) struct Pieces {
    pieces: Vec<Piece>,
    length: u64,
    verify: Option<Verify>,
    /// Marks of the blobs without sums, remembered when the digest of the whole body is right.
    marks: Vec<(Arc<Recent>, Mark)>,
}

pub(super) enum Piece {
    Open(OpenFile),
    /// A segment, with offset and length in it. Its blob stays for ten minutes after the last name of it is gone.
    Later(Blobs, BlobPart, u64, u64, How),
}

/// How a blob that has sums is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Off,
    /// Unless it was verified a moment ago.
    Recent,
    Always,
}

pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Bytes of the body.
    size: u64,
    /// Of the next byte that is handed out.
    position: u64,
    remaining: u64,
    /// Whether the file has sums; they are not here where they need not be looked at.
    pub(super) has_sums: bool,
    pub(super) sums: Option<Sums>,
    /// The mark that is remembered when all of it is read and verified.
    pub(super) mark: Option<(Arc<Recent>, Mark)>,
    /// The mark of a file without sums, which the digest of the whole body verifies.
    pub(super) bare_mark: Option<Mark>,
}

impl Piece {
    fn open(&mut self) -> Result<&mut OpenFile> {
        if let Self::Later(blobs, segment, offset, length, how) = self {
            *self = Self::Open(blobs.open_piece(segment, *offset, *length, *how)?);
        }
        match self {
            Self::Open(file) => Ok(file),
            Self::Later(..) => Err(Error::new(ErrorKind::Internal, "a file that was opened is not open")),
        }
    }
}

impl OpenFile {
    pub(super) fn new(file: File, size: u64, position: u64, remaining: u64) -> Self {
        let path = PathBuf::new();
        Self { path, file, size, position, remaining, has_sums: false, sums: None, mark: None, bare_mark: None }
    }

    /// Reads this many bytes at most to the end of a buffer, and verifies them. A read that begins within a block ends with that
    /// block's chunk, so that the next one begins with a block.
    fn read(&mut self, most: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let begun = if self.sums.is_some() { self.position % BLOCK_BYTES } else { 0 };
        let take = self.remaining.min(most - begun);
        let end = self.position + take;
        while self.position < end {
            self.position = self.read_some(end, buffer)?;
        }
        self.remaining -= take;
        if self.remaining == 0
            && let Some((recent, mark)) = self.mark.take()
        {
            recent.insert(mark);
        }
        Ok(())
    }

    /// Reads whole blocks, or a part of one; how far it has come.
    fn read_some(&mut self, end: u64, buffer: &mut Vec<u8>) -> Result<u64> {
        let Self { path, file, size, position, sums, .. } = self;
        let position = *position;
        let Some(sums) = sums else {
            fill(file, path, position, end - position, buffer)?;
            return Ok(end);
        };
        let block = position - position % BLOCK_BYTES;
        let block_end = (block + BLOCK_BYTES).min(*size);
        if position == block && end >= block_end {
            let to = if end == *size { end } else { end - end % BLOCK_BYTES };
            let from = buffer.len();
            fill(file, path, position, to - position, buffer)?;
            sums.check(file, position, &buffer[from..]).map_err(|error| of_blob(path, error))?;
            return Ok(to);
        }
        // At most a block, so positions in it fit usize.
        let mut whole = Vec::with_capacity((block_end - block) as usize);
        let to = end.min(block_end);
        fill(file, path, block, block_end - block, &mut whole)?;
        sums.check(file, block, &whole).map_err(|error| of_blob(path, error))?;
        buffer.extend_from_slice(&whole[(position - block) as usize..(to - block) as usize]);
        Ok(to)
    }
}

fn fill(file: &File, path: &Path, position: u64, length: u64, buffer: &mut Vec<u8>) -> Result<()> {
    let read = read_at(file, position, length, buffer);
    if read.map_err(|error| Error::io(format_args!("cannot read {}", path.display()), error))? < length {
        return Err(Error::new(ErrorKind::Corrupt, format!("{} became shorter while it was read", path.display())));
    }
    Ok(())
}

impl Pieces {
    pub(super) fn new(
        pieces: Vec<Piece>,
        length: u64,
        verify: Option<Verify>,
        marks: Vec<(Arc<Recent>, Mark)>,
    ) -> Self {
        Self { pieces, length, verify, marks }
    }

    /// Compares the digest of the whole body, if it is needed.
    fn finish(&mut self) -> Result<()> {
        if let Some(verify) = self.verify.take() {
            verify.finish()?;
            self.marks.drain(..).for_each(|(recent, mark)| recent.insert(mark));
        }
        Ok(())
    }

    /// The next chunk; empty at the end.
    fn next_chunk(&mut self) -> Result<Bytes> {
        let Some(piece) = self.pieces.last_mut() else {
            self.finish()?;
            return Ok(Bytes::new());
        };
        let piece = piece.open()?;
        // At most CHUNK_BYTES, so it fits usize.
        let mut chunk = read_buffers::take(piece.remaining.min(CHUNK_BYTES) as usize);
        piece.read(CHUNK_BYTES, &mut chunk)?;
        let is_over = piece.remaining == 0;
        if let Some(verify) = &mut self.verify {
            verify.update(&chunk, is_over);
        }
        if is_over {
            self.pieces.pop();
        }
        // Before the last chunk goes out: a caller that knows the length does not ask for more.
        if self.pieces.is_empty() {
            self.finish()?;
        }
        Ok(read_buffers::into_bytes(chunk))
    }

    /// Reads all of it, only to see that it can be read and is as stored.
    pub(in crate::local) fn read_through(mut self) -> Result<()> {
        while !self.next_chunk()?.is_empty() {}
        Ok(())
    }

    pub(super) fn read_all(mut self) -> Result<Bytes> {
        let too_long = |_| Error::new(ErrorKind::TooLarge, "the body is longer than this machine's memory can be");
        let mut all = read_buffers::take(usize::try_from(self.length).map_err(too_long)?);
        while let Some(mut piece) = self.pieces.pop() {
            let from = all.len();
            piece.open()?.read(u64::MAX, &mut all)?;
            if let Some(verify) = &mut self.verify {
                verify.update(&all[from..], true);
            }
        }
        self.finish()?;
        Ok(read_buffers::into_bytes(all))
    }
}

impl Opened for Pieces {
    fn into_bytes(self: Box<Self>) -> BoxFuture<'static, Result<Bytes>> {
        blocking(move || self.read_all()).boxed()
    }

    fn into_chunks(self: Box<Self>) -> Chunks {
        Box::pin(stream::try_unfold(self, |mut pieces| {
            blocking(move || {
                let chunk = pieces.next_chunk()?;
                Ok((!chunk.is_empty()).then_some((chunk, pieces)))
            })
        }))
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::super::{Checking, OPEN_AT_ONCE};
    use super::*;
    use crate::checksum::Digests;
    use crate::local::SystemDisk;
    use crate::{Body, ByteRange, Checksum, ChecksumAlgorithm, Key, ObjectMeta};

    #[tokio::test]
    async fn a_body_of_many_parts_has_few_files_open_and_all_its_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(&folder.path().join("blobs"), Arc::new(SystemDisk)).expect("folders");
        let mut segments = Vec::new();
        let mut whole = Vec::new();
        for number in 0..(3 * OPEN_AT_ONCE) {
            let blob = format!("{number:032x}");
            let bytes = Bytes::from(format!("part {number};"));
            whole.extend_from_slice(&bytes);
            segments.push(BlobPart { blob: blob.clone(), size: bytes.len() as u64 });
            blobs.write(&blob, bytes.into(), Digests::new(None), |_| {}).await.expect("a new blob");
        }
        let all = ByteRange { offset: 0, length: whole.len() as u64 };
        let pieces = blobs.open_pieces(&segments, all, Checking::On(None)).expect("they are there");
        let open = pieces.pieces.iter().filter(|piece| matches!(piece, Piece::Open(_))).count();
        assert_eq!((open, pieces.pieces.len()), (OPEN_AT_ONCE, 3 * OPEN_AT_ONCE));
        assert!(pieces.read_all().expect("they can be read") == whole);
        let from = 500;
        let to = whole.len() - 500;
        let middle = ByteRange { offset: from as u64, length: (to - from) as u64 };
        let body = Body::from_opened(
            middle.length,
            blobs.open_pieces(&segments, middle, Checking::On(None)).expect("they are there"),
        );
        let chunks: Vec<Bytes> = body.into_stream().try_collect().await.expect("they can be read");
        assert!(chunks.concat() == whole[from..to]);
        // One that is missing when it is its turn is an error, and not passed over.
        blobs.remove(&segments[2 * OPEN_AT_ONCE].blob).expect("it is there");
        let body = Body::from_opened(
            all.length,
            blobs.open_pieces(&segments, all, Checking::On(None)).expect("the first are there"),
        );
        assert_eq!(body.bytes().await.expect_err("one is missing").kind(), ErrorKind::Corrupt);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_blob_without_sums_is_compared_by_its_digest_once_and_again_after_a_change() {
        use sha2::Digest;
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(&folder.path().join("blobs"), Arc::new(SystemDisk)).expect("folders");
        let blob = "a".repeat(32);
        let mut body = vec![7; 3 * CHUNK_BYTES as usize];
        std::fs::write(blobs.path(&blob), &body).expect("there is room");
        let segments = [BlobPart { blob: blob.clone(), size: body.len() as u64 }];
        let key = Key::new("k").expect("a key");
        let etag = hex::encode(md5::Md5::digest(&body));
        let mut meta = ObjectMeta::new(key, "v".to_owned(), body.len() as u64, etag.clone(), Default::default());
        meta.checksums = vec![Checksum { algorithm: ChecksumAlgorithm::Md5, hex: etag }];
        let all = ByteRange { offset: 0, length: meta.size };
        let opened = || blobs.open_pieces(&segments, all, Checking::On(Some(&meta))).expect("it is there");
        // A file that was changed just now is not remembered.
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(opened().verify.is_some());
        assert!(opened().verify.is_some(), "it was opened, and not read to its end");
        opened().read_through().expect("it is as stored");
        assert!(opened().verify.is_none());
        assert!(opened().read_all().expect("it is as stored") == body);
        body[5] = 8;
        std::fs::write(blobs.path(&blob), &body).expect("there is room");
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(opened().read_through().expect_err("it was changed").kind(), ErrorKind::Corrupt);
        assert!(opened().verify.is_some(), "a failure is not remembered");
    }

    #[tokio::test]
    async fn the_digest_of_a_multipart_body_counts_its_empty_last_part() {
        use sha2::Digest;
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(&folder.path().join("blobs"), Arc::new(SystemDisk)).expect("folders");
        let mut segments = Vec::new();
        let mut digests = md5::Md5::new();
        for (name, body) in [("a", "first"), ("b", "second"), ("c", "")] {
            let blob = name.repeat(32);
            std::fs::write(blobs.path(&blob), body).expect("there is room");
            segments.push(BlobPart { blob, size: body.len() as u64 });
            digests.update(md5::Md5::digest(body));
        }
        let key = Key::new("k").expect("a key");
        let etag = format!("{}-3", hex::encode(digests.finalize()));
        let meta = ObjectMeta::new(key, "v".to_owned(), 11, etag, Default::default());
        let all = ByteRange { offset: 0, length: meta.size };
        let opened =
            |segments: &[BlobPart]| blobs.open_pieces(segments, all, Checking::Full(&meta)).expect("they are there");
        opened(&segments).read_through().expect("it is as stored");
        assert!(opened(&segments).read_all().expect("it is as stored") == "firstsecond");
        let without = opened(&segments[..2]).read_through();
        assert_eq!(without.expect_err("a part is missing").kind(), ErrorKind::Corrupt);
    }
}
