//! Runs every conformance kit on every backend: in this process, inside the real workerd, and over HTTP against external servers.

mod native;
mod programs;
mod random;
mod remote;
mod table;
mod workerd;

use crate::Outcome;
use crate::worker::{Options, Workerd, build};
use table::Table;

/// The database of the Worker's binding, which is also reached over HTTP.
const DATABASE: &str = "00000000-0000-0000-0000-00000000000d";
const REMOTE_DATABASE: &str = "00000000-0000-0000-0000-00000000000e";
const REMOTE_BUCKET: &str = "remote";
const S3_KEY: (&str, &str) = ("conformance", "not-a-secret");

/// Runs everything, or the random programs of session objects alone.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => everything(programs::PROGRAMS),
        ["--programs", count] => everything(number(count)?),
        ["programs"] => programs_alone(programs::PROGRAMS, 0),
        ["programs", count] => programs_alone(number(count)?, 0),
        ["programs", count, seed] => programs_alone(number(count)?, number(seed)?),
        ["programs", count, seed, address] => {
            programs::run(programs::Inside::At(address.to_owned()), number(count)?, number(seed)?)
        }
        _ => Err("there is `cargo xtask conformance [--programs COUNT | programs [COUNT [SEED [ADDRESS]]]]`".into()),
    }
}

fn everything(programs: u64) -> Outcome {
    let options = options()?;
    let mut table = Table::default();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(native::run(&mut table))?;
    let workerd = Workerd::start(&options)?;
    workerd::run(&workerd, &mut table)?;
    runtime.block_on(random::run(&workerd.address))?;
    runtime.block_on(remote::run(&workerd.address, &mut table))?;
    table.print();
    table.verdict()?;
    drop(workerd);
    programs::run(programs::Inside::Worker(Box::new(options)), programs, 0)
}

fn programs_alone(count: u64, seed: u64) -> Outcome {
    programs::run(programs::Inside::Worker(Box::new(options()?)), count, seed)
}

/// Returns the options of the Worker, which is built, with no state.
fn options() -> Result<Options, Box<dyn std::error::Error>> {
    Ok(Options {
        name: "conformance".to_owned(),
        build: build("conformance", &[])?,
        persist: Some(fresh("conformance-state")?),
        buckets: vec![("BUCKET".to_owned(), "bucket".to_owned()), ("REMOTE".to_owned(), REMOTE_BUCKET.to_owned())],
        s3_key: Some((S3_KEY.0.to_owned(), S3_KEY.1.to_owned())),
        databases: vec![("DB".to_owned(), DATABASE.to_owned()), ("REMOTE_DB".to_owned(), REMOTE_DATABASE.to_owned())],
        classes: vec![("PROBE".to_owned(), "Probe".to_owned())],
        datasets: vec!["EVENTS".to_owned()],
        evicts: Some("Probe".to_owned()),
        ..Options::default()
    })
}

/// Creates an empty folder.
fn fresh(name: &str) -> std::io::Result<std::path::PathBuf> {
    let folder = std::path::absolute(crate::target().join(name))?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(folder)
}
