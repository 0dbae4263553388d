//! Tests that everything acknowledged survives a power failure and the end of the process, whole.
//!
//! Two kits. [`kill`] ends a writing process by SIGKILL at random moments, `ISOBAR_KILLS` times (1000). [`points`] records
//! what a script of 200 operations does to the disk, beneath SQLite (a VFS of its own, [`vfs`]) and beneath blobs and packs
//! ([`Disk`](isobar_storage::local::Disk)), and lets the power go after every single one of these operations, in several ways
//! ([`replay`]): with all of them done, with only what was synced, and with `ISOBAR_CRASHES` (1) random choices of what was
//! not, torn at sectors. And [`commits`] lets SQLite's commits and syncs fail, by the same VFS.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic")]

mod commits;
mod kill;
mod points;
mod random;
mod record;
mod replay;
mod vfs;

use random::{Random, count};
