//! Compares queries of Analytics Engine's SQL with ClickHouse (chDB), which Analytics Engine runs on.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Outcome, cargo, python, run as execute, target};

/// Version of chDB, which is ClickHouse 26.9 in a Python process.
const CHDB: &str = "4.4.0";
const SCRIPT: &str = include_str!("../py/analytics_sql.py");
/// Folder of the events, the recorded queries and their answers.
const RECORDED: &str = "crates/analytics/tests/it/query";
/// Number of random queries where none is given.
const QUERIES: &str = "5000";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let folder = target().join("analytics-sql");
    fs::create_dir_all(&folder)?;
    let python = python::package("chdb", "", CHDB)?.join("python");
    let script = folder.join("analytics_sql.py");
    fs::write(&script, SCRIPT)?;
    let recorded = Path::new(RECORDED);
    let answers = |mode: &str, rest: &[&str]| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let mut command = Command::new(&python);
        let output = command.arg(&script).arg(mode).arg(recorded.join("events.jsonl")).args(rest).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(output.stdout)
    };
    match arguments {
        [mode] if mode == "record" => {
            let queries = recorded.join("queries.sql");
            let queries = queries.to_str().ok_or("the path is not UTF-8")?;
            fs::write(recorded.join("answers.jsonl"), answers("record", &[queries])?)?;
            println!("recorded; look at the difference");
            Ok(())
        }
        [] | [_] | [_, _] => {
            let count = arguments.first().map_or(QUERIES, String::as_str);
            let seed = arguments.get(1).map_or("1", String::as_str);
            let file = std::path::absolute(folder.join("answers.jsonl"))?;
            fs::write(&file, answers("random", &[count, seed])?)?;
            let test = ["test", "--package", "isobar-analytics", "--all-features", "--test", "it", "--"];
            execute(cargo().args(test).args(["--ignored", "--nocapture", "query::random"]).env("ISOBAR_ANSWERS", file))
        }
        _ => Err("usage: cargo xtask analytics-sql [record | COUNT [SEED]]".into()),
    }
}
