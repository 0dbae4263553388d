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
mod record;
mod replay;
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
