//! The blob files: written once, made durable, read in chunks, never changed.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::blocking;
use super::disk::{Disk, DiskFile, read_at};
use super::recent::{Mark, Recent};
use super::sums::{BLOCK_BYTES, NewSums, Sums, trailer_bytes};
use super::verify::Verify;
use crate::body::{Chunks, Opened};
use crate::checksum::Digests;
use crate::{Body, ByteRange, Error, ErrorKind, Result};

/// How much of a blob is in memory at once while it is read.
const CHUNK_BYTES: u64 = 256 * 1024;

/// A body of at most this many bytes is read when it is asked for, not when it is consumed.
const AT_ONCE_BYTES: u64 = 1024 * 1024;

/// Files that are open for one body.
const OPEN_AT_ONCE: usize = 64;

/// A piece of an object's body: a whole blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) blob: String,
    pub(super) size: u64,
}

/// How what is read is verified.
#[derive(Debug)]
pub(super) enum Checking {
    /// Not at all.
    Off,
    /// By the sums of the blobs; by the digest of the whole body, if one is given, where a blob has none.
    On(Option<Verify>),
    /// By both, whatever was verified a moment ago.
    Full(Verify),
}

/// The folder of blobs.
#[derive(Debug, Clone)]
pub(super) struct Blobs {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    recent: Arc<Recent>,
}

impl Blobs {
    pub(super) fn open(root: &Path, disk: Arc<dyn Disk>) -> Result<Self> {
        let blobs = Self { root: root.to_owned(), disk, recent: Arc::new(Recent::new()) };
        blobs.create_folder(root)?;
        // All of them now, made durable once: a write then needs to sync its own folder only.
        let folders = (0..=255u8).map(|byte| root.join(format!("{byte:02x}")));
        let missing: Vec<PathBuf> = folders.filter(|folder| !folder.is_dir()).collect();
        for folder in &missing {
            blobs.create_one(folder)?;
        }
        blobs.sync_folder(root)?;
        Ok(blobs)
    }

