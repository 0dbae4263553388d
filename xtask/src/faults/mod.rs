//! The running platform under faults of the machine: a full disk, failing writes and syncs, damaged and missing files, too few
//! descriptors, a clock that jumps. A ledger records acknowledged writes, none of which may be lost or changed.

mod clock;
mod descriptors;
mod disk;
mod files;
mod ledger;
mod platform;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::{Outcome, programs, run as execute, target};

type Scenario = (&'static str, &'static str, fn() -> Outcome);

const SCENARIOS: [Scenario; 5] = [
    ("full-disk", "writes until the file system is full, then frees it", disk::full),
    ("failing-sync", "every sync and write fails for some seconds", disk::failing),
    ("files", "each kind of file is removed, zeroed and cut while the platform is stopped", files::run),
    ("descriptors", "256 descriptors, and more connections and session objects than that", descriptors::run),
    ("clock", "the clock is a year ahead for a moment", clock::run),
];

/// Runs the named scenarios, or all of them.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    if let Some(unknown) = arguments.iter().find(|name| !SCENARIOS.iter().any(|(known, ..)| known == name)) {
        let known: Vec<String> = SCENARIOS.iter().map(|(name, what, _)| format!("  {name:<14}{what}")).collect();
        return Err(format!("there is no scenario {unknown}; there are:\n{}", known.join("\n")).into());
    }
    if !cfg!(target_os = "linux") {
        return Err("the faults are made by tmpfs, strace and libfaketime, which are Linux's".into());
    }
    programs::program("platform")?;
    for (name, what, scenario) in SCENARIOS {
        if arguments.is_empty() || arguments.iter().any(|wanted| wanted == name) {
            println!("{name}: {what}");
            let begun = Instant::now();
            scenario().map_err(|error| format!("{name}: {error}"))?;
            println!("  held, {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    println!("nothing acknowledged was lost");
    Ok(())
}

/// Creates an empty folder for a scenario.
fn fresh(name: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let folder = std::path::absolute(target().join("faults").join(name))?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Installs a program from Debian's package if it is missing.
fn program(name: &str, package: &str) -> Outcome {
    let is_there = || Command::new("which").arg(name).output().is_ok_and(|output| output.status.success());
    if is_there() {
        return Ok(());
    }
    println!("  installing Debian's {package}");
    // On a new machine the package lists are old or missing.
    execute(privileged("apt-get").args(["update", "-q"]).stdout(std::process::Stdio::null()))?;
    execute(privileged("apt-get").args(["install", "-y", "-q", package]).stdout(std::process::Stdio::null()))
        .map_err(|error| format!("{name} is missing: install it ({error})"))?;
    if is_there() { Ok(()) } else { Err(format!("{package} has brought no {name}").into()) }
}

/// Returns a command that runs as root, by sudo if this process does not.
fn privileged(name: &str) -> Command {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    if is_root {
        return Command::new(name);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", name]);
    command
}
