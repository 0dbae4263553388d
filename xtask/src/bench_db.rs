//! Compares the local database with rusqlite and sqlx on the same statements, in one run: `cargo xtask bench db`.
//!
//! rusqlite runs in our own bench program, as both stand on one SQLite; sqlx links another one and is a program of its own
//! (`xtask/peers/sqlx`), which does not run the import of a million rows. With `--rounds N` each peer runs N times in turn. Default: 3.
//! The table has the medians of the rounds, and the bars beside them; where the machine has other work, processor time is the number to
//! go by.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Outcome, cargo, run as execute, target};

const PEERS: [&str; 3] = ["rusqlite", "isobar", "sqlx"];

/// A measurement: median and 99th percentile in microseconds, runs a second, processor time of a run in microseconds.
#[derive(Clone, Copy)]
struct Measured {
    p50: f64,
    p99: f64,
    rate: f64,
    cpu: f64,
}

/// A row of the table and its bars.
struct Row {
    name: &'static str,
    what: &'static str,
    /// Most of rusqlite's median.
    of_rusqlite: Option<f64>,
    /// Least of sqlx's rate.
    of_sqlx: Option<f64>,
    /// Most microseconds of the 99th percentile.
    p99: Option<f64>,
    /// Most memory of the process in MiB, for a row that sqlx does not run and that is one run of a million.
    memory: Option<f64>,
}

const ROWS: [Row; 9] = [
    row("select/1", "point select, one task", Some(1.5), Some(10.0), None),
    row("select/32", "point select, 32 tasks", None, Some(5.0), None),
    row("select/32 beside", "the same beside two queries of 20 ms", None, None, Some(1000.0)),
    row("rows/100", "100 rows as serde types", Some(1.5), None, None),
    row("update/1", "durable update, one task", Some(1.3), None, None),
    row("update/32", "durable update, 32 tasks", None, Some(15.0), Some(5000.0)),
    row("update/128", "durable update, 128 tasks", None, Some(40.0), Some(5000.0)),
    row("batch/100", "batch of 100 inserts", Some(1.3), None, None),
    Row {
        name: "import/1M",
        what: "import of 1 M rows",
        of_rusqlite: Some(1.3),
        of_sqlx: None,
        p99: None,
        memory: Some(64.0),
    },
];

const fn row(
    name: &'static str,
    what: &'static str,
    of_rusqlite: Option<f64>,
    of_sqlx: Option<f64>,
    p99: Option<f64>,
) -> Row {
    Row { name, what, of_rusqlite, of_sqlx, p99, memory: None }
}

/// Measurements by row and peer, one for each round.
#[derive(Default)]
struct Rounds {
    measured: BTreeMap<(String, String), Vec<Measured>>,
    /// The most memory of a peer's process, in MiB.
    memory: BTreeMap<(String, String), f64>,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let rounds = match arguments {
        [] => 3,
        [flag, number] if flag == "--rounds" => {
            number.parse().map_err(|_| format!("not a number of rounds: {number}"))?
        }
        _ => return Err("there is `cargo xtask bench db [--rounds N]`".into()),
    };
    let folder = std::path::absolute(target().join("bench-db"))?;
    let peer_target = std::path::absolute(target().join("peer-sqlx"))?;
    execute(cargo().args(["bench", "--package", "isobar-db", "--features", "local", "--bench", "speed", "--no-run"]))?;
    let manifest = "xtask/peers/sqlx/Cargo.toml";
    execute(
        cargo()
            .args(["build", "--release", "--locked", "--manifest-path", manifest])
            .arg("--target-dir")
            .arg(&peer_target),
    )?;
    let mut measured = Rounds::default();
    for round in 0..rounds {
        // The order rotates, so that no peer is always first.
        for index in 0..PEERS.len() {
            let peer = PEERS[(index + round) % PEERS.len()];
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir_all(&folder)?;
            let mut command = match peer {
                "sqlx" => Command::new(peer_target.join("release/isobar-peer-sqlx")),
                _ => cargo(),
            };
            match peer {
                "sqlx" => command.arg(&folder),
                _ => command.args([
                    "bench",
                    "--quiet",
                    "--package",
                    "isobar-db",
                    "--features",
                    "local",
                    "--bench",
                    "speed",
                    "--",
                    peer,
                ]),
            };
            read(&mut command, &folder, &mut measured)?;
        }
    }
    fs::remove_dir_all(&folder)?;
    print(&measured, rounds)
}

