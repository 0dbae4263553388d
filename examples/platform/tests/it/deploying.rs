//! Tests of the configuration that `wrangler deploy` uses.

use std::path::Path;

/// A file below the example, or beside it.
fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn wrangler_builds_what_main_points_at_by_the_workers_own_version() {
    let config: toml::Table = read("wrangler.toml").parse().unwrap();
    assert_eq!(config["build"]["command"].as_str(), Some("sh build.sh"));
    assert_eq!(config["main"].as_str(), Some("build/index.js"), "worker-build's own folder");
    let script = read("build.sh");
    assert!(script.contains("worker-build}\" --profile worker --panic-unwind . "), "{script}");
    assert!(!script.contains("--out-dir"), "into worker-build's own folder:\n{script}");

    // worker-build and the crate have to be of one version.
    let lock: toml::Table = read("../../Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let worker = packages.iter().find(|package| package["name"].as_str() == Some("worker")).unwrap();
    let version = worker["version"].as_str().unwrap();
    assert!(script.contains(&format!("\n  version={version} ")), "the version of worker is {version}:\n{script}");
}
