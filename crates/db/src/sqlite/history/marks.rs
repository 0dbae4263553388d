//! Positions of commits, as they are known when they are answered, before they are archived.
//!
//! The writing thread knows a commit's position at once, from the header of the write-ahead log and SQLite's count
//! of frames, and notes it with the time: that is what bookmarks of sessions are made of, and what gives archived
//! commits their times. Commits of other processes have no time here; they get that of being archived.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use chrono::Utc;
use isobar_base::sync::IgnorePoison;
use isobar_sqlite::WalHeader;

use super::follow::WalFile;
use super::format::Header;
use super::position::{HistoryId, Position, next_generation};
use crate::Result;

/// Most commits whose times wait for being archived.
const TIMES: usize = 10_000;

/// The newest position, and the times of commits that are not archived yet.
///
/// `newest` only grows, and may be read without the lock.
#[derive(Debug)]
pub(super) struct Marks {
    newest: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    wal: WalFile,
    history: HistoryId,
    /// The write-ahead log that was seen last, and its number.
    salts: [u8; 8],
    generation: u32,
    /// The write-ahead log of this process's last commit.
    noted: Option<[u8; 8]>,
    times: VecDeque<(Position, i64)>,
}

/// Whether a commit was this process's first in its write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Yes,
    No,
}

impl Marks {
    pub(super) fn new(wal: WalFile) -> Self {
        let state = State {
            wal,
            history: HistoryId([0; 16]),
            salts: [0; 8],
            generation: 0,
            noted: None,
            times: VecDeque::new(),
        };
        Self { newest: AtomicU64::new(0), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().ignore_poison()
    }

    /// Counts write-ahead logs from this one on.
    pub(super) fn set(&self, history: HistoryId, generation: u32, salts: [u8; 8]) {
        let mut state = self.lock();
        state.history = history;
        state.generation = generation;
        state.salts = salts;
        state.noted = None;
        state.times.clear();
    }

    /// Counts on from the newest file of the process that keeps the history. Behind a gap, it may have given a write-ahead log that was
    /// counted here another number.
    pub(super) fn follow(&self, newest: &Header) {
        let mut state = self.lock();
        if newest.start.generation >= state.generation {
            state.history = newest.history;
            state.generation = newest.start.generation;
            state.salts = newest.wal.salts;
        }
    }

    pub(super) fn history(&self) -> HistoryId {
        self.lock().history
    }

    /// Returns the number of a write-ahead log: the last one that was seen, or a later one.
    pub(super) fn generation(&self, header: &WalHeader) -> u32 {
        self.lock().see(header)
    }

    /// Counts the write-ahead log that is there now: each of the logs is seen so, though this process writes nothing.
    pub(super) fn look(&self) {
        let mut state = self.lock();
        // What cannot be read now is seen with the next commit.
        if let Ok(Some(header)) = state.wal.header() {
            state.see(&header);
        }
    }

    /// Notes a commit of this process, whose last frame in the log this is. Returns its position, where there is a log.
    pub(super) fn committed(&self, frame: u32) -> Result<Option<(Position, First)>> {
        let mut state = self.lock();
        // A log in which something is committed has a header.
        let Some(header) = state.wal.header()? else { return Ok(None) };
        let position = Position::new(state.see(&header), frame);
        let first = if state.noted.replace(header.salts()) == Some(header.salts()) { First::No } else { First::Yes };
        if state.times.len() == TIMES {
            state.times.pop_front();
        }
        state.times.push_back((position, Utc::now().timestamp_micros()));
        drop(state);
        self.reach(position);
        Ok(Some((position, first)))
    }

    /// Returns the time of a commit of this process; earlier ones are forgotten.
    pub(super) fn take_time(&self, position: Position) -> Option<i64> {
        let mut state = self.lock();
        while state.times.front().is_some_and(|(noted, _)| *noted < position) {
            state.times.pop_front();
        }
        let noted = state.times.front().filter(|(noted, _)| *noted == position);
        noted.map(|(_, time)| *time)
    }

    /// Notes that there is a commit at this position.
    pub(super) fn reach(&self, position: Position) {
        self.newest.fetch_max(position.to_number(), Ordering::SeqCst);
    }

    /// Returns the position of the newest commit that is known.
    pub(super) fn newest(&self) -> Position {
        Position::of_number(self.newest.load(Ordering::SeqCst))
    }
}

impl State {
    fn see(&mut self, header: &WalHeader) -> u32 {
        if header.salts() != self.salts {
            self.generation = next_generation(self.generation, self.salts, header.salts());
            self.salts = header.salts();
        }
        self.generation
    }
}
