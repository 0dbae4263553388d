//! Tests that what the journal has made durable survives a power failure, whole.
//!
//! A script of turns on two dozen databases is recorded beneath SQLite (a VFS of the tests of isobar-storage) and beneath the
//! journal ([`Disk`](isobar_sqlite::journal::Disk)). Then the power goes, after operations that are drawn by chance
//! (`ISOBAR_CRASHES`, 150, in each of two scripts): what was not synced survives or does not, torn at sectors.
//! [`variants`] holds variants of the
//! journal's use that are broken on purpose: the same check must find each of them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic")]

mod points;
#[path = "../../../storage/tests/crash/random.rs"]
mod random;
mod record;
#[path = "../../../storage/tests/crash/replay.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod replay;
mod script;
mod variants;
#[path = "../../../storage/tests/crash/vfs.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod vfs;

use random::{Random, count};
use record::folder;
