//! The history of a database's file: every commit, archived out of the write-ahead log, and snapshots of the whole.
//!
//! ```text
//! recorder            what the engine's threads ask, and the thread that archives
//! archiver            the process that keeps the history: it decides when the log may begin anew
//! tail | base         where commits are appended; snapshots
//! index, image        what the files have; a database's file as it was at a point
//! marks, log, follow  positions of commits; a file that is appended to; connections that watch the write-ahead log
//! pieces              files cut into objects, for a backup
//! folder, format, span, stamp, position
//! ```
//!
//! It is sound because:
//! - A commit's position is the number of its write-ahead log and of its last frame there, so that it is durable with the commit.
//! - The write-ahead log is not lost before it is archived durably: a read transaction (the anchor) keeps it, from whoever writes and
//!   copies it, and moves on when what it leaves is archived.
//! - Only what is committed is archived: SQLite says how far that is, and each frame has to continue the checksums.
//! - Where it cannot be known that nothing was missed, a new snapshot begins another stretch, and the gap is reported.
//!
//! Costs of a commit, beside its own: reading its frames back from the page cache, compressing them (zstd, level
//! 1), appending some hundred bytes to some kilobytes; no sync of its own. Two syncs are made when a write-ahead
//! log of 1,000 pages is copied.
//!
//! Why not copies of the database by time: a state between two of them could not be had back. Why not the
//! write-ahead log itself: SQLite overwrites it. Why positions and not times: two commits may have the same time,
//! and clocks go back.
//!
//! A crash leaves, by the place: a block that was being written (cut off when the history is opened again, and
//! archived again out of the write-ahead log, which the anchor's process had kept from beginning anew); a snapshot
//! without its end (removed); temporary files (removed).

mod archiver;
mod base;
mod fault;
mod folder;
mod follow;
mod format;
mod image;
mod index;
mod log;
mod marks;
mod pieces;
mod position;
mod recorder;
mod restore;
mod span;
mod stamp;
mod tail;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;

pub(crate) use self::fault::of_file;
pub(in crate::sqlite) use self::folder::{delete, folder_of};
pub(crate) use self::format::Kind;
pub(crate) use self::image::Image;
pub(crate) use self::index::{Index, Limit, last_commit};
pub(crate) use self::pieces::{Cutter, Piece};
pub(crate) use self::position::{HistoryId, Position, of_bookmark};
pub(in crate::sqlite) use self::recorder::{Keeper, Recorder};
pub(in crate::sqlite) use self::restore::not_restored;
pub(crate) use self::span::{Content, Point, Span, spans};
