//! The power goes after each operation of a script.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use isobar_storage::local::{FsckOptions, LocalOptions, LocalStore};
use isobar_storage::{Conditions, Key, ListOptions, MultipartOptions, ObjectStore, ObjectStoreExt, PutOptions};

use crate::record::{Op, RecordedDisk};
use crate::replay::{Loss, Replay};
use crate::{Random, count, record, vfs};

/// Steps of the script.
const STEPS: usize = 200;
/// Keys that it writes to: few, so that they are written over.
const KEYS: usize = 24;

/// The body under each key.
type State = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Clone)]
enum Step {
    Put(String, Vec<u8>),
    /// At once: they share transactions.
    PutMany(Vec<(String, Vec<u8>)>),
    /// Only if it is not there.
    Create(String, Vec<u8>),
    Copy(String, String),
    Delete(Vec<String>),
    /// A multipart upload of one part.
    Upload(String, Vec<u8>),
    /// An upload that is given up.
    Abort(String, Vec<u8>),
    /// The store is closed and opened again: the log is copied into the database.
    Reopen,
    Sweep,
}

impl Step {
    fn random(random: &mut Random, number: usize) -> Self {
        let key = |random: &mut Random| format!("folder/{}", random.below(KEYS));
        let body = |random: &mut Random| {
            let size = match random.below(8) {
                0 => 0,
                1 => 33_000 + random.below(80_000),
                2 => 20_000,
                _ => random.below(6000),
            };
            let mut body = vec![(number % 251) as u8; size];
            body.iter_mut().step_by(97).for_each(|byte| *byte = random.next() as u8);
            body
        };
        match random.below(20) {
            0..8 => Self::Put(key(random), body(random)),
            8..11 => {
                let many: BTreeMap<_, _> = (0..5).map(|_| (key(random), body(random))).collect();
                Self::PutMany(many.into_iter().collect())
            }
            11 | 12 => Self::Create(key(random), body(random)),
            13 => Self::Copy(key(random), key(random)),
            14 | 15 => Self::Delete((0..1 + random.below(3)).map(|_| key(random)).collect()),
            16 | 17 => Self::Upload(key(random), body(random)),
            18 if random.below(3) == 0 => Self::Reopen,
            18 => Self::Sweep,
            _ => Self::Abort(key(random), body(random)),
        }
    }

    /// Applies it to the state.
    fn change(&self, state: &mut State) {
        match self {
            Self::Put(key, body) | Self::Upload(key, body) => drop(state.insert(key.clone(), body.clone())),
            Self::PutMany(many) => state.extend(many.clone()),
            Self::Create(key, body) => drop(state.entry(key.clone()).or_insert_with(|| body.clone())),
            Self::Copy(from, to) => {
                if let Some(body) = state.get(from).cloned() {
                    state.insert(to.clone(), body);
                }
            }
            Self::Delete(keys) => keys.iter().for_each(|key| drop(state.remove(key))),
            Self::Abort(..) | Self::Reopen | Self::Sweep => {}
        }
    }

    async fn run(&self, store: &LocalStore) {
        match self {
            Self::Put(key, body) => drop(store.write(&named(key), body.clone()).await.unwrap()),
            Self::PutMany(many) => {
                let puts = many.iter().map(async |(key, body)| store.write(&named(key), body.clone()).await.unwrap());
                join_all(puts).await;
            }
            Self::Create(key, body) => {
                let options = PutOptions::default().with_conditions(Conditions::create_only());
                drop(store.put(&named(key), body.clone().into(), options).await.unwrap());
            }
            Self::Copy(from, to) => drop(store.copy(&named(from), &named(to), Default::default()).await.unwrap()),
            Self::Delete(keys) => {
                store.delete(&keys.iter().map(|key| named(key)).collect::<Vec<_>>()).await.unwrap();
            }
            Self::Upload(key, body) => {
                let key = named(key);
                let upload = store.multipart(&key, MultipartOptions::default()).await.unwrap();
                let part = upload.upload_part(1, body.clone()).await.unwrap();
                upload.complete(vec![part]).await.unwrap();
            }
            Self::Abort(key, body) => {
                let key = named(key);
                let upload = store.multipart(&key, MultipartOptions::default()).await.unwrap();
                upload.upload_part(1, body.clone()).await.unwrap();
                upload.abort().await.unwrap();
            }
            Self::Sweep => drop(store.gc().await.unwrap()),
            Self::Reopen => {}
        }
    }
}

fn is_pack(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pack")
}

