//! A clock that temporarily jumps a year ahead.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::ledger::Ledger;
use super::platform::{Platform, binary};
use super::{fresh, program};
use crate::Outcome;

/// The clock jumps ahead and back while the platform runs; it serves then and afterwards, and keeps what it acknowledged.
pub(super) fn run() -> Outcome {
    program("faketime", "faketime")?;
    let folder = fresh("clock")?;
    let root = folder.join("state");
    let offset = folder.join("offset");
    fs::write(&offset, "+0")?;
    let mut command = Command::new(binary()?);
    command
        .env("LD_PRELOAD", library()?)
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_CACHE_DURATION", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut platform = Platform::owned(&root, command)?;
    let mut ledger = Ledger::default();
    ledger.write(&platform)?;
    for (when, jump) in
        [("a year ahead", "+365d"), ("as it was", "+0"), ("an hour behind", "-1h"), ("as it was again", "+0")]
    {
        fs::write(&offset, jump)?;
        std::thread::sleep(Duration::from_secs(3));
        // The owner's session may have ended meanwhile: the owner can sign in.
        let signed_in = platform.signs_in()?;
        if signed_in.status != 200 {
            return Err(format!("with the clock {when} a sign-in is {}: {}", signed_in.status, signed_in.text()).into());
        }
        platform.becomes(200, when)?;
        println!("  with the clock {when}: signs in, ready");
    }
    let refused = ledger.write(&platform)?;
    if !refused.is_empty() {
        return Err(format!("after the jumps: {refused:?}\n{}", platform.log()).into());
    }
    ledger.is_whole(&platform, "after the jumps")?;
    let cookie = platform.cookie.clone();
    platform.stop()?;
    let platform = Platform::again(&root, &cookie)?;
    ledger.is_whole(&platform, "after a restart")
}

/// Returns the path of the library that `faketime` preloads.
fn library() -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output()?;
    let path = String::from_utf8(output.stdout)?.trim().to_owned();
    if path.is_empty() { Err("faketime does not say which library it preloads".into()) } else { Ok(path) }
}
