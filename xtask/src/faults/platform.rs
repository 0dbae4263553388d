//! The platform as a process that is stopped, killed and started again.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::http::{Answer, Server, ask};
use crate::target;
use crate::worker::{SECRETS, first_owner};

/// Longest time for an answer while a fault lasts.
const PATIENCE: Duration = Duration::from_secs(20);

/// A platform on a root folder, killed when dropped.
pub(super) struct Platform {
    server: Server,
    log: PathBuf,
    pub(super) cookie: String,
}

impl Platform {
    /// Starts a new platform with its first owner signed in.
    pub(super) fn with_owner(root: &Path) -> Result<Self, Box<dyn Error>> {
        Self::owned(root, Command::new(binary()?))
    }

    /// The same, started by this command, to which the platform's arguments are added.
    pub(super) fn owned(root: &Path, command: Command) -> Result<Self, Box<dyn Error>> {
        let mut platform = Self::spawn(root, command, String::new())?;
        let body = first_owner().to_string();
        let answer =
            platform.ask("POST", "/api/auth/signup", &[("Content-Type", "application/json")], body.as_bytes())?;
        let cookie = session(&answer).filter(|_| answer.status == 201);
        platform.cookie =
            cookie.ok_or_else(|| format!("the first owner is answered by {}: {}", answer.status, answer.text()))?;
        Ok(platform)
    }

    /// Starts again on an existing root. The error has the output of the process.
    pub(super) fn again(root: &Path, cookie: &str) -> Result<Self, Box<dyn Error>> {
        Self::spawn(root, Command::new(binary()?), cookie.to_owned())
    }

    fn spawn(root: &Path, mut command: Command, cookie: String) -> Result<Self, Box<dyn Error>> {
        let log = root.with_extension("log");
        command.args(["--port", "0", "--root"]).arg(root).envs(SECRETS).env("RUST_LOG", "warn");
        let started = Server::start(command.stderr(fs::File::create(&log)?));
        let server = started.map_err(|error| format!("{error}\n{}", fs::read_to_string(&log).unwrap_or_default()))?;
        Ok(Self { server, log, cookie })
    }

    pub(super) fn address(&self) -> &str {
        &self.server.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Returns the log so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a request as the owner. A missing or late response is an error.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Box<dyn Error>> {
        let mut headers = headers.to_vec();
        if !self.cookie.is_empty() {
            headers.extend([("Cookie", self.cookie.as_str()), ("Sec-Fetch-Site", "same-origin")]);
        }
        let begun = Instant::now();
        let answer = ask(&self.server.address, method, path, &headers, body)
            .map_err(|error| format!("{method} {path}: {error}\n{}", self.log()))?;
        if begun.elapsed() > PATIENCE {
            return Err(format!("{method} {path} took {:?}", begun.elapsed()).into());
        }
        Ok(answer)
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Box<dyn Error>> {
        self.ask("GET", path, &[], b"")
    }

    /// Waits until `/readyz` answers with this status.
    pub(super) fn becomes(&self, status: u16, when: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get("/readyz")?;
            if answer.status == status {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{when}: /readyz is {}, not {status}: {}", answer.status, answer.text()).into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Signs the owner in again, as from another browser, and uses that session. It writes to the database.
    pub(super) fn signs_in(&mut self) -> Result<Answer, Box<dyn Error>> {
        let owner: Value = first_owner();
        let body = serde_json::json!({"email": owner["email"], "password": owner["password"]}).to_string();
        let before = std::mem::take(&mut self.cookie);
        let answer = self.ask("POST", "/api/auth/login", &[("Content-Type", "application/json")], body.as_bytes());
        self.cookie = before;
        let answer = answer?;
        if answer.status == 200 {
            self.cookie = session(&answer).ok_or("a sign-in sets a session")?;
        }
        Ok(answer)
    }

    /// Stops it with SIGTERM and waits for its end.
    pub(super) fn stop(self) -> Outcome {
        crate::run(Command::new("kill").arg(self.pid().to_string()))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while Path::new(&format!("/proc/{}/exe", self.pid())).exists() {
            if Instant::now() > deadline {
                return Err("it has not ended 30 s after SIGTERM".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Returns the session cookie that a response sets, possibly among others.
fn session(answer: &Answer) -> Option<String> {
    let set = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
    let mut cookies = set.filter_map(|(_, value)| value.split(';').next());
    cookies.find(|cookie| cookie.starts_with("__Host-session=")).map(str::to_owned)
}

/// Returns the path of the platform's binary.
pub(super) fn binary() -> std::io::Result<PathBuf> {
    std::path::absolute(target().join("debug/platform"))
}
