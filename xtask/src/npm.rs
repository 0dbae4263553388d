//! Packages of npm, each set in its own folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Outcome, run as execute};

/// Installs packages (`name@version`) into a folder, unless they are installed already.
pub(crate) fn install(folder: &Path, packages: &[&str]) -> Outcome {
    let installed = folder.join("installed");
    let wanted = packages.join("\n");
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    println!("installing {}", packages.join(", "));
    fs::create_dir_all(folder)?;
    fs::write(folder.join("package.json"), "{\"private\": true}")?;
    execute(
        Command::new("npm").current_dir(folder).args(["install", "--no-audit", "--no-fund", "--silent"]).args(packages),
    )?;
    Ok(fs::write(installed, wanted)?)
}