fn named(key: &str) -> Key {
    Key::new(key).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_a_script_keeps_what_was_acknowledged() {
    vfs::install();
    let mut random = Random(count("ISOBAR_SEED", 7) as u64);
    let script: Vec<Step> = (0..STEPS).map(|number| Step::random(&mut random, number)).collect();
    let folder = tempfile::tempdir().unwrap();
    let ops = recorded(folder.path(), &script).await;
    // What is stored after each step.
    let mut states = vec![State::new()];
    for step in &script {
        let mut state = states.last().unwrap().clone();
        step.change(&mut state);
        states.push(state);
    }
    let removed = ops.iter().filter(|op| matches!(op, Op::Remove(path) if is_pack(path))).count();
    assert!(removed > 2, "{removed} packs were emptied");
    let mut losses = vec![Loss::Nothing, Loss::Everything];
    losses.extend((0..count("ISOBAR_CRASHES", 1)).map(|seed| Loss::Random(seed as u64)));
    let points = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for half in 0..2 {
            let ops = &ops;
            let states = &states;
            let losses = &losses;
            let points = &points;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(crash_everywhere(half, ops, states, losses, points));
            });
        }
    });
    let [points, ops] = [points.into_inner(), ops.len()];
    println!("{points} crashes after {ops} operations on the disk, nothing that was acknowledged is lost");
    assert!(ops > 1000 && points > 2 * ops, "{points} crashes after {ops} operations");
}

/// Runs the script, and tells what it has done to the disk. The store is there, and empty, when the recording has its first step.
async fn recorded(root: &Path, script: &[Step]) -> Vec<Op> {
    record::start(root);
    let open = async || {
        // Short packs, so that some become full, and some garbage.
        let options = LocalOptions::default().with_disk(RecordedDisk).with_pack_bytes(64 * 1024);
        LocalStore::open_with(root.join("store"), options).await.unwrap()
    };
    let mut store = open().await;
    for (number, step) in script.iter().enumerate() {
        record::step(number);
        if matches!(step, Step::Reopen) {
            drop(store);
            store = open().await;
        }
        step.run(&store).await;
    }
    record::step(script.len());
    drop(store);
    record::stop()
}

/// Lets the power go after every operation whose number is of this half.
async fn crash_everywhere(half: usize, ops: &[Op], states: &[State], losses: &[Loss], points: &AtomicUsize) {
    let mut replay = Replay::default();
    let mut step = None;
    let folder = in_memory();
    let store = folder.path().join("store");
    for (number, op) in ops.iter().enumerate() {
        replay.apply(op);
        if let Op::Step(now) = op {
            step = Some(*now);
        }
        let Some(step) = step.filter(|_| number % 2 == half) else { continue };
        for loss in losses {
            let loss = match loss {
                Loss::Random(seed) => Loss::Random(seed * 1_000_003 + number as u64),
                loss => *loss,
            };
            let written = replay.write(folder.path(), loss);
            // The step may be done or not, each of its keys by itself.
            let states = [&states[step], &states[(step + 1).min(states.len() - 1)]];
            check(&store, states, &format!("after operation {number} ({loss:?}), in step {step}")).await;
            // The folders stay, for the next time.
            let made = ["index.db", "index.db-wal", "index.db-shm"].map(|name| store.join(name));
            written.iter().chain(&made).for_each(|file| drop(std::fs::remove_file(file)));
            points.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A folder for what is left of a disk: where syncing costs nothing, if there is such a place.
fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Whether every key is as in one of the states, and the store sound.
async fn check(root: &Path, states: [&State; 2], when: &str) {
    let store = LocalStore::open(root).await.unwrap_or_else(|error| panic!("{when}: {error}"));
    let mut found = State::new();
    let mut page = store.list(ListOptions::default()).await.unwrap();
    for meta in page.objects.drain(..) {
        let (_, body) = store.read(&meta.key).await.unwrap_or_else(|error| panic!("{when}: {error}")).unwrap();
        found.insert(meta.key.to_string(), body.to_vec());
    }
    for number in 0..KEYS {
        let key = format!("folder/{number}");
        let is = found.get(&key);
        assert!(states.iter().any(|state| state.get(&key) == is), "{when}: {key} is not as it was acknowledged");
    }
    let options = FsckOptions::default().with_exclusive(true).with_repair(true);
    let first = store.fsck(options, |_| {}).await.unwrap();
    assert!(!first.has_loss() && first.is_clean(), "{when}: {first:?}");
    if !first.findings.is_empty() {
        let second = store.fsck(options, |_| {}).await.unwrap();
        assert!(second.findings.is_empty() && second.foreign.is_empty(), "{when}: {second:?}");
    }
}
