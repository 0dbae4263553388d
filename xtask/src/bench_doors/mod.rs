//! Compares the doors of `isobar serve` with servers of the same protocols, in one run: `cargo xtask bench s3` and `bench rest`.
//!
//! One client drives all of them, a program of its own (`xtask/peers/s3`), so that the product's build has none of it: object_store's
//! S3 store, which signs each request together with its payload, and reqwest. It shares the processors with the servers, so the
//! processor time of the server for a request stands beside the rate. Each contender runs once in a round, in rotating order, and the
//! table has the medians of the rounds.
//!
//! The peers promise different things: isobar's puts and updates are durable when they are answered, those of `s3s-fs` by syncs
//! that the peer program adds, and miniflare is as it is, without a sync.

mod large;
mod rest;
mod s3;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bench::{family, memory, processor_time};
use crate::doors::project::Project;
use crate::worker::{Options, Workerd};
use crate::{Outcome, cargo, run as execute, target};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 3;
const SECONDS: &str = "2";
/// Size of the object of `--large` in mebibytes.
const LARGE: u64 = 5 << 10;
/// Name of the bucket at each server. That of `s3s-fs` stands in the peer program, too.
const BUCKET: &str = "bench";
const DATABASE: &str = "6f1c2b3a-0000-4000-8000-00000000be7c";
/// Id and secret of the key at servers that take any.
const S3_KEY: (&str, &str) = ("bench", "not-a-secret");
const WORKER: &str = include_str!("../../js/bench-d1.mjs");
/// The module of a Worker without Rust: a header alone.
const EMPTY_WASM: &[u8] = b"\0asm\x01\0\0\0";

/// Runs `bench s3`.
pub(crate) fn s3(arguments: &[String]) -> Outcome {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => s3::run(ROUNDS),
        ["--rounds", rounds] => s3::run(number(rounds)?),
        ["--large"] => large::run(LARGE),
        ["--large", mebibytes] => large::run(number(mebibytes)?),
        _ => Err("there is `cargo xtask bench s3 [--rounds N | --large [MIB]]`".into()),
    }
}

/// Runs `bench rest`.
pub(crate) fn rest(arguments: &[String]) -> Outcome {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => rest::run(ROUNDS),
        ["--rounds", rounds] => rest::run(number(rounds)?),
        _ => Err("there is `cargo xtask bench rest [--rounds N]`".into()),
    }
}

/// Parses a number of rounds or mebibytes, which is not 0.
fn number<T: TryFrom<u64>>(text: &str) -> Result<T> {
    let number = text.parse::<u64>().ok().filter(|number| *number > 0);
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| format!("not a number above 0: {text}").into())
}

/// A server under load: its name in the table, and its process.
#[derive(Clone, Copy)]
struct Contender {
    name: &'static str,
    pid: u32,
}

/// The measurements of one round: requests per second, latency in microseconds, and the server's processor time for a request in
/// microseconds.
#[derive(Clone, Copy)]
struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

/// The client, and the server `s3s-fs`.
struct Peer(PathBuf);

impl Peer {
    fn build() -> Result<Self> {
        let folder = std::path::absolute(target().join("peer-s3"))?;
        let manifest = ["--manifest-path", "xtask/peers/s3/Cargo.toml", "--target-dir"];
        execute(cargo().args(["build", "--quiet", "--release", "--locked"]).args(manifest).arg(&folder))?;
        Ok(Self(folder.join("release/isobar-peer-s3")))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        // A proxy of the environment is not for the loopback interface.
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command
    }

