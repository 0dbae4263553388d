//! The floors of the workspace: a package depends on lower floors only.

use std::path::PathBuf;
use std::process::Command;

/// Packages by floor, from the lowest.
const FLOORS: [&[&str]; 6] = [
    &["isobar-base"],
    &["isobar-sqlite", "isobar-cloudflare", "isobar-testkit", "isobar-db-macros", "isobar-analytics-macros"],
    &["isobar-storage", "isobar-db", "isobar-sessions", "isobar-analytics"],
    &["isobar-api", "isobar-site", "isobar-objects", "isobar-gateway", "isobar-server"],
    &["isobar-http-serve"],
    &["isobar-cli", "conformance", "guide", "xtask"],
];
/// Packages below every floor: commands that know no crate of the project.
const OUTSIDE: [&str; 1] = ["xtask-source"];
/// Arrows that run sideways still.
const REMAINING: &[(&str, &str)] = &[("isobar-testkit", "isobar-cloudflare")];

/// A package of the workspace.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    manifest: String,
    /// Root files of its library and programs.
    pub(super) roots: Vec<PathBuf>,
    /// Names of the workspace's packages on which it depends, but for its tests.
    dependencies: Vec<String>,
}

/// Returns the packages of the workspace, from `cargo metadata`.
pub(super) fn workspace() -> Result<Vec<Package>, Box<dyn std::error::Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let is_source = |target: &serde_json::Value| {
        list(&target["kind"])
            .iter()
            .any(|kind| !matches!(kind.as_str(), Some("test" | "bench" | "example" | "custom-build")))
    };
    let packages = list(&metadata["packages"]).into_iter().map(|package| Package {
        name: text(&package["name"]),
        manifest: text(&package["manifest_path"]),
        roots: list(&package["targets"])
            .iter()
            .filter(|target| is_source(target))
            .map(|target| PathBuf::from(text(&target["src_path"])))
            .collect(),
        dependencies: list(&package["dependencies"])
            .iter()
            .filter(|dependency| dependency["path"].is_string() && dependency["kind"] != "dev")
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    });
    Ok(packages.collect())
}

/// Returns the floor of a package: 0 is the lowest.
fn floor(package: &Package) -> Option<usize> {
    let is_example = package.manifest.contains("/examples/");
    let found = FLOORS.iter().position(|names| names.contains(&package.name.as_str()));
    found.or(is_example.then_some(FLOORS.len() - 1))
}

/// Returns the arrows that run up or sideways, and the packages without a floor.
pub(super) fn findings(workspace: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in workspace.iter().filter(|package| !OUTSIDE.contains(&package.name.as_str())) {
        let Some(from) = floor(package) else {
            findings.push(format!("{}: has no floor in xtask/source/src/layers/floors.rs", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let to = workspace.iter().find(|other| other.name == *dependency).and_then(floor);
            if to.is_none_or(|to| to < from) {
                continue;
            }
            if REMAINING.contains(&(package.name.as_str(), dependency.as_str())) {
                println!("{} -> {dependency}: an arrow that does not run down, allowed for now", package.name);
                continue;
            }
            findings.push(format!(
                "{} -> {dependency}: an arrow that does not run down ({})",
                package.name, package.manifest
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            manifest: format!("/{name}/Cargo.toml"),
            roots: Vec::new(),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn arrows_up_and_sideways_are_found() {
        let workspace = [
            package("isobar-base", &[]),
            package("isobar-storage", &["isobar-base", "isobar-db"]),
            package("isobar-db", &["isobar-api"]),
            package("isobar-api", &["isobar-storage", "isobar-base"]),
            package("stranger", &[]),
        ];
        let findings = findings(&workspace);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings[0].starts_with("isobar-storage -> isobar-db:"));
        assert!(findings[1].starts_with("isobar-db -> isobar-api:"));
        assert!(findings[2].starts_with("stranger: has no floor"));
    }
}
