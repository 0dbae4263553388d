//! Tests that what the journal has made durable survives a power failure, whole.
//!
//! A script of turns on two dozen databases is recorded beneath SQLite (a VFS of the tests of isobar-storage) and beneath the
//! journal ([`Disk`](isobar_sqlite::journal::Disk)). Then the power goes, after operations that are drawn by chance
//! (`ISOBAR_CRASHES`, 150, in each of two scripts): what was not synced survives or does not, torn at sectors.
//! [`variants`] holds variants of the
//! journal's use that are broken on purpose: the same check must find each of them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic")]

mod points;
mod record;
#[path = "../../../storage/tests/crash/replay.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod replay;
mod script;
mod variants;
#[path = "../../../storage/tests/crash/vfs.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod vfs;

/// A number out of the environment, to test more than is usual.
fn count(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |count| count.parse().expect("a number"))
}

/// A small generator of random numbers: the same seed, the same numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// A temporary folder in memory where there is one: the tests sync a lot.
fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}
