//! A project served with its doors open, for clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;

use crate::http::{Server, free_port};
use crate::programs::program;
use crate::target;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const CONFIG: &str = r#"name = "doors"
compatibility_date = "2026-11-01"

[[r2_buckets]]
binding = "STORAGE"
bucket_name = "doors-assets"

# A path of the application, were the door of S3 not on a listener of its own.
[[r2_buckets]]
binding = "CLIENT"
bucket_name = "client"

[[d1_databases]]
binding = "DB"
database_name = "doors"
database_id = "6f1c2b3a-0000-4000-8000-00000000d001"
"#;

/// A served project with an empty state.
pub(crate) struct Project {
    pub(crate) folder: PathBuf,
    isobar: PathBuf,
    /// Base URL of the REST API.
    pub(crate) rest: String,
    /// Endpoint of S3.
    pub(crate) s3: String,
    server: Server,
}

impl Project {
    /// Builds the command, and serves a new project in a folder below the target's.
    pub(super) fn serve(name: &str) -> Result<Self> {
        let isobar = program("isobar")?;
        let folder = std::path::absolute(target().join("doors").join(name))?;
        Self::serve_built(&isobar, folder, CONFIG)
    }

    /// Serves a new project of this configuration by a built program. Replaces the folder.
    pub(crate) fn serve_built(program: &Path, folder: PathBuf, config: &str) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        // A copy, which a later build does not replace while it runs.
        let isobar = folder.join("isobar");
        fs::copy(program, &isobar)?;
        fs::write(folder.join("wrangler.toml"), config)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let s3 = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(&isobar);
        command
            .current_dir(&folder)
            .args(["serve", "--port", "0", "--rest", &address, "--s3", &s3])
            .env("RUST_LOG", "error");
        let server = Server::start(&mut command)?;
        let rest = format!("http://{address}/client/v4");
        let said = server.said("REST API on ").unwrap_or_default();
        if !said.starts_with(&rest) {
            return Err(format!("isobar serve --rest: expected it to print {rest}, and it printed {said:?}").into());
        }
        let s3 = format!("http://{s3}");
        if !server.said("S3 on ").unwrap_or_default().starts_with(&s3) {
            return Err(
                format!("isobar serve --s3: expected it to print {s3}, and it printed {:?}", server.printed()).into()
            );
        }
        Ok(Self { folder, isobar, rest, s3, server })
    }

    /// Returns the process id of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Runs the command in the project. Returns its output, which must be a success.
    pub(super) fn isobar(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.isobar).args(arguments).current_dir(&self.folder).output()?;
        succeeded("isobar", &arguments.join(" "), &output)
    }

    /// Returns the line that the server has printed for a client, with values in the place of words.
    pub(super) fn line(&self, client: &str, values: &[(&str, &str)]) -> Result<String> {
        let line = self.server.said(&format!("  {client} "));
        let line = line.ok_or_else(|| format!("isobar serve: expected it to print a line for {client}"))?;
        Ok(filled(line.trim_start(), values))
    }

    /// Creates a key. Returns its secrets.
    pub(crate) fn key(&self, arguments: &[&str]) -> Result<Value> {
        let printed = self.isobar(&[&["keys", "create", "--json"], arguments].concat())?;
        Ok(serde_json::from_str(&printed)?)
    }
}

/// Puts values in the place of words. A word has no letter, digit or `_` beside it.
fn filled(line: &str, values: &[(&str, &str)]) -> String {
    let is_outside = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
    let fill = |piece: &str| {
        let word = piece.trim_end_matches(is_outside);
        let value = values.iter().find(|(known, _)| *known == word).map_or(word, |(_, value)| *value);
        format!("{value}{}", &piece[word.len()..])
    };
    line.split_inclusive(is_outside).map(fill).collect()
}

/// Returns the output of a client whose operation must have succeeded.
pub(super) fn succeeded(client: &str, operation: &str, output: &Output) -> Result<String> {
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{client}: {operation}: expected success, and it was {}:\n{printed}{errors}", output.status).into())
}

/// Runs a client's whole script, whose lines say what it did, and prints them behind its name. There must be this many.
pub(super) fn script(client: &str, command: &mut Command, least: usize) -> Result<()> {
    let start = Instant::now();
    let output = command.output().map_err(|error| format!("{client}: {command:?}: {error}"))?;
    let printed = succeeded(client, "its script", &output)?;
    let lines: Vec<&str> = printed.lines().collect();
    if lines.len() < least {
        return Err(format!("{client}: expected {least} lines of what it did, and it printed:\n{printed}").into());
    }
    lines.iter().for_each(|line| println!("{client}: {line}"));
    println!("{client}: {} operations, {:.1} s", lines.len(), start.elapsed().as_secs_f64());
    Ok(())
}

/// Writes a file of this task's own into a folder.
pub(super) fn place(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_replaced_and_parts_of_words_are_not() {
        let line = "API_TOKEN=TOKEN x --id ID 'Bearer TOKEN' TOKENS ID";
        let filled = filled(line, &[("TOKEN", "t"), ("ID", "1")]);
        assert_eq!(filled, "API_TOKEN=t x --id 1 'Bearer t' TOKENS 1");
    }
}
