//! Building what the other commands run.
//!
//! Cargo compiles a crate once for each set of features that its users want together. So all programs are built at once, and tests as
//! README's command builds them: what they stand on is compiled twice, and not once for each program and each test.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{cargo, run, target};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Builds the programs of the crates and the examples, and returns the path of one, `isobar` or `platform`, say.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    run(cargo().args(["build", "--quiet", "--bins"]))?;
    Ok(std::path::absolute(target().join("debug").join(name))?)
}

/// Builds a package's test target with all features, and returns the command that runs it, in the package's folder.
pub(crate) fn test(package: &str, target: &str) -> Result<Command> {
    let mut build = cargo();
    build.args(["test", "--quiet", "--workspace", "--all-features", "--no-run", "--test", target]);
    let output = build.arg("--message-format=json").stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{build:?}: {}", output.status).into());
    }
    let messages = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for message in messages {
        let message: Value = serde_json::from_slice(message)?;
        let manifest = PathBuf::from(message["manifest_path"].as_str().unwrap_or_default());
        let is_of_package = message["package_id"].as_str().is_some_and(|id| is_package(id, package));
        if let Some(program) = message["executable"].as_str()
            && is_of_package
            && message["target"]["name"] == target
        {
            let mut command = Command::new(program);
            command.current_dir(manifest.parent().ok_or("a manifest has no folder")?);
            return Ok(command);
        }
    }
    Err(format!("the package {package} has no test target {target}").into())
}

/// Returns whether cargo's id, `path+file:///folder/name#0.1.0` or `path+file:///folder#name@0.1.0`, is that of a package.
fn is_package(id: &str, name: &str) -> bool {
    let Some((source, version)) = id.rsplit_once('#') else { return false };
    match version.split_once('@') {
        Some((named, _)) => named == name,
        None => source.rsplit('/').next() == Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_known_by_its_id() {
        assert!(is_package("path+file:///isobar/crates/db#isobar-db@0.1.0", "isobar-db"));
        assert!(is_package("path+file:///isobar/examples/platform#0.1.0", "platform"));
        assert!(!is_package("path+file:///isobar/crates/db#isobar-db@0.1.0", "db"));
        assert!(!is_package("path+file:///isobar/examples/platform#0.1.0", "form"));
    }
}
