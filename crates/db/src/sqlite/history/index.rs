//! Index of a history: the contents of its files, and where a point is in them.
//!
//! It is read anew for each question: the heads of all blocks, some 70 bytes for each megabyte of pages, so it is
//! quick for a history of gigabytes, too. Files may be appended to, added and removed meanwhile by the process that
//! keeps the history; a file that has gone is left out.

use std::fs::File;
use std::io::{self, BufReader, Read, Take};
use std::path::Path;

use super::fault;
use super::folder::{Entry, Folder};
use super::format::{
    BlockHead, BlockKind, Frames, HEAD, HEADER, Header, Kind, WalState, next_head, read_head, read_payload, read_whole,
};
use super::position::{HistoryId, Position};
use super::span::{Content, Point, Span, spans, time};
use super::stamp::Stamp;
use crate::{History, HistoryGap, Result};

/// A file, and what it has.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    pub(super) entry: Entry,
    pub(crate) header: Header,
    /// The state after its last commit, and how its write-ahead log was then.
    pub(crate) end: Point,
    pub(super) wal: WalState,
    /// Bytes up to there.
    pub(super) valid: u64,
    pub(super) bytes: u64,
    /// How the database's file was, if it had everything at the end.
    pub(super) rest: Option<Stamp>,
    /// It has a block that ends: a base has everything then.
    pub(super) has_end: bool,
    /// It ends within a block, or behind one: it is as it was written, as far as that went.
    pub(super) is_cut_off: bool,
}

/// How thoroughly a file is read.
///
/// `Heads` serves for questions; `Everything` for the one log that is about to be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// By the heads of its blocks.
    Heads,
    /// All of it.
    Everything,
}

impl Extent {
    /// Reads a file; `None` where it has no whole header, or has gone meanwhile.
    pub(super) fn read(entry: &Entry, check: Check) -> Result<Option<Self>> {
        unless_gone(entry, Self::scan(entry, check))
    }

    /// Reads the header of a file; `None` where it is not whole, or the file has gone meanwhile.
    pub(super) fn header_of(entry: &Entry) -> Result<Option<Header>> {
        unless_gone(entry, File::open(&entry.path).and_then(|mut file| read_header(&mut file)))
    }

    fn scan(entry: &Entry, check: Check) -> io::Result<Option<Self>> {
        let file = File::open(&entry.path)?;
        let bytes = file.metadata()?.len();
        let mut reader = BufReader::new(file);
        let Some(header) = read_header(&mut reader)? else { return Ok(None) };
        let mut extent = Self {
            entry: entry.clone(),
            header,
            end: Point { position: header.start, time: header.time },
            wal: header.wal,
            valid: HEADER as u64,
            bytes,
            rest: None,
            has_end: false,
            is_cut_off: false,
        };
        let mut offset = extent.valid;
        let mut last = match header.kind {
            Kind::Log => header.start,
            Kind::Base => Position::new(header.start.generation, 0),
        };
        while let Some(head) = read_head(&mut reader)? {
            offset += head.size();
            if offset > bytes || !follows(&head, last) {
                extent.is_cut_off = offset > bytes;
                return Ok(Some(extent));
            }
            let payload = match (check, head.kind) {
                (Check::Heads, BlockKind::Frames) => {
                    reader.seek_relative(head.payload_size() as i64)?;
                    None
                }
                _ => match read_payload(&mut reader, &head)? {
                    Some(payload) => Some(payload),
                    None => return Ok(Some(extent)),
                },
            };
            last = head.end();
            extent.take(&head, offset, payload.filter(|_| head.kind == BlockKind::Rest));
        }
        extent.is_cut_off = bytes - offset < HEAD as u64;
        Ok(Some(extent))
    }

    fn take(&mut self, head: &BlockHead, offset: u64, stamp: Option<Vec<u8>>) {
        self.rest = stamp.as_deref().and_then(Stamp::parse);
        if head.ends {
            self.has_end = true;
            self.valid = offset;
            self.wal = head.wal;
            if self.header.kind == Kind::Log {
                self.end = Point { position: head.end(), time: head.times.1 };
            }
        }
    }

