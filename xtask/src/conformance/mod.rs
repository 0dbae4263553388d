//! Runs every conformance kit on every backend: in this process, inside the real workerd, and over HTTP against external servers.

mod native;
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

pub(crate) fn run() -> Outcome {
    let options = Options {
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
    };
    let mut table = Table::default();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(native::run(&mut table))?;
    let workerd = Workerd::start(&options)?;
    workerd::run(&workerd, &mut table)?;
    runtime.block_on(random::run(&workerd.address))?;
    runtime.block_on(remote::run(&workerd.address, &mut table))?;
    table.print();
    table.verdict()
}

/// Creates an empty folder.
fn fresh(name: &str) -> std::io::Result<std::path::PathBuf> {
    let folder = std::path::absolute(crate::target().join(name))?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(folder)
}
