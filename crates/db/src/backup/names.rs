//! Names of a backup's objects: what an object has stands in its name, so that a listing is an index.
//!
//! ```text
//! HISTORY/POSITION-TIME.PART-of-PARTS.base    a part of a snapshot
//! HISTORY/START_END-TIME.log                  commits
//! HISTORY/START_END-TIME.part                 a part of a commit that is too large for one object
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::sqlite::{Content, HistoryId, Kind, Point, Position, Span, spans};

/// An object of a backup.
///
/// The order of the variants and fields is that of a restore: snapshots before commits, each by their starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Base { start: Position, time: i64, part: u32, parts: u32 },
    Log { start: Position, end: Position, time: i64, ends: bool },
}

impl Name {
    pub(super) fn text(self, history: HistoryId) -> String {
        match self {
            Self::Base { start, time, part, parts } => {
                format!("{history}/{start}-{time:016x}.{part:06}-of-{parts:06}.base")
            }
            Self::Log { start, end, time, ends } => {
                format!("{history}/{start}_{end}-{time:016x}.{}", if ends { "log" } else { "part" })
            }
        }
    }

    /// Reads a name; `None` for what is not an object of a backup.
    pub(super) fn parse(text: &str) -> Option<(HistoryId, Self)> {
        let (history, name) = text.split_once('/')?;
        let history = HistoryId::parse(history)?;
        let (rest, kind) = name.rsplit_once('.')?;
        let timed = |text: &str| -> Option<(Position, i64)> {
            let (position, time) = text.rsplit_once('-')?;
            Some((Position::parse(position)?, i64::from_str_radix(time, 16).ok()?))
        };
        let parsed = match kind {
            "base" => {
                let (state, part) = rest.split_once('.')?;
                let (start, time) = timed(state)?;
                let (part, parts) = part.split_once("-of-")?;
                Self::Base { start, time, part: part.parse().ok()?, parts: parts.parse().ok()? }
            }
            "log" | "part" => {
                let (start, end) = rest.split_once('_')?;
                let (end, time) = timed(end)?;
                Self::Log { start: Position::parse(start)?, end, time, ends: kind == "log" }
            }
            _ => return None,
        };
        (parsed.text(history) == text).then_some((history, parsed))
    }
}

/// A snapshot or commits, out of one object or several.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) content: Content,
    pub(super) names: Vec<Name>,
}

/// The objects of one history.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) history: HistoryId,
    pub(super) names: BTreeSet<Name>,
}

impl Listing {
    /// Sorts names by their histories, the newest last.
    pub(super) fn all(names: &[String]) -> Vec<Self> {
        let mut histories = BTreeMap::<HistoryId, BTreeSet<Name>>::new();
        for (history, name) in names.iter().filter_map(|name| Name::parse(name)) {
            histories.entry(history).or_default().insert(name);
        }
        histories.into_iter().map(|(history, names)| Self { history, names }).collect()
    }

    /// The snapshots that are whole, and the commits, in the order of their starts, snapshots first.
    pub(super) fn stored(&self) -> Vec<Stored> {
        let mut stored = Vec::new();
        for name in &self.names {
            match *name {
                Name::Base { start, time, part: 0, parts } => {
                    let names: Vec<_> = (0..parts).map(|part| Name::Base { start, time, part, parts }).collect();
                    if names.iter().all(|name| self.names.contains(name)) {
                        let point = Point { position: start, time };
                        stored.push(Stored { content: Content { kind: Kind::Base, start: point, end: point }, names });
                    }
                }
                Name::Base { .. } => {}
                Name::Log { start, end, time, .. } => {
                    let start = Point { position: start, time };
                    let end = Point { position: end, time };
                    stored.push(Stored { content: Content { kind: Kind::Log, start, end }, names: vec![*name] });
                }
            }
        }
        stored.sort_by_key(|stored| (stored.content.start.position, stored.content.kind));
        stored
    }

    /// The stretches in which every state can be restored, and their snapshots and commits. Each ends with a commit.
    pub(super) fn spans(&self) -> Vec<(Span, Vec<Stored>)> {
        let stored = self.stored();
        let spans = spans(stored.iter().map(|stored| stored.content).enumerate());
        let with_files = |mut span: Span| {
            let mut files: Vec<Stored> = span.files.iter().map(|number| stored[*number].clone()).collect();
            let is_unfinished = |file: &Stored| matches!(file.names[..], [Name::Log { ends: false, .. }]);
            while files.last().is_some_and(is_unfinished) {
                files.pop();
            }
            span.to = files.last().map_or(span.from, |file| file.content.end);
            (span, files)
        };
        spans.into_iter().map(with_files).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_no_objects() {
        let history = HistoryId::parse("0123456789abcdef0123456789abcdef").expect("32 digits");
        let start = Position::new(7, 9);
        let end = Position::new(8, 1);
        for name in [
            Name::Base { start, time: 5, part: 2, parts: 11 },
            Name::Log { start, end, time: 1_700_000_000_000_000, ends: true },
            Name::Log { start, end, time: 0, ends: false },
        ] {
            assert_eq!(Name::parse(&name.text(history)), Some((history, name)));
        }
        for text in ["", "a/b.log", "0123456789abcdef0123456789abcdef/x.base", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
