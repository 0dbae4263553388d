//! The blob files: written once, made durable, read in chunks, never changed.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{TryStreamExt, stream};

use super::blocking;
use crate::checksum::Digests;
use crate::{Body, ByteRange, Error, ErrorKind, Result};

/// How much of a blob is in memory at once while it is read.
const CHUNK_BYTES: u64 = 128 * 1024;

/// A piece of an object's body: a whole blob.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) blob: String,
    pub(super) size: u64,
}

/// The folder of blobs.
#[derive(Debug)]
pub(super) struct Blobs {
    root: PathBuf,
}

impl Blobs {
    pub(super) fn open(root: &Path) -> Result<Self> {
        create_folder(root)?;
        // All of them now, made durable once: a write then needs to sync its own folder only.
        let folders = (0..=255u8).map(|byte| root.join(format!("{byte:02x}")));
        let missing: Vec<PathBuf> = folders.filter(|folder| !folder.is_dir()).collect();
        for folder in &missing {
            create_one(folder)?;
        }
        sync_folder(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Writes a body into a new blob and makes it durable. A failure or a drop on the way leaves no row behind, so at
    /// worst an orphan for the sweep.
    pub(super) async fn write(&self, blob: &str, body: Body, digests: Digests) -> Result<Digests> {
        let path = self.path(blob);
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(4);
        let length = body.length();
        let writer = tokio::task::spawn_blocking(move || {
            let (mut digests, mut written) = (digests, 0);
            let failed = |error| Error::io(format_args!("cannot write {}", path.display()), error);
            let folder = path.parent().unwrap_or(&path);
            let mut file = File::create_new(&path).map_err(failed)?;
            while let Some(chunk) = receiver.blocking_recv() {
                digests.update(&chunk);
                file.write_all(&chunk).map_err(failed)?;
                written += chunk.len() as u64;
            }
            if written != length {
                // The put was dropped on the way, or its body broke off.
                drop(fs::remove_file(&path));
                return Err(Error::new(ErrorKind::Body, "the body broke off"));
            }
            file.sync_all().map_err(failed)?;
            sync_folder(folder)?;
            Ok(digests)
        });
        let fed = feed(body, sender).await;
        let written = writer.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, format!("the writer of a blob ended early: {error}")))
        });
        match (fed, written) {
            (Ok(()), Ok(digests)) => Ok(digests),
            (fed, written) => {
                self.remove(blob)?;
                fed.and(written)
            }
        }
    }

    /// A body of these bytes of the joined segments. The files are opened here: what is unlinked later can still be read.
    pub(super) fn read(&self, segments: &[Segment], range: ByteRange) -> Result<Body> {
        let mut pieces = Vec::new();
        let (mut offset, mut length) = (range.offset, range.length);
        for segment in segments {
            if offset >= segment.size {
                offset -= segment.size;
                continue;
            }
            let take = length.min(segment.size - offset);
            if take == 0 {
                break;
            }
            pieces.push(self.open_piece(segment, offset, take)?);
            (offset, length) = (0, length - take);
        }
        pieces.reverse();
        Ok(Body::from_stream(range.length, stream::try_unfold(pieces, next_chunk)))
    }

    pub(super) fn exists(&self, blob: &str) -> bool {
        self.path(blob).is_file()
    }

    pub(super) fn remove(&self, blob: &str) -> Result<()> {
        let path = self.path(blob);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format_args!("cannot remove {}", path.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Every blob with the time of its last write.
    pub(super) fn list(&self) -> Result<Vec<(String, DateTime<Utc>)>> {
        let failed = |error| Error::io(format_args!("cannot list {}", self.root.display()), error);
        let mut blobs = Vec::new();
        for folder in fs::read_dir(&self.root).map_err(failed)? {
            let folder = folder.map_err(failed)?;
            if !folder.file_type().map_err(failed)?.is_dir() {
                continue; // not ours: left alone
            }
            for file in fs::read_dir(folder.path()).map_err(failed)? {
                let file = file.map_err(failed)?;
                let name = file.file_name().to_string_lossy().into_owned();
                if name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    let written = file.metadata().and_then(|meta| meta.modified()).map_err(failed)?;
                    blobs.push((name, written.into()));
                }
            }
        }
        Ok(blobs)
    }

    fn path(&self, blob: &str) -> PathBuf {
        self.root.join(&blob[..2]).join(blob)
    }

    fn open_piece(&self, segment: &Segment, offset: u64, length: u64) -> Result<Piece> {
        let path = self.path(&segment.blob);
        let corrupt = |what: String| Error::new(ErrorKind::Corrupt, format!("blob {}: {what}", path.display()));
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => corrupt("is in the index but not on disk".to_owned()),
            _ => Error::io(format_args!("cannot open {}", path.display()), error),
        })?;
        let size = file.metadata().map_err(|error| Error::io(path.display(), error))?.len();
        if size != segment.size {
            return Err(corrupt(format!("has {size} bytes, {} in the index", segment.size)));
        }
        file.seek(SeekFrom::Start(offset)).map_err(|error| Error::io(path.display(), error))?;
        Ok(Piece { file, remaining: length })
    }
}

/// A file of the caller's as a body, read in chunks; its length is the one it has now.
pub(crate) fn file_body(path: &Path) -> Result<Body> {
    let failed = |error| Error::io(format_args!("cannot read {}", path.display()), error);
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let pieces = if length == 0 { Vec::new() } else { vec![Piece { file, remaining: length }] };
    Ok(Body::from_stream(length, stream::try_unfold(pieces, next_chunk)))
}

struct Piece {
    file: File,
    remaining: u64,
}

/// The next chunk of the last piece; pieces are in reverse order.
async fn next_chunk(mut pieces: Vec<Piece>) -> Result<Option<(Bytes, Vec<Piece>)>> {
    let Some(mut piece) = pieces.pop() else { return Ok(None) };
    blocking(move || {
        // At most CHUNK_BYTES, so it fits usize.
        let mut chunk = vec![0; piece.remaining.min(CHUNK_BYTES) as usize];
        piece.file.read_exact(&mut chunk).map_err(|error| Error::io("cannot read a blob", error))?;
        piece.remaining -= chunk.len() as u64;
        if piece.remaining > 0 {
            pieces.push(piece);
        }
        Ok(Some((chunk.into(), pieces)))
    })
    .await
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

/// Creates a folder and what is missing above it, each durable in the one above.
fn create_folder(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    create_folder(parent)?;
    create_one(path)?;
    sync_folder(parent)
}

fn create_one(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(format_args!("cannot create {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::io(format_args!("cannot sync the folder {}", path.display()), error))
}