    /// Runs the client with these variables, and returns its output.
    fn run(&self, variables: &[(&str, String)], arguments: &[&str]) -> Result<String> {
        let output = self.command().envs(variables.iter().cloned()).args(arguments).output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(printed),
            false => Err(format!("{arguments:?}: {printed}{}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }

    /// Runs a measurement against the server of this process.
    fn measure(&self, pid: u32, variables: &[(&str, String)], arguments: &[&str]) -> Result<Measured> {
        let before = processor_time(pid)?;
        let printed = self.run(variables, arguments)?;
        let spent = processor_time(pid)? - before;
        let fields: Vec<&str> = printed.trim().split('\t').collect();
        let ["row", requests, rate, p50, p99] = fields[..] else {
            return Err(format!("{arguments:?}: expected a row, and it printed {printed:?}").into());
        };
        let requests: f64 = requests.parse()?;
        Ok(Measured { rate: rate.parse()?, p50: p50.parse()?, p99: p99.parse()?, cpu: spent * 1e6 / requests })
    }
}

/// Measures a row on each contender in turn, in each round, and prints the medians. The first contender is isobar; a bar is a name
/// and the least multiple of its rate.
fn compare(
    what: &str,
    contenders: &[Contender],
    bars: &[(&str, f64)],
    rounds: usize,
    mut measure: impl FnMut(usize, usize) -> Result<Measured>,
) -> Outcome {
    let mut measured = vec![Vec::new(); contenders.len()];
    for round in 0..rounds {
        for step in 0..contenders.len() {
            // The order rotates, so that no contender is always first.
            let index = (step + round) % contenders.len();
            let one = measure(index, round).map_err(|error| format!("{what}, {}: {error}", contenders[index].name))?;
            measured[index].push(one);
        }
    }
    let medians: Vec<Measured> = measured.iter().map(|rounds| median(rounds)).collect();
    for (index, (contender, one)) in contenders.iter().zip(&medians).enumerate() {
        let what = if index == 0 { what } else { "" };
        let Measured { rate, p50, p99, cpu } = one;
        println!("{what:28} {:20} {rate:>10.1} {p50:>11.1} {p99:>11.1} {cpu:>11.1}", contender.name);
    }
    let verdicts = contenders.iter().zip(&medians).skip(1).map(|(contender, one)| {
        let ratio = medians[0].rate / one.rate;
        match bars.iter().find(|(name, _)| *name == contender.name) {
            Some((name, least)) if ratio >= *least => format!("ok {ratio:.1}x {name} (at least {least})"),
            Some((name, least)) => format!("BELOW THE BAR {ratio:.1}x {name} (at least {least})"),
            None => format!("{ratio:.1}x {}", contender.name),
        }
    });
    println!("{:28} {}\n", "", verdicts.collect::<Vec<_>>().join("; "));
    Ok(())
}

fn print_head() {
    println!("{:28} {:20} {:>10} {:>11} {:>11} {:>11}", "", "", "requests/s", "p50 us", "p99 us", "us CPU each");
}

/// Prints the resident memory of each server, its children included: now, and at most.
fn print_memory(contenders: &[Contender]) -> Outcome {
    for contender in contenders {
        let pids = family(contender.pid);
        let now: u64 = pids.iter().map(|pid| memory(*pid)).sum();
        let most = pids.iter().map(|pid| peak(*pid)).sum::<Result<u64>>()?;
        println!("{:20} {:>5} MiB resident, {:>5} MiB at most", contender.name, now >> 20, most >> 20);
    }
    Ok(())
}

/// Returns the most bytes that a process had resident, as the kernel has counted them.
fn peak(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the process has no VmHWM")?;
    let kibibytes = line.trim().strip_suffix(" kB").ok_or("VmHWM is not in kB")?;
    Ok(kibibytes.parse::<u64>()? << 10)
}

/// Returns the medians of the rounds.
fn median(rounds: &[Measured]) -> Measured {
    let of = |field: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Measured { rate: of(|one| one.rate), p50: of(|one| one.p50), p99: of(|one| one.p99), cpu: of(|one| one.cpu) }
}

/// Runs a measurement in an empty folder, which is removed again, with this room in bytes on its disk.
fn in_folder(name: &str, room: u64, measure: impl FnOnce(&Path) -> Outcome) -> Outcome {
    let folder = std::path::absolute(target().join(name))?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let free = free_bytes(&folder)?;
    let outcome = match free >= room {
        true => measure(&folder),
        false => Err(format!("{} has {} MiB free, and {} are needed", folder.display(), free >> 20, room >> 20).into()),
    };
    fs::remove_dir_all(&folder)?;
    outcome
}

/// Returns the free bytes of a folder's disk.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64> {
    let output = Command::new("df").args(["--output=avail", "--block-size=1"]).arg(folder).output()?;
    let printed = String::from_utf8(output.stdout)?;
    let bytes = printed.lines().nth(1).and_then(|line| line.trim().parse().ok());
    bytes.ok_or_else(|| format!("df printed {printed:?}").into())
}

/// Starts isobar with a bucket and a database, and creates a key to them.
fn isobar(folder: &Path) -> Result<(Project, Value)> {
    execute(cargo().args(["build", "--quiet", "--release", "--package", "isobar-cli"]))?;
    let config = format!(
        "name = \"bench\"\ncompatibility_date = \"2026-11-01\"\n\
         [[r2_buckets]]\nbinding = \"BUCKET\"\nbucket_name = \"{BUCKET}\"\n\
         [[d1_databases]]\nbinding = \"DB\"\ndatabase_name = \"bench\"\ndatabase_id = \"{DATABASE}\"\n"
    );
    let project = Project::serve_built(&target().join("release/isobar"), folder.join("isobar"), &config)?;
    let key = project.key(&["--name", "bench", "--scope", "r2:read,r2:write,d1:write"])?;
    Ok((project, key))
}

/// Returns a text of a created key.
fn text(key: &Value, name: &str) -> Result<String> {
    key[name].as_str().map(str::to_owned).ok_or_else(|| format!("the key has no {name}").into())
}

/// Starts miniflare with a bucket and a database in a folder, and a Worker that queries the database.
fn miniflare(folder: &Path) -> Result<Workerd> {
    let build = folder.join("worker");
    fs::create_dir_all(&build)?;
    fs::write(build.join("index.js"), WORKER)?;
    fs::write(build.join("index_bg.wasm"), EMPTY_WASM)?;
    Workerd::start(&Options {
        name: "bench-doors".to_owned(),
        build,
        persist: Some(folder.join("miniflare")),
        buckets: vec![("BUCKET".to_owned(), BUCKET.to_owned())],
        s3_key: Some((S3_KEY.0.to_owned(), S3_KEY.1.to_owned())),
        databases: vec![("DB".to_owned(), DATABASE.to_owned())],
        ..Options::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_of_each_field() {
        let one = |rate, p99| Measured { rate, p50: 1.0, p99, cpu: 1.0 };
        let median = median(&[one(3.0, 10.0), one(1.0, 30.0), one(2.0, 20.0)]);
        assert_eq!((median.rate, median.p99), (2.0, 20.0));
    }

    #[test]
    fn number_is_above_zero() {
        assert_eq!(number::<usize>("3").expect("a number"), 3);
        assert!(number::<u64>("0").is_err() && number::<u64>("x").is_err());
    }

    #[test]
    fn peak_is_at_least_what_is_resident() {
        let pid = std::process::id();
        assert!(peak(pid).expect("Linux counts it") >= memory(pid) / 2);
    }
}
