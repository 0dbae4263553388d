//! A process with three hosts is killed, at any moment and in chosen places, and started again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isobar_sessions::backup::{Backup, FolderTarget, RestoreOptions, restore, verify};
use isobar_sessions::local::{Catalog, CatalogListOptions, HostOptions, LocalHost};
use isobar_sessions::{ErrorKind, SessionNamespace, SessionNamespaceExt};

use crate::ledger::{Account, Found, Ledger};
use crate::places::{Deadly, Place};
use crate::record::{self, RecordedDisk};
use crate::{Random, count};

/// Namespaces, each with a host of its own. A backup is one of the first.
const NAMESPACES: [&str; 3] = ["Account", "Room", "Timer"];
/// Objects of a namespace, and tasks that each call their own ones, one after the other.
const OBJECTS: usize = 12;
const TASKS: usize = 6;
/// Time after which a process that has not come to its place is killed anyway.
const LONGEST: Duration = Duration::from_millis(1500);

const FOLDER: &str = "ISOBAR_KILL_FOLDER";
const FROM: &str = "ISOBAR_KILL_FROM";
const PLACE: &str = "ISOBAR_KILL_PLACE";
const NUMBER: &str = "ISOBAR_KILL_NUMBER";
const TEMPORARY: &str = "temporary";

/// One life of the process.
#[derive(Debug)]
struct Life {
    /// Number of the first turn.
    from: u64,
    place: Place,
    /// Operations in the place before the one with which it ends.
    number: usize,
    /// Time until it is killed: after the first answer, or, for [`Place::Opening`], after its start.
    time: Duration,
}

impl Life {
    fn draw(random: &mut Random, from: u64) -> Self {
        let place = match random.below(12) {
            0 => Place::Opening,
            1 | 2 => Place::Checkpoint,
            3 => Place::LogSwitch,
            4 => Place::WalStart,
            5 => Place::Index,
            6 => Place::Backup,
            _ => Place::Any,
        };
        let number = random.below(24);
        let time = Duration::from_micros(random.below(40_000) as u64);
        Self { from, place, number, time: if place.is_chosen() { LONGEST } else { time } }
    }
}

/// Objects sleep soon, logs are small.
fn options() -> HostOptions {
    let options = HostOptions::default().with_threads(2).with_journal_bytes(64 << 10).with_open_objects(8);
    options.with_idle(Duration::from_millis(20))
}

fn open(folder: &Path, namespace: &str, options: &HostOptions) -> LocalHost<Account> {
    LocalHost::open(folder.join(namespace), namespace, options, || ()).unwrap()
}

/// The process that is killed: its objects take turns without end.
async fn live(folder: &Path) {
    let variable = |name: &str| std::env::var(name).unwrap();
    let place: Place = variable(PLACE).parse().unwrap();
    let number: usize = variable(NUMBER).parse().unwrap();
    let next = Arc::new(AtomicU64::new(variable(FROM).parse().unwrap()));
    say(""); // ends the line on which the test's name may stand
    let mut options = options();
    if place.is_chosen() {
        place.watch(folder, number);
        options = options.with_journal_disk(Arc::new(RecordedDisk::default()));
    }
    if place == Place::Backup {
        options = options.with_open_objects(64).with_idle(Duration::from_secs(10)); // files that rest are copied at once
        back_up(folder, number);
    }
    let mut tasks = Vec::new();
    for namespace in NAMESPACES {
        let host = open(folder, namespace, &options);
        for task in 0..TASKS {
            tasks.push(tokio::spawn(call(host.clone(), namespace, task, Arc::clone(&next))));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Calls the objects of a task, without end.
async fn call(host: LocalHost<Account>, namespace: &str, task: usize, next: Arc<AtomicU64>) {
    let mut random = Random(next.load(Ordering::Relaxed) + task as u64);
    loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let object = format!("{namespace}/{}", task + TASKS * random.below(OBJECTS / TASKS));
        say(&format!("begin {object} {turn}"));
        let answer = host.get(&host.id(&object), &format!("/turn/{turn}")).await.unwrap();
        let text = answer.into_body().text().await.unwrap();
        say(&format!("end {object} {turn} {text}"));
    }
}

/// In one write, so that a line is whole or not there.
fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Backs up the first namespace again and again, on a thread, until some put ends the process.
fn back_up(folder: &Path, puts: usize) {
    let target = Deadly::new(&folder.join("backup"), puts);
    let backup = Backup::new(folder.join(NAMESPACES[0]), NAMESPACES[0], target);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        loop {
            // The folder is made by the host, and its index changes while it is copied.
            if let Err(error) = runtime.block_on(backup.run()) {
                assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::Overloaded), "{error}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
}

/// Lines that the processes have printed.
#[derive(Debug, Default)]
struct Heard {
    ledger: Ledger,
    last: u64,
    answers: usize,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match *words {
            ["begin", object, turn] => {
                let turn = turn.parse().unwrap();
                self.last = self.last.max(turn);
                self.ledger.begin(object, turn);
            }
            ["end", object, turn, answer] => {
                self.answers += 1;
                self.ledger.acknowledge(object, turn.parse().unwrap(), answer);
            }
            _ => {}
        }
    }
}

/// Runs the process until it is killed, and takes its turns into the ledger. Returns whether it has come to its place.
fn killed(folder: &Path, life: &Life, heard: &mut Heard) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::acknowledged_turns_survive_kills_and_happen_once", "--nocapture"])
        .env(FOLDER, folder)
        .env("TMPDIR", folder.join(TEMPORARY)) // what a backup that is killed has copied is left there
        .env(FROM, life.from.to_string())
        .env(PLACE, life.place.to_string())
        .env(NUMBER, life.number.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let opens = life.place == Place::Opening;
    let end = Mutex::new(Instant::now() + if opens { life.time } else { Duration::from_secs(60) });
    let (status, is_late) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| end_by(&mut child, &end));
        let mut is_first = !opens;
        for line in output.lines() {
            let line = line.unwrap();
            heard.hear(&line);
            if is_first && line.starts_with("end ") {
                is_first = false;
                *end.lock().unwrap() = Instant::now() + life.time;
            }
        }
        killer.join().unwrap()
    });
    assert_eq!(status.signal(), Some(9), "the process has ended otherwise, {life:?}: {status}");
    heard.ledger.crash();
    !is_late || !life.place.is_chosen()
}

