//! The process that keeps a history: it has the folder's lock, watches the write-ahead log, and archives what is committed before the
//! log begins anew.
//!
//! Its one duty: no frame leaves the write-ahead log before it is durable in the history. A log is lost in two
//! steps, copied into the database and begun anew; SQLite does the second only when no reader needs the log. So a
//! read transaction, the anchor, is always open, and moves on ([`Archiver::renew`]) only when what it leaves is
//! archived and synced.
//!
//! When a history is opened, three cases: the log continues where the last block ended, so nothing is missing; the
//! log is another one, and the file's stamp shows that nobody has written since it had everything, so nothing is
//! missing; anything else, and another stretch begins behind a gap.

use std::fs::File;
use std::path::{Path, PathBuf};

use chrono::Utc;
use isobar_base::fs::beside;
use isobar_sqlite::{FRAME_HEADER, WalChain, WalHeader, frame_offset};

use super::base::{Base, Snapshot};
use super::fault;
use super::folder::Folder;
use super::follow::{Committed, WalFile, Watch, begin_read, connect};
use super::format::{HEADER, Header, Kind, WalState};
use super::index::{Check, Extent, Index};
use super::log::Log;
use super::marks::Marks;
use super::position::{HistoryId, Position, first_generation, generation_behind, next_generation};
use super::span::Point;
use super::stamp::Stamp;
use super::tail::Tail;
use crate::{HistoryOptions, Result};

/// Bases of a history's age that are taken at least, where there are commits.
const BASES: u32 = 8;
/// Frames from which on a log is long that other processes write: 8 MiB.
const LONG: u32 = 2000;

/// The keeper of a history.
#[derive(Debug)]
pub(super) struct Archiver {
    database: PathBuf,
    folder: Folder,
    bounds: HistoryOptions,
    watch: Watch,
    tail: Tail,
    /// The newest base, if the tail follows it without a gap.
    base: Option<Base>,
    /// The state that the log says the database's file has, in its last block.
    rested_at: Option<Position>,
    /// The newest state when a long log was copied last by the archiver itself.
    turned_at: Option<Position>,
    _lock: File,
}

/// State of a history when it is opened.
struct Found<'a> {
    database: &'a Path,
    folder: &'a Folder,
    page_size: u32,
    index: Option<Index>,
    last: Option<Extent>,
}

/// Where a history goes on.
struct Start {
    at: Point,
    wal: WalState,
    chain: Option<WalChain>,
    log: Log,
    base: Option<Base>,
    closed_bytes: u64,
}

impl Archiver {
    /// Opens the history of a database that a connection has open. `None` where another process keeps it.
    pub(super) fn open(database: &Path, folder: &Folder, marks: &Marks) -> Result<Option<Self>> {
        folder.create()?;
        let Some(lock) = folder.lock()? else { return Ok(None) };
        folder.remove_leftovers()?;
        let bounds = folder.bounds(None)?;
        remove_unfinished(folder)?;
        let watch = Watch::open(database)?;
        let mut file = WalFile::new(database, folder.disk.clone());
        let found = Found::read(database, folder)?;
        let is_kept = !found.may_lose(watch.committed(&mut file)?);
        let go_on = |watch: &Watch| found.go_on(watch, file, marks);
        let (tail, base) = if is_kept { go_on(&watch)? } else { watch.while_locked(go_on)? };
        Ok(Some(Self {
            database: database.to_owned(),
            folder: folder.clone(),
            bounds,
            watch,
            tail,
            base,
            rested_at: None,
            turned_at: None,
            _lock: lock,
        }))
    }

    /// Archives all that is committed.
    pub(super) fn archive(&mut self, marks: &Marks) -> Result<()> {
        self.tail.archive(&self.watch, &self.folder, marks)
    }

