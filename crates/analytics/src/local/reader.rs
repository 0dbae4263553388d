//! Reading segments in bounded batches, skipping damaged data.
//!
//! A thread reads, one batch at a time and only when it is asked for the next, so that a slow reader holds one batch. Frames are
//! found by their lengths; where a checksum does not hold, the reader looks for the next place at which a frame with a right
//! checksum begins, skips what is between, and reports how much that was. A frame's checksum covers its position in the file, so
//! a text within an event that looks like a frame is not taken for one.
//!
//! | on the disk | is read as |
//! |---|---|
//! | a frame with a right checksum | an event |
//! | a stretch of bytes that are not a frame, with a frame behind it | damage: one stretch, its bytes, the file's name |
//! | such a stretch at the end of a segment that a process is writing | nothing: a batch in flight |
//! | at the end of another one | damage: what a crash has left of points that were never durable |
//! | a mark that is damaged | its frames, by the format that the first one shows |
//!
//! A limit asks for the newest events, and files are read from their beginnings: so segments are read from the newest on for their times alone,
//! until there are enough, and then from there for their events.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc;

use futures_channel::oneshot;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::files::Part;
use super::frame::{self, Frame};
use super::log::{self, LogSegment};
use super::segment::{FIRST_MAGIC, MAGIC};
#[cfg(feature = "query")]
use super::snapshot::ColumnarSegment;
use super::snapshot::{Snapshot, overlaps};
#[cfg(feature = "query")]
use super::stored::StoredEvents;
use crate::{Batch, Batches, Damage, Error, ErrorKind, Event, Operation, Result, ScanOptions};

/// Most events of a batch.
const BATCH_EVENTS: usize = 1024;
/// Size of a read from a file in bytes.
const CHUNK: usize = 256 * 1024;
/// Bytes that are in the buffer at least, where the file has as many: damage is looked past over several frames.
const AHEAD: usize = 4 * frame::MAX_FRAME;

/// Returns the batches of a snapshot, oldest first. A dedicated thread reads each batch on demand.
pub(super) fn batches(snapshot: Snapshot, options: ScanOptions) -> Result<Batches> {
    type Answer = Option<Result<Batch>>;
    let (sender, receiver) = mpsc::channel::<oneshot::Sender<Answer>>();
    let thread = std::thread::Builder::new().name("isobar-analytics-read".to_owned()).spawn(move || {
        let mut snapshot = Some(snapshot);
        let mut reader = None;
        while let Ok(answer) = receiver.recv() {
            let opened = snapshot.take().map(|snapshot| Reader::new(snapshot, options.clone()));
            let batch = match opened.transpose() {
                Ok(opened) => {
                    reader = opened.or(reader);
                    reader.as_mut().and_then(Reader::batch)
                }
                Err(error) => Some(Err(error)),
            };
            let is_over = !matches!(batch, Some(Ok(_)));
            if answer.send(batch).is_err() || is_over {
                break;
            }
        }
    });
    thread.map_err(|error| Error::new(ErrorKind::Unavailable, format!("cannot start a thread: {error}")))?;
    let next = async move |sender: Option<mpsc::Sender<oneshot::Sender<Answer>>>| {
        let sender = sender?;
        let (answer, answered) = oneshot::channel();
        // If the thread has ended, `answered` reports it.
        drop(sender.send(answer));
        match answered.await {
            Ok(Some(Ok(batch))) => Some((Ok(batch), Some(sender))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(Error::new(ErrorKind::Internal, "the reading thread ended early")), None)),
        }
    };
    let batches = stream::unfold(Some(sender), next);
    Ok(batches.map_err(|error: Error| error.during(Operation::Read)).boxed())
}

/// Reads the segments of both tiers one after the other.
pub(super) struct Reader {
    options: ScanOptions,
    /// Events that precede the log.
    #[cfg(feature = "query")]
    columnar: StoredEvents,
    /// Remaining log segments, the next one last.
    log: Vec<LogSegment>,
    current: Option<Frames>,
    /// Number of oldest events to skip because of the limit.
    skip: usize,
    damage: Damage,
}

