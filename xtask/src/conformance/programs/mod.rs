//! Random programs of session objects on the local host, in memory and inside workerd: each result must be the same, the texts of errors
//! included, and what is stored must be the same after both have been started anew.

mod compare;
mod generate;
mod shrink;
mod sql;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isobar_sessions::conformance::{Probe, Subject, run_programs};
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::memory::MemoryHost;
use serde_json::{Value as Json, json};

use crate::Outcome;
use crate::bench_doors::free_bytes;
use crate::http::ask;
use crate::worker::{Options, Workerd};
use compare::{Tally, differences};

/// Number of programs of the gate.
pub(super) const PROGRAMS: u64 = 200;
/// Programs that run at once.
const BATCH: usize = 20;
/// Programs after which the hosts are started anew: their objects stay in the runtime's memory until then.
const GENERATION: u64 = 2000;
/// Bytes that the files of a generation may take.
const ROOM: u64 = 1 << 30;
/// Failing programs after which the run ends.
const MOST_FAILURES: usize = 8;
/// How often a failing program is run again: it must fail each time.
const AGAIN: usize = 2;
/// Shorter programs that could not be run, after which a program is not shrunk any more: each may have taken a minute.
const MOST_ERRORS: usize = 3;
/// Message of the panics that programs ask for.
const ON_PURPOSE: &str = "the probe panics on purpose";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Transcripts = Vec<Vec<Json>>;

/// Where programs run inside workerd.
pub(super) enum Inside {
    /// In the Worker of these options.
    Worker(Box<Options>),
    /// At the address of a server that answers as the Worker does, and is not started anew.
    At(String),
}

/// Runs `count` programs, the first of which has this seed.
pub(super) fn run(mut inside: Inside, count: u64, seed: u64) -> Outcome {
    silence_the_probe();
    let mut run = Run::default();
    let mut from = seed;
    while from < seed + count && run.failures.len() < MOST_FAILURES {
        let to = (from + GENERATION).min(seed + count);
        let folder = Scratch::new(from)?;
        if let Inside::Worker(options) = &mut inside {
            options.persist = Some(folder.0.join("workerd"));
        }
        run.generation(&mut Hosts::start(&inside, &folder.0.join("local"))?, from..to)?;
        from = to;
    }
    run.tally.print();
    match run.unsteady {
        0 => {}
        times => println!("{times} programs did not end alike at first, and did when they ran again"),
    }
    if !run.failures.is_empty() {
        return Err(format!("{} programs end differently:\n{}", run.failures.len(), run.failures.join("\n")).into());
    }
    // Two requests at once may come in either order.
    if run.unsteady > count / 50 {
        return Err("more than one program in 50 did not end alike at first".into());
    }
    println!(
        "{count} random programs of session objects with {} events end alike on local, memory and workerd, and are kept over restarts",
        run.events
    );
    Ok(())
}

/// Keeps panics that programs ask for out of the output, some with a backtrace each.
fn silence_the_probe() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(ON_PURPOSE) {
            hook(panic);
        }
    }));
}

#[derive(Default)]
struct Run {
    tally: Tally,
    events: usize,
    failures: Vec<String>,
    /// Programs that failed once, and not again.
    unsteady: u64,
    /// Programs that were run alone.
    reruns: usize,
}

impl Run {
    /// Runs the programs of these seeds, starts the hosts anew, and compares what is stored with what was.
    fn generation(&mut self, hosts: &mut Hosts<'_>, seeds: Range<u64>) -> Outcome {
        let mut ends = Vec::new();
        let batches: Vec<Vec<u64>> = seeds.collect::<Vec<_>>().chunks(BATCH).map(<[u64]>::to_vec).collect();
        for batch in batches {
            let programs: Vec<Vec<Json>> = batch.iter().map(|seed| generate::program(*seed)).collect();
            let prefix = format!("programs/{}/", batch[0]);
            let transcripts = hosts.run(&prefix, &programs)?;
            for (index, program) in programs.iter().enumerate() {
                let found = self.compare([0, 1, 2].map(|host| transcripts[host][index].as_slice()));
                if let Some(found) = found {
                    self.fail(hosts, batch[index], program, found)?;
                }
                self.events += program.len();
            }
            let last = |host: usize| transcripts[host].iter().map(|one| one.last().cloned()).collect::<Vec<_>>();
            ends.push((prefix, last(0), last(2)));
            if self.failures.len() >= MOST_FAILURES {
                return Ok(());
            }
        }
        hosts.restart()?;
        for (prefix, local, workerd) in ends {
            let looks = vec![vec![generate::look()]; local.len()];
            let after = hosts.run(&prefix, &looks)?;
            self.compare_ends(&prefix, "local", &local, &after[0]);
            self.compare_ends(&prefix, "workerd", &workerd, &after[2]);
        }
        Ok(())
    }

    /// Compares what objects hold with what they held before a restart.
    fn compare_ends(&mut self, prefix: &str, host: &str, before: &[Option<Json>], after: &[Vec<Json>]) {
        for (number, (before, after)) in before.iter().zip(after).enumerate() {
            let found: Vec<String> = differences(before.as_slice(), after).iter().map(ToString::to_string).collect();
            if !found.is_empty() {
                let failure =
                    format!("{host}, {prefix}{number}, before and after a restart:\n    {}", found.join("\n    "));
                println!("FAILED   {failure}");
                self.failures.push(failure);
            }
        }
    }