    /// Returns whether it is a log, or a base that has everything.
    pub(crate) fn is_whole(&self) -> bool {
        self.header.kind == Kind::Log || self.has_end
    }

    /// Returns what it has; `None` for a base that is not whole.
    fn content(&self) -> Option<Content> {
        let start = Point { position: self.header.start, time: self.header.time };
        self.is_whole().then_some(Content { kind: self.header.kind, start, end: self.end })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.entry.path
    }

    /// Opens the file, to read it up to its last commit.
    pub(super) fn reader(&self) -> Result<Take<BufReader<File>>> {
        let file = File::open(&self.entry.path).map_err(|error| fault::of_file("open", &self.entry.path, error))?;
        Ok(BufReader::new(file).take(self.valid))
    }
}

/// `None` for a file that has gone meanwhile.
fn unless_gone<T>(entry: &Entry, read: io::Result<Option<T>>) -> Result<Option<T>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map_err(|error| fault::of_file("read", &entry.path, error)),
    }
}

/// Finds the last commit in a log that is admitted: all before it are. The state at its start is, which is `found`.
pub(crate) fn last_commit(
    name: &Path,
    reader: &mut impl Read,
    mut found: Point,
    admits: impl Fn(Point) -> bool,
) -> Result<Point> {
    let failed = |error| fault::of_file("read", name, error);
    let header = read_header(reader).map_err(failed)?;
    let page_size = header.ok_or_else(|| fault::damaged(name, "its header is not whole"))?.page_size;
    while let Some(head) = next_head(reader).map_err(failed)? {
        let end = Point { position: head.end(), time: head.times.1 };
        let is_in_part = head.times.1 != 0 && !(head.ends && admits(end));
        if !is_in_part {
            found = if head.ends { end } else { found };
            let payload = head.payload_size() as u64;
            io::copy(&mut reader.by_ref().take(payload), &mut io::sink()).map_err(failed)?;
            continue;
        }
        let payload = read_payload(reader, &head).map_err(failed)?;
        let frames = payload.and_then(|payload| Frames::of(head, &payload, page_size));
        let frames = frames.ok_or_else(|| fault::damaged(name, "a block's checksum is wrong"))?;
        let commits = frames.iter().filter(|frame| frame.pages != 0);
        let commits =
            commits.map(|frame| Point { position: Position::new(head.generation, frame.number), time: frame.time });
        found = commits.take_while(|point| admits(*point)).last().unwrap_or(found);
        break;
    }
    Ok(found)
}

/// Reads the header of a file; `None` where it is not whole.
pub(crate) fn read_header(reader: &mut impl Read) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER];
    Ok(if read_whole(reader, &mut bytes)? { Header::parse(&bytes) } else { None })
}

/// Returns whether a block comes after the frame at this position.
pub(super) fn follows(head: &BlockHead, last: Position) -> bool {
    let is_next = head.generation == last.generation && Some(head.first) == last.frame.checked_add(1);
    let begins_anew = head.generation > last.generation && head.first == 1;
    match head.kind {
        BlockKind::Frames => (is_next || begins_anew) && head.first <= head.last,
        BlockKind::Rest => head.end() == last,
    }
}

/// A point that is looked for.
///
/// All limits are of one kind: everything up to some commit is admitted, nothing behind it, so searches may stop at
/// the first that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Newest,
    /// The last commit up to this position.
    At(Position),
    /// The last commit before this one.
    Before(Position),
    /// The last commit up to this time.
    Time(i64),
}

impl Limit {
    pub(crate) fn admits(self, point: Point) -> bool {
        match self {
            Self::Newest => true,
            Self::At(position) => point.position <= position,
            Self::Before(position) => point.position < position,
            Self::Time(time) => point.time <= time,
        }
    }

