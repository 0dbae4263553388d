//! Positions in a history, and bookmarks, which are their text.
//!
//! ```text
//! bookmark   GENERATION-NUMBER (two parts)-HISTORY
//!            6927c1f0-00000000-0000001c-0193f2a1b2c3d4e5f60718293a4b5c6d
//! ```
//! Bookmarks of Cloudflare have the same form: three numbers of eight digits and one of 32.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use isobar_base::random::{self, NoRandomness};

/// Id of a history: random, and greater than those of earlier milliseconds. It is the last part of its bookmarks.
///
/// ```
/// use isobar_sqlite::HistoryId;
///
/// let id = HistoryId::new()?;
/// assert_eq!(HistoryId::parse(&id.to_string()), Some(id));
/// assert_eq!(HistoryId::parse("123"), None);
/// # Ok::<(), isobar_base::random::NoRandomness>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryId(pub [u8; 16]);

impl HistoryId {
    /// Draws a new id.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> Result<Self, NoRandomness> {
        let mut id = random::bytes::<16>()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).to_be_bytes();
        id[..6].copy_from_slice(&now[2..]);
        Ok(Self(id))
    }

    /// Parses the text that it displays as: 32 hexadecimal digits. `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
        // One form alone: neither capitals nor a sign.
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Place of a state in a page history.
///
/// ```
/// use isobar_sqlite::HistoryId;
/// use isobar_sqlite::history::Position;
///
/// let id = HistoryId::new()?;
/// let position = Position { generation: 7, number: 12 };
/// let bookmark = position.bookmark(id);
/// assert_eq!(Position::parse(&bookmark), Some((position, id)));
/// assert!(Position::end_of(7).bookmark(id) > bookmark);
/// # Ok::<(), isobar_base::random::NoRandomness>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counts restores: each begins another one.
    pub generation: u32,
    /// Counts commits, through all generations.
    pub number: u64,
}

impl Position {
    /// The last state of a generation, whichever that will be: the one before the restore that ends it.
    #[must_use]
    pub fn end_of(generation: u32) -> Self {
        Self { generation, number: u64::MAX }
    }

    /// Returns whether this is the last state of its generation, whichever that is.
    #[must_use]
    pub fn is_end(self) -> bool {
        self.number == u64::MAX
    }

    /// Returns the bookmark of this position in a history. Bookmarks compare as their positions.
    #[must_use]
    pub fn bookmark(self, history: HistoryId) -> String {
        let number = self.number;
        format!("{:08x}-{:08x}-{:08x}-{history}", self.generation, number >> 32, number & 0xffff_ffff)
    }

    /// Parses a bookmark. `None` for a text of another form.
    #[must_use]
    pub fn parse(bookmark: &str) -> Option<(Self, HistoryId)> {
        let mut parts = bookmark.splitn(4, '-');
        let generation = word(parts.next()?)?;
        let high = word(parts.next()?)?;
        let low = word(parts.next()?)?;
        let id = HistoryId::parse(parts.next()?)?;
        Some((Self { generation, number: (u64::from(high) << 32) | u64::from(low) }, id))
    }
}

/// Eight hexadecimal digits: in one form alone, with neither capitals nor a sign.
fn word(text: &str) -> Option<u32> {
    let number = u32::from_str_radix(text, 16).ok()?;
    (format!("{number:08x}") == text).then_some(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn bookmarks_compare_as_their_positions() {
        let id = HistoryId([7; 16]);
        let positions = [(0, 1), (0, 0x1_0000_0000), (0, u64::MAX), (1, 0), (0xa, 3), (0x10, 2), (u32::MAX, u64::MAX)];
        let positions = positions.map(|(generation, number)| Position { generation, number });
        assert!(positions.is_sorted());
        assert!(positions.map(|position| position.bookmark(id)).is_sorted());
        for position in positions {
            assert_eq!(Position::parse(&position.bookmark(id)), Some((position, id)));
        }
    }

    #[test]
    fn text_of_another_form_is_no_bookmark() {
        let good = Position { generation: 0xab, number: 4 }.bookmark(HistoryId([0xcd; 16]));
        let wrong = [
            String::new(),
            "zzz".into(),
            good[..26].into(),
            good.to_uppercase(),
            format!("{good}0"),
            format!(" {good}"),
        ];
        for text in wrong {
            assert_eq!(Position::parse(&text), None, "{text:?}");
        }
        assert_eq!(Position::parse(&good.replace("000000ab", "+00000ab")), None);
    }

    #[test]
    fn a_later_id_is_greater() {
        let id = HistoryId::new().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(HistoryId::new().unwrap() > id);
    }
}
