//! The power goes in the middle of a script.

use std::path::Path;
use std::sync::{Arc, Mutex};

use isobar_sqlite::journal::{Journal, JournalOptions, SystemDisk, recover};

use crate::record::Op;
use crate::replay::{Loss, Replay};
use crate::script::{DATABASES, Script, Use, checkpoint, name, open, read, write};
use crate::{Random, count, folder, vfs};

/// Scripts are recorded one at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Lets the power go `crashes` times. `spoil` changes what is left before it is recovered, and returns by how much it has raised the
/// numbers.
/// Returns how many operations there were, and the failures.
pub(crate) fn crash(
    way: Use,
    page_size: usize,
    seed: u64,
    (crashes, aim): (usize, Aim),
    spoil: impl Fn(&Path) -> i64,
) -> (usize, Vec<String>) {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    vfs::install();
    let root = folder();
    let (ops, steps) = Script::run(root.path(), way, page_size, seed, 150);
    let first = ops.iter().position(|op| matches!(op, Op::Step(0))).unwrap();
    let mut random = Random(seed);
    let around: Vec<_> = (first..ops.len()).filter(|at| aim.is_near(&ops[*at])).collect();
    let mut point = |number: usize| match aim {
        Aim::Spread if number.is_multiple_of(4) => first + random.below(ops.len() - first),
        Aim::Spread => (around[random.below(around.len())] - random.below(3)).max(first),
        Aim::Write => around[random.below(around.len())],
        Aim::BeforeWrite => (around[random.below(around.len())] - 1).max(first),
    };
    let mut points: Vec<_> = (0..crashes).map(&mut point).collect();
    points.sort_unstable();
    let mut replay = Replay::default();
    let mut done = 0;
    let mut failures = Vec::new();
    for point in points {
        while done <= point {
            replay.apply(&ops[done]);
            done += 1;
        }
        let loss = match random.below(8) {
            0 => Loss::Nothing,
            1 => Loss::Everything,
            _ => Loss::Random(random.next()),
        };
        let step = ops[..done].iter().rev().find_map(|op| if let Op::Step(step) = op { Some(*step) } else { None });
        let crashed = folder();
        replay.write(crashed.path(), loss);
        let raised = spoil(crashed.path());
        let least = steps[step.unwrap()].map(|number| number + raised);
        if let Err(failure) = check(crashed.path(), &least) {
            failures.push(format!("after operation {point} ({loss:?}), step {step:?}: {failure}"));
        }
    }
    (ops.len(), failures)
}

/// Where the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Anywhere, and mostly where the log is written and synced: most operations are SQLite's own.
    Spread,
    /// When a batch has been written, and not synced.
    Write,
    /// When it is about to be written.
    BeforeWrite,
}

impl Aim {
    fn is_near(self, op: &Op) -> bool {
        let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
        match op {
            Op::Step(_) => self == Self::Spread,
            Op::Sync(path) => self == Self::Spread && is_log(path),
            Op::Write { path, data, .. } => is_log(path) && data.iter().any(|byte| *byte != 0),
            _ => false,
        }
    }
}

/// Recovers, and looks whether every database is whole and has what was acknowledged; then it must go on from there.
fn check(root: &Path, least: &[i64; DATABASES]) -> Result<(), String> {
    let journal = root.join("journal");
    recover(&journal, root, &SystemDisk).map_err(|error| error.to_string())?;
    let mut numbers = [0; DATABASES];
    for (number, found) in numbers.iter_mut().enumerate() {
        *found = read(&root.join(name(number)))?;
        let least = least[number];
        if *found < least {
            return Err(format!("database {number} is at {found}, {least} was acknowledged"));
        }
    }
    go_on(root, &numbers)?;
    recover(&journal, root, &SystemDisk).map_err(|error| error.to_string())?;
    for (number, found) in numbers.iter().enumerate() {
        let again = read(&root.join(name(number)))?;
        if again != found + 1 {
            return Err(format!("database {number} is at {again}, and not at {}", found + 1));
        }
    }
    Ok(())
}

/// Another turn on each database; the process ends without order.
fn go_on(root: &Path, numbers: &[i64; DATABASES]) -> Result<(), String> {
    let go_on = || -> Result<(), Box<dyn std::error::Error>> {
        let mut journal = Journal::new(
            root.join("journal"),
            0,
            JournalOptions::default().with_bytes(1 << 16).unwrap(),
            Arc::new(SystemDisk),
        );
        let mut open_ones = Vec::new();
        for (number, turn) in numbers.iter().enumerate() {
            let path = root.join(name(number));
            let (connection, wal) = open(&path)?;
            let mut follower = journal.follow(&name(number), &path);
            write(&connection, turn + 1)?;
            journal.capture(&mut follower, wal.take_committed().expect("a turn changes pages"))?;
            journal.sync()?;
            if number % 3 == 0 {
                assert!(checkpoint(&connection, "PASSIVE"));
            }
            open_ones.push(connection);
        }
        Ok(())
    };
    go_on().map_err(|error| error.to_string())
}

#[test]
fn acknowledged_turns_survive_a_power_failure() {
    let crashes = count("ISOBAR_CRASHES", 150);
    let seed = count("ISOBAR_SEED", 7) as u64;
    for page_size in [4096, 1024] {
        let (ops, failures) = crash(Use::Right, page_size, seed + page_size as u64, (crashes, Aim::Spread), |_| 0);
        println!("pages of {page_size}: {crashes} power failures in {ops} operations, {} failures", failures.len());
        assert!(failures.is_empty(), "{failures:#?}");
    }
}
