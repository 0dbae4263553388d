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
        for feature in std::iter::once("").chain(alone(&package["features"])) {
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

/// Returns the names of features that are checked, each alone: not the default if it is nothing, or one feature that is checked anyway.
fn alone(features: &serde_json::Value) -> impl Iterator<Item = &str> {
    let is_more = |(name, parts): &(&String, &serde_json::Value)| {
        name.as_str() != "default" || parts.as_array().is_some_and(|parts| parts.len() > 1)
    };
    features.as_object().into_iter().flatten().filter(is_more).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_of_several_features_is_checked() {
        let of = |features: &serde_json::Value| alone(features).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(of(&serde_json::json!({"default": ["a"], "a": []})), ["a"]);
        assert_eq!(of(&serde_json::json!({"default": [], "a": []})), ["a"]);
        assert_eq!(of(&serde_json::json!({"default": ["a", "b"], "a": [], "b": []})), ["a", "b", "default"]);
    }
}
