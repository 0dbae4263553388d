//! Checks the site's responses with external HTTP checkers: REDbot and httplint.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::http::Server;
use crate::programs::program;
use crate::{Outcome, python, target};

/// Version of REDbot, which includes httplint.
const REDBOT: &str = "2.7.1";
const SCRIPT: &str = include_str!("../py/checkers.py");

const CONFIG: &str = "name = \"checkers\"\n[assets]\ndirectory = \"site\"\nnot_found_handling = \"404-page\"\n";

/// Notes that are accepted: their id, the prefix of their subject, and the reason.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "PARTIAL_WITHOUT_RANGE",
        "httplint",
        "httplint knows no multipart/byteranges, whose parts have a Content-Range each",
    ),
    ("STORE_PUBLIC_UNNECESSARY", "", "`public, max-age=0, must-revalidate` is what Workers Static Assets says"),
    ("STATUS_BAD_REQUEST", "httplint GET /%00", "that path is none, and this says so"),
];

pub(crate) fn run() -> Outcome {
    let folder = target().join("checkers");
    prepare(&folder)?;
    let isobar = program("isobar")?;
    let server = Server::start(
        Command::new(isobar).args(["serve", "--port", "0", "--listing"]).env("RUST_LOG", "warn").current_dir(&folder),
    )?;
    let python = python::package("redbot", "", REDBOT)?.join("python");
    let script = folder.join("checkers.py");
    fs::write(&script, SCRIPT)?;
    let output = Command::new(python).arg(script).arg(format!("http://{}", server.address)).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let told = String::from_utf8(output.stdout)?;
    let mut looked_at = 0;
    let mut known = 0;
    let mut wrong = Vec::new();
    for note in told.lines().map(serde_json::from_str::<Value>) {
        let note = note?;
        looked_at += note["looked_at"].as_u64().unwrap_or_default();
        let id = note["id"].as_str().unwrap_or_default();
        let what = note["what"].as_str().unwrap_or_default();
        match KNOWN.iter().any(|(one, begins, _)| *one == id && what.starts_with(begins)) {
            true => known += 1,
            false if !id.is_empty() => wrong.push(note.to_string()),
            false => {}
        }
    }
    if looked_at < 150 {
        return Err(format!("only {looked_at} answers were looked at").into());
    }
    if !wrong.is_empty() {
        return Err(format!("{} notes:\n{}", wrong.len(), wrong.join("\n")).into());
    }
    println!(
        "{looked_at} answers are clean by REDbot {REDBOT} and httplint ({known} notes that do not count: see xtask/src/checkers.rs)"
    );
    Ok(())
}

/// Creates files of every kind, longer than the range that REDbot requests.
fn prepare(folder: &std::path::Path) -> Outcome {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let site = folder.join("site");
    fs::create_dir_all(site.join("folder"))?;
    fs::write(folder.join("wrangler.toml"), CONFIG)?;
    let page = |title: &str| format!("<!doctype html><html lang=en><title>{title}</title><p>{}", "words ".repeat(500));
    let image: Vec<u8> = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'].into_iter().chain(0..200).collect();
    for (name, bytes) in [
        ("index.html", page("home").into_bytes()),
        ("about.html", page("about").into_bytes()),
        ("404.html", page("not here").into_bytes()),
        ("style.css", "body { color: #123 }\n".repeat(100).into_bytes()),
        ("app-3f9a1c2b.js", "console.log('hello')\n".repeat(100).into_bytes()),
        ("data.json", format!("[{}0]", "1, ".repeat(100)).into_bytes()),
        ("image.png", image),
        ("folder/one.txt", b"one".to_vec()),
        ("_redirects", b"/old /about 301\n".to_vec()),
    ] {
        fs::write(site.join(name), bytes)?;
    }
    Ok(())
}