/// Runs a peer and reads its lines.
fn read(command: &mut Command, folder: &Path, measured: &mut Rounds) -> Outcome {
    let output = command.env("TMPDIR", folder).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    for line in String::from_utf8(output.stdout)?.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if let ["row", peer, name, p50, p99, rate, cpu] = fields.as_slice() {
            let microseconds = |text: &str| text.parse::<f64>().map(|nanoseconds| nanoseconds / 1000.0);
            let one = Measured {
                p50: microseconds(p50)?,
                p99: microseconds(p99)?,
                rate: rate.parse()?,
                cpu: microseconds(cpu)?,
            };
            measured.measured.entry(((*name).to_owned(), (*peer).to_owned())).or_default().push(one);
        }
        if let ["memory", peer, name, kibibytes] = fields.as_slice() {
            let most = measured.memory.entry(((*name).to_owned(), (*peer).to_owned())).or_default();
            *most = most.max(kibibytes.parse::<f64>()? / 1024.0);
        }
    }
    Ok(())
}

/// Prints the table. A peer that has not run each row each time is an error.
fn print(measured: &Rounds, rounds: usize) -> Outcome {
    println!("{:38} {:10} {:>10} {:>10} {:>10} {:>9}", "", "", "p50 us", "p99 us", "rate/s", "CPU us");
    for row in &ROWS {
        let of = |peer: &str| median(measured, row.name, peer, rounds);
        let ours = of("isobar")?;
        let with_rusqlite = row.of_rusqlite.is_some();
        let with_sqlx = row.memory.is_none();
        let runs = |peer: &&str| (*peer != "rusqlite" || with_rusqlite) && (*peer != "sqlx" || with_sqlx);
        for peer in PEERS.into_iter().filter(runs) {
            let Measured { p50, p99, rate, cpu } = of(peer)?;
            let what = if peer == "isobar" { row.what } else { "" };
            println!("{what:38} {peer:10} {p50:>10.1} {p99:>10.1} {rate:>10.0} {cpu:>9.1}");
        }
        let mut verdicts = Vec::new();
        if let Some(most) = row.of_rusqlite {
            let ratio = ours.p50 / of("rusqlite")?.p50;
            verdicts.push(verdict(ratio <= most, &format!("{ratio:.2}x rusqlite's p50 (at most {most})")));
        }
        if with_sqlx {
            let sqlx = ours.rate / of("sqlx")?.rate;
            match row.of_sqlx {
                Some(least) => {
                    verdicts.push(verdict(sqlx >= least, &format!("{sqlx:.1}x sqlx's rate (at least {least})")));
                }
                None => verdicts.push(format!("{sqlx:.1}x sqlx's rate")),
            }
        }
        if let Some(most) = row.memory {
            let of = |peer: &str| measured.memory.get(&(row.name.to_owned(), peer.to_owned())).copied();
            let ours = of("isobar").ok_or_else(|| format!("isobar has not printed its memory of {}", row.name))?;
            verdicts.push(verdict(ours <= most, &format!("{ours:.0} MiB of memory (at most {most})")));
            verdicts.extend(of("rusqlite").map(|theirs| format!("rusqlite {theirs:.0} MiB")));
        }
        if let Some(most) = row.p99 {
            verdicts.push(verdict(ours.p99 <= most, &format!("p99 {:.0} us (at most {most})", ours.p99)));
        }
        println!("{:38} {}\n", "", verdicts.join("; "));
    }
    println!("{} rows, medians of {rounds} rounds", ROWS.len());
    Ok(())
}

fn verdict(holds: bool, what: &str) -> String {
    format!("{} {what}", if holds { "ok" } else { "BELOW THE BAR" })
}

/// The medians of a row's rounds.
fn median(measured: &Rounds, row: &str, peer: &str, rounds: usize) -> Result<Measured, String> {
    let all = measured.measured.get(&(row.to_owned(), peer.to_owned())).filter(|all| all.len() == rounds);
    let all = all.ok_or_else(|| format!("{peer} has not measured {row} in each round"))?;
    let of = |field: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = all.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Ok(Measured { p50: of(|one| one.p50), p99: of(|one| one.p99), rate: of(|one| one.rate), cpu: of(|one| one.cpu) })
}
