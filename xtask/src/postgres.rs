//! `cargo xtask postgres`: a PostgreSQL server for as long as a command runs.
//!
//! Debian's package is installed where it is missing. The server runs as the user `postgres`, as it refuses to run as root, on a socket
//! in a temporary folder, without a port; its data are not synced, and are gone at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::{Outcome, programs};

/// The variable that has the server's URL, for the tests and for a command of one's own.
const URL: &str = "ISOBAR_POSTGRES_URL";

/// Tests that run on the server: the package, its target, and the arguments of the test program. Those of the gateway are of D1's
/// routes at its REST door. Those of the platform are its API's, which take the server in place of files where the variable is set.
const TESTS: [(&str, &str, &[&str]); 3] = [
    ("isobar-db", "postgres", &["--ignored"]),
    ("isobar-gateway", "rest", &["--ignored", "postgres::"]),
    ("platform", "it", &["accounts::", "http::", "sessions::", "tables::every", "--skip", OF_FILES]),
];

/// A test that starts a platform on files by a way of its own.
const OF_FILES: &str = "a_short_set_up_token";

/// Number of them, at least.
const EXPECTED: usize = 32;

pub(crate) fn run(command: &[String]) -> Outcome {
    let start = Instant::now();
    let server = Server::start()?;
    let Some((program, arguments)) = command.split_first() else {
        let tests = tests(&server)?;
        println!("Postgres: {tests} tests pass in {} s", start.elapsed().as_secs());
        return Ok(());
    };
    let mut command = Command::new(program);
    let status = command.args(arguments).env(URL, server.url()).status();
    let status = status.map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
}

/// Runs the tests that need the server, and counts them.
fn tests(server: &Server) -> Result<usize, Box<dyn std::error::Error>> {
    let mut passed = 0;
    for (package, target, arguments) in TESTS {
        let mut program = programs::test(package, target)?;
        let output = program.arg("--quiet").args(arguments).env(URL, server.url()).stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        print!("{text}");
        if !output.status.success() {
            return Err(format!("the tests of {package} on Postgres fail").into());
        }
        let counts = text.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
        passed += counts.filter_map(|count| count.parse::<usize>().ok()).sum::<usize>();
    }
    if passed < EXPECTED {
        return Err(format!("{passed} tests have run on Postgres, {EXPECTED} were expected").into());
    }
    Ok(passed)
}

/// A server that is running. Dropped, it is stopped and its folder removed.
struct Server {
    folder: PathBuf,
    programs: PathBuf,
}

impl Server {
    fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let programs = match programs() {
            Some(programs) => programs,
            None => install()?,
        };
        // A path of a socket has 107 bytes at most, which rules the target folder out.
        let folder = std::env::temp_dir().join(format!("isobar-postgres-{}", std::process::id()));
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let server = Self { folder, programs };
        if is_root() {
            quietly(Command::new("chown").arg("postgres:").arg(&server.folder))?;
        }
        let data = server.folder.join("data");
        let mut init = server.as_user("initdb");
        init.args(["-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "--encoding=UTF8", "-D"]).arg(&data);
        quietly(&mut init)?;
        // Each test has a pool of its own, and as many tests run at once as there are processors.
        let settings = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c max_connections=500 -c fsync=off -c synchronous_commit=off \
             -c full_page_writes=off",
            server.folder.display()
        );
        let log = server.folder.join("log");
        let mut start = server.as_user("pg_ctl");
        start.args(["-w", "-t", "60", "-o", &settings, "-l"]).arg(&log).arg("-D").arg(&data).arg("start");
        // It leaves the server with its own standard output.
        if quietly(start.stdout(Stdio::null())).is_err() {
            let why = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("Postgres does not start: {why}").into());
        }
        Ok(server)
    }

    fn url(&self) -> String {
        format!("postgres://postgres@/postgres?host={}", self.folder.display())
    }

    /// A program of Postgres', as a user that it accepts.
    fn as_user(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("runuser");
        // That user may not be allowed into the workspace, and the programs look for themselves from where they are.
        command.current_dir("/").args(["-u", "postgres", "--"]).arg(program);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.folder.join("data");
        let mut stop = self.as_user("pg_ctl");
        stop.args(["-w", "-m", "immediate", "-D"]).arg(data).arg("stop").stdout(Stdio::null()).stderr(Stdio::null());
        if let Err(error) = stop.status() {
            eprintln!("warning: Postgres was not stopped: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("warning: {} was not removed: {error}", self.folder.display());
        }
    }
}

fn quietly(command: &mut Command) -> Outcome {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// The folder of the newest version's programs.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<_> =
        std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| version(path));
    versions.into_iter().rev().map(|path| path.join("bin")).find(|path| path.join("initdb").exists())
}

fn version(path: &Path) -> u32 {
    path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).unwrap_or_default()
}

fn install() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let sudo: &[&str] = if is_root() { &[] } else { &["sudo"] };
    for arguments in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends", "postgresql"]] {
        let words: Vec<&str> = sudo.iter().copied().chain(["apt-get"]).chain(arguments.iter().copied()).collect();
        quietly(Command::new(words[0]).args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    // Debian starts a server of its own, on a port; this one needs none.
    programs().ok_or_else(|| "the package postgresql has no initdb".into())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0)
}
