//! Runs the kits and differentials against the newest workerd of npm, to find changes since the pinned version.
//!
//! Not part of the gate, which must not fail because of a release elsewhere: a weekly job runs it.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::worker::{MINIFLARE, MINIFLARE_VARIABLE};
use crate::{Outcome, target};

/// The commands that compare with workerd.
const COMMANDS: [&str; 4] = ["conformance", "differential", "assets", "cache-tests"];

/// Number of a failed command's last lines that are printed.
const LINES: usize = 40;

/// Runs each command that compares with workerd on the newest miniflare of npm (or on the version that is the argument), prints what
/// differs from the pinned version, and fails if anything does.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let newest = match arguments {
        [] => format!("miniflare@{}", newest("miniflare")?),
        [version] => format!("miniflare@{version}"),
        _ => return Err("usage: cargo xtask drift [MINIFLARE_VERSION]".into()),
    };
    println!("pinned: {MINIFLARE}\nnewest: {newest}, with {}", runtime(&newest)?);
    println!("newest wrangler: {}", newest_tagged("wrangler")?);
    if newest == MINIFLARE {
        println!("the pinned version is the newest: nothing can have changed");
        return Ok(());
    }
    let mut changed = Vec::new();
    for command in COMMANDS {
        println!("\n== {command}");
        let output = Command::new(std::env::current_exe()?)
            .arg(command)
            .env(MINIFLARE_VARIABLE, &newest)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let report = target().join(format!("drift-{command}.txt"));
        std::fs::write(&report, text.as_bytes())?;
        if output.status.success() {
            println!("{}", text.lines().last().unwrap_or("no output"));
            continue;
        }
        changed.push(command);
        let lines: Vec<&str> = text.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(LINES)..].join("\n"));
        println!("the whole output: {}", report.display());
    }
    if changed.is_empty() {
        println!("\nnothing has changed: pin {newest} in xtask/src/worker/workerd.rs");
        return Ok(());
    }
    Err(format!("{newest} differs from {MINIFLARE} in: {}", changed.join(", ")).into())
}

/// Returns the most recently published version of a package. Tags do not help, as betas of a new major version have none.
fn newest(package: &str) -> Result<String, Box<dyn std::error::Error>> {
    let times: BTreeMap<String, String> = serde_json::from_slice(&view(&[package, "time", "--json"])?)?;
    times
        .into_iter()
        .filter(|(version, _)| {
            version.starts_with(|first: char| first.is_ascii_digit()) && !version.starts_with("0.0.0-")
        })
        .max_by(|(_, one), (_, other)| one.cmp(other))
        .map(|(version, _)| version)
        .ok_or_else(|| format!("npm has no version of {package}").into())
}

fn newest_tagged(package: &str) -> Result<String, Box<dyn std::error::Error>> {
    Ok(String::from_utf8(view(&[package, "version"])?)?.trim().to_owned())
}

/// Returns the version of workerd on which a version of miniflare depends.
fn runtime(miniflare: &str) -> Result<String, Box<dyn std::error::Error>> {
    let version = String::from_utf8(view(&[miniflare, "dependencies.workerd"])?)?;
    Ok(format!("workerd {}", version.trim()))
}

fn view(arguments: &[&str]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let output = Command::new("npm").arg("view").args(arguments).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("npm view {} failed: {}", arguments.join(" "), output.status).into());
    }
    Ok(output.stdout)
}
