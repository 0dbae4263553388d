//! Stretches of a history without a gap, out of what its files have.
//!
//! Pure computation on positions, for the history's own files and for the objects of a backup alike: files that
//! begin where another ends belong together, a snapshot begins a stretch, and what follows no snapshot is of no
//! use.

use chrono::{DateTime, TimeZone, Utc};

use super::format::Kind;
use super::position::{HistoryId, Position};
use crate::HistoryPoint;

/// A state and its time, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) position: Position,
    pub(crate) time: i64,
}

impl Point {
    /// The point of this history, for a report.
    pub(crate) fn report(self, history: HistoryId) -> HistoryPoint {
        HistoryPoint::new(self.position.bookmark(history), time(self.time))
    }
}

/// A time as reports have it.
pub(super) fn time(microseconds: i64) -> DateTime<Utc> {
    Utc.timestamp_micros(microseconds).single().unwrap_or_default()
}

/// Content of a file: from the state that it has or follows, to the state after its last commit. Those of a base are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) kind: Kind,
    pub(crate) start: Point,
    pub(crate) end: Point,
}

/// A stretch in which every state can be restored: a base, and files that follow without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Point,
    pub(crate) to: Point,
    /// Its files, by their numbers in the list.
    pub(crate) files: Vec<usize>,
}

/// Finds the stretches. The files come in the order of their starts, bases before logs; a base that is not whole is left out.
///
/// One pass, in the order of the starts.
pub(crate) fn spans(files: impl Iterator<Item = (usize, Content)>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (number, Content { kind, start, end }) in files {
        match spans.last_mut().filter(|span| span.to.position == start.position) {
            Some(span) => {
                span.to = if kind == Kind::Base { span.to } else { end };
                span.files.push(number);
            }
            None if kind == Kind::Base => spans.push(Span { from: start, to: start, files: vec![number] }),
            // No base is before it.
            None => {}
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: Kind, start: u32, end: u32) -> Content {
        let point = |frame: u32| Point { position: Position::new(1, frame), time: i64::from(frame) * 10 };
        Content { kind, start: point(start), end: point(end) }
    }

    fn found(files: &[Content]) -> Vec<(u32, u32, Vec<usize>)> {
        let spans = spans(files.iter().copied().enumerate());
        spans.into_iter().map(|span| (span.from.position.frame, span.to.position.frame, span.files)).collect()
    }

    #[test]
    fn files_that_follow_each_other_are_one_stretch() {
        let files = [
            file(Kind::Base, 3, 3),
            file(Kind::Log, 3, 8),
            file(Kind::Base, 8, 8),
            file(Kind::Log, 8, 8),
            file(Kind::Log, 8, 9),
        ];
        assert_eq!(found(&files), [(3, 9, vec![0, 1, 2, 3, 4])]);
    }

    #[test]
    fn a_gap_ends_a_stretch_and_a_log_without_a_base_is_in_none() {
        let files = [
            file(Kind::Log, 1, 3),
            file(Kind::Base, 4, 4),
            file(Kind::Log, 4, 6),
            file(Kind::Log, 7, 9),
            file(Kind::Base, 12, 12),
            file(Kind::Base, 15, 15),
        ];
        assert_eq!(found(&files), [(4, 6, vec![1, 2]), (12, 12, vec![4]), (15, 15, vec![5])]);
        assert_eq!(found(&[]), []);
    }
}
