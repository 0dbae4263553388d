//! The events of columnar segments, for those who read events.
//!
//! Rows come by index and time within a segment, and segments by their newest event: a scan sorts, a stream does not. With a limit, segments
//! are read from the newest on until the next one has only older events than those found; a map of that many events is all the memory.

use std::collections::BTreeMap;
use std::vec::IntoIter;

use super::columnar::{Columnar, Fault, Selection, StoredColumn, events};
use super::snapshot::{ColumnarSegment, SegmentFile, damage};
use crate::{Damage, Error, ErrorKind, Event, Result, ScanOptions};

/// Reads segments one after the other, or of all of them the newest events.
pub(super) struct StoredEvents {
    options: ScanOptions,
    /// Remaining segments, the next one last.
    segments: Vec<ColumnarSegment>,
    current: Option<(Columnar, ColumnarSegment)>,
    /// Events that are read, but not returned yet.
    read: IntoIter<Event>,
    damage: Damage,
}

impl StoredEvents {
    /// Reads these segments, which are sorted by their newest event; of their events only the newest, if there is a limit.
    pub(super) fn new(mut segments: Vec<ColumnarSegment>, options: ScanOptions, limit: Option<usize>) -> Result<Self> {
        segments.reverse();
        let mut stored =
            Self { options, segments, current: None, read: Vec::new().into_iter(), damage: Damage::default() };
        if let Some(limit) = limit {
            stored.read = stored.newest(limit)?.into_iter();
            stored.segments.clear();
        }
        Ok(stored)
    }

    /// Returns these events alone, in their order.
    pub(super) fn of(events: Vec<Event>, options: ScanOptions) -> Self {
        Self { options, segments: Vec::new(), current: None, read: events.into_iter(), damage: Damage::default() }
    }

    /// Returns the next events, at most this many; `None` at the end. Adds the damage that it meets.
    pub(super) fn next_batch(&mut self, most: usize, damage: &mut Damage) -> Result<Option<Vec<Event>>> {
        let mut batch: Vec<Event> = self.read.by_ref().take(most).collect();
        while batch.is_empty() {
            let Some(events) = self.read_batch()? else { break };
            self.read = events.into_iter();
            batch = self.read.by_ref().take(most).collect();
        }
        damage.merge(std::mem::take(&mut self.damage));
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }

    /// Returns the selected events of the next batch of a file; none of them at the end of each file, and `None` at the end of all.
    fn read_batch(&mut self) -> Result<Option<Vec<Event>>> {
        loop {
            let Some((columnar, segment)) = &mut self.current else {
                let Some(segment) = self.segments.pop() else { return Ok(None) };
                match Columnar::open(&segment, &selection(&self.options)) {
                    Ok(columnar) => self.current = columnar.map(|columnar| (columnar, segment)),
                    Err(fault) => self.damage.merge(met(&segment, fault)?),
                }
                continue;
            };
            match columnar.next() {
                Some(Ok(batch)) => {
                    let events = events(&batch).into_iter().filter(|event| self.options.covers(event.timestamp));
                    return Ok(Some(events.collect()));
                }
                Some(Err(fault)) => {
                    let damage = met(segment, fault)?;
                    self.damage.merge(damage);
                    self.current = None;
                }
                None => {
                    self.current = None;
                    return Ok(Some(Vec::new()));
                }
            }
        }
    }

    /// Returns the newest events, oldest first. Segments that have only older ones are not read.
    fn newest(&mut self, limit: usize) -> Result<Vec<Event>> {
        // From the newest segment on; `segments` has the next one last.
        self.segments.reverse();
        let mut newest: BTreeMap<(i64, u64), Event> = BTreeMap::new();
        let mut number = 0;
        if limit == 0 {
            return Ok(Vec::new());
        }
        loop {
            let oldest = newest.first_key_value().map(|((time, _), _)| *time);
            let is_full = newest.len() >= limit;
            if self.current.is_none()
                && is_full
                && self.segments.last().is_none_or(|next| oldest.is_some_and(|oldest| next.entry.until < oldest))
            {
                break;
            }
            let Some(events) = self.read_batch()? else { break };
            for event in events {
                number += 1;
                newest.insert((event.timestamp.timestamp_millis(), number), event);
                if newest.len() > limit {
                    newest.pop_first();
                }
            }
        }
        self.current = None;
        Ok(newest.into_values().collect())
    }
}

fn selection(options: &ScanOptions) -> Selection {
    Selection {
        columns: StoredColumn::all().collect(),
        from: options.from.map(|from| from.timestamp_millis()),
        until: options.until.map(|until| until.timestamp_millis()),
        ..Selection::default()
    }
}

/// Returns the damage of a segment that cannot be read on, or the error where the system cannot read it now.
pub(super) fn met(segment: &ColumnarSegment, fault: Fault) -> Result<Damage> {
    let name = segment.entry.name();
    match fault {
        Fault::Damaged(_problem) => {
            #[cfg(feature = "tracing")]
            tracing::error!(
                segment = name,
                problem = _problem,
                "a columnar segment is damaged; its events are skipped"
            );
            Ok(damage(name, 1, segment.entry.bytes))
        }
        Fault::Missing => match &segment.file {
            // Its events may be in another segment by now, which the snapshot does not have.
            SegmentFile::Archived(object) if !object.is_current()? => {
                let message = format!("{name} was removed while it was to be read; try again");
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            _ => {
                #[cfg(feature = "tracing")]
                tracing::error!(segment = name, "a columnar segment is missing; its events are skipped");
                Ok(damage(name, 1, segment.entry.bytes))
            }
        },
        Fault::Io(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
            let kind = inner.map_or(ErrorKind::Unavailable, Error::kind);
            Err(Error::new(kind, format!("{name}: {error}")).with_source(error))
        }
    }
}
