//! Checks that everything but the local backends compiles for Workers.

use crate::{Outcome, cargo, run as execute};

/// Packages and their features, without SQLite and so without `memory` of db and sessions. The platform is built by
/// `cargo xtask worker build`.
const PACKAGES: [(&str, &str); 12] = [
    ("isobar-base", ""),
    ("isobar-testkit", ""),
    ("isobar-sqlite", ""),
    ("isobar-storage", "memory,mock,conformance,tracing,cloudflare-binding"),
    ("isobar-db", "cloudflare-binding,mock,conformance,tracing,vault"),
    ("isobar-sessions", "cloudflare-binding,mock,conformance,tracing"),
    ("isobar-objects", "cloudflare-binding,tracing,browser,call,chat,mcp,mock,conformance"),
    ("isobar-analytics", "cloudflare-binding,derive,layers,memory,mock,conformance,tracing"),
    ("isobar-cloudflare", "binding"),
    ("isobar-site", "tracing"),
    ("isobar-api", ""),
    ("isobar-http-serve", "workers,browser,mcp"),
];

pub(crate) fn run() -> Outcome {
    for (package, features) in PACKAGES {
        println!("{package} {features}");
        execute(cargo().args([
            "check",
            "--quiet",
            "--target",
            "wasm32-unknown-unknown",
            "--package",
            package,
            "--lib",
            "--no-default-features",
            "--features",
            features,
        ]))?;
    }
    println!("{} packages check for wasm32-unknown-unknown", PACKAGES.len());
    Ok(())
}