    /// Makes what is archived durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.tail.sync()
    }

    pub(super) fn newest(&self) -> Point {
        self.tail.at
    }

    /// Lets the log be copied into the database, which `copy` does: only what is durable in the history is. Then the log may begin anew.
    pub(super) fn turn<T>(&mut self, marks: &Marks, copy: impl FnOnce(&Watch) -> T) -> Result<T> {
        self.archive(marks)?;
        self.renew(marks)?;
        let copied = copy(&self.watch);
        self.renew(marks)?;
        self.note_rest()?;
        Ok(copied)
    }

    /// Copies the log where it is long: the anchor lets nobody copy what other processes write, however much that is, and the process
    /// that keeps the history may write nothing itself.
    pub(super) fn turn_long(&mut self, marks: &Marks) -> Result<()> {
        let copied = self.turn(marks, Watch::copy)?;
        self.turned_at = Some(self.tail.at.position);
        copied
    }

    /// Returns whether the log is longer than one that a process copies which writes and keeps the history, and has grown.
    pub(super) fn has_long_log(&self) -> bool {
        self.tail.at.position.frame >= LONG && self.turned_at != Some(self.tail.at.position)
    }

    /// Moves the anchor. What it leaves may be lost from the log at once, and so is durable in the history before.
    fn renew(&mut self, marks: &Marks) -> Result<()> {
        let Self { watch, tail, folder, .. } = self;
        watch.renew(|watch| {
            tail.archive(watch, folder, marks)?;
            tail.sync()
        })
    }

    /// Notes that the database's file has everything, if it has. The anchor keeps it so: its snapshot is of the file alone then.
    fn note_rest(&mut self) -> Result<bool> {
        let committed = self.watch.committed(&mut self.tail.file)?.filter(|committed| committed.frames > 0);
        let at = self.tail.at.position;
        let is_complete = committed.is_none_or(|Committed { header, frames, copied }| {
            let is_archived = header.salts() == self.tail.wal.salts && frames == at.frame && self.tail.chain.is_some();
            is_archived && copied == frames
        });
        if is_complete && self.rested_at != Some(at) {
            let stamp = Stamp::of(&self.database).map_err(|error| fault::of_file("look at", &self.database, error))?;
            self.tail.rest(stamp)?;
            self.rested_at = Some(at);
        }
        Ok(is_complete)
    }

    /// Ends the keeping of the history in good order: the database's file has everything and its log is empty, unless others use it.
    pub(super) fn close(mut self, marks: &Marks) -> Result<()> {
        self.archive(marks)?;
        self.renew(marks)?;
        self.watch.copy()?;
        self.renew(marks)?;
        // Whoever has written since keeps the log: the anchor lets nobody copy it into the file.
        let is_empty = self.note_rest()? && self.watch.truncate()?;
        self.sync()?;
        if is_empty { self.watch.close() } else { Ok(()) }
    }

    /// Returns whether it is time for another base.
    ///
    /// A snapshot each eighth of the age, or when the logs since are larger than the last one and than an eighth of
    /// `max_bytes`: so a restore reads few logs, and what is beyond the bounds can be removed in steps.
    pub(super) fn wants_base(&self) -> bool {
        let Some(base) = self.base else { return true };
        let logged = self.tail.closed_bytes + self.tail.log.bytes;
        let age = Utc::now().timestamp_micros().saturating_sub(base.start.time);
        let is_old = age > micros(self.bounds.max_age / BASES);
        let has_commits = self.tail.at.position > base.start.position;
        has_commits && (is_old || logged > base.bytes.max(self.bounds.max_bytes / u64::from(BASES)))
    }

    /// Begins a base: no other connection can write for a moment, and the snapshot is the newest state.
    pub(super) fn begin_base(&mut self, marks: &Marks) -> Result<Snapshot> {
        let failed = |error: rusqlite::Error| fault::of_sqlite("read the database", &error);
        let connection = connect(&self.database).map_err(failed)?;
        let Self { watch, tail, folder, .. } = self;
        watch.while_locked(|watch| {
            begin_read(&connection).map_err(failed)?;
            tail.archive(watch, folder, marks)
        })?;
        self.tail.roll(&self.folder)?;
        self.rested_at = None;
        Ok(Snapshot::new(connection, self.tail.header(Kind::Base)))
    }

    /// Takes a base that is whole.
    pub(super) fn take_base(&mut self, base: Base) {
        self.base = Some(base);
        self.tail.closed_bytes = 0;
    }

    /// Removes the oldest states beyond the bounds, which another process may have given meanwhile. The newest base stays.
    ///
    /// Whole files go, the oldest first, up to a snapshot that is followed by everything that stays. A crash in between
    /// leaves an older beginning, or logs without their snapshot, which count for nothing.
    pub(super) fn prune(&mut self) -> Result<()> {
        self.bounds = self.folder.bounds(None)?;
        let Some(index) = Index::read(&self.folder)? else { return Ok(()) };
        let oldest = Utc::now().timestamp_micros().saturating_sub(micros(self.bounds.max_age));
        let bases = index.files.iter().filter(|file| file.header.kind == Kind::Base && file.has_end);
        let bases: Vec<&Header> = bases.map(|file| &file.header).collect();
        let bytes_from = |start: Position| -> u64 {
            index.files.iter().filter(|file| file.header.start >= start).map(|file| file.bytes).sum()
        };
        let is_within = |number: &usize| {
            let next = bases.get(number + 1);
            bytes_from(bases[*number].start) <= self.bounds.max_bytes && next.is_none_or(|next| next.time >= oldest)
        };
        let first = (0..bases.len()).find(is_within).or_else(|| bases.len().checked_sub(1));
        let Some(keep) = first.map(|number| bases[number].start) else { return Ok(()) };
        for file in index.files.iter().filter(|file| file.header.start < keep) {
            let removed = self.folder.disk.remove(&file.entry.path);
            removed.map_err(|error| fault::of_file("remove", &file.entry.path, error))?;
        }
        let synced = self.folder.disk.sync_folder(self.folder.path());
        synced.map_err(|error| fault::of_file("sync", self.folder.path(), error))
    }
}

