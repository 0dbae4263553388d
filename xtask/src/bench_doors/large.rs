//! One large object through the door of S3 and back, and the memory of the server meanwhile.

use std::path::Path;

use super::s3::variables;
use super::{Peer, in_folder, isobar, peak, text};
use crate::Outcome;

/// Most bytes that the server may have resident.
const MOST: u64 = 128 << 20;

/// Streams an object of this size in mebibytes.
pub(super) fn run(mebibytes: u64) -> Outcome {
    // The parts, which a completion does not copy, and something to spare.
    let room = (mebibytes + 2048) << 20;
    in_folder("bench-s3-large", room, |folder| run_in(folder, mebibytes))
}

fn run_in(folder: &Path, mebibytes: u64) -> Outcome {
    let peer = Peer::build()?;
    let (project, key) = isobar(folder)?;
    let variables = variables(&project.s3, text(&key, "access_key_id")?, text(&key, "secret_access_key")?);
    let before = peak(project.pid())?;
    let printed = peer.run(&variables, &["large", &mebibytes.to_string()])?;
    let fields: Vec<&str> = printed.trim().split('\t').collect();
    let ["large", uploaded, downloaded] = fields[..] else {
        return Err(format!("large: expected its times, and it printed {printed:?}").into());
    };
    let rate =
        |seconds: &str| -> Result<f64, std::num::ParseFloatError> { Ok(mebibytes as f64 / seconds.parse::<f64>()?) };
    println!("{mebibytes} MiB in parts of 16 MiB, 4 at once: {uploaded} s, {:.0} MiB/s", rate(uploaded)?);
    println!("{mebibytes} MiB back, compared: {downloaded} s, {:.0} MiB/s", rate(downloaded)?);
    let most = peak(project.pid())?;
    let result = format!("the server had at most {} MiB resident, {} before (at most 128)", most >> 20, before >> 20);
    if most > MOST {
        return Err(result.into());
    }
    println!("ok {result}");
    Ok(())
}
