//! `cargo source`: the commands of `cargo xtask` that read the source, where the rest of the workspace does not compile.
#![allow(clippy::print_stderr, reason = "a command speaks to its user")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = arguments.split_first().and_then(|(command, rest)| xtask_source::run(command, rest));
    match outcome
        .unwrap_or_else(|| Err("usage: cargo source layers [PACKAGE...] | counts [--list [FOLDER]] | words".into()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
