//! The project's commands that read its source and compile nothing of it: `cargo source`, or as commands of `cargo xtask`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

pub mod counts;
pub mod layers;
pub mod words;

use std::error::Error;
use std::fs;
use std::process::Command;

/// A command's outcome; the error is printed.
pub type Outcome = Result<(), Box<dyn Error>>;

/// Folders with the project's Rust files.
const FOLDERS: [&str; 5] = ["crates", "xtask", "examples", "conformance", "docs"];

/// Runs the command `layers`, `counts` or `words`; none for another name.
#[must_use]
pub fn run(command: &str, arguments: &[String]) -> Option<Outcome> {
    match command {
        "layers" => Some(layers::run(arguments)),
        "counts" => Some(counts::run(arguments)),
        "words" => Some(words::run()),
        _ => None,
    }
}

/// Lists the tracked files that match a pattern, in the project's folders, and those that are not committed yet.
fn tracked(pattern: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let patterns = FOLDERS.iter().map(|folder| format!(":(glob){folder}/**/{pattern}"));
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--"])
        .args(patterns)
        .output()?;
    let files: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    let files: Vec<String> = files.into_iter().filter(|file| fs::exists(file).unwrap_or(false)).collect();
    if files.is_empty() { Err(format!("git lists no {pattern}").into()) } else { Ok(files) }
}
