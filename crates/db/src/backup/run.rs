//! Putting what is new.
//!
//! A run compares two lists: the history's files and the target's names. A file is cut into pieces behind what the
//! target has of it; pieces end with commits wherever that is possible. Deletions come last, so a run that breaks
//! off has deleted nothing that is still needed.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::names::{Listing, Name};
use super::target::BackupTarget;
use crate::sqlite::{Cutter, HistoryId, Index, Kind, Piece, Position, blocking};
use crate::{Bookmark, Result, SqliteDatabase};

/// A backup of a database with a history into a target. One process at a time runs it.
#[derive(Debug)]
pub struct Backup {
    database: SqliteDatabase,
    target: Arc<dyn BackupTarget>,
}

/// Result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupReport {
    /// Objects that were put.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were removed, as the history has forgotten their states.
    pub removed: u64,
    /// The newest state that the backup has.
    #[serde(serialize_with = "as_text")]
    pub bookmark: Bookmark,
}

fn as_text<S: serde::Serializer>(bookmark: &Bookmark, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(bookmark.as_str())
}

impl Backup {
    /// A backup of this database into this target.
    #[must_use]
    pub fn new(database: SqliteDatabase, target: Arc<dyn BackupTarget>) -> Self {
        Self { database, target }
    }

    /// Puts what the target lacks of all that was answered before, and removes what the history has forgotten. A run that fails or is
    /// dropped has put a part, which is a consistent backup, and the next one goes on from there.
    ///
    /// It does not block the executor: files are read and cut on threads, one piece at a time in memory. Call it on a
    /// schedule; that is the longest time whose writes can be lost.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a database without a history; those of the history and the target.
    pub async fn run(&self) -> Result<BackupReport> {
        let index = Arc::new(self.database.settled_index().await?);
        let history = index.history;
        let names = self.target.list(&format!("{history}/")).await?;
        let listing = Listing::all(&names).into_iter().find(|listing| listing.history == history);
        let mut listing = listing.unwrap_or(Listing { history, names: Default::default() });
        let newest = index.spans().last().map_or(Position::default(), |span| span.to.position);
        let mut report = BackupReport { objects: 0, bytes: 0, removed: 0, bookmark: newest.bookmark(history) };
        for number in 0..index.files.len() {
            self.put_file(&index, number, &mut listing, &mut report).await?;
        }
        let first = index.spans().first().map(|span| span.from.position);
        for name in listing.names.iter().filter(|name| first.is_some_and(|first| is_forgotten(**name, first))) {
            self.target.delete(&name.text(history)).await?;
            report.removed += 1;
        }
        Ok(report)
    }

    /// Puts what the target lacks of a file.
    async fn put_file(
        &self,
        index: &Arc<Index>,
        number: usize,
        listing: &mut Listing,
        report: &mut BackupReport,
    ) -> Result<()> {
        let file = &index.files[number];
        if !file.is_whole() || (file.header.kind == Kind::Base && has_base(listing, file.header.start)) {
            return Ok(());
        }
        let after = reached(listing, file.header.start);
        let opened = Arc::clone(index);
        let mut cutter = blocking(move || Cutter::new(&opened.files[number], after)).await?;
        loop {
            let (same, piece) = blocking(move || {
                let piece = cutter.cut()?;
                Ok((cutter, piece))
            })
            .await?;
            cutter = same;
            let Some(piece) = piece else { return Ok(()) };
            let name = name_of(&piece);
            if !listing.names.contains(&name) {
                self.put(listing.history, name, piece.bytes.into(), report).await?;
                listing.names.insert(name);
            }
        }
    }

    async fn put(&self, history: HistoryId, name: Name, bytes: Bytes, report: &mut BackupReport) -> Result<()> {
        report.objects += 1;
        report.bytes += bytes.len() as u64;
        self.target.put(&name.text(history), bytes).await
    }
}

fn name_of(piece: &Piece) -> Name {
    let start = piece.header.start;
    match piece.header.kind {
        Kind::Base => {
            Name::Base { start, time: piece.header.time, part: piece.header.part.0, parts: piece.header.part.1 }
        }
        Kind::Log => Name::Log { start, end: piece.end.position, time: piece.end.time, ends: piece.ends },
    }
}

fn has_base(listing: &Listing, at: Position) -> bool {
    listing.stored().iter().any(|stored| stored.content.kind == Kind::Base && stored.content.start.position == at)
}

/// The position up to which the target has commits without a gap, from this one on.
fn reached(listing: &Listing, mut at: Position) -> Position {
    for name in &listing.names {
        if let Name::Log { start, end, .. } = *name
            && start == at
        {
            at = end;
        }
    }
    at
}

fn is_forgotten(name: Name, first: Position) -> bool {
    match name {
        Name::Base { start, .. } => start < first,
        Name::Log { end, .. } => end <= first,
    }
}