/// Removes files that a crash has left unfinished. What is damaged gets another name, and stays.
fn remove_unfinished(folder: &Folder) -> Result<()> {
    for entry in folder.entries()? {
        let extent = Extent::read(&entry, Check::Heads)?;
        let is_unfinished = match &extent {
            Some(extent) if extent.is_whole() => continue,
            Some(extent) => extent.is_cut_off,
            None => std::fs::metadata(&entry.path).is_ok_and(|file| file.len() < HEADER as u64),
        };
        let gone = match is_unfinished {
            true => folder.disk.remove(&entry.path),
            false => std::fs::rename(&entry.path, beside(&entry.path, ".damaged")),
        };
        gone.map_err(|error| fault::of_file("put away", &entry.path, error))?;
    }
    Ok(())
}

impl<'a> Found<'a> {
    fn read(database: &'a Path, folder: &'a Folder) -> Result<Self> {
        let index = Index::read(folder)?;
        let last = index.as_ref().and_then(Index::newest_log);
        let last = last.map(|extent| Extent::read(&extent.entry, Check::Everything)).transpose()?.flatten();
        Ok(Self { database, folder, page_size: page_size(database)?, index, last })
    }

    /// Returns whether the log has what is not archived and the database's file has it, too: no anchor keeps the log then, and the next
    /// write begins it anew.
    fn may_lose(&self, committed: Option<Committed>) -> bool {
        self.last.as_ref().zip(committed).is_some_and(|(last, Committed { header, frames, copied })| {
            header.salts() == last.wal.salts && frames > last.end.position.frame && copied == frames
        })
    }

    /// Goes on with the history, and archives what was committed while no process kept it, as of the log's last change.
    fn go_on(self, watch: &Watch, mut file: WalFile, marks: &Marks) -> Result<(Tail, Option<Base>)> {
        let Self { database, folder, page_size, index, last } = self;
        let history = index.as_ref().map_or_else(HistoryId::new, |index| Ok(index.history))?;
        let committed = watch.committed(&mut file)?;
        let resumed = match (&last, &index) {
            (Some(last), Some(index)) if last.header.page_size == page_size => {
                resume(database, folder, index, last, committed, &mut file)?
            }
            _ => None,
        };
        let start = match resumed {
            Some(start) => start,
            None => {
                let files = index.iter().flat_map(|index| &index.files);
                let least = files.map(|file| file.end.position.behind()).fold(marks.newest(), Ord::max);
                begin(folder, (history, page_size), last.as_ref(), committed, &mut file, least)?
            }
        };
        marks.set(history, start.at.position.generation, start.wal.salts);
        marks.reach(start.at.position);
        let Start { at, wal, chain, log, base, closed_bytes } = start;
        let now = Utc::now().timestamp_micros();
        let changed = std::fs::metadata(file.path()).and_then(|metadata| metadata.modified());
        let changed = changed.map_or(now, |time| chrono::DateTime::<Utc>::from(time).timestamp_micros());
        let mut tail = Tail { history, page_size, at, wal, chain, file, log, closed_bytes, failure: None };
        tail.archive_as_of(watch, folder, marks, changed.min(now))?;
        Ok((tail, base))
    }
}

