//! Tests that a database's history survives a power failure: what was answered is there, and its bookmark means what it meant.
//!
//! A script on a database with a history is recorded beneath SQLite (a VFS of the tests of isobar-storage) and beneath the history's
//! files ([`Disk`](isobar_sqlite::journal::Disk), as the tests of isobar-sqlite record it). Then the power goes, after operations that
//! are drawn by chance (`ISOBAR_CRASHES`, 60): what was not synced survives or does not, torn at sectors. The same check must find a
//! history whose syncs are skipped. [`faults`] has syncs fail, without a power failure.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic")]

mod faults;
mod points;
#[path = "../../../storage/tests/crash/random.rs"]
mod random;
#[path = "../../../sqlite/tests/crash/record.rs"]
mod record;
#[path = "../../../storage/tests/crash/replay.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod replay;
mod script;
#[path = "../../../storage/tests/crash/vfs.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod vfs;

use random::{Random, count};
use record::folder;
