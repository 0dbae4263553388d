//! Python programs, each in its own environment.

use std::path::PathBuf;
use std::process::Command;

use crate::{run as execute, target};

/// Returns the folder of a package's commands; installs the package if it is missing.
pub(crate) fn package(name: &str, extra: &str, version: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    install(name, &format!("{name}-{version}"), &[format!("{name}{extra}=={version}")])
}

/// Returns the folder of the commands of an environment with these packages and versions; installs them if they are missing.
pub(crate) fn packages(name: &str, packages: &[(&str, &str)]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let pinned: Vec<String> = packages.iter().map(|(package, version)| format!("{package}=={version}")).collect();
    install(name, &pinned.join("-"), &pinned)
}

/// Makes the environment of this name, unless it is marked as having these packages.
fn install(name: &str, mark: &str, packages: &[String]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let python = std::path::absolute(target().join(format!("python-{name}")))?;
    let installed = python.join(mark);
    if !installed.exists() {
        println!("installing {}", packages.join(", "));
        let venv = execute(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&python));
        venv.map_err(|error| format!("{error}\n{name} needs Python 3 with venv: Debian's python3-venv"))?;
        execute(Command::new(python.join("bin/pip")).args(["install", "--quiet"]).args(packages))?;
        std::fs::write(&installed, "")?;
    }
    Ok(python.join("bin"))
}
