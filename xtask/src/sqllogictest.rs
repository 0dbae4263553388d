//! Runs test files of sqllogictest through the trait, on the local backend.
//!
//! Without an argument these are the project's own, which the tests of every change run, too. SQLite's own (<https://sqlite.org/sqllogictest>)
//! are in no package of a registry: whoever has a copy names its folder, or a folder or file within. Large ones are built for speed.

use std::path::Path;

use crate::{Outcome, cargo, run as execute};

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut command = cargo();
    command.args(["test", "--quiet", "--package", "isobar-db", "--features", "local", "--test", "sqllogictest"]);
    match arguments {
        [] => {}
        [folder] => {
            let folder = std::path::absolute(Path::new(folder))?;
            if !folder.exists() {
                return Err(format!("there is no {}", folder.display()).into());
            }
            command.arg("--release").env("ISOBAR_SLT", folder);
        }
        _ => return Err("there is `cargo xtask sqllogictest [FOLDER]`".into()),
    }
    execute(command.args(["files_give_the_answers_of_sqlite", "--", "--nocapture"]))
}
