//! Syncs an external site with the command, serves it, and compares it file by file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::http::Server;
use crate::programs::program;
use crate::{Outcome, npm, target};

const PACKAGE: &str = "swagger-ui-dist@5.35.0";
const NAME: &str = "swagger-ui-dist";

pub(crate) fn run() -> Outcome {
    let isobar = program("isobar")?;
    let folder = target().join("real-site");
    npm::install(&folder, &[PACKAGE])?;
    let site = std::path::absolute(folder.join("node_modules").join(NAME))?;
    fs::write(
        folder.join("wrangler.toml"),
        "name = \"real\"\n[[r2_buckets]]\nbinding = \"SITE\"\nbucket_name = \"real-site\"\n",
    )?;
    if folder.join(".isobar").exists() {
        fs::remove_dir_all(folder.join(".isobar"))?;
    }

    let sync = |arguments: &[&str]| -> Result<serde_json::Value, Box<dyn std::error::Error>> {
        let output = Command::new(&isobar)
            .args(["r2", "sync"])
            .arg(&site)
            .arg("real-site/static")
            .arg("--json")
            .args(arguments)
            .current_dir(&folder)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let files = files(&site)?;
    expect("a dry run would put every file", &sync(&["--dry-run"])?["uploaded"], files.len())?;
    expect("the sync puts every file", &sync(&[])?["uploaded"], files.len())?;
    let again = sync(&["--delete"])?;
    expect("a second sync puts nothing", &again["uploaded"], 0)?;
    expect("a second sync finds every file unchanged", &again["unchanged"], files.len())?;

    let server = Server::start(Command::new(&isobar).args(["serve", "--port", "0"]).current_dir(&folder))?;
    for file in &files {
        let path = file.strip_prefix(&site)?.to_string_lossy().replace('\\', "/");
        let (mut status, mut head, mut body) = server.get(&format!("/{path}"))?;
        // The path of a page has no .html.
        if let (307, Some(to)) = (status, head.lines().find_map(|line| line.strip_prefix("location: "))) {
            (status, head, body) = server.get(to)?;
        }
        let content_type = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
        if status != 200 || body != fs::read(file)? || !fits(&path, content_type) {
            return Err(format!("/{path}: {status}, {content_type}, {} bytes", body.len()).into());
        }
    }
    let (status, head, _) = server.get("/")?;
    if status != 200 || !head.contains("content-type: text/html; charset=utf-8") {
        return Err(format!("/: {head}").into());
    }
    println!("{} files of {PACKAGE} are served byte for byte with the right types", files.len());
    Ok(())
}

/// Checks content types on which browsers insist.
fn fits(path: &str, content_type: &str) -> bool {
    let want = match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "md" => "text/markdown; charset=utf-8",
        _ => return !content_type.is_empty(),
    };
    content_type == want
}

fn expect(what: &str, got: &serde_json::Value, want: usize) -> Outcome {
    if got.as_u64() == Some(want as u64) { Ok(()) } else { Err(format!("{what}: {got}, not {want}").into()) }
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(self::files(&path)?) } else { files.push(path) }
    }
    Ok(files)
}
