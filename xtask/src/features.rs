//! Checks each feature alone: none may depend on the imports of another.

use crate::{Outcome, cargo};

fn run_one(package: &str, features: &str) -> Outcome {
    println!("{package} {}", if features.is_empty() { "(none)" } else { features });
    // Warnings count: a feature alone must not leave anything unused.
    // Clippy applies its flags to the workspace only, so that dependencies are not rebuilt.
    let mut check = cargo();
    check.args(["clippy", "--quiet", "--package", package, "--lib", "--no-default-features", "--features", features]);
    crate::run(check.args(["--", "-Dwarnings"]))
}

pub(crate) fn run() -> Outcome {
    let metadata = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    let mut count = 0;
    let mut failures = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let has_lib = package["targets"].as_array().into_iter().flatten().any(|target| target["kind"][0] == "lib");
        if !has_lib {
            continue;
        }
        let features = package["features"].as_object().into_iter().flat_map(|features| features.keys());
        for feature in std::iter::once("").chain(features.map(String::as_str)) {
            if let Err(error) = run_one(name, feature) {
                failures.push(error.to_string());
            }
            count += 1;
        }
    }
    if !failures.is_empty() {
        return Err(failures.join("\n").into());
    }
    println!("{count} combinations check without a warning");
    Ok(())
}
