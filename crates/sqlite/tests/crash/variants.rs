//! Uses of the journal that are broken on purpose: the check that finds nothing wrong with the right use finds each of them.

use std::path::Path;

use isobar_sqlite::journal::{SystemDisk, recover};

use crate::points::{Aim, crash};
use crate::script::{DATABASES, Use, checkpoint, name, open, write};
use crate::{count, folder};

/// Turns between the first replay of a log and the second.
const MORE: i64 = 50;
/// Power failures of each variant.
const CRASHES: usize = 60;

fn found(way: Use, aim: Aim, spoil: impl Fn(&Path) -> i64) -> usize {
    // What a checkpoint that comes too early damages shows seldom.
    let times = if way == Use::EarlyCheckpoint { 5 } else { 1 };
    let crashes = times * count("ISOBAR_CRASHES", CRASHES);
    let (_, failures) = crash(way, 4096, 3, (crashes, aim), spoil);
    println!("{way:?}: found by {} of {crashes} power failures, the first: {:?}", failures.len(), failures.first());
    failures.len()
}

#[test]
fn crash_test_detects_a_skipped_sync() {
    assert!(found(Use::NoSync, Aim::Spread, |_| 0) > 0);
}

#[test]
fn crash_test_detects_an_early_gate() {
    assert!(found(Use::EarlyGate, Aim::BeforeWrite, |_| 0) > 0);
}

#[test]
fn crash_test_detects_an_early_checkpoint() {
    assert!(found(Use::EarlyCheckpoint, Aim::BeforeWrite, |_| 0) > 0);
}

#[test]
fn crash_test_detects_a_torn_batch_that_is_taken() {
    assert!(found(Use::Right, Aim::Write, take_torn_batches) > 0);
}

#[test]
fn crash_test_detects_a_log_that_is_replayed_twice() {
    assert!(found(Use::Right, Aim::Spread, replay_twice) > 0);
}

/// Recovers, goes on with the databases until their files have all of it, and puts the log back.
fn replay_twice(root: &Path) -> i64 {
    let journal = root.join("journal");
    let logs = folder();
    for entry in std::fs::read_dir(&journal).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, logs.path().join(path.file_name().unwrap())).unwrap();
    }
    recover(&journal, root, &SystemDisk).unwrap();
    for number in 0..DATABASES {
        let (connection, _) = open(&root.join(name(number))).unwrap();
        let last: i64 = connection.query_row("SELECT n FROM t WHERE id = 1", [], |row| row.get(0)).unwrap();
        (1..=MORE).for_each(|turn| write(&connection, last + turn).unwrap());
        assert!(checkpoint(&connection, "TRUNCATE"));
    }
    std::fs::create_dir_all(&journal).unwrap();
    for entry in std::fs::read_dir(logs.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, journal.join(path.file_name().unwrap())).unwrap();
    }
    MORE
}

/// Gives every batch of the logs that is not whole the checksum of a whole one.
fn take_torn_batches(root: &Path) -> i64 {
    for entry in std::fs::read_dir(root.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        let mut log = std::fs::read(&path).unwrap();
        for offset in (0..log.len()).step_by(512) {
            let length = u32::from_le_bytes(log[offset + 24..offset + 28].try_into().unwrap()) as usize;
            let end = offset + 32 + length;
            if log[offset..offset + 4] == *b"IBJ1" && end <= log.len() {
                let sum = crc32fast::hash(&log[offset + 8..end]);
                log[offset + 4..offset + 8].copy_from_slice(&sum.to_le_bytes());
            }
        }
        std::fs::write(&path, log).unwrap();
    }
    0
}
