//! The native server under hostile clients and under many clients: it stays up and answers the others meanwhile.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::memory;
use crate::http::{Server, ask};
use crate::programs::program;
use crate::{Outcome, run as execute, target};

/// Number of idle connections.
const IDLE: usize = 10_000;
/// Number of clients that send a head byte by byte.
const SLOW: usize = 1000;
/// Number of aborted downloads.
const ABORTED: usize = 500;
/// Time limit for a response meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time after which slow clients must be closed: a head may take 60 s.
const GIVEN_UP: Duration = Duration::from_secs(75);

const CONFIG: &str = "name = \"endurance\"\n[assets]\ndirectory = \"site\"\n";
const LARGE: usize = 10 << 20;

/// The server under test, and the address of its metrics.
struct Served {
    server: Server,
    metrics: String,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if arguments.first().map(String::as_str) != Some("--with-files") {
        return with_files();
    }
    let folder = target().join("endurance");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("site"))?;
    fs::write(folder.join("wrangler.toml"), CONFIG)?;
    fs::write(folder.join("site/index.html"), "home")?;
    fs::write(folder.join("site/large.bin"), vec![7; LARGE])?;
    let isobar = program("isobar")?;
    let served = Served::start(&isobar, &folder)?;
    served.answers("alone")?;
    idle(&served)?;
    slow(&served)?;
    aborted(&served)?;
    greedy(&served)?;
    served.answers("at the end")?;
    drop(served);
    few_files(&isobar, &folder)?;
    println!("the server stays up and answers the others");
    Ok(())
}

/// Runs the tests with the highest limit of open files that the system permits.
fn with_files() -> Outcome {
    let program = std::env::current_exe()?;
    let script = "ulimit -n $(ulimit -Hn) && exec \"$0\" endurance --with-files";
    execute(Command::new("sh").arg("-c").arg(script).arg(program))
}

impl Served {
    fn start(isobar: &Path, folder: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let mut command = Command::new(isobar);
        // The large file exceeds the cache, so it comes from the store.
        command.args(["serve", "--port", "0", "--metrics", "127.0.0.1:0", "--cache", "8"]);
        // All connections come from one address.
        command.args(["--connections-per-address", "25000"]);
        let server = Server::start(command.env("RUST_LOG", "warn").current_dir(folder))?;
        let metrics = server.said("Prometheus metrics on http://").ok_or("it has no numbers")?;
        Ok(Self { server, metrics: metrics.trim_end_matches("/metrics").to_owned() })
    }