    /// Writes a body into a new blob and makes it durable. A failure or a drop on the way leaves no row behind, so at
    /// worst an orphan for the sweep. `written` is told of each piece that is in the file.
    pub(super) async fn write(
        &self,
        blob: &str,
        body: Body,
        digests: Digests,
        written: impl Fn(u64) + Send + 'static,
    ) -> Result<Digests> {
        let (blobs, blob, length) = (self.clone(), blob.to_owned(), body.length());
        if let Some(bytes) = body.as_bytes().cloned() {
            return blocking(move || {
                let mut new = NewBlob::create(&blobs, &blob, digests)?;
                new.write(&bytes)?;
                written(length);
                new.finish(length)
            })
            .await;
        }
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(4);
        let writer = tokio::task::spawn_blocking(move || {
            let mut new = NewBlob::create(&blobs, &blob, digests)?;
            while let Some(chunk) = receiver.blocking_recv() {
                new.write(&chunk)?;
                written(chunk.len() as u64);
            }
            new.finish(length)
        });
        let fed = feed(body, sender).await;
        let written = writer.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, format!("the writer of a blob ended early: {error}")))
        });
        fed.and(written)
    }

    /// A body of these bytes of the joined segments. The files are opened here: what is unlinked later can still be read. What is
    /// short is read at once, which is quicker than to come back for it.
    pub(super) fn read(&self, segments: &[Segment], range: ByteRange, checking: Checking) -> Result<Body> {
        let pieces = self.open_pieces(segments, range, checking)?;
        if range.length <= AT_ONCE_BYTES {
            Ok(pieces.read_all()?.into())
        } else {
            Ok(Body::from_opened(range.length, pieces))
        }
    }

    pub(super) fn open_pieces(&self, segments: &[Segment], range: ByteRange, checking: Checking) -> Result<Pieces> {
        let (how, mut verify) = match checking {
            Checking::Off => (How::Off, None),
            Checking::On(verify) => (How::Recent, verify),
            Checking::Full(verify) => (How::Always, Some(verify)),
        };
        let (mut pieces, mut have_sums) = (Vec::new(), true);
        let (mut offset, mut length) = (range.offset, range.length);
        for segment in segments {
            if let Some(verify) = verify.as_mut().filter(|_| segment.size == 0) {
                verify.expect_empty();
            }
            if offset >= segment.size {
                offset -= segment.size;
                continue;
            }
            let take = length.min(segment.size - offset);
            if take == 0 {
                break;
            }
            // Many parts would be more files than a process may have; those are opened when it is their turn.
            pieces.push(match pieces.len() < OPEN_AT_ONCE {
                true => {
                    let piece = self.open_piece(segment, offset, take, how)?;
                    have_sums &= piece.has_sums;
                    Piece::Open(piece)
                }
                false => {
                    have_sums &= verify.is_none() || self.has_sums(segment);
                    Piece::Later(self.clone(), segment.clone(), offset, take, how)
                }
            });
            (offset, length) = (0, length - take);
        }
        if have_sums && how == How::Recent {
            verify = None;
        }
        pieces.reverse();
        Ok(Pieces { pieces, length: range.length, verify })
    }

    fn has_sums(&self, segment: &Segment) -> bool {
        fs::metadata(self.path(&segment.blob)).is_ok_and(|file| file.len() > segment.size)
    }

    /// Whether a blob is there with a body of this length.
    pub(super) fn is_whole(&self, segment: &Segment) -> bool {
        let lengths = [segment.size, segment.size + trailer_bytes(segment.size)];
        fs::metadata(self.path(&segment.blob)).is_ok_and(|file| file.is_file() && lengths.contains(&file.len()))
    }

    pub(super) fn exists(&self, blob: &str) -> bool {
        self.path(blob).is_file()
    }

    pub(super) fn remove(&self, blob: &str) -> Result<()> {
        let path = self.path(blob);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format_args!("cannot remove {}", path.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Gives a blob a name in another folder, so that it outlives its own.
    pub(super) fn keep_in(&self, blob: &str, folder: &Path) -> Result<()> {
        let from = self.path(blob);
        match self.disk.link(&from, &folder.join(blob)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io(format_args!("cannot keep {} in {}", from.display(), folder.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Every blob with its size and the time of its last write, and the files that are none of ours.
    pub(super) fn list(&self) -> Result<(Vec<Found>, Vec<PathBuf>)> {
        let failed = |error| Error::io(format_args!("cannot list {}", self.root.display()), error);
        let (mut blobs, mut foreign) = (Vec::new(), Vec::new());
        for folder in fs::read_dir(&self.root).map_err(failed)? {
            let folder = folder.map_err(failed)?;
            if !folder.file_type().map_err(failed)?.is_dir() {
                foreign.push(folder.path());
                continue;
            }
            for file in fs::read_dir(folder.path()).map_err(failed)? {
                let file = file.map_err(failed)?;
                let name = file.file_name().to_string_lossy().into_owned();
                if name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    let meta = file.metadata().map_err(failed)?;
                    let written = meta.modified().map_err(failed)?.into();
                    blobs.push(Found { blob: name, size: meta.len(), written });
                } else {
                    foreign.push(file.path());
                }
            }
        }
        Ok((blobs, foreign))
    }

    pub(super) fn path(&self, blob: &str) -> PathBuf {
        self.root.join(&blob[..2]).join(blob)
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder(&self, path: &Path) -> Result<()> {
        sync_folder(&*self.disk, path)
    }

    /// Creates a folder and what is missing above it, each durable in the one above.
    pub(super) fn create_folder(&self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_folder(parent)?;
        self.create_one(path)?;
        self.sync_folder(parent)
    }

    fn create_one(&self, path: &Path) -> Result<()> {
        match self.disk.create_folder(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io(format_args!("cannot create {}", path.display()), error))
            }
            _ => Ok(()),
        }
    }

    fn open_piece(&self, segment: &Segment, offset: u64, length: u64, how: How) -> Result<OpenFile> {
        let path = self.path(&segment.blob);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => named(&path, "is in the index but not on disk"),
            _ => Error::io(format_args!("cannot open {}", path.display()), error),
        })?;
        let meta = file.metadata().map_err(|error| Error::io(path.display(), error))?;
        let mark = (how == How::Recent).then(|| self.recent.mark(&segment.blob, &meta, (offset, length))).flatten();
        let mut open = OpenFile::new(file, segment.size, offset, length);
        open.has_sums = meta.len() > segment.size;
        let is_recent = mark.is_some_and(|mark| self.recent.has(mark));
        if how == How::Off || is_recent {
            let lengths = [segment.size, segment.size + trailer_bytes(segment.size)];
            if !lengths.contains(&meta.len()) {
                let what = format!("has another length than its {} bytes in the index ask for", segment.size);
                return Err(named(&path, &what));
            }
        } else {
            let sums = Sums::open(&open.file, &segment.blob, segment.size, meta.len(), offset);
            open.sums = sums.map_err(|error| of_blob(&path, error))?;
            open.mark = mark.filter(|_| open.has_sums).map(|mark| (Arc::clone(&self.recent), mark));
        }
        open.path = path;
        Ok(open)
    }
}

/// An error of a blob.
fn named(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("blob {}: {what}", path.display()))
}

