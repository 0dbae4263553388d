//! Python programs, each in its own environment.

use std::path::PathBuf;
use std::process::Command;

use crate::{run as execute, target};

/// Returns the folder of a package's commands; installs the package if it is missing.
pub(crate) fn package(name: &str, extra: &str, version: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let python = std::path::absolute(target().join(format!("python-{name}")))?;
    let installed = python.join(format!("{name}-{version}"));
    if !installed.exists() {
        println!("installing {name} {version}");
        let venv = execute(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&python));
        venv.map_err(|error| format!("{error}\n{name} needs Python 3 with venv: Debian's python3-venv"))?;
        let package = format!("{name}{extra}=={version}");
        execute(Command::new(python.join("bin/pip")).args(["install", "--quiet"]).arg(package))?;
        std::fs::write(&installed, "")?;
    }
    Ok(python.join("bin"))
}
