//! Tests that no turn which a host has answered is lost, when the power goes and when the process ends.
//!
//! [`points`] records what a host does to the disk, beneath SQLite and beneath its journal, and lets the power go in the middle
//! (`ISOBAR_CRASHES`, 60 times). [`kill`] ends a process with three hosts by SIGKILL, at any moment and in chosen places
//! (`ISOBAR_KILLS`, 40 times). Both keep one kind of [`ledger`], which a host that is broken on purpose does not pass. [`restores`] lets the power
//! go while an object is restored to earlier states.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic")]

mod kill;
mod ledger;
mod places;
mod points;
#[path = "../../../storage/tests/crash/random.rs"]
mod random;
#[path = "../../../sqlite/tests/crash/record.rs"]
mod record;
#[path = "../../../storage/tests/crash/replay.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod replay;
mod restores;
#[path = "../../../storage/tests/crash/vfs.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod vfs;

use random::{Random, count};
