//! Reading segments in bounded batches, skipping damaged data.

use std::fs::File;
use std::io::{self, Read, Take};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use futures_channel::oneshot;
use futures_util::{StreamExt, stream};

use super::frame::{self, Frame};
use super::segment::{MAGIC, Segment};
use crate::{Batch, Batches, Damage, Error, ErrorKind, Event, Result, ScanOptions};

/// Most events of a batch.
const BATCH_EVENTS: usize = 1024;
/// Size of a read from a file in bytes.
const CHUNK: usize = 256 * 1024;

/// Returns the batches of these segments, oldest first. A dedicated thread reads each batch on demand.
pub(super) fn batches(segments: Vec<Segment>, options: ScanOptions) -> Result<Batches> {
    type Answer = Option<Result<Batch>>;
    let (sender, receiver) = mpsc::channel::<oneshot::Sender<Answer>>();
    let thread = std::thread::Builder::new().name("isobar-analytics-read".to_owned()).spawn(move || {
        let mut reader = None;
        while let Ok(answer) = receiver.recv() {
            let reader = reader.get_or_insert_with(|| Reader::new(&segments, options.clone()));
            let batch = match reader {
                Ok(reader) => reader.batch(),
                Err(error) => Some(Err(Error::new(error.kind(), "read", error.message()))),
            };
            let is_over = !matches!(batch, Some(Ok(_)));
            if answer.send(batch).is_err() || is_over {
                break;
            }
        }
    });
    thread.map_err(|error| Error::new(ErrorKind::Unavailable, "read", format!("cannot start a thread: {error}")))?;
    let next = async move |sender: Option<mpsc::Sender<oneshot::Sender<Answer>>>| {
        let sender = sender?;
        let (answer, answered) = oneshot::channel();
        // If the thread has ended, `answered` reports it.
        drop(sender.send(answer));
        match answered.await {
            Ok(Some(Ok(batch))) => Some((Ok(batch), Some(sender))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(Error::new(ErrorKind::Internal, "read", "the reading thread ended early")), None)),
        }
    };
    Ok(stream::unfold(Some(sender), next).boxed())
}

/// Reads segments one after the other.
struct Reader {
    options: ScanOptions,
    /// Remaining segments, the next one last.
    segments: Vec<Segment>,
    current: Option<Frames>,
    /// Number of oldest events to skip because of the limit.
    skip: usize,
    damage: Damage,
}

impl Reader {
    fn new(segments: &[Segment], options: ScanOptions) -> Result<Self> {
        let mut wanted: Vec<Segment> = segments.iter().rev().cloned().collect();
        let mut skip: usize = 0;
        if let Some(limit) = options.limit {
            // Count from the newest, so that no more segments are read than the limit needs.
            let mut found = 0;
            let mut used = 0;
            while found < limit && used < wanted.len() {
                found += count(&wanted[used], &options)?;
                used += 1;
            }
            wanted.truncate(used);
            skip = found.saturating_sub(limit);
        }
        Ok(Self { options, segments: wanted, current: None, skip, damage: Damage::default() })
    }

    /// Reads the next batch; `None` at the end.
    fn batch(&mut self) -> Option<Result<Batch>> {
        let mut events = Vec::new();
        while events.len() < BATCH_EVENTS {
            let frames = match &mut self.current {
                Some(frames) => frames,
                None => {
                    let Some(segment) = self.segments.pop() else { break };
                    match Frames::open(&segment) {
                        Ok(Some(frames)) => self.current.insert(frames),
                        Ok(None) => continue,
                        Err(error) => return Some(Err(error)),
                    }
                }
            };
            match frames.next(&self.options) {
                Some(_) if self.skip > 0 => self.skip -= 1,
                Some(event) => events.push(event),
                None => {
                    self.damage.merge(std::mem::take(&mut frames.damage));
                    self.current = None;
                }
            }
        }
        let damage = std::mem::take(&mut self.damage);
        let is_over = events.is_empty() && damage.is_none();
        (!is_over).then_some(Ok(Batch { events, damage }))
    }
}