    fn connect(&self) -> Result<TcpStream, Box<dyn std::error::Error>> {
        let stream = TcpStream::connect(&self.server.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    }

    /// Checks that twenty requests are answered within the time limit.
    fn answers(&self, when: &str) -> Outcome {
        println!("{when}: answers within {:.1} ms", self.asked(when)?.as_secs_f64() * 1000.0);
        Ok(())
    }

    /// Returns the time of the slowest of twenty responses.
    fn asked(&self, when: &str) -> Result<Duration, Box<dyn std::error::Error>> {
        let mut slowest = Duration::ZERO;
        for number in 0..20 {
            let begun = Instant::now();
            // A cached file, and a route.
            let path = if number % 2 == 0 { "/" } else { "/healthz" };
            let status = ask(&self.server.address, "GET", path, &[], b"")?.status;
            slowest = slowest.max(begun.elapsed());
            if status != 200 {
                return Err(format!("{when}: {path} is answered by {status}").into());
            }
        }
        if slowest > PATIENCE {
            return Err(format!("{when}: an answer took {slowest:?}").into());
        }
        Ok(slowest)
    }

    fn connections(&self) -> Result<usize, Box<dyn std::error::Error>> {
        let text = ask(&self.metrics, "GET", "/metrics", &[], b"")?.text();
        let line = text.lines().find_map(|line| line.strip_prefix("http_connections "));
        Ok(line.ok_or("http_connections is not there")?.parse()?)
    }

    /// Waits until at most this many connections are left.
    fn settles(&self, connections: usize) -> Outcome {
        let until = Instant::now() + Duration::from_secs(60);
        while self.connections()? > connections {
            if Instant::now() > until {
                return Err(format!("{} connections are still open", self.connections()?).into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn memory(&self) -> u64 {
        memory(self.server.pid()) >> 20
    }
}

/// Returns the number of idle connections that the system permits for both sides.
fn count_idle() -> Result<usize, Box<dyn std::error::Error>> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let files: usize = soft.and_then(|files| files.parse().ok()).unwrap_or(usize::MAX);
    // The server keeps a reserve for other files.
    let most = (files / 2).saturating_sub(100);
    if most < IDLE {
        println!("this system lets a process have {files} files open: {most} idle connections, not {IDLE}");
    }
    Ok(IDLE.min(most))
}

fn idle(served: &Served) -> Outcome {
    let before = served.memory();
    let count = count_idle()?;
    let mut idle = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = served.connect()?;
        // Some send a request before they become idle.
        if number % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        }
        idle.push(stream);
    }
    // The last ones wait to be accepted.
    let until = Instant::now() + Duration::from_secs(30);
    let mut open = served.connections()?;
    while open < count {
        if Instant::now() > until {
            return Err(format!("only {open} of {count} connections are open").into());
        }
        std::thread::sleep(Duration::from_millis(100));
        open = served.connections()?;
    }
    served.answers(&format!("beside {open} idle connections"))?;
    println!("  they take {} MiB", served.memory().saturating_sub(before));
    drop(idle);
    served.settles(100)
}

fn slow(served: &Served) -> Outcome {
    let mut slow = (0..SLOW).map(|_| served.connect()).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    let mut alive = SLOW;
    let mut slowest = Duration::ZERO;
    let before = served.memory();
    for at in 0.. {
        for stream in &mut slow {
            let head = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ";
            drop(stream.write_all(&[head.get(at).copied().unwrap_or(b'a')]));
        }
        slowest = slowest.max(served.asked(&format!("beside {alive} clients that send a byte a second"))?);
        alive = served.connections()?;
        let more = served.memory().saturating_sub(before);
        if more > 64 {
            return Err(format!("{SLOW} slow clients take {more} MiB").into());
        }
        if alive < 10 {
            break;
        }
        if begun.elapsed() > GIVEN_UP {
            return Err(format!("{alive} slow clients are still there after {GIVEN_UP:?}").into());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let slowest = slowest.as_secs_f64() * 1000.0;
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "beside {SLOW} clients that send a byte a second: answers within {slowest:.1} ms; they are given up after {seconds:.0} s"
    );
    Ok(())
}

fn aborted(served: &Served) -> Outcome {
    let before = served.memory();
    for _ in 0..ABORTED {
        let mut stream = served.connect()?;
        stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut some = vec![0; 64 << 10];
        stream.read_exact(&mut some)?;
    }
    served.answers(&format!("after {ABORTED} downloads that were broken off"))?;
    served.settles(10)?;
    let more = served.memory().saturating_sub(before);
    if more > 64 {
        return Err(format!("{more} MiB are left of downloads that were broken off").into());
    }
    println!("  they leave {more} MiB");
    Ok(())
}

/// Clients that request much data and read none of it.
fn greedy(served: &Served) -> Outcome {
    let before = served.memory();
    let mut greedy = Vec::new();
    for _ in 0..200 {
        let mut stream = served.connect()?;
        for _ in 0..10 {
            stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")?;
        }
        greedy.push(stream);
    }
    std::thread::sleep(Duration::from_secs(1));
    served.answers("beside 200 clients that read nothing of 100 MiB each")?;
    let more = served.memory().saturating_sub(before);
    println!("  they take {more} MiB");
    if more > 512 {
        return Err("that is too much".into());
    }
    drop(greedy);
    served.settles(10)
}

/// A server with a limit of 256 open files, and more idle connections of one client than that: other clients are answered, and
/// writes succeed.
fn few_files(isobar: &Path, folder: &Path) -> Outcome {
    let mut command = Command::new("sh");
    let script = "ulimit -n 256 && exec \"$0\" serve --port 0 --proxy-protocol";
    let server = Server::start(command.args(["-c", script]).arg(isobar).env("RUST_LOG", "error").current_dir(folder))?;
    let connect = |client: &str| -> Result<TcpStream, Box<dyn std::error::Error>> {
        let mut stream = TcpStream::connect(&server.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("PROXY TCP4 {client} 127.0.0.1 1000 80\r\n").as_bytes())?;
        Ok(stream)
    };
    let answered = |client: &str| -> Result<(String, Duration), Box<dyn std::error::Error>> {
        let begun = Instant::now();
        let mut stream = connect(client)?;
        let mut answer = Vec::new();
        stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\nConnection: close\r\n\r\n")?;
        stream.read_to_end(&mut answer)?;
        Ok((String::from_utf8_lossy(&answer).into_owned(), begun.elapsed()))
    };
    let silent = (0..600).map(|_| connect("203.0.113.9")).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(Duration::from_secs(2)); // those that were refused are gone
    let mut slowest = Duration::ZERO;
    let mut refused = 0;
    for _ in 0..20 {
        let (answer, took) = answered("198.51.100.7")?;
        if !answer.starts_with("HTTP/1.1 206") {
            return Err(
                format!("beside a client with all the connections it gets, another is answered {answer:?}").into()
            );
        }
        slowest = slowest.max(took);
        refused += usize::from(answered("203.0.113.9")?.0.starts_with("HTTP/1.1 503"));
    }
    if slowest > PATIENCE || refused < 20 {
        return Err(
            format!("answers took {slowest:?}; {refused} of 20 connections beyond the limit were refused").into()
        );
    }
    let slowest = slowest.as_secs_f64() * 1000.0;
    let memory = memory(server.pid()) >> 20;
    println!(
        "with 256 files, beside {} silent connections of one client: others are answered within {slowest:.1} ms; {memory} MiB",
        silent.len()
    );
    Ok(())
}