    /// Returns what differs among the transcripts of local, memory and workerd, and is not known.
    fn compare(&mut self, [local, memory, workerd]: [&[Json]; 3]) -> Option<String> {
        let among = differences(local, memory);
        let mut found: Vec<String> = among.iter().map(|one| format!("local beside memory {one}")).collect();
        let others = self.tally.take(differences(local, workerd));
        found.extend(others.iter().map(ToString::to_string));
        (!found.is_empty()).then(|| found.join("\n    "))
    }

    /// Runs a program alone; what differs.
    fn again(&mut self, hosts: &Hosts<'_>, program: &[Json]) -> Result<Option<String>> {
        self.reruns += 1;
        let prefix = format!("again/{}/", self.reruns);
        let [local, memory, workerd] = hosts.run(&prefix, &[program.to_vec()])?;
        Ok(self.compare([&local[0], &memory[0], &workerd[0]]))
    }

    /// Notes a program that fails each time, as short as it can be.
    fn fail(&mut self, hosts: &Hosts<'_>, seed: u64, program: &[Json], found: String) -> Outcome {
        for _ in 0..AGAIN {
            if self.again(hosts, program)?.is_none() {
                println!("unsteady program {seed}: {found}\n    {}", json!(program));
                self.unsteady += 1;
                return Ok(());
            }
        }
        println!("program {seed} is shrunk: {found}");
        let mut last = found;
        let mut errors = 0;
        let shortest = shrink::shrink(program, |shorter| {
            if errors >= MOST_ERRORS || !waits_for_alarms(shorter) {
                return false;
            }
            match self.again(hosts, shorter) {
                Ok(Some(found)) => {
                    last = found;
                    true
                }
                Ok(None) => false,
                // The host's own failure is not the program's.
                Err(error) => {
                    println!("a shorter program could not be run: {error}");
                    errors += 1;
                    false
                }
            }
        });
        let failure = format!("program {seed}: {}\n    {last}", json!(shortest));
        println!("FAILED   {failure}");
        self.failures.push(failure);
        Ok(())
    }
}

/// Returns whether a program waits for each alarm that is due at once: otherwise what it sees depends on timing.
fn waits_for_alarms(program: &[Json]) -> bool {
    let count = |part: &str| json!(program).to_string().matches(part).count();
    count("\"in\":-1000") == count("{\"alarms\":")
}

/// A folder for the files of the hosts, which is removed in the end: in memory where there is room, as nothing here is about the disk.
struct Scratch(PathBuf);

impl Scratch {
    fn new(number: u64) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = match free_bytes(memory) {
            Ok(bytes) if bytes > ROOM => memory.join(format!("isobar-programs-{}-{number}", std::process::id())),
            _ => super::fresh("conformance-programs")?,
        };
        // One of a run that was killed, whose process had the same number.
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the system.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The hosts, on which a program runs at the same time.
struct Hosts<'i> {
    folder: PathBuf,
    /// `None` between two starts, as is workerd.
    local: Option<Subject>,
    memory: Subject,
    inside: &'i Inside,
    workerd: Option<Workerd>,
}

impl<'i> Hosts<'i> {
    fn start(inside: &'i Inside, folder: &Path) -> Result<Self> {
        let memory = Arc::new(MemoryHost::<Probe>::new("Probe", || ())?);
        let mut hosts = Self { folder: folder.to_owned(), local: None, memory, inside, workerd: None };
        hosts.restart()?;
        Ok(hosts)
    }

    /// Starts local and workerd anew, on what they have stored.
    fn restart(&mut self) -> Outcome {
        self.local = None;
        self.workerd = None;
        self.local = Some(Arc::new(LocalHost::<Probe>::open(&self.folder, "Probe", &HostOptions::default(), || ())?));
        self.memory = Arc::new(MemoryHost::<Probe>::new("Probe", || ())?);
        if let Inside::Worker(options) = self.inside {
            self.workerd = Some(Workerd::start(options)?);
        }
        Ok(())
    }

    /// Returns the address of workerd.
    fn address(&self) -> Result<&str> {
        match self.inside {
            Inside::Worker(_) => Ok(&self.workerd.as_ref().ok_or("workerd does not run")?.address),
            Inside::At(address) => Ok(address),
        }
    }

    /// Runs programs on local, memory and workerd.
    fn run(&self, prefix: &str, programs: &[Vec<Json>]) -> Result<[Transcripts; 3]> {
        let local = self.local.as_ref().ok_or("the local host does not run")?;
        let address = self.address()?;
        std::thread::scope(|scope| {
            let local = scope.spawn(|| on(local, prefix, programs));
            let memory = scope.spawn(|| on(&self.memory, prefix, programs));
            let workerd = in_workerd(address, prefix, programs);
            let join = |host: std::thread::ScopedJoinHandle<'_, Transcripts>| {
                host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            Ok([join(local), join(memory), workerd?])
        })
    }
}

/// Runs programs on a host of this process.
fn on(host: &Subject, prefix: &str, programs: &[Vec<Json>]) -> Transcripts {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O can be built");
    runtime.block_on(run_programs(host, prefix, programs))
}

/// Runs programs inside workerd.
fn in_workerd(address: &str, prefix: &str, programs: &[Vec<Json>]) -> Result<Transcripts> {
    let body = json!({"prefix": prefix, "programs": programs}).to_string();
    let answer = ask(address, "POST", "/programs", &[], body.as_bytes())?;
    let transcripts: Transcripts = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("{prefix}: {} {}: {error}", answer.status, answer.text()))?;
    match transcripts.len() == programs.len() {
        true => Ok(transcripts),
        false => Err(format!("workerd ran {} programs of {}", transcripts.len(), programs.len()).into()),
    }
}
