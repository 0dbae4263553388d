//! The guide's pages, each Rust block of which is a doctest; `cargo xtask docs` builds the book and fails on a page that is
//! missing here.

/// Compiles and runs the blocks of these files.
macro_rules! pages {
    ($($name:ident: $path:literal),* $(,)?) => {$(
        #[cfg(doctest)]
        #[doc = include_str!($path)]
        struct $name;
    )*};
}

pages! {
    Readme: "../README.md",
    CustomStore: "../examples/custom-store/README.md",
    FirstRun: "src/first-run.md",
    Workers: "src/workers.md",
    Testing: "src/testing.md",
    Backends: "src/backends.md",
    Databases: "src/databases.md",
    Sessions: "src/sessions.md",
    Metrics: "src/metrics.md",
}
