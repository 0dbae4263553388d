//! Files as the local store, a plain folder and `sync` read them, off the threads of the runtime.

use std::fmt;
use std::fs::File;
use std::io;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};

use crate::body::{Chunks, Opened};
use crate::{Body, ByteRange, Error, ErrorKind, Result, read_buffers};

/// Bytes of a file in memory at once while it is streamed.
const CHUNK_BYTES: u64 = 256 * 1024;

/// Runs work that blocks on a thread for it, of the runtime's (512 by tokio's default; more wait). Work that has begun is done even if the
/// future is dropped.
///
/// # Errors
/// Those of the work; [`ErrorKind::Unavailable`] where the runtime shuts down before it begins, [`ErrorKind::Internal`] where it panics.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // Only a runtime that shuts down cancels blocking work, and only what has not begun.
        Err(error) if error.is_cancelled() => Err(Error::new(ErrorKind::Unavailable, "the runtime is shutting down")),
        Err(error) => Err(Error::new(ErrorKind::Internal, format!("a storage task ended early: {error}"))),
    }
}

/// Returns these bytes of a file as a body.
pub(crate) fn file_range(file: File, range: ByteRange) -> Body {
    let ByteRange { offset, length } = range;
    Body::from_opened(length, FileRange { file, position: offset, remaining: length })
}

/// The bytes of a file that were not read yet.
struct FileRange {
    file: File,
    position: u64,
    remaining: u64,
}

impl FileRange {
    /// Reads this many bytes at most; none at the end.
    fn read(&mut self, most: u64) -> Result<Bytes> {
        let length = self.remaining.min(most);
        // At most CHUNK_BYTES, so it fits usize.
        let mut bytes = if length <= CHUNK_BYTES { read_buffers::take(length as usize) } else { Vec::new() };
        let read = read_at(&self.file, self.position, length, &mut bytes);
        if read.map_err(|error| Error::io("cannot read a file", error))? < length {
            return Err(Error::new(ErrorKind::Corrupt, "a file became shorter while it was read"));
        }
        self.position += length;
        self.remaining -= length;
        Ok(read_buffers::into_bytes(bytes))
    }
}

impl Opened for FileRange {
    fn into_bytes(mut self: Box<Self>) -> BoxFuture<'static, Result<Bytes>> {
        blocking(move || self.read(u64::MAX)).boxed()
    }

    fn into_chunks(self: Box<Self>) -> Chunks {
        Box::pin(stream::try_unfold(self, |mut range| {
            blocking(move || {
                let chunk = range.read(CHUNK_BYTES)?;
                Ok((!chunk.is_empty()).then_some((chunk, range)))
            })
        }))
    }
}

impl fmt::Debug for FileRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileRange({} bytes)", self.remaining)
    }
}

/// Reads this many bytes from a position on to the end of a buffer; fewer where the file ends.
///
/// By `pread` into the buffer's spare capacity: no seek that two readers would share, and no zeros written first. At most 1 GiB is reserved
/// at once, whatever the length says.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, position: u64, length: u64, into: &mut Vec<u8>) -> io::Result<u64> {
    let wanted = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    // A length out of a damaged row is not believed before the bytes are there.
    into.try_reserve_exact(wanted.min(1 << 30)).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let from = into.len();
    while into.len() - from < wanted {
        let read = (into.len() - from) as u64;
        // The buffer may be larger than what is wanted: what comes behind that is cut off again.
        into.reserve(1);
        match rustix::io::pread(file, rustix::buffer::spare_capacity(into), position + read) {
            Ok(0) => break,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    into.truncate(from + wanted);
    Ok((into.len() - from) as u64)
}

#[cfg(not(unix))]
pub(crate) fn read_at(mut file: &File, position: u64, length: u64, into: &mut Vec<u8>) -> io::Result<u64> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(position))?;
    file.take(length).read_to_end(into).map(|read| read as u64)
}