fn page_size(database: &Path) -> Result<u32> {
    let read = || connect(database)?.query_row("PRAGMA page_size", [], |row| row.get(0));
    read().map_err(|error| fault::of_sqlite("read the database", &error))
}

/// Where a history goes on without a gap; `None` where it cannot be known that there is none.
fn resume(
    database: &Path,
    folder: &Folder,
    index: &Index,
    last: &Extent,
    committed: Option<Committed>,
    file: &mut WalFile,
) -> Result<Option<Start>> {
    // A base is followed by a log. Where that one is missing, its states are, too, and an earlier one would go on past the base.
    if index.files.iter().any(|file| file.header.start > last.header.start) {
        return Ok(None);
    }
    let is_same_log = committed.filter(|committed| committed.header.salts() == last.wal.salts);
    let chain = match is_same_log {
        Some(Committed { header, frames, .. }) if frames >= last.end.position.frame => {
            chain_at(file, &header, last.end.position.frame)?.filter(|chain| chain.sums() == last.wal.sums)
        }
        _ => None,
    };
    // Nobody has written to the file since it had everything, so that no commit can be lost.
    let is_at_rest = || last.rest.is_some() && Stamp::of(database).ok() == last.rest;
    if chain.is_none() && (is_same_log.is_some() || !is_at_rest()) {
        return Ok(None);
    }
    let spans = index.spans();
    let span = spans.last().filter(|span| span.to.position == last.end.position);
    let base = span.and_then(|span| {
        let mut files = span.files.iter().map(|number| &index.files[*number]);
        files.rfind(|file| file.header.kind == Kind::Base)
    });
    let after = |file: &&Extent| {
        let start = file.header.start;
        file.header.kind == Kind::Log
            && base.is_some_and(|base| base.header.start <= start)
            && start < last.header.start
    };
    Ok(Some(Start {
        at: last.end,
        wal: last.wal,
        chain,
        log: Log::resume(folder, last)?,
        base: base.map(|base| Base { start: base.end, bytes: base.bytes }),
        closed_bytes: index.files.iter().filter(after).map(|file| file.bytes).sum(),
    }))
}

/// Where a history begins, or begins again behind a gap: not before `least`, which is behind every state that its files have, and no
/// earlier than what was answered.
fn begin(
    folder: &Folder,
    (history, page_size): (HistoryId, u32),
    last: Option<&Extent>,
    committed: Option<Committed>,
    file: &mut WalFile,
    least: Position,
) -> Result<Start> {
    let salts = committed.map(|committed| committed.header.salts());
    let generation = match (last, salts) {
        (None, _) => first_generation(),
        (Some(last), Some(salts)) => next_generation(last.end.position.generation, last.wal.salts, salts),
        (Some(last), None) => generation_behind(last.end.position.generation),
    };
    let frame = committed.map_or(0, |committed| committed.frames);
    let is_later = Position::new(generation, frame) >= least;
    let generation = if is_later { generation } else { generation_behind(least.generation) };
    let chain = match committed {
        Some(committed) => chain_at(file, &committed.header, frame)?,
        None => None,
    };
    let wal = WalState {
        salts: salts.or(last.map(|last| last.wal.salts)).unwrap_or_default(),
        sums: chain.map(|chain| chain.sums()).unwrap_or_default(),
    };
    let at = Point { position: Position::new(generation, frame), time: Utc::now().timestamp_micros() };
    let header = Header { kind: Kind::Log, history, start: at.position, page_size, part: (0, 1), time: at.time, wal };
    let log = Log::create(folder, header)?;
    Ok(Start { at, wal, chain, log, base: None, closed_bytes: 0 })
}

/// The checksums after a frame of the log.
fn chain_at(file: &mut WalFile, header: &WalHeader, frame: u32) -> Result<Option<WalChain>> {
    if frame == 0 {
        return Ok(Some(WalChain::new(header)));
    }
    let mut bytes = [0; FRAME_HEADER];
    file.read(&mut bytes, frame_offset(frame, header.page_size()))?;
    Ok(WalChain::after(header, &bytes))
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