impl Reader {
    pub(super) fn new(snapshot: Snapshot, options: ScanOptions) -> Result<Self> {
        let Snapshot { mut log, columnar, damage, .. } = snapshot;
        log.reverse();
        // Of the newest events, those that the log does not have.
        let mut missing = options.limit;
        let mut skip: usize = 0;
        if let Some(limit) = options.limit {
            // From the newest, so that no more segments are read than the limit needs.
            let mut times: Vec<Vec<i64>> = Vec::new();
            let mut found = 0;
            while found < limit && times.len() < log.len() {
                times.push(times_of(&log[times.len()], &options));
                found += times.last().map_or(0, Vec::len);
            }
            log.truncate(times.len());
            skip = found.saturating_sub(limit);
            missing = Some(limit.saturating_sub(found));
            #[cfg(feature = "query")]
            {
                let last = times.pop().unwrap_or_default();
                let oldest = last[skip..].iter().chain(times.iter().flatten()).min();
                if oldest.is_some_and(|oldest| columnar.iter().any(|segment| segment.entry.until >= *oldest)) {
                    return Self::merged(&log, columnar, options, limit, damage);
                }
            }
        }
        #[cfg(not(feature = "query"))]
        if !columnar.is_empty() && missing != Some(0) {
            let message = "the dataset has compacted segments, which are read with the feature `query`";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(Self {
            #[cfg(feature = "query")]
            columnar: StoredEvents::new(columnar, options.clone(), missing)?,
            options,
            log,
            current: None,
            skip,
            damage,
        })
    }

    /// Reads the newest events of both tiers where one tier does not precede the other, as after an import.
    ///
    /// Reads all of the newest events into memory: as many as the limit.
    #[cfg(feature = "query")]
    fn merged(
        log: &[LogSegment],
        columnar: Vec<ColumnarSegment>,
        options: ScanOptions,
        limit: usize,
        mut damage: Damage,
    ) -> Result<Self> {
        let mut stored = StoredEvents::new(columnar, options.clone(), Some(limit))?;
        let mut events = Vec::new();
        while let Some(batch) = stored.next_batch(BATCH_EVENTS, &mut damage)? {
            events.extend(batch);
        }
        for segment in log.iter().rev() {
            let mut frames = Frames::open(segment);
            events.extend(std::iter::from_fn(|| frames.next(&options)));
            damage.merge(frames.take_damage(&options));
        }
        events.sort_by_key(|event| event.timestamp);
        events.drain(..events.len().saturating_sub(limit));
        let columnar = StoredEvents::of(events, options.clone());
        Ok(Self { options, columnar, log: Vec::new(), current: None, skip: 0, damage })
    }

    /// Reads the next batch; `None` at the end.
    pub(super) fn batch(&mut self) -> Option<Result<Batch>> {
        let mut events = Vec::new();
        #[cfg(feature = "query")]
        if let Some(stored) = self.columnar.next_batch(BATCH_EVENTS, &mut self.damage).transpose() {
            let damage = std::mem::take(&mut self.damage);
            return Some(stored.map(|events| Batch { events, damage }));
        }
        while events.len() < BATCH_EVENTS {
            let frames = match &mut self.current {
                Some(frames) => frames,
                None => {
                    let Some(segment) = self.log.pop() else { break };
                    self.current.insert(Frames::open(&segment))
                }
            };
            match frames.next(&self.options) {
                Some(_) if self.skip > 0 => self.skip -= 1,
                Some(event) => events.push(event),
                None => {
                    self.damage.merge(frames.take_damage(&self.options));
                    self.current = None;
                }
            }
        }
        let damage = std::mem::take(&mut self.damage);
        let is_over = events.is_empty() && damage.is_none();
        (!is_over).then_some(Ok(Batch { events, damage }))
    }
}

/// The times, in milliseconds, of the events of a segment that the options select.
fn times_of(segment: &LogSegment, options: &ScanOptions) -> Vec<i64> {
    let mut frames = Frames::open(segment);
    std::iter::from_fn(|| frames.next(options)).map(|event| event.timestamp.timestamp_millis()).collect()
}

/// The use of a payload to the reader of its frame.
pub(super) enum Decoded<T> {
    Value(T),
    /// Not in the format of a payload.
    Invalid,
    /// Not wanted.
    Unwanted,
}

impl<T> Decoded<T> {
    pub(super) fn of(value: Option<T>) -> Self {
        value.map_or(Self::Invalid, Self::Value)
    }
}

/// The frames of one log segment.
///
/// The buffer has at least [`AHEAD`] bytes where the file does, so that damage is looked past without reading again.
pub(super) struct Frames {
    segment: LogSegment,
    file: Part,
    buffer: Vec<u8>,
    /// Position of the buffer in the file.
    base: u64,
    /// Offset of the next frame in the buffer.
    at: usize,
    is_at_end: bool,
    /// Whether frames are bound to their positions: in all but the first format.
    is_positioned: bool,
    /// Whether the bytes before are damaged.
    is_within_damage: bool,
    /// Size in bytes of the last damaged stretch.
    stretch: u64,
    /// Whether the last damaged stretch goes on to the end, as a crash leaves it.
    pub(super) is_torn: bool,
    /// Times of the oldest and the newest event that can be read, in milliseconds.
    times: Option<(i64, i64)>,
    /// Whether there is damage before the first event that can be read.
    is_begin_damaged: bool,
    pub(super) damage: Damage,
}

impl Frames {
    /// Begins to read a segment.
    pub(super) fn open(segment: &LogSegment) -> Self {
        let mut frames = Self {
            segment: segment.clone(),
            file: Part::first(std::sync::Arc::clone(&segment.file), segment.bytes),
            buffer: Vec::new(),
            base: 0,
            at: 0,
            is_at_end: false,
            is_positioned: true,
            is_within_damage: false,
            stretch: 0,
            is_torn: false,
            times: None,
            is_begin_damaged: false,
            damage: Damage::default(),
        };
        frames.fill();
        // A segment to which nothing was written has a part of the mark, or nothing.
        match frames.buffer.get(..MAGIC.len()) {
            Some(begin) if begin == MAGIC => frames.at = MAGIC.len(),
            Some(begin) if begin == FIRST_MAGIC => {
                frames.at = MAGIC.len();
                frames.is_positioned = false;
            }
            None if MAGIC.starts_with(&frames.buffer) || FIRST_MAGIC.starts_with(&frames.buffer) => {
                frames.at = frames.buffer.len();
            }
            // A damaged mark: the first event shows the format.
            Some(_) => frames.is_positioned = Frame::read(&frames.buffer[MAGIC.len()..], None).is_none(),
            None => {}
        }
        frames
    }

