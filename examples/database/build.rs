//! Has cargo look at the folder of migrations: a changed file it notices by itself, a new one it does not.

#![allow(clippy::print_stdout, reason = "cargo reads what a build script prints")]

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
