//! Reading an object of an archive by few ranged requests, in bounded memory.
//!
//! The decoder reads page after page, of each column in turn. The pages that a selection needs are known before, from the page index: the ranges
//! are planned, those that are near each other become one, and what the decoder asks for is fetched with what follows it in its range.
//!
//! | read | fetched |
//! |---|---|
//! | the footer and the page index | the last 512 KiB at once |
//! | a planned range of at most 1 MiB, of one column or of several small ones | the range |
//! | a longer one | from there on, as much as leaves room for all columns in 16 MiB: 256 KiB to 4 MiB |
//! | anything else | the blocks of it |
//!
//! Fetched parts stay until there are 32 MiB of them; then the least recently used go. The last one stays, however large.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use isobar_base::sync::IgnorePoison;

use crate::local::archive::{ArchiveStore, block_on};
use crate::local::manifest::BLOCK;
use crate::local::snapshot::Archived;

/// Size in bytes of the end of an object, which is fetched at once.
const TAIL: u64 = 4 * BLOCK as u64;
/// Size in bytes of a range that is fetched at once.
const WHOLE: u64 = 8 * BLOCK as u64;
/// Size in bytes of what may lie between two ranges that become one.
const GAP: u64 = BLOCK as u64;
/// Size in bytes of all that was fetched and is kept.
const KEPT: u64 = 256 * BLOCK as u64;

/// An object of an archive, as a file is read.
#[derive(Debug)]
pub(super) struct ObjectFile {
    store: Arc<dyn ArchiveStore>,
    name: String,
    bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Ranges of whole blocks that will be read, ascending.
    planned: Vec<Range<u64>>,
    /// Most bytes that are fetched at once of a range that is not fetched whole; a multiple of the size of a block.
    window: u64,
    /// Parts by their positions, the one that was used last at the end.
    fetched: VecDeque<(u64, Bytes)>,
}

impl ObjectFile {
    pub(super) fn new(object: &Archived, bytes: u64) -> Self {
        let planned = vec![blocks(bytes.saturating_sub(TAIL)..bytes, bytes)];
        let state = State { planned, window: WHOLE, fetched: VecDeque::new() };
        Self { store: Arc::clone(&object.store), name: object.name.clone(), bytes, state: Mutex::new(state) }
    }

    /// Says which ranges will be read of this many columns.
    pub(super) fn plan(&self, ranges: Vec<Range<u64>>, columns: usize) {
        let mut state = self.state.lock().ignore_poison();
        state.window = window(columns);
        state.planned = merged(ranges.into_iter().map(|range| blocks(range, self.bytes)).collect());
    }

    /// Reads whole blocks. What is fetched is checked once; where it does not hold it is fetched again, as it may have been damaged on its way.
    pub(super) fn read(&self, wanted: Range<u64>, check: impl Fn(u64, &[u8]) -> io::Result<()>) -> io::Result<Bytes> {
        let mut state = self.state.lock().ignore_poison();
        if let Some(found) = state.find(&wanted) {
            return Ok(found);
        }
        let range = state.extent(&wanted);
        let fetched = self.fetch(&range).and_then(|fetched| check(range.start, &fetched).map(|()| fetched));
        let fetched = match fetched {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let again = self.fetch(&range)?;
                check(range.start, &again)?;
                again
            }
            fetched => fetched?,
        };
        state.keep(range.start, fetched.clone());
        let within = (wanted.start - range.start) as usize;
        Ok(fetched.slice(within..within + (wanted.end - wanted.start) as usize))
    }

    fn fetch(&self, range: &Range<u64>) -> io::Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let fetched = block_on(self.store.get(&self.name, range.clone())).map_err(io::Error::other)?;
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the object is missing in the archive");
        let fetched = fetched.ok_or_else(missing)?;
        if fetched.len() as u64 == range.end - range.start {
            return Ok(fetched);
        }
        Err(damaged("the object is shorter than the segment was"))
    }
}

impl State {
    /// Returns a range that was fetched already.
    fn find(&mut self, wanted: &Range<u64>) -> Option<Bytes> {
        let covers = |(start, part): &(u64, Bytes)| *start <= wanted.start && wanted.end <= start + part.len() as u64;
        let at = self.fetched.iter().position(covers)?;
        let (start, part) = self.fetched.remove(at)?;
        let within = (wanted.start - start) as usize;
        let found = part.slice(within..within + (wanted.end - wanted.start) as usize);
        self.fetched.push_back((start, part));
        Some(found)
    }

