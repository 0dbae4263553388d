//! The blob files: written once, made durable, read in chunks, never changed.
//!
//! **Writing.** A blob gets a random name before its first byte, in one of 256 folders that are made when the store is opened, so
//! that a write needs to sync its own folder alone. Its bytes are hashed on the way; behind them comes the trailer of
//! [`sums`](super::sums); then the file is synced, and the folder. Only then may a row name it. A write that fails or is dropped
//! removes its file; one that is killed leaves an orphan, which the garbage collection finds. A blob is never written to again,
//! so copies name the same one.
//!
//! **Reading.** All files of a body are opened before the first byte is handed out, and an open file can be read after it was
//! unlinked: a reader is not disturbed by a write that replaces the object. A body of more than 64 blobs opens the others when it
//! is their turn; they are there for ten minutes after the last row that names them is gone ([`gc`](super::engine)). Bodies of up
//! to 1 MiB are read at once. Their buffers are used again ([`read_buffers`](crate::read_buffers)).
//!
//! **Verifying.** A blob with a trailer is verified block by block, in any range. One without (written before that format) can
//! only be compared with the md5 of the whole body, so only whole reads of it are verified. Both are left out where the same
//! range of an unchanged file was verified a moment ago ([`recent`](super::recent)).

mod pieces;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskFile, sync_folder};
use super::recent::Recent;
use super::sums::{NewSums, Sums, trailer_bytes};
use super::verify::Verify;
use crate::checksum::Digests;
use crate::files::blocking;
use crate::{Body, ByteRange, Error, ErrorKind, ObjectMeta, Result};

pub(super) use self::pieces::Pieces;
use self::pieces::{How, OpenFile, Piece};

/// A body of at most this many bytes is read when it is asked for, not when it is consumed.
const AT_ONCE_BYTES: u64 = 1024 * 1024;

/// Files that are open for one body.
const OPEN_AT_ONCE: usize = 64;

/// A piece of an object's body: a whole blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobPart {
    pub(super) blob: String,
    pub(super) size: u64,
}

/// How what is read is verified.
#[derive(Debug, Clone, Copy)]
pub(super) enum Checking<'m> {
    /// Not at all.
    Off,
    /// By the sums of the blobs; by the digest of the whole body, if its metadata are given, where a blob has none.
    On(Option<&'m ObjectMeta>),
    /// By both, whatever was verified a moment ago.
    Full(&'m ObjectMeta),
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
    /// worst an orphan. `written` is called with the bytes of each piece that is in the file.
    pub(super) async fn write(
        &self,
        blob: &str,
        body: Body,
        digests: Digests,
        written: impl Fn(u64) + Send + 'static,
    ) -> Result<Digests> {
        let blobs = self.clone();
        let blob = blob.to_owned();
        let length = body.length();
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
    pub(super) fn read(&self, segments: &[BlobPart], range: ByteRange, checking: Checking<'_>) -> Result<Body> {
        let pieces = self.open_pieces(segments, range, checking)?;
        if range.length <= AT_ONCE_BYTES {
            Ok(pieces.read_all()?.into())
        } else {
            Ok(Body::from_opened(range.length, pieces))
        }
    }

    pub(super) fn open_pieces(
        &self,
        segments: &[BlobPart],
        range: ByteRange,
        checking: Checking<'_>,
    ) -> Result<Pieces> {
        let (how, meta) = match checking {
            Checking::Off => (How::Off, None),
            Checking::On(meta) => (How::Recent, meta),
            Checking::Full(meta) => (How::Always, Some(meta)),
        };
        let mut pieces = Vec::new();
        let mut bare = Vec::new();
        let mut offset = range.offset;
        let mut length = range.length;
        for segment in segments {
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
                    if !piece.has_sums {
                        bare.push(piece.bare_mark);
                    }
                    Piece::Open(piece)
                }
                false => {
                    if meta.is_some() && !self.has_sums(segment) {
                        bare.push(None);
                    }
                    Piece::Later(self.clone(), segment.clone(), offset, take, how)
                }
            });
            offset = 0;
            length -= take;
        }
        // A digest is needed where a blob has no sums, unless it was compared a moment ago.
        let is_needed = how == How::Always || !bare.iter().all(|mark| mark.is_some_and(|mark| self.recent.has(mark)));
        let verify = meta.filter(|_| is_needed).map(|meta| {
            let empty = segments.iter().filter(|segment| segment.size == 0).count();
            Verify::of(meta, empty)
        });
        pieces.reverse();
        let marks = bare.into_iter().flatten().map(|mark| (Arc::clone(&self.recent), mark)).collect();
        Ok(Pieces::new(pieces, range.length, verify, marks))
    }

    fn has_sums(&self, segment: &BlobPart) -> bool {
        fs::metadata(self.path(&segment.blob)).is_ok_and(|file| file.len() > segment.size)
    }

    /// Whether a blob is there with a body of this length.
    pub(super) fn is_whole(&self, segment: &BlobPart) -> bool {
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
        let mut blobs = Vec::new();
        let mut foreign = Vec::new();
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
        isobar_base::fs::create_dir_with(path, &mut |path| self.create_one(path), &mut |path| self.sync_folder(path))
    }

    fn create_one(&self, path: &Path) -> Result<()> {
        match self.disk.create_folder(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io(format_args!("cannot create {}", path.display()), error))
            }
            _ => Ok(()),
        }
    }

    fn open_piece(&self, segment: &BlobPart, offset: u64, length: u64, how: How) -> Result<OpenFile> {
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
        open.bare_mark = mark.filter(|_| !open.has_sums);
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
            drop(self.blobs.disk.remove(&self.path)); // otherwise left to the garbage collection
        }
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Error {
    Error::io(format_args!("cannot write {}", path.display()), error)
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
