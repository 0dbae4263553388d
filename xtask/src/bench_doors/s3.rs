//! Puts and gets over S3, small and large, one at a time and many at once.

use std::path::Path;

use super::{BUCKET, Contender, Measured, Peer, Result, S3_KEY, SECONDS};
use super::{compare, in_folder, isobar, miniflare, print_head, print_memory, text};
use crate::Outcome;
use crate::http::{Server, free_port};

const SMALL: usize = 4 << 10;
const LARGE: usize = 8 << 20;
/// Objects that gets read, of each size.
const FILLED: [(usize, u64); 2] = [(SMALL, 1000), (LARGE, 16)];
/// Most puts of large objects in a measurement, so that the disk is not filled: their keys are the same in each.
const LARGE_PUTS: u64 = 64;
/// Room on the disk in bytes: for what was replaced and is not yet removed, too.
const ROOM: u64 = 10 << 30;

#[derive(Clone, Copy)]
enum Operation {
    Put,
    Get,
}

/// A row of the table: an operation, the size of the object, and requests at once.
struct Row {
    what: &'static str,
    operation: Operation,
    bytes: usize,
    at_once: usize,
    /// The least multiple of a contender's rate.
    bars: &'static [(&'static str, f64)],
}

const ROWS: [Row; 8] = [
    row("put 4 KiB, 1 at once", Operation::Put, SMALL, 1, &[]),
    row("put 4 KiB, 32 at once", Operation::Put, SMALL, 32, &[("s3s-fs, synced", 2.0), ("miniflare", 10.0)]),
    row("get 4 KiB, 1 at once", Operation::Get, SMALL, 1, &[]),
    row("get 4 KiB, 32 at once", Operation::Get, SMALL, 32, &[]),
    row("put 8 MiB, 1 at once", Operation::Put, LARGE, 1, &[]),
    row("put 8 MiB, 32 at once", Operation::Put, LARGE, 32, &[]),
    row("get 8 MiB, 1 at once", Operation::Get, LARGE, 1, &[]),
    row("get 8 MiB, 32 at once", Operation::Get, LARGE, 32, &[]),
];

const fn row(
    what: &'static str,
    operation: Operation,
    bytes: usize,
    at_once: usize,
    bars: &'static [(&'static str, f64)],
) -> Row {
    Row { what, operation, bytes, at_once, bars }
}

impl Row {
    /// Returns the arguments of the client in a round.
    fn arguments(&self, round: usize) -> Vec<String> {
        let bytes = self.bytes.to_string();
        let at_once = self.at_once.to_string();
        let seconds = SECONDS.to_owned();
        match self.operation {
            Operation::Put if self.bytes == LARGE => {
                vec!["put".to_owned(), bytes, at_once, seconds, LARGE_PUTS.to_string(), "put-large".to_owned()]
            }
            Operation::Put => {
                let prefix = format!("put-{round}-{at_once}");
                vec!["put".to_owned(), bytes, at_once, seconds, u64::MAX.to_string(), prefix]
            }
            Operation::Get => {
                let count = FILLED.iter().find(|(size, _)| *size == self.bytes).map_or(1, |(_, count)| *count);
                vec!["get".to_owned(), bytes, at_once, seconds, count.to_string()]
            }
        }
    }
}

pub(super) fn run(rounds: usize) -> Outcome {
    in_folder("bench-s3", ROOM, |folder| run_in(folder, rounds))
}

fn run_in(folder: &Path, rounds: usize) -> Outcome {
    let peer = Peer::build()?;
    let (project, key) = isobar(folder)?;
    let mut command = peer.command();
    command.arg("serve").arg(folder.join("s3s-fs")).arg(free_port()?.to_string()).args([S3_KEY.0, S3_KEY.1]);
    let s3s_fs = Server::start(&mut command)?;
    let workerd = miniflare(folder)?;
    let contenders = [
        Contender { name: "isobar", pid: project.pid() },
        Contender { name: "s3s-fs, synced", pid: s3s_fs.pid() },
        Contender { name: "miniflare", pid: workerd.pid() },
    ];
    let any_key = |endpoint: String| variables(&endpoint, S3_KEY.0.to_owned(), S3_KEY.1.to_owned());
    let variables = [
        variables(&project.s3, text(&key, "access_key_id")?, text(&key, "secret_access_key")?),
        any_key(format!("http://{}", s3s_fs.address)),
        any_key(format!("http://{}/cdn-cgi/local/r2/s3", workerd.address)),
    ];
    for (bytes, count) in FILLED {
        for (contender, variables) in contenders.iter().zip(&variables) {
            let filled = peer.run(variables, &["fill", &bytes.to_string(), &count.to_string()]);
            filled.map_err(|error| format!("{}: {error}", contender.name))?;
        }
    }
    print_head();
    for row in ROWS {
        compare(row.what, &contenders, row.bars, rounds, |index, round| -> Result<Measured> {
            let arguments = row.arguments(round);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            peer.measure(contenders[index].pid, &variables[index], &arguments)
        })?;
    }
    print_memory(&contenders)?;
    println!("{} rows, medians of {rounds} rounds", ROWS.len());
    Ok(())
}

/// Returns the environment by which the client finds a bucket.
pub(super) fn variables(endpoint: &str, id: String, secret: String) -> Vec<(&'static str, String)> {
    vec![("S3_ENDPOINT", endpoint.to_owned()), ("S3_BUCKET", BUCKET.to_owned()), ("S3_ID", id), ("S3_SECRET", secret)]
}