    /// Chooses the stretch that has the point.
    pub(crate) fn choose(self, spans: &[Span], history: HistoryId) -> Result<&Span> {
        let Some(newest) = spans.last() else {
            return Err(fault::no_point("the history has no snapshot yet: try again in a moment".to_owned()));
        };
        let name = |point: Point| format!("{} ({})", point.position.bookmark(history), shown(point.time));
        let Some(span) = spans.iter().rev().find(|span| self.admits(span.from)) else {
            return Err(fault::no_point(format!("the history begins later, at {}", name(spans[0].from))));
        };
        let is_beyond = match self {
            Self::Newest => false,
            Self::At(position) => position > span.to.position,
            Self::Before(position) => position > span.to.position && span != newest,
            Self::Time(time) => time > span.to.time && span != newest,
        };
        match spans.iter().find(|next| next.from.position > span.to.position).filter(|_| is_beyond) {
            Some(next) => Err(fault::no_point(format!(
                "the history has a gap there: the last state before it is {}, the first one behind it {}",
                name(span.to),
                name(next.from)
            ))),
            None if is_beyond => {
                Err(fault::no_point(format!("the bookmark is later than the newest state, {}", name(span.to))))
            }
            None => Ok(span),
        }
    }
}

/// The files of a history.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) history: HistoryId,
    /// In the order of their starts, bases before logs.
    pub(crate) files: Vec<Extent>,
}

/// The files out of which a state is made.
#[derive(Debug)]
pub(crate) struct Plan<'i> {
    pub(crate) point: Point,
    pub(crate) base: &'i Extent,
    pub(crate) logs: Vec<&'i Extent>,
}

impl Index {
    /// Reads a folder; `None` where it has no file.
    pub(super) fn read(folder: &Folder) -> Result<Option<Self>> {
        let mut files = Vec::new();
        for entry in folder.entries()? {
            files.extend(Extent::read(&entry, Check::Heads)?);
        }
        let Some(history) = files.last().map(|file: &Extent| file.header.history) else { return Ok(None) };
        files.retain(|file| file.header.history == history);
        Ok(Some(Self { history, files }))
    }

    /// Returns the log that commits are appended to.
    pub(super) fn newest_log(&self) -> Option<&Extent> {
        self.files.iter().rfind(|file| file.header.kind == Kind::Log)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        spans(self.files.iter().enumerate().filter_map(|(number, file)| Some((number, file.content()?))))
    }

    /// Finds the state of a limit.
    pub(crate) fn find(&self, limit: Limit) -> Result<Point> {
        let spans = self.spans();
        let span = limit.choose(&spans, self.history)?;
        if limit.admits(span.to) {
            return Ok(span.to);
        }
        let starts_before = |file: &&Extent| {
            let start = Point { position: file.header.start, time: file.header.time };
            file.header.kind == Kind::Log && limit.admits(start)
        };
        let log = span.files.iter().rev().map(|number| &self.files[*number]).find(starts_before);
        let Some(log) = log else { return Ok(span.from) };
        let start = Point { position: log.header.start, time: log.header.time };
        last_commit(log.path(), &mut log.reader()?, start, |point| limit.admits(point))
    }

    /// Chooses the files out of which a state is made that [`find`](Self::find) has found.
    pub(crate) fn plan(&self, point: Point) -> Result<Plan<'_>> {
        let spans = self.spans();
        let span = Limit::At(point.position).choose(&spans, self.history)?;
        let files = || span.files.iter().map(|number| &self.files[*number]);
        let is_base = |file: &&Extent| file.header.kind == Kind::Base && file.header.start <= point.position;
        let base = files().rfind(is_base).expect("a stretch begins with a base");
        let is_needed = |file: &&Extent| {
            let start = file.header.start;
            file.header.kind == Kind::Log && base.header.start <= start && start < point.position
        };
        Ok(Plan { point, base, logs: files().filter(is_needed).collect() })
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The extent, for a report.
    pub(crate) fn report(&self) -> History {
        let point = |point: Point| point.report(self.history);
        let spans = self.spans();
        History {
            oldest: spans.first().map(|span| point(span.from)),
            newest: spans.last().map(|span| point(span.to)),
            gaps: spans.windows(2).map(|pair| HistoryGap::new(point(pair[0].to), point(pair[1].from))).collect(),
            snapshots: self.files.iter().filter(|file| file.header.kind == Kind::Base && file.has_end).count(),
            bytes: self.bytes(),
            failure: None,
        }
    }
}

fn shown(microseconds: i64) -> String {
    time(microseconds).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