    /// Returns the next selected event; `None` at the end.
    pub(super) fn next(&mut self, options: &ScanOptions) -> Option<Event> {
        self.next_with(
            |frame| if options.covers(frame.timestamp) { Decoded::of(frame.event()) } else { Decoded::Unwanted },
        )
    }

    /// Decodes the next frame that is wanted; `None` at the end. A frame whose payload is not in the format is damaged.
    pub(super) fn next_with<T>(&mut self, mut decode: impl FnMut(&Frame<'_>) -> Decoded<T>) -> Option<T> {
        loop {
            self.fill();
            let rest = &self.buffer[self.at..];
            if rest.is_empty() {
                self.is_torn |= std::mem::take(&mut self.is_within_damage);
                return None;
            }
            let Some(frame) = Frame::read(rest, self.position(0)) else {
                let length = self.damaged_length();
                self.skip_damage(length);
                continue;
            };
            let length = frame.length();
            let time = frame.timestamp.timestamp_millis();
            let decoded = decode(&frame);
            self.times = self.times.map_or(Some((time, time)), |(from, until)| Some((from.min(time), until.max(time))));
            if let Decoded::Invalid = decoded {
                self.skip_damage(length);
                continue;
            }
            self.is_within_damage = false;
            self.at += length;
            if let Decoded::Value(value) = decoded {
                return Some(value);
            }
        }
    }

    /// The position of what is this far behind the next frame's beginning, where frames are bound to it.
    fn position(&self, behind: usize) -> Option<u64> {
        self.is_positioned.then_some(self.base + (self.at + behind) as u64)
    }

    /// How many bytes to skip of damaged ones: the whole frame where its length is good, which shows by another frame or the end
    /// behind it; else one. In the first format, where bytes of a payload may look like a frame, several damaged frames are skipped
    /// so, by their lengths.
    ///
    /// Looking past a frame by its claimed length keeps a damaged payload from being searched byte by byte; where the length itself is damaged,
    /// that search is what finds the next frame.
    fn damaged_length(&self) -> usize {
        let rest = &self.buffer[self.at..];
        let mut length = 0;
        while let Some(claimed) = rest.get(length..).and_then(frame::claimed_length) {
            length += frame::HEADER + claimed;
            match rest.get(length..) {
                Some([]) if self.is_at_end => return length,
                Some(next) if Frame::read(next, self.position(length)).is_some() => return length,
                Some(_) if !self.is_positioned => {}
                _ => break,
            }
        }
        1
    }

    fn skip_damage(&mut self, length: usize) {
        if !std::mem::replace(&mut self.is_within_damage, true) {
            self.stretch = 0;
            self.damage.stretches += 1;
            self.damage.files.insert(name(&self.segment.path));
        }
        self.is_begin_damaged |= self.times.is_none();
        self.stretch += length as u64;
        self.damage.bytes += length as u64;
        self.at += length;
    }

    /// Returns the first and the last time, in milliseconds, that a damaged event may have: events are written in the order of their
    /// times, but for the [slack](log::SLACK), and before the last change of the file. Known at the end.
    pub(super) fn damaged_times(&self) -> (i64, i64) {
        let (oldest, newest) = self.times.unwrap_or((i64::MIN, i64::MIN));
        let from = if self.is_begin_damaged { i64::MIN } else { oldest.saturating_sub(log::SLACK) };
        (from, newest.max(self.segment.newest))
    }

    /// Takes the damage of what these options may select. Known at the end.
    pub(super) fn take_damage(&mut self, options: &ScanOptions) -> Damage {
        let mut damage = std::mem::take(&mut self.damage);
        if self.is_torn && self.segment.may_end_early() {
            damage.stretches -= 1;
            damage.bytes -= self.stretch;
        }
        let (from, until) = self.damaged_times();
        if damage.is_none() || !overlaps(from, until, options) {
            return Damage::default();
        }
        #[cfg(feature = "tracing")]
        tracing::warn!(segment = %self.segment.path.display(), ?damage, "damaged events were skipped");
        damage
    }

    /// Reads until some whole frames are in the buffer, if the file has as many.
    fn fill(&mut self) {
        if self.is_at_end || self.buffer.len() - self.at >= AHEAD {
            return;
        }
        self.buffer.drain(..self.at);
        self.base += std::mem::take(&mut self.at) as u64;
        let wanted = (CHUNK - self.buffer.len().min(CHUNK)) as u64;
        match self.file.by_ref().take(wanted).read_to_end(&mut self.buffer) {
            Ok(count) => self.is_at_end = (count as u64) < wanted,
            Err(_error) => {
                // Events read before the error are returned; the rest of this file is unreadable.
                self.is_at_end = true;
                #[cfg(feature = "tracing")]
                tracing::error!(segment = %self.segment.path.display(), error = %_error, "a segment cannot be read to its end");
                self.is_begin_damaged |= self.times.is_none();
                self.damage.stretches += 1;
                self.damage.bytes += self.file.left();
                self.damage.files.insert(name(&self.segment.path));
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::snapshot::Dataset;
    use crate::{DataPoint, PointRef};

    fn encoded(point: DataPoint) -> Vec<u8> {
        let blobs: Vec<_> = point.blobs.iter().map(AsRef::as_ref).collect();
        let mut bytes = Vec::new();
        frame::encode(frame::Stamp::at(0), &PointRef::new(None, &blobs, &point.doubles), &mut bytes);
        frame::seal(&mut bytes, None);
        bytes
    }

    /// The events of a segment of the first format, and its damage.
    fn read(frames: &[Vec<u8>]) -> (Vec<f64>, Damage) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("000000000001.seg"), [&FIRST_MAGIC[..], &frames.concat()].concat()).unwrap();
        let snapshot = Snapshot::take(&Dataset::of(folder.path()), &ScanOptions::default()).unwrap();
        let mut frames = Frames::open(&snapshot.log[0]);
        let numbers =
            std::iter::from_fn(|| frames.next(&ScanOptions::default())).map(|event| event.double(1)).collect();
        (numbers, frames.damage)
    }

    #[test]
    fn segments_of_the_first_format_are_read() {
        let frames: Vec<_> = (0..5).map(|number| encoded(DataPoint::new().with_double(f64::from(number)))).collect();
        assert_eq!(read(&frames).0, [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert!(read(&frames).1.is_none());
    }

    #[test]
    fn a_frame_within_adjacent_damaged_events_of_the_first_format_is_skipped() {
        let forged = encoded(DataPoint::new().with_double(66.0));
        let mut frames = vec![
            encoded(DataPoint::new().with_blob(forged.clone())),
            encoded(DataPoint::new().with_blob(forged)),
            encoded(DataPoint::new().with_double(1.0)),
        ];
        frames[0][12] ^= 1;
        frames[1][12] ^= 1;
        let (numbers, damage) = read(&frames);
        assert_eq!((numbers, damage.stretches), (vec![1.0], 1));
    }
}
