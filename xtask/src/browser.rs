//! The platform's pages in a real browser.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::http::Server;
use crate::{Outcome, cargo, run as execute, target};

/// Pages, and what must stand in them once their scripts have run.
const PAGES: [(&str, &str, &str); 7] = [
    ("home", "/", "Stories with an animal heart"),
    ("overview", "/dashboard/", "/api/tenants"),
    ("tenants", "/dashboard/tenants", "No tenants yet"),
    ("media", "/dashboard/media", "Nothing here yet"),
    ("chat", "/dashboard/chat?room=xtask", "Here now: "),
    ("settings", "/dashboard/settings", "Forest"),
    ("missing", "/nowhere", "Nothing lives here"),
];

pub(crate) fn run() -> Outcome {
    let chromium = chromium()?;
    execute(cargo().args(["build", "--quiet", "--package", "platform"]))?;
    let (state, shots) = (target().join("browser-state"), std::path::absolute(target().join("screenshots"))?);
    for folder in [&state, &shots] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    let server =
        Server::start(Command::new(target().join("debug/platform")).args(["--port", "0", "--root"]).arg(&state))?;
    server.get("/api/tenants")?; // so that the overview has a route to show
    for (name, path, text) in PAGES {
        let url = format!("http://{}{path}", server.address);
        let mut dom = open(&chromium, &state.join("profile"), &url, &["--dump-dom"])?;
        // The browser's virtual time does not wait for a WebSocket: on a busy machine it may be over too soon.
        for _ in 0..2 {
            if !dom.contains(text) {
                dom = open(&chromium, &state.join("profile"), &url, &["--dump-dom"])?;
            }
        }
        if !dom.contains(text) || !dom.contains("class=\"bar\"") {
            return Err(format!("{url} does not show {text:?}:\n{dom}").into());
        }
        if dom.contains("class=\"message error\"") {
            return Err(format!("{url} shows an error:\n{dom}").into());
        }
        let shot = format!("--screenshot={}", shots.join(format!("{name}.png")).display());
        open(&chromium, &state.join("profile"), &url, &[&shot, "--window-size=1280,900"])?;
    }
    println!("{} pages show what they should; screenshots in {}", PAGES.len(), shots.display());
    Ok(())
}

fn open(chromium: &str, profile: &Path, url: &str, arguments: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--virtual-time-budget=6000",
        ])
        .arg(format!("--user-data-dir={}", std::path::absolute(profile)?.display()))
        .args(arguments)
        .arg(url)
        .output()?;
    if !output.status.success() {
        return Err(format!("chromium: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The browser's command; Debian's is installed where it is missing.
fn chromium() -> Result<String, Box<dyn std::error::Error>> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = || ["chromium", "chromium-browser", "google-chrome"].into_iter().find(works);
    if found().is_none() {
        println!("installing Debian's chromium");
        execute(Command::new("apt-get").args(["update", "-q"]))?;
        execute(Command::new("apt-get").args(["install", "-y", "-q", "--no-install-recommends", "chromium"]))?;
    }
    Ok(found().ok_or("there is no Chromium, and apt-get brought none")?.to_owned())
}
