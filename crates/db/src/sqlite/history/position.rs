//! Positions in a history, and bookmarks, which are their text.
//!
//! ```text
//! bookmark   GENERATION-FRAME-00000000-HISTORY
//!            00000a3f-0000001c-00000000-0193f2a1b2c3d4e5f60718293a4b5c6d
//! ```
//! D1's bookmarks have the same form: three numbers of eight digits and one of 32. Generations count write-ahead
//! logs; SQLite shows by the first salt how many logs have come between, as it counts it up each time.

use std::fmt;

use chrono::Utc;
pub(crate) use isobar_sqlite::HistoryId;

use super::fault;
use crate::{Bookmark, Result};

/// Step to the next generation where it is not known how many logs came between.
const UNKNOWN_STEP: u32 = 256;

/// Place of a commit: the write-ahead log, counted, and its last frame there. It is known with the commit, durable with it, and greater
/// than every one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub(crate) generation: u32,
    /// Counts from 1; 0 is the state before the first.
    pub(crate) frame: u32,
}

impl Position {
    pub(crate) fn new(generation: u32, frame: u32) -> Self {
        Self { generation, frame }
    }

    /// The first position behind this one.
    pub(super) fn behind(self) -> Self {
        Self { frame: self.frame.saturating_add(1), ..self }
    }

    /// The position as a number that compares alike.
    pub(super) fn to_number(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.frame)
    }

    pub(super) fn of_number(number: u64) -> Self {
        Self { generation: (number >> 32) as u32, frame: number as u32 }
    }

    /// Reads the text that it displays as.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (generation, frame) = text.split_once('-')?;
        Some(Self { generation: hex(generation)?, frame: hex(frame)? })
    }

    pub(crate) fn bookmark(self, history: HistoryId) -> Bookmark {
        Bookmark::new(format!("{self}-00000000-{history}"))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.generation, self.frame)
    }
}

fn hex(text: &str) -> Option<u32> {
    let number = u32::from_str_radix(text, 16).ok()?;
    // One form alone: neither capitals nor a sign.
    (format!("{number:08x}") == text).then_some(number)
}

/// Reads a bookmark of this history.
pub(crate) fn of_bookmark(bookmark: &Bookmark, history: HistoryId) -> Result<Position> {
    let text = bookmark.as_str();
    let read = || {
        let (position, rest) = text.split_at_checked(17)?;
        let id = HistoryId::parse(rest.strip_prefix("-00000000-")?)?;
        Some((Position::parse(position)?, id))
    };
    match read() {
        None => Err(fault::no_point(format!(
            "invalid bookmark {text:?}: a bookmark has the form 00000000-00000000-00000000-00000000000000000000000000000000"
        ))),
        Some((_, id)) if id != history => {
            Err(fault::no_point(format!("the bookmark {text} is not of this database's history")))
        }
        Some((position, _)) => Ok(position),
    }
}

/// The first generation of a new history: greater than the first part of bookmarks that count microseconds, which a database without a
/// history has.
pub(super) fn first_generation() -> u32 {
    u32::try_from(Utc::now().timestamp_micros() >> 32).unwrap_or_default() + 1
}

/// The generation of a log with these salts, after one with others. SQLite counts the first salt up when it begins a log anew, and draws
/// both where the file was missing.
pub(super) fn next_generation(generation: u32, old: [u8; 8], new: [u8; 8]) -> u32 {
    let first = |salts: [u8; 8]| u32::from_be_bytes([salts[0], salts[1], salts[2], salts[3]]);
    let step = first(new).wrapping_sub(first(old));
    if (1..UNKNOWN_STEP).contains(&step) { generation.saturating_add(step) } else { generation_behind(generation) }
}

/// A generation that is greater than those that another process may have counted meanwhile.
pub(super) fn generation_behind(generation: u32) -> u32 {
    generation.saturating_add(UNKNOWN_STEP)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn bookmarks_compare_as_their_positions() {
        let id = HistoryId([7; 16]);
        let positions = [(0, 1), (0, 0x10), (1, 0), (0xa, 3), (0x10, 2), (u32::MAX, u32::MAX)];
        let positions = positions.map(|(generation, frame)| Position { generation, frame });
        assert!(positions.is_sorted());
        assert!(positions.map(|position| position.bookmark(id)).is_sorted());
        for position in positions {
            assert_eq!(of_bookmark(&position.bookmark(id), id).unwrap(), position);
            assert_eq!(Position::of_number(position.to_number()), position);
        }
    }

    #[test]
    fn a_bookmark_of_another_form_or_history_is_refused() {
        let id = HistoryId([0xab; 16]);
        let good = Position::new(3, 4).bookmark(id);
        for text in ["", "zzz", "00000003-00000004", &good.as_str().to_uppercase(), &format!("{good}0")] {
            let refused = of_bookmark(&Bookmark::new(text), id).unwrap_err();
            assert_eq!(refused.kind(), crate::ErrorKind::History);
            assert!(refused.message().contains("invalid bookmark"), "{refused}");
        }
        let refused = of_bookmark(&good, HistoryId([1; 16])).unwrap_err();
        assert!(refused.message().contains("not of this database"), "{refused}");
    }

    #[test]
    fn a_new_history_follows_bookmarks_of_times_and_earlier_ids() {
        let now = Utc::now().timestamp_micros();
        let of_time = Bookmark::of_time(now);
        let id = HistoryId::new().unwrap();
        assert!(Position::new(first_generation(), 0).bookmark(id) > of_time);
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(HistoryId::new().unwrap() > id);
    }

    #[test]
    fn generations_follow_the_first_salt() {
        let salts = |first: u32| {
            let mut salts = [9; 8];
            salts[..4].copy_from_slice(&first.to_be_bytes());
            salts
        };
        assert_eq!(next_generation(10, salts(5), salts(6)), 11);
        assert_eq!(next_generation(10, salts(u32::MAX), salts(2)), 13);
        assert_eq!(next_generation(10, salts(5), salts(5)), 266);
        assert_eq!(next_generation(10, salts(5), salts(4000)), 266);
        assert_eq!(next_generation(u32::MAX, salts(5), salts(6)), u32::MAX);
    }
}
