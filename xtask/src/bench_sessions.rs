//! Compares session objects over HTTP with the same object in workerd, in one run: `cargo xtask bench sessions`.
//!
//! The object counts each POST and answers everything with the count: `crates/http-serve/examples/session_counter.rs` natively, durable
//! before the answer, and `xtask/js/bench-sessions.mjs` in workerd under miniflare, a Durable Object in JavaScript, whose SQLite does not
//! sync. wrk drives both over 64 connections in turn, and shares the processors with them, so the server's processor time for a request
//! stands beside the rate. With `--rounds N`, N rounds in alternating order; default: 5. The table has their medians.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bench::{Measured, family, install, memory, wrk};
use crate::http::{Server, ask, free_port};
use crate::worker::{Options, Workerd};
use crate::{Outcome, cargo, run as execute, target};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const CONNECTIONS: &str = "-c64";
const SECONDS: &str = "3";
/// Number of objects that the requests go to.
const OBJECTS: u32 = 256;
const WORKER: &str = include_str!("../js/bench-sessions.mjs");
/// The module of a Worker without Rust: a header alone.
const EMPTY_WASM: &[u8] = b"\0asm\x01\0\0\0";
const NAMES: [&str; 2] = ["isobar", "workerd"];

/// A row of the table: a method, and the least multiple of workerd's rate.
struct Row {
    what: &'static str,
    method: &'static str,
    least: f64,
}

const ROWS: [Row; 2] = [
    Row { what: "write, 64 connections", method: "POST", least: 10.0 },
    Row { what: "read, 64 connections", method: "GET", least: 15.0 },
];

/// A server: its process, and where its counters are.
struct Contender {
    pid: u32,
    address: String,
    base: &'static str,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let usage = "there is `cargo xtask bench sessions [--rounds N] [--seconds N]`";
    let mut rounds = 5;
    let mut seconds = SECONDS.to_owned();
    for pair in arguments.chunks(2) {
        match pair {
            [flag, number] if flag == "--rounds" => rounds = number.parse::<usize>().map_err(|_| usage)?.max(1),
            [flag, number] if flag == "--seconds" => seconds.clone_from(number),
            _ => return Err(usage.into()),
        }
    }
    install("wrk", "wrk")?;
    let folder = std::path::absolute(target().join("bench-sessions"))?;
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    measure(&folder, rounds, &seconds)?;
    Ok(fs::remove_dir_all(&folder)?)
}

fn measure(folder: &Path, rounds: usize, seconds: &str) -> Outcome {
    let isobar = isobar(folder)?;
    let workerd = workerd(folder)?;
    let contenders = [
        Contender { pid: isobar.pid(), address: isobar.address.clone(), base: "/counters" },
        Contender { pid: workerd.pid(), address: workerd.address, base: "" },
    ];
    contenders.iter().try_for_each(check)?;
    println!("{:24} {:10} {:>12} {:>10} {:>12}", "", "", "requests/s", "p99 ms", "us CPU each");
    for row in &ROWS {
        let mut measured = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            // The order alternates, so that none is always first.
            for step in 0..contenders.len() {
                let index = (step + round) % contenders.len();
                measured[index].push(load(&contenders[index], row.method, folder, seconds)?);
            }
        }
        print(row, &measured);
    }
    for (name, contender) in NAMES.iter().zip(&contenders) {
        let bytes: u64 = family(contender.pid).iter().map(|pid| memory(*pid)).sum();
        println!("{name:10} {:>6} MiB of memory with {OBJECTS} objects", bytes >> 20);
    }
    println!("{} rows, medians of {rounds} rounds of {seconds} s", ROWS.len());
    Ok(())
}

/// Checks that a server counts, and wakes all of its objects.
fn check(contender: &Contender) -> Outcome {
    let Contender { address, base, .. } = contender;
    for number in 0..OBJECTS {
        let path = format!("{base}/c{number}");
        let count = |method| ask(address, method, &path, &[], b"");
        let counted = count("POST")?;
        let read = count("GET")?;
        if counted.text() != "1" || read.text() != "1" {
            return Err(format!("{path} answers {} and {}, and both must be 1", counted.text(), read.text()).into());
        }
    }
    Ok(())
}

fn load(contender: &Contender, method: &str, folder: &Path, seconds: &str) -> Result<Measured> {
    let Contender { pid, address, base } = contender;
    // Park and Miller's generator: its products fit into Lua's numbers.
    let script = format!(
        "local n = 1\nwrk.method = \"{method}\"\nrequest = function()\n  n = n * 16807 % 2147483647\n  \
         return wrk.format(nil, \"{base}/c\" .. n % {OBJECTS})\nend\n"
    );
    let file = folder.join("load.lua");
    fs::write(&file, script)?;
    let file = file.display().to_string();
    wrk(*pid, &[CONNECTIONS, &format!("-d{seconds}s"), "-s", &file], &format!("http://{address}/"))
}

fn print(row: &Row, measured: &[Vec<Measured>; 2]) {
    let medians = measured.each_ref().map(|rounds| {
        let of = |field: fn(&Measured) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(field).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        [of(|one| one.rate), of(|one| one.p99.unwrap_or(f64::NAN)), of(|one| one.cpu)]
    });
    for (index, [rate, p99, cpu]) in medians.iter().enumerate() {
        let what = if index == 0 { row.what } else { "" };
        println!("{what:24} {:10} {rate:>12.0} {p99:>10.2} {cpu:>12.2}", NAMES[index]);
    }
    let [ours, theirs] = medians;
    let ratio = ours[0] / theirs[0];
    let word = if ratio >= row.least { "ok" } else { "BELOW THE BAR" };
    let processor = theirs[2] / ours[2];
    println!("{:24} {word} {ratio:.1}x workerd (at least {}); {processor:.1}x less processor time\n", "", row.least);
}

/// Starts the native server, built as it is deployed.
fn isobar(folder: &Path) -> Result<Server> {
    let example = ["--package", "isobar-http-serve", "--features", "native", "--example", "session_counter"];
    execute(cargo().args(["build", "--quiet", "--profile", "dist"]).args(example))?;
    let program = std::path::absolute(target().join("dist/examples/session_counter"))?;
    let port = free_port()?.to_string();
    let mut command = Command::new(program);
    // No log line for each request, as with the other one.
    Ok(Server::start(command.arg(folder.join("isobar")).arg(port).env("RUST_LOG", "error"))?)
}

/// Starts the same object in workerd.
fn workerd(folder: &Path) -> Result<Workerd> {
    let build = folder.join("worker");
    fs::create_dir_all(&build)?;
    fs::write(build.join("index.js"), WORKER)?;
    fs::write(build.join("index_bg.wasm"), EMPTY_WASM)?;
    Workerd::start(&Options {
        name: "bench-sessions".to_owned(),
        build,
        persist: Some(folder.join("workerd")),
        classes: vec![("COUNTER".to_owned(), "Counter".to_owned())],
        ..Options::default()
    })
}
