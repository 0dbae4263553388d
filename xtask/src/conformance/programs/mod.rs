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
use crate::http::ask;
use crate::worker::{Options, Workerd};
use compare::{Tally, differences};

/// Number of programs of the gate.
pub(super) const PROGRAMS: u64 = 2000;
/// Programs that run at once.
const BATCH: usize = 20;
/// Programs after which the hosts are started anew: their objects stay in the runtime's memory until then.
const GENERATION: u64 = 2000;
/// Failing programs after which the run ends.
const MOST_FAILURES: usize = 8;
/// How often a failing program is run again: it must fail each time.
const AGAIN: usize = 2;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
type Transcripts = Vec<Vec<Json>>;

/// Where programs run inside workerd.
pub(super) enum Inside {
    /// In the Worker of these options, which is started anew now and then.
    Worker(Box<Options>, Option<Workerd>),
    /// At the address of a server that answers as the Worker does, and is not started anew.
    At(String),
}

/// Runs `count` programs, the first of which has this seed.
pub(super) fn run(inside: Inside, count: u64, seed: u64) -> Outcome {
    let mut run = Run {
        hosts: Hosts::start(inside)?,
        tally: Tally::default(),
        events: 0,
        failures: Vec::new(),
        unsteady: 0,
        reruns: 0,
    };
    let mut from = seed;
    while from < seed + count && run.failures.len() < MOST_FAILURES {
        let to = (from + GENERATION).min(seed + count);
        run.generation(from..to)?;
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
    if run.unsteady as u64 > count / 200 {
        return Err("more than one program in 200 did not end alike at first".into());
    }
    println!(
        "{count} random programs of session objects with {} events end alike on local, memory and workerd, and are kept over restarts",
        run.events
    );
    Ok(())
}

struct Run {
    hosts: Hosts,
    tally: Tally,
    events: usize,
    failures: Vec<String>,
    /// Programs that failed once, and not again.
    unsteady: usize,
    /// Programs that were run alone.
    reruns: usize,
}

impl Run {
    /// Runs the programs of these seeds, starts the hosts anew, and compares what is stored with what was.
    fn generation(&mut self, seeds: Range<u64>) -> Outcome {
        let mut ends = Vec::new();
        let batches: Vec<Vec<u64>> = seeds.collect::<Vec<_>>().chunks(BATCH).map(<[u64]>::to_vec).collect();
        for batch in batches {
            let programs: Vec<Vec<Json>> = batch.iter().map(|seed| generate::program(*seed)).collect();
            let prefix = format!("programs/{}/", batch[0]);
            let transcripts = self.hosts.run(&prefix, &programs)?;
            for (index, program) in programs.iter().enumerate() {
                let found = self.compare([0, 1, 2].map(|host| transcripts[host][index].as_slice()));
                if let Some(found) = found {
                    self.fail(batch[index], program, found)?;
                }
                self.events += program.len();
            }
            let last = |host: usize| transcripts[host].iter().map(|one| one.last().cloned()).collect::<Vec<_>>();
            ends.push((prefix, last(0), last(2)));
            if self.failures.len() >= MOST_FAILURES {
                return Ok(());
            }
        }
        self.hosts.restart()?;
        for (prefix, local, workerd) in ends {
            let looks = vec![vec![generate::look()]; local.len()];
            let after = self.hosts.run(&prefix, &looks)?;
            for (name, before, after) in [("local", local, &after[0]), ("workerd", workerd, &after[2])] {
                for (number, (before, after)) in before.iter().zip(after).enumerate() {
                    let found = differences(before.as_slice(), after);
                    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                    if !found.is_empty() {
                        let what = format!("{name}, object {prefix}{number}, before and after a restart");
                        self.failures.push(format!("{what}:\n    {}", found.join("\n    ")));
                    }
                }
            }
        }
        Ok(())
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
    fn again(&mut self, program: &[Json]) -> Result<Option<String>> {
        self.reruns += 1;
        let prefix = format!("again/{}/", self.reruns);
        let [local, memory, workerd] = self.hosts.run(&prefix, &[program.to_vec()])?;
        Ok(self.compare([&local[0], &memory[0], &workerd[0]]))
    }

    /// Notes a program that fails each time, as short as it can be.
    fn fail(&mut self, seed: u64, program: &[Json], found: String) -> Outcome {
        for _ in 0..AGAIN {
            if self.again(program)?.is_none() {
                println!("unsteady program {seed}: {found}\n    {}", json!(program));
                self.unsteady += 1;
                return Ok(());
            }
        }
        let mut last = found;
        let shortest = shrink::shrink(program, |shorter| match self.again(shorter) {
            Ok(Some(found)) => {
                last = found;
                true
            }
            Ok(None) => false,
            // The host's own failure is not the program's.
            Err(error) => {
                println!("a shorter program could not be run: {error}");
                false
            }
        });
        let failure = format!("program {seed}: {}\n    {last}", json!(shortest));
        println!("FAILED   {failure}");
        self.failures.push(failure);
        Ok(())
    }
}

/// The hosts, on which a program runs at the same time.
struct Hosts {
    folder: PathBuf,
    /// `None` between two starts, as is workerd.
    local: Option<Subject>,
    memory: Subject,
    inside: Inside,
}

impl Inside {
    /// Returns the address of what runs.
    fn address(&self) -> Result<&str> {
        match self {
            Self::Worker(_, workerd) => Ok(&workerd.as_ref().ok_or("workerd does not run")?.address),
            Self::At(address) => Ok(address),
        }
    }
}

impl Hosts {
    fn start(inside: Inside) -> Result<Self> {
        let folder = super::fresh("conformance-programs")?;
        let memory = Arc::new(MemoryHost::<Probe>::new("Probe", || ())?);
        let local = Some(open(&folder)?);
        Ok(Self { folder, local, memory, inside })
    }

    /// Starts local and workerd anew, on what they have stored.
    fn restart(&mut self) -> Outcome {
        self.local = None;
        self.local = Some(open(&self.folder)?);
        self.memory = Arc::new(MemoryHost::<Probe>::new("Probe", || ())?);
        if let Inside::Worker(options, workerd) = &mut self.inside {
            *workerd = None;
            *workerd = Some(Workerd::start(options)?);
        }
        Ok(())
    }

    /// Runs programs on local, memory and workerd.
    fn run(&self, prefix: &str, programs: &[Vec<Json>]) -> Result<[Transcripts; 3]> {
        let local = self.local.as_ref().ok_or("the local host does not run")?;
        let address = self.inside.address()?;
        std::thread::scope(|scope| {
            let local = scope.spawn(|| on(local, prefix, programs));
            let memory = scope.spawn(|| on(&self.memory, prefix, programs));
            let workerd = inside(address, prefix, programs);
            let join = |host: std::thread::ScopedJoinHandle<'_, Transcripts>| {
                host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            Ok([join(local), join(memory), workerd?])
        })
    }
}

fn open(folder: &Path) -> isobar_sessions::Result<Subject> {
    Ok(Arc::new(LocalHost::<Probe>::open(folder, "Probe", &HostOptions::default(), || ())?))
}

/// Runs programs on a host of this process.
fn on(host: &Subject, prefix: &str, programs: &[Vec<Json>]) -> Transcripts {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O can be built");
    runtime.block_on(run_programs(host, prefix, programs))
}

/// Runs programs inside workerd.
fn inside(address: &str, prefix: &str, programs: &[Vec<Json>]) -> Result<Transcripts> {
    let body = json!({"prefix": prefix, "programs": programs}).to_string();
    let answer = ask(address, "POST", "/programs", &[], body.as_bytes())?;
    let transcripts: Transcripts = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("{prefix}: {} {}: {error}", answer.status, answer.text()))?;
    match transcripts.len() == programs.len() {
        true => Ok(transcripts),
        false => Err(format!("workerd ran {} programs of {}", transcripts.len(), programs.len()).into()),
    }
}