/// An error of [`Sums`], with the blob's path.
fn of_blob(path: &Path, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt => named(path, error.message()),
        _ => error,
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(disk: &dyn Disk, path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let synced = disk.sync_folder(path);
    synced.map_err(|error| Error::io(format_args!("cannot sync the folder {}", path.display()), error))
}

/// A blob on the disk.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) blob: String,
    pub(super) size: u64,
    pub(super) written: DateTime<Utc>,
}

/// A blob that is being written; gone again unless it is finished.
struct NewBlob<'b> {
    blobs: &'b Blobs,
    blob: &'b str,
    path: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    digests: Digests,
    sums: NewSums,
    written: u64,
}

impl<'b> NewBlob<'b> {
    fn create(blobs: &'b Blobs, blob: &'b str, digests: Digests) -> Result<Self> {
        let path = blobs.path(blob);
        let file = blobs.disk.create(&path).map_err(|error| cannot_write(&path, error))?;
        Ok(Self { blobs, blob, path, file: Some(file), digests, sums: NewSums::default(), written: 0 })
    }

    fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.digests.update(chunk);
        self.sums.update(chunk);
        self.written += chunk.len() as u64;
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(chunk).map_err(|error| cannot_write(&self.path, error))
    }

    fn finish(mut self, length: u64) -> Result<Digests> {
        if self.written != length {
            // The put was dropped on the way, or its body broke off.
            return Err(Error::new(ErrorKind::Body, "the body broke off"));
        }
        let trailer = self.sums.trailer(self.blob, length);
        if let Some(file) = &mut self.file {
            file.write_all(&trailer).map_err(|error| cannot_write(&self.path, error))?;
            file.sync().map_err(|error| cannot_write(&self.path, error))?;
        }
        self.blobs.sync_folder(self.path.parent().unwrap_or(&self.path))?;
        self.file = None;
        Ok(std::mem::replace(&mut self.digests, Digests::new(None)))
    }
}

impl Drop for NewBlob<'_> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            drop(self.blobs.disk.remove(&self.path)); // otherwise the sweep's
        }
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    Error::io(format_args!("cannot write {}", path.display()), error)
}

/// These bytes of a file as a body.
pub(crate) fn file_range(file: File, range: ByteRange) -> io::Result<Body> {
    let ByteRange { offset, length } = range;
    let open = OpenFile::new(file, offset + length, offset, length);
    let pieces = if length == 0 { Vec::new() } else { vec![Piece::Open(open)] };
    Ok(Body::from_opened(length, Pieces { pieces, length, verify: None }))
}

/// Files that are open, the next one last.
pub(super) struct Pieces {
    pieces: Vec<Piece>,
    length: u64,
    verify: Option<Verify>,
}

enum Piece {
    Open(OpenFile),
    /// A segment, and which of its bytes. Its blob stays for ten minutes after nothing names it any more.
    Later(Blobs, Segment, u64, u64, How),
}

/// How a blob that has sums is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Off,
    /// Unless it was verified a moment ago.
    Recent,
    Always,
}

struct OpenFile {
    /// Empty of a file that is the caller's.
    path: PathBuf,
    file: File,
    /// Bytes of the body.
    size: u64,
    /// Of the next byte that is handed out.
    position: u64,
    remaining: u64,
    /// Whether the file has sums; they are not here where they need not be looked at.
    has_sums: bool,
    sums: Option<Sums>,
    /// The mark that is remembered when all of it is read and verified.
    mark: Option<(Arc<Recent>, Mark)>,
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
    fn new(file: File, size: u64, position: u64, remaining: u64) -> Self {
        Self { path: PathBuf::new(), file, size, position, remaining, has_sums: false, sums: None, mark: None }
    }

    /// Reads so many bytes at most, or what is left, to the end of a buffer. They are verified when they are there. What ends
    /// within a block ends the reading: so it begins with a block the next time.
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
        let (mut whole, to) = (Vec::with_capacity((block_end - block) as usize), end.min(block_end));
        fill(file, path, block, block_end - block, &mut whole)?;
        sums.check(file, block, &whole).map_err(|error| of_blob(path, error))?;
        buffer.extend_from_slice(&whole[(position - block) as usize..(to - block) as usize]);
        Ok(to)
    }
}

