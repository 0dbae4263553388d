//! The power goes in the middle of a script.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::record::Op;
use crate::replay::{Loss, Replay};
use crate::{Random, count, folder, script, vfs};

/// Scripts are recorded one at a time.
static ONE: Mutex<()> = Mutex::new(());

fn one() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets the power go `crashes` times in a script. Returns how many operations there were, and the failures.
fn crash(seed: u64, crashes: usize, lies: bool) -> (usize, Vec<String>) {
    let _one = one();
    vfs::install();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let root = folder();
    let (ops, answered) = runtime.block_on(script::run(root.path(), seed, 60, lies));
    let first = ops.iter().position(|op| matches!(op, Op::Step(0))).unwrap();
    // Most operations are SQLite's pages: half of the failures are where the history's files change, or an answer is given.
    let is_history = |path: &Path| path.starts_with("a.db-history");
    let is_near = |op: &Op| match op {
        Op::Step(_) => true,
        Op::Create(path) | Op::Sync(path) | Op::Remove(path) | Op::SyncFolder(path) => is_history(path),
        Op::Write { path, .. } => is_history(path) && path.extension().is_some_and(|name| name == "log"),
        _ => false,
    };
    let near: Vec<_> = (first..ops.len()).filter(|at| is_near(&ops[*at])).collect();
    let mut random = Random(seed);
    let mut points: Vec<_> = (0..crashes)
        .map(|number| match number % 2 {
            0 => first + random.below(ops.len() - first),
            _ => near[random.below(near.len())].saturating_sub(random.below(3)).max(first),
        })
        .collect();
    points.sort_unstable();
    let mut replay = Replay::default();
    let mut done = 0;
    let mut failures = Vec::new();
    for point in points {
        while done <= point {
            replay.apply(&ops[done]);
            done += 1;
        }
        let loss = match random.below(6) {
            0 => Loss::Nothing,
            1 | 2 => Loss::Everything,
            _ => Loss::Random(random.next()),
        };
        let step = ops[..done].iter().rev().find_map(|op| if let Op::Step(step) = op { Some(*step) } else { None });
        let crashed = folder();
        replay.write(crashed.path(), loss);
        let known = &answered[..=step.unwrap()];
        if let Err(failure) = runtime.block_on(script::check(crashed.path(), known, &mut random)) {
            failures.push(format!("after operation {point} ({loss:?}), step {step:?}: {failure}"));
        }
    }
    (ops.len(), failures)
}

#[test]
fn answered_states_and_their_bookmarks_survive_a_power_failure() {
    let crashes = count("ISOBAR_CRASHES", 60);
    let seed = count("ISOBAR_SEED", 11) as u64;
    let (ops, failures) = crash(seed, crashes, false);
    println!("{crashes} power failures in {ops} operations, {} failures", failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_history_whose_syncs_are_skipped_is_found() {
    let (_, failures) = crash(5, 40, true);
    assert!(!failures.is_empty(), "nothing was lost, though no log of the history was synced");
}
