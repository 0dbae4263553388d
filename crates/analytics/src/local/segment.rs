//! The segment files: appended to, made durable, read back.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame;
use crate::{Error, Event, Result, ScanOptions};

/// Marks a segment, and its format's version.
const MAGIC: &[u8; 8] = b"isobarA1";

/// Bytes that wait for one fsync at most.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The segments of a folder, of which the newest is open.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    segment_bytes: u64,
    current: Option<Current>,
    buffer: Vec<u8>,
    /// Events in the buffer, and since when there are some.
    events: u64,
    since: Instant,
}

#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
    /// Bytes that are durable: what lies behind them after a failure is cut off.
    durable: u64,
}

impl Segments {
    pub(super) fn open(folder: &Path, segment_bytes: u64) -> Result<Self> {
        create_folder(folder).map_err(|error| Error::io("open", folder, error))?;
        let (buffer, events, since) = (Vec::new(), 0, Instant::now());
        Ok(Self { folder: folder.to_owned(), segment_bytes, current: None, buffer, events, since })
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.events > 0
    }

    /// Whether more may be appended before it must be made durable.
    pub(super) fn has_room(&self) -> bool {
        self.buffer.len() < BUFFER_BYTES
    }

    /// How long the oldest event that is not durable has waited.
    pub(super) fn dirty_for(&self) -> Duration {
        if self.is_dirty() { self.since.elapsed() } else { Duration::ZERO }
    }

    pub(super) fn append(&mut self, event: &Event) {
        if self.events == 0 {
            self.since = Instant::now();
        }
        frame::encode(event, &mut self.buffer);
        self.events += 1;
    }

    /// Makes everything appended durable; how many events that were. Where it fails, they are lost, and the count says
    /// how many; the file is left as it was.
    pub(super) fn sync(&mut self) -> Result<u64, (Error, u64)> {
        let events = std::mem::take(&mut self.events);
        if events == 0 {
            return Ok(0);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&buffer).map_err(|error| (error, events));
        buffer.clear();
        self.buffer = buffer; // its capacity serves again
        if written.is_err() {
            self.current = None; // a new segment is begun: nothing is known of this one's end
        }
        written.map(|()| events)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.current.as_ref().is_some_and(|current| current.durable >= self.segment_bytes) {
            self.current = None;
        }
        let current = match &mut self.current {
            Some(current) => current,
            None => self.current.insert(Current::create(&self.folder)?),
        };
        let failed = |error| Error::io("flush", &current.path, error);
        let written = current.file.write_all(bytes).and_then(|()| current.file.sync_data());
        if written.is_err() {
            // So that a reader does not meet half a batch; where this fails too, the frames' checksums tell.
            drop(current.file.set_len(current.durable));
        }
        written.map_err(failed)?;
        current.durable += bytes.len() as u64;
        Ok(())
    }
}

impl Current {
    /// Begins a segment after the last one; the name sorts by time.
    fn create(folder: &Path) -> Result<Self> {
        let last = list(folder)?.last().and_then(|path| number(path)).unwrap_or(0);
        // Another process on the same folder may take the number first: then the next one is free.
        for number in last + 1.. {
            let path = folder.join(format!("{number:012}.seg"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    let failed = |error| Error::io("flush", &path, error);
                    let begun = file.write_all(MAGIC).and_then(|()| file.sync_all());
                    let begun = begun.and_then(|()| File::open(folder)?.sync_all());
                    if let Err(error) = begun {
                        drop(fs::remove_file(&path)); // else every try would leave a file
                        return Err(failed(error));
                    }
                    return Ok(Self { file, path, durable: MAGIC.len() as u64 });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("flush", &path, error)),
            }
        }
        unreachable!("there are more numbers than files")
    }
}

/// The asked events of a folder, oldest first.
pub(super) fn scan(folder: &Path, options: &ScanOptions) -> Result<Vec<Event>> {
    let (mut segments, mut found, limit) = (Vec::new(), 0, options.limit.unwrap_or(usize::MAX));
    // Newest first, so that a limit reads no more segments than it needs.
    for path in list(folder)?.into_iter().rev() {
        let bytes = fs::read(&path).map_err(|error| Error::io("scan", &path, error))?;
        let mut bytes = Bytes::from(bytes);
        if !bytes.starts_with(MAGIC) {
            continue; // begun and never written, or not ours
        }
        bytes = bytes.slice(MAGIC.len()..);
        let mut events = Vec::new();
        while let Some(event) = frame::decode(&mut bytes) {
            if options.covers(event.timestamp) {
                events.push(event);
            }
        }
        #[cfg(feature = "tracing")]
        if !bytes.is_empty() {
            tracing::warn!(segment = %path.display(), bytes = bytes.len(), "the end of a segment is torn");
        }
        found += events.len();
        segments.push(events);
        if found >= limit {
            break;
        }
    }
    // Oldest first; among those of one millisecond, the order in which they were written.
    let mut events: Vec<Event> = segments.into_iter().rev().flatten().collect();
    events.sort_by_key(|event| event.timestamp);
    let skip = events.len().saturating_sub(limit);
    Ok(events.split_off(skip))
}

/// Creates a folder and what is missing above it, each durable in the one above.
fn create_folder(folder: &Path) -> std::io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

/// The segments, oldest first.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("scan", folder, error);
    let mut paths = Vec::new();
    for file in fs::read_dir(folder).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        if number(&path).is_some() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".seg")?.parse().ok()
}