/// Counts the events of a segment that the options select.
fn count(segment: &Segment, options: &ScanOptions) -> Result<usize> {
    let Some(mut frames) = Frames::open(segment)? else { return Ok(0) };
    Ok(std::iter::from_fn(|| frames.next(options)).count())
}

/// The frames of one segment.
struct Frames {
    file: Take<File>,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Offset of the next frame in the buffer.
    at: usize,
    is_at_end: bool,
    /// Whether the bytes before are damaged.
    is_within_damage: bool,
    damage: Damage,
}

impl Frames {
    /// Opens a segment; `None` where it has expired.
    fn open(segment: &Segment) -> Result<Option<Self>> {
        let file = match File::open(&segment.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &segment.path, error)),
        };
        let mut frames = Self {
            file: file.take(segment.bytes),
            path: segment.path.clone(),
            buffer: Vec::new(),
            at: 0,
            is_at_end: false,
            is_within_damage: false,
            damage: Damage::default(),
        };
        frames.fill();
        // A segment to which nothing was written has a part of the mark, or nothing.
        match frames.buffer.get(..MAGIC.len()) {
            Some(begin) if begin == MAGIC => frames.at = MAGIC.len(),
            None if MAGIC.starts_with(&frames.buffer) => frames.at = frames.buffer.len(),
            _ => {}
        }
        Ok(Some(frames))
    }

    /// Returns the next selected event; `None` at the end.
    fn next(&mut self, options: &ScanOptions) -> Option<Event> {
        loop {
            self.fill();
            let rest = &self.buffer[self.at..];
            if rest.is_empty() {
                self.report();
                return None;
            }
            let Some(frame) = Frame::read(rest) else {
                let length = damaged_length(rest, self.is_at_end);
                self.skip_damage(length);
                continue;
            };
            let length = frame.length();
            let is_wanted = options.covers(frame.timestamp);
            let event = if is_wanted { frame.event() } else { None };
            if is_wanted && event.is_none() {
                self.skip_damage(length);
                continue;
            }
            self.report();
            self.at += length;
            if event.is_some() {
                return event;
            }
        }
    }

    fn skip_damage(&mut self, length: usize) {
        if !std::mem::replace(&mut self.is_within_damage, true) {
            self.damage.stretches += 1;
            self.damage.files.insert(name(&self.path));
        }
        self.damage.bytes += length as u64;
        self.at += length;
    }

    /// Logs the damaged stretch that ends here, if there is one.
    fn report(&mut self) {
        if std::mem::take(&mut self.is_within_damage) {
            #[cfg(feature = "tracing")]
            tracing::warn!(segment = %self.path.display(), damage = ?self.damage, "damaged events were skipped");
        }
    }

    /// Reads until a whole frame is in the buffer, if the file has one.
    fn fill(&mut self) {
        if self.is_at_end || self.buffer.len() - self.at >= frame::MAX_FRAME {
            return;
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let wanted = (CHUNK - self.buffer.len().min(CHUNK)) as u64;
        match self.file.by_ref().take(wanted).read_to_end(&mut self.buffer) {
            Ok(count) => self.is_at_end = (count as u64) < wanted,
            Err(_error) => {
                // Events read before the error are returned; the rest of this file is unreadable.
                self.is_at_end = true;
                #[cfg(feature = "tracing")]
                tracing::error!(segment = %self.path.display(), error = %_error, "a segment cannot be read to its end");
                self.damage.stretches += 1;
                self.damage.bytes += self.file.limit();
                self.damage.files.insert(name(&self.path));
            }
        }
    }
}

/// Returns the number of damaged bytes to skip: a whole frame if its header is valid and another frame or the end follows it, so
/// that nothing within its payload is parsed as a frame; else one byte.
fn damaged_length(rest: &[u8], is_at_end: bool) -> usize {
    let whole = frame::claimed_length(rest).map(|length| frame::HEADER + length);
    let is_whole = |length: &usize| match rest.get(*length..) {
        Some([]) => is_at_end,
        Some(next) => Frame::read(next).is_some(),
        None => false,
    };
    whole.filter(is_whole).unwrap_or(1)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