fn fill(file: &File, path: &Path, position: u64, length: u64, buffer: &mut Vec<u8>) -> Result<()> {
    let read = read_at(file, position, length, buffer);
    if read.map_err(|error| Error::io(format_args!("cannot read {}", shown(path)), error))? < length {
        return Err(Error::new(ErrorKind::Corrupt, format!("{} became shorter while it was read", shown(path))));
    }
    Ok(())
}

fn shown(path: &Path) -> std::path::Display<'_> {
    if path.as_os_str().is_empty() { Path::new("a file").display() } else { path.display() }
}

impl Pieces {
    /// The next chunk; empty at the end.
    fn next_chunk(&mut self) -> Result<Bytes> {
        let Some(piece) = self.pieces.last_mut() else {
            self.verify.take().map_or(Ok(()), Verify::finish)?;
            return Ok(Bytes::new());
        };
        let piece = piece.open()?;
        // At most CHUNK_BYTES, so it fits usize.
        let mut chunk = Vec::with_capacity(piece.remaining.min(CHUNK_BYTES) as usize);
        piece.read(CHUNK_BYTES, &mut chunk)?;
        let is_over = piece.remaining == 0;
        if let Some(verify) = &mut self.verify {
            verify.update(&chunk, is_over);
        }
        if is_over {
            self.pieces.pop();
        }
        // Before the last chunk goes out: who knows the length does not ask for more.
        if self.pieces.is_empty() {
            self.verify.take().map_or(Ok(()), Verify::finish)?;
        }
        Ok(chunk.into())
    }

    /// Reads all of it for nothing but to see that it can be read, and is what it must be.
    pub(super) fn read_through(mut self) -> Result<()> {
        while !self.next_chunk()?.is_empty() {}
        Ok(())
    }

    fn read_all(mut self) -> Result<Bytes> {
        let too_long = |_| Error::new(ErrorKind::TooLarge, "the body is longer than this machine's memory can be");
        let mut all = Vec::with_capacity(usize::try_from(self.length).map_err(too_long)?);
        while let Some(mut piece) = self.pieces.pop() {
            let from = all.len();
            piece.open()?.read(u64::MAX, &mut all)?;
            if let Some(verify) = &mut self.verify {
                verify.update(&all[from..], true);
            }
        }
        self.verify.map_or(Ok(()), Verify::finish)?;
        Ok(all.into())
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

async fn feed(body: Body, sender: tokio::sync::mpsc::Sender<Bytes>) -> Result<()> {
    let mut chunks = body.into_stream();
    while let Some(chunk) = chunks.try_next().await? {
        if sender.send(chunk).await.is_err() {
            break; // the writer has failed, and says why itself
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::SystemDisk;

    #[tokio::test]
    async fn a_body_of_many_parts_has_few_files_open_and_all_its_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(&folder.path().join("blobs"), Arc::new(SystemDisk)).expect("folders");
        let (mut segments, mut whole) = (Vec::new(), Vec::new());
        for number in 0..(3 * OPEN_AT_ONCE) {
            let blob = format!("{number:032x}");
            let bytes = Bytes::from(format!("part {number};"));
            whole.extend_from_slice(&bytes);
            segments.push(Segment { blob: blob.clone(), size: bytes.len() as u64 });
            blobs.write(&blob, bytes.into(), Digests::new(None), |_| {}).await.expect("a new blob");
        }
        let all = ByteRange { offset: 0, length: whole.len() as u64 };
        let pieces = blobs.open_pieces(&segments, all, Checking::On(None)).expect("they are there");
        let open = pieces.pieces.iter().filter(|piece| matches!(piece, Piece::Open(_))).count();
        assert_eq!((open, pieces.pieces.len()), (OPEN_AT_ONCE, 3 * OPEN_AT_ONCE));
        assert!(pieces.read_all().expect("they can be read") == whole);
        let (from, to) = (500, whole.len() - 500);
        let middle = ByteRange { offset: from as u64, length: (to - from) as u64 };
        let body = Body::from_opened(
            middle.length,
            blobs.open_pieces(&segments, middle, Checking::On(None)).expect("they are there"),
        );
        let chunks: Vec<Bytes> = body.into_stream().try_collect().await.expect("they can be read");
        assert!(chunks.concat() == whole[from..to]);
        // One that is not there when it is its turn is told, and not passed over.
        blobs.remove(&segments[2 * OPEN_AT_ONCE].blob).expect("it is there");
        let body = Body::from_opened(
            all.length,
            blobs.open_pieces(&segments, all, Checking::On(None)).expect("the first are there"),
        );
        assert_eq!(body.bytes().await.expect_err("one is missing").kind(), ErrorKind::Corrupt);
    }
}