    /// Returns the range that is fetched for what is wanted.
    fn extent(&self, wanted: &Range<u64>) -> Range<u64> {
        let after = self.planned.partition_point(|range| range.start <= wanted.start);
        let planned = after.checked_sub(1).map(|at| &self.planned[at]).filter(|range| wanted.start < range.end);
        match planned {
            None => wanted.clone(),
            Some(range) if range.end - range.start <= WHOLE => range.start..range.end.max(wanted.end),
            Some(range) => wanted.start..range.end.min(wanted.start + self.window).max(wanted.end),
        }
    }

    fn keep(&mut self, start: u64, part: Bytes) {
        self.fetched.push_back((start, part));
        let mut bytes: u64 = self.fetched.iter().map(|(_, part)| part.len() as u64).sum();
        while bytes > KEPT && self.fetched.len() > 1 {
            bytes -= self.fetched.pop_front().map_or(0, |(_, part)| part.len() as u64);
        }
    }
}

/// An error of the file's content, which is told from one of the disk by its kind.
pub(super) fn damaged(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Most bytes to fetch at once of one of this many columns.
fn window(columns: usize) -> u64 {
    let block = BLOCK as u64;
    let share = KEPT / 2 / columns.max(1) as u64;
    (share / block * block).clamp(2 * block, 32 * block)
}

/// Returns the blocks of a range of an object of this size.
fn blocks(range: Range<u64>, bytes: u64) -> Range<u64> {
    let block = BLOCK as u64;
    range.start / block * block..(range.end.div_ceil(block) * block).min(bytes)
}

/// Sorts ranges, and joins those that overlap, and those that are near each other where both together are fetched at once.
///
/// A long range is one column's: if it were joined with another one's, the windows of both would fetch each other's pages.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::new();
    for mut range in ranges {
        if let Some(last) = merged.last_mut() {
            let is_near = range.start <= last.end.saturating_add(GAP);
            if is_near && range.end.max(last.end) - last.start <= WHOLE {
                last.end = last.end.max(range.end);
                continue;
            }
            // The block that both share is fetched with the first.
            range.start = range.start.max(last.end);
        }
        if !range.is_empty() {
            merged.push(range);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: u64 = BLOCK as u64;

    #[test]
    fn near_ranges_become_one_up_to_the_size_of_a_fetch() {
        assert_eq!(merged(vec![4 * B..5 * B, 0..B, 2 * B..3 * B, 9 * B..10 * B]), [0..5 * B, 9 * B..10 * B]);
        assert_eq!(merged(vec![0..B, 3 * B..4 * B]), [0..B, 3 * B..4 * B], "two blocks lie between them");
        assert_eq!(merged(vec![0..20 * B, 19 * B..40 * B]), [0..20 * B, 20 * B..40 * B]);
        assert_eq!(merged(vec![0..20 * B, 19 * B..20 * B, 30 * B..40 * B]), [0..20 * B, 30 * B..40 * B]);
        assert!(merged(Vec::new()).is_empty());
    }

    #[test]
    fn fetch_is_of_the_planned_range_or_a_window_of_it() {
        let mut state = State { planned: vec![0..2 * B, 4 * B..40 * B], window: 3 * B, fetched: VecDeque::new() };
        assert_eq!(state.extent(&(B..2 * B)), 0..2 * B);
        assert_eq!(state.extent(&(B..3 * B)), 0..3 * B);
        assert_eq!(state.extent(&(5 * B..6 * B)), 5 * B..8 * B);
        assert_eq!(state.extent(&(39 * B..40 * B)), 39 * B..40 * B);
        assert_eq!(state.extent(&(5 * B..12 * B)), 5 * B..12 * B);
        assert_eq!(state.extent(&(2 * B..3 * B)), 2 * B..3 * B);
        let part = Bytes::from(vec![0; (KEPT / 2) as usize]);
        for start in 0..3 {
            state.keep(start * KEPT, part.clone());
        }
        assert!(state.find(&(0..B)).is_none(), "the oldest has gone");
        assert!(state.find(&(KEPT..KEPT + B)).is_some());
    }

    #[test]
    fn windows_of_all_columns_fit_into_half_of_what_is_kept() {
        for columns in 1..=43 {
            assert!(window(columns) * columns as u64 <= KEPT / 2 || window(columns) == 2 * B, "{columns}");
            assert_eq!(window(columns) % B, 0);
        }
        assert_eq!((window(1), window(43)), (32 * B, 2 * B));
    }
}
