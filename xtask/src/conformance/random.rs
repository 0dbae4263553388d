//! Compares random sequences of operations on the local store, in memory and on R2 inside workerd: all outcomes must be the same,
//! including error messages.

use std::sync::Arc;

use isobar_storage::conformance::{Subject, transcript};
use isobar_storage::local::LocalStore;
use isobar_storage::memory::MemoryStore;

use crate::Outcome;
use crate::http::ask;

const STEPS: usize = 200;

/// Runs `ISOBAR_SEQUENCES` sequences. Default: 30.
pub(super) async fn run(address: &str) -> Outcome {
    let sequences = std::env::var("ISOBAR_SEQUENCES").map_or(Ok(30), |count| count.parse())?;
    let local: Subject = Arc::new(LocalStore::open(super::fresh("conformance-random")?).await?);
    let memory: Subject = Arc::new(MemoryStore::new());
    for seed in 0..sequences {
        let answer = ask(address, "GET", &format!("/storage/random/{seed}/{STEPS}"), &[], b"")?;
        let workerd: Vec<String> = serde_json::from_slice(&answer.body).map_err(|_| answer.text())?;
        for (name, store) in [("local", &local), ("memory", &memory)] {
            let ours = transcript(store, seed, STEPS).await.map_err(|failure| failure.0)?;
            if ours.len() != workerd.len() {
                return Err(format!("sequence {seed}: workerd tells of {} steps", workerd.len()).into());
            }
            for (step, (ours, workerd)) in ours.iter().zip(&workerd).enumerate() {
                if ours != workerd && !is_known(ours, workerd) {
                    return Err(format!("sequence {seed}, step {step}:\n{name}: {ours}\nworkerd: {workerd}").into());
                }
            }
        }
    }
    println!("{sequences} random sequences of {STEPS} operations end alike on local, memory and workerd");
    Ok(())
}

/// Known differences of workerd, with the reason.
const DIFFERENT: &[(&str, &str, &str)] = &[
    (
        "InvalidRange get: The requested range is not satisfiable (10039)",
        "Internal get: Unspecified error (0)",
        "miniflare loses the error of a range where there are conditions, too",
    ),
    (
        "Internal completeMultipartUpload: We encountered an internal error. Please try again. (10001)",
        "Unavailable completeMultipartUpload: We encountered an internal error. Please try again. (10001)",
        "10001 stands for whatever fails at R2's side, so that the binding takes it for something that may pass",
    ),
];

fn is_known(ours: &str, workerd: &str) -> bool {
    DIFFERENT
        .iter()
        .any(|(here, there, _)| ours.strip_suffix(here).is_some_and(|asked| workerd.strip_suffix(there) == Some(asked)))
}