/// Kills the process at the time given, unless it has ended before. Returns how it has ended, and whether it was late.
fn end_by(child: &mut Child, end: &Mutex<Instant>) -> (ExitStatus, bool) {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status, false);
        }
        if Instant::now() >= *end.lock().unwrap() {
            child.kill().unwrap();
            return (child.wait().unwrap(), true);
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Compares all objects with the ledger; then every alarm has run.
///
/// # Errors
/// A difference, as text.
async fn check(folder: &Path, namespaces: &[&str], ledger: &mut Ledger) -> Result<(), String> {
    for namespace in namespaces {
        let host = open(folder, namespace, &options());
        let objects: Vec<_> = (0..OBJECTS).map(|object| format!("{namespace}/{object}")).collect();
        for object in &objects {
            ledger.check(object, Found::of(&host, object).await?)?;
        }
        for object in &objects {
            let from = Instant::now();
            loop {
                let found = Found::of(&host, object).await?;
                let is_armed = found.is_armed();
                ledger.check(object, found)?;
                if !is_armed {
                    break;
                }
                if from.elapsed() > Duration::from_secs(20) {
                    return Err(format!("the alarm of {object} does not run"));
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        host.health().await.map_err(|error| error.to_string())?;
        tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
    }
    Ok(())
}

/// Every file of an object opens, and is whole.
fn check_files(folder: &Path) {
    for namespace in NAMESPACES {
        let catalog = Catalog::open(folder.join(namespace), namespace).unwrap();
        let page = catalog.list(&CatalogListOptions::default().with_check()).unwrap();
        assert!(page.objects.len() <= OBJECTS && page.cursor.is_none());
        for object in page.objects {
            assert_eq!(object.damage, None, "{object:?}");
        }
        assert!(!folder.join(namespace).join("journal").exists(), "the host that has just ended leaves no journal");
    }
}

/// The backup that the kills have interrupted: another run is whole, and comes back as the objects are.
async fn check_backup(folder: &Path, ledger: &Ledger) {
    let namespace = NAMESPACES[0];
    tokio::time::sleep(Duration::from_millis(150)).await; // the marks of files that have just changed are not trusted
    let target = Arc::new(FolderTarget::new(folder.join("backup")));
    let report = Backup::new(folder.join(namespace), namespace, target.clone()).run().await.unwrap();
    assert!(report.unread.is_empty() && report.problem.is_none(), "{report:?}");
    let verified = verify(&*target, namespace, None).await.unwrap();
    assert!(verified.problems.is_empty(), "{verified:?}");
    let to = folder.join("restored");
    restore(&*target, to.join(namespace), namespace, &RestoreOptions::default()).await.unwrap();
    check(&to, &[namespace], &mut ledger.clone()).await.unwrap();
}

/// The test program is its own child: with a folder in its environment it is the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_turns_survive_kills_and_happen_once() {
    if let Ok(folder) = std::env::var(FOLDER) {
        return live(Path::new(&folder)).await;
    }
    let kills = count("ISOBAR_KILLS", 40);
    let folder = record::folder();
    let folder = folder.path();
    std::fs::create_dir(folder.join(TEMPORARY)).unwrap();
    let mut random = Random(count("ISOBAR_SEED", 3) as u64);
    let mut heard = Heard { last: 7, ..Heard::default() };
    let mut places = BTreeMap::<Place, [usize; 2]>::new();
    let from = Instant::now();
    for kill in 0..kills {
        let life = Life::draw(&mut random, heard.last + 1);
        let [came, all] = places.entry(life.place).or_default();
        *all += 1;
        *came += usize::from(killed(folder, &life, &mut heard));
        if kill + 1 < kills && random.below(4) == 0 {
            continue; // the next process finds what two have left
        }
        let checked = check(folder, &NAMESPACES, &mut heard.ledger).await;
        checked.unwrap_or_else(|wrong| panic!("after kill {kill}, {life:?}: {wrong}"));
        if kill % 10 == 9 || kill + 1 == kills {
            check_files(folder);
        }
    }
    check_backup(folder, &heard.ledger).await;
    println!("{kills} kills in {:?}, {} acknowledged turns, none lost or doubled", from.elapsed(), heard.answers);
    println!("places: {places:?} (reached, tried)");
    assert!(heard.answers > kills, "it was killed before it could answer: {} turns", heard.answers);
    for (place, [came, all]) in places {
        assert!(all < 5 || came > 0, "{place} was never reached");
    }
}
