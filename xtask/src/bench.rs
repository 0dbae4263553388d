//! Compares the native server with others on the same bytes, in one run: `cargo xtask bench serve`.
//!
//! With `--against PROGRAM`, another build of `isobar` takes part, for what a change costs.
//!
//! The load generator shares the processors with the server, which reduces differences in requests per second. The headline is
//! the server's processor time for a request, which is not affected.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::http::listens;
use crate::{Outcome, cargo, run as execute, target};

const ROUNDS: usize = 3;
const SECONDS: u32 = 2;
const FILES: [(&str, usize); 4] =
    [("1k.bin", 1 << 10), ("16k.bin", 16 << 10), ("256k.bin", 256 << 10), ("10m.bin", 10 << 20)];
const CONFIG: &str =
    "name = \"bench\"\n[assets]\ndirectory = \"site\"\n[[analytics_engine_datasets]]\nbinding = \"EVENTS\"\n";
const HEADERS: &str = "/*\n  X-Frame-Options: DENY\n/none/:name\n  X-Name: :name\n";
const REDIRECTS: &str = "/old /new 301\n/blog/* /posts/:splat\n";

/// A server under load, killed when dropped.
struct Contender {
    name: &'static str,
    process: Child,
    port: u16,
    /// Port for HTTP/2 without TLS, if it has one.
    http2: Option<u16>,
}

impl Contender {
    fn with_http2(mut self, port: u16) -> Self {
        self.http2 = Some(port);
        self
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // nginx ends its children when it ends.
        drop(Command::new("kill").arg(self.process.id().to_string()).status());
        drop(self.process.wait());
    }
}

/// A row of the table: one kind of request.
struct Row {
    what: &'static str,
    file: &'static str,
    connections: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Whole,
    NotModified,
    Range,
    /// Over HTTP/2 without TLS: 8 requests at once on each connection, by h2load.
    Http2,
}

/// The measurements of one round.
#[derive(Clone, Copy, Default)]
pub(crate) struct Measured {
    /// Requests per second.
    pub(crate) rate: f64,
    /// 99th percentile of the latency in milliseconds; `None` with h2load, which does not report it.
    pub(crate) p99: Option<f64>,
    /// Processor time of the server for a request, in microseconds.
    pub(crate) cpu: f64,
    /// Processor time of the whole machine for a request, in microseconds, including the load generator and the kernel.
    machine: f64,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if arguments.first().map(String::as_str) != Some("serve") {
        return Err(
            "there are `cargo xtask bench serve [--against PROGRAM]`, `bench analytics`, `bench db`, `bench s3`, `bench rest` and `bench sessions`"
                .into()
        );
    }
    let earlier = arguments.iter().skip_while(|argument| *argument != "--against").nth(1);
    let folder = std::path::absolute(target().join("bench-serve"))?;
    prepare(&folder)?;
    let mut contenders = vec![isobar(&folder)?, nginx(&folder)?, serve_dir(&folder)?, static_web_server(&folder)?];
    if let Some(program) = earlier {
        contenders.push(isobar_from(Path::new(program), "other-isobar", &folder.join("other"), 8096)?);
    }
    std::thread::sleep(Duration::from_secs(1));
    let row = |what, file, connections, kind| Row { what, file, connections, kind };
    let rows = [
        row("1 KiB", "1k.bin", 64, Kind::Whole),
        row("1 KiB, 1000 connections", "1k.bin", 1000, Kind::Whole),
        row("16 KiB", "16k.bin", 64, Kind::Whole),
        row("256 KiB", "256k.bin", 64, Kind::Whole),
        row("10 MiB", "10m.bin", 16, Kind::Whole),
        row("304 of 16 KiB", "16k.bin", 64, Kind::NotModified),
        row("1 KiB of 256 KiB", "256k.bin", 64, Kind::Range),
        row("1 KiB by HTTP/2", "1k.bin", 16, Kind::Http2),
        row("16 KiB by HTTP/2", "16k.bin", 16, Kind::Http2),
    ];
    let [rate, p99, cpu, ratio, machine] = ["requests/s", "p99 ms", "us CPU each", "isobar's", "the machine's"];
    println!("{:26} {:>18} {rate:>12} {p99:>10} {cpu:>12} {ratio:>8} {machine:>14}", "", "");
    for row in rows {
        measure(&row, &contenders)?;
    }
    for contender in &contenders {
        println!(
            "{:18} {:>6} MiB of memory",
            contender.name,
            family(contender.process.id()).iter().map(|pid| memory(*pid)).sum::<u64>() >> 20
        );
    }
    Ok(())
}

/// Runs a row on each contender in turn and prints the medians of the rounds.
fn measure(row: &Row, contenders: &[Contender]) -> Outcome {
    let mut measured = vec![Vec::new(); contenders.len()];
    for round in 0..ROUNDS {
        // The order rotates, so that no contender is always first.
        for index in 0..contenders.len() {
            let index = (index + round) % contenders.len();
            match row.kind {
                Kind::Http2 if contenders[index].http2.is_none() => {}
                Kind::Http2 => measured[index].push(load_http2(&contenders[index], row)?),
                _ => measured[index].push(load(&contenders[index], row)?),
            }
        }
    }
    let median = |rounds: &[Measured], of: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ours = median(&measured[0], |one| one.cpu);
    for (contender, rounds) in contenders.iter().zip(&measured).filter(|(_, rounds)| !rounds.is_empty()) {
        let rate = median(rounds, |one| one.rate);
        let cpu = median(rounds, |one| one.cpu);
        let has_p99 = rounds.iter().all(|one| one.p99.is_some());
        let p99 = has_p99.then(|| format!("{:.2}", median(rounds, |one| one.p99.unwrap_or_default())));
        let p99 = p99.unwrap_or_default();
        let what = if contender.name == contenders[0].name { row.what } else { "" };
        let name = contender.name;
        let machine = median(rounds, |one| one.machine);
        println!("{what:26} {name:>18} {rate:>12.0} {p99:>10} {cpu:>12.2} {:>7.2}x {machine:>14.2}", cpu / ours);
    }
    Ok(())
}

fn load(contender: &Contender, row: &Row) -> Result<Measured, Box<dyn std::error::Error>> {
    let url = format!("http://127.0.0.1:{}/{}", contender.port, row.file);
    let header = match row.kind {
        Kind::Whole | Kind::Http2 => None,
        Kind::Range => Some("Range: bytes=1000-2023".to_owned()),
        Kind::NotModified => {
            let address = format!("127.0.0.1:{}", contender.port);
            let answer = crate::http::ask(&address, "GET", &format!("/{}", row.file), &[], b"")?;
            let of =
                |name: &str| answer.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
            let etag = of("etag").map(|etag| format!("If-None-Match: {etag}"));
            Some(
                etag.or(of("last-modified").map(|date| format!("If-Modified-Since: {date}")))
                    .ok_or("it has no validator")?,
            )
        }
    };
    let connections = format!("-c{}", row.connections);
    let time = format!("-d{SECONDS}s");
    let mut arguments = vec![connections.as_str(), &time];
    if let Some(header) = &header {
        arguments.extend(["-H", header]);
    }
    wrk(contender.process.id(), &arguments, &url)
        .map_err(|error| format!("{} of {}: {error}", row.what, contender.name).into())
}

/// Measures the server of this process by wrk, on one thread.
pub(crate) fn wrk(pid: u32, arguments: &[&str], url: &str) -> Result<Measured, Box<dyn std::error::Error>> {
    let before = Spent::now(pid)?;
    let output = Command::new("wrk").args(["-t1", "--latency"]).args(arguments).arg(url).output()?;
    let spent = Spent::now(pid)?.since(before);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |prefix: &str| told.lines().map(str::trim).find_map(|line| line.strip_prefix(prefix));
    let failed = || format!("wrk printed {told}{}", String::from_utf8_lossy(&output.stderr));
    let rate: f64 = line("Requests/sec:").and_then(|rate| rate.trim().parse().ok()).ok_or_else(failed)?;
    let p99 = Some(line("99%").and_then(|time| milliseconds(time.trim())).ok_or_else(failed)?);
    let requests: f64 =
        told.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok()).ok_or_else(failed)?;
    if let Some(refused) = line("Non-2xx or 3xx responses:") {
        return Err(format!("{} requests failed", refused.trim()).into());
    }
    let (cpu, machine) = spent.each(requests);
    Ok(Measured { rate, p99, cpu, machine })
}

/// Measures a contender over HTTP/2.
fn load_http2(contender: &Contender, row: &Row) -> Result<Measured, Box<dyn std::error::Error>> {
    let url = format!("http://127.0.0.1:{}/{}", contender.http2.unwrap_or(contender.port), row.file);
    let mut h2load = Command::new("h2load");
    h2load.args(["-t1", "-m8", &format!("-c{}", row.connections), &format!("-D{SECONDS}"), &url]);
    let before = Spent::now(contender.process.id())?;
    let output = h2load.output()?;
    let spent = Spent::now(contender.process.id())?.since(before);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = || format!("h2load says of {}: {told}{}", contender.name, String::from_utf8_lossy(&output.stderr));
    let line = |prefix: &str| told.lines().map(str::trim).find_map(|line| line.strip_prefix(prefix));
    // `2xx, 0 3xx, ...`: only 2xx responses count.
    let requests = line("status codes:").and_then(|codes| codes.split_whitespace().next()?.parse::<f64>().ok());
    let requests = requests.filter(|requests| *requests > 0.0).ok_or_else(failed)?;
    let (cpu, machine) = spent.each(requests);
    Ok(Measured { rate: requests / f64::from(SECONDS), p99: None, cpu, machine })
}

/// Parses wrk's durations: `1.23ms`, `450.00us`, `1.20s`.
fn milliseconds(time: &str) -> Option<f64> {
    let of = |unit: &str, factor: f64| Some(time.strip_suffix(unit)?.parse::<f64>().ok()? * factor);
    of("us", 0.001).or_else(|| of("ms", 1.0)).or_else(|| of("s", 1000.0))
}

/// Returns a process and its children.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
}

/// Processor time in seconds.
#[derive(Clone, Copy)]
struct Spent {
    server: f64,
    machine: f64,
}

impl Spent {
    fn now(pid: u32) -> Result<Self, Box<dyn std::error::Error>> {
        // user, nice, system, idle, iowait, irq, softirq
        let stat = fs::read_to_string("/proc/stat")?;
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let ticks: Vec<u64> = fields.take(7).filter_map(|ticks| ticks.parse().ok()).collect();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        let machine = (ticks.iter().sum::<u64>() - idle) as f64 / 100.0;
        Ok(Self { server: processor_time(pid)?, machine })
    }

    fn since(self, before: Self) -> Self {
        Self { server: self.server - before.server, machine: self.machine - before.machine }
    }

    /// Returns the times for each request, in microseconds.
    fn each(self, requests: f64) -> (f64, f64) {
        (self.server * 1e6 / requests, self.machine * 1e6 / requests)
    }
}

/// Returns the processor time of a server and its children in seconds.
pub(crate) fn processor_time(pid: u32) -> Result<f64, Box<dyn std::error::Error>> {
    let mut ticks = 0;
    for pid in family(pid) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The fields after the name, which may have spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
        ticks += field(11) + field(12);
    }
    Ok(ticks as f64 / 100.0)
}

/// Returns the memory of a process in bytes: its resident set and its files in memory.
pub(crate) fn memory(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let in_memory =
        files.filter(|file| fs::read_link(file.path()).is_ok_and(|to| to == Path::new("/memfd:isobar-site (deleted)")));
    let blocks: u64 = in_memory.filter_map(|file| Some(fs::metadata(file.path()).ok()?.blocks())).sum();
    pages * 4096 + blocks * 512
}

fn prepare(folder: &Path) -> Outcome {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    for project in [folder, &folder.join("other")] {
        fs::create_dir_all(project.join("site"))?;
        for (name, size) in FILES {
            let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            fs::write(project.join("site").join(name), bytes)?;
        }
        fs::write(project.join("wrangler.toml"), CONFIG)?;
        fs::write(project.join("site/_headers"), HEADERS)?;
        fs::write(project.join("site/_redirects"), REDIRECTS)?;
    }
    [("nginx", "nginx-light"), ("wrk", "wrk"), ("h2load", "nghttp2-client")]
        .into_iter()
        .try_for_each(|(program, package)| install(program, package))
}

/// Installs a program of Debian's if it is missing.
pub(crate) fn install(program: &str, package: &str) -> Outcome {
    if Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        execute(Command::new("apt-get").args(["install", "-y", "-q", package]))?;
    }
    Ok(())
}

fn start(name: &'static str, port: u16, command: &mut Command) -> Result<Contender, Box<dyn std::error::Error>> {
    let log = fs::File::create(target().join(format!("bench-serve/{name}.log")))?;
    let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    let process = process.map_err(|error| format!("{command:?}: {error}"))?;
    let contender = Contender { name, process, port, http2: None };
    match listens(&format!("127.0.0.1:{port}")) {
        true => Ok(contender),
        false => Err(format!("{name} does not answer on port {port}; see target/bench-serve/{name}.log").into()),
    }
}

fn isobar(folder: &Path) -> Result<Contender, Box<dyn std::error::Error>> {
    execute(cargo().args(["build", "--quiet", "--profile", "dist", "--package", "isobar-cli"]))?;
    isobar_from(&std::path::absolute(target().join("dist/isobar"))?, "isobar", folder, 8091)
}

/// Starts one build of `isobar` in a project of its own.
fn isobar_from(
    program: &Path,
    name: &'static str,
    project: &Path,
    port: u16,
) -> Result<Contender, Box<dyn std::error::Error>> {
    // No log line for each request, as with the others.
    let mut command = Command::new(program);
    let command = command.args(["serve", "--port", &port.to_string()]).env("RUST_LOG", "warn").current_dir(project);
    Ok(start(name, port, command)?.with_http2(port))
}

fn nginx(folder: &Path) -> Result<Contender, Box<dyn std::error::Error>> {
    let shown = folder.display();
    let config = format!(
        "worker_processes 2; pid {shown}/nginx.pid; error_log {shown}/nginx-error.log; daemon off;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000;\n\
         open_file_cache max=1000; open_file_cache_valid 60s; client_body_temp_path {shown}/nginx; proxy_temp_path {shown}/nginx;\n\
         server {{ listen 127.0.0.1:8092 reuseport; listen 127.0.0.1:8095 http2 reuseport; root {shown}/site; }} }}\n"
    );
    let file: PathBuf = folder.join("nginx.conf");
    fs::write(&file, config)?;
    Ok(start("nginx", 8092, Command::new("nginx").arg("-c").arg(file))?.with_http2(8095))
}

fn serve_dir(folder: &Path) -> Result<Contender, Box<dyn std::error::Error>> {
    let example = ["--package", "isobar-http-serve", "--features", "native", "--example", "serve_dir"];
    execute(cargo().args(["build", "--quiet", "--profile", "dist"]).args(example))?;
    let program = target().join("dist/examples/serve_dir");
    start("ServeDir", 8093, Command::new(program).arg(folder.join("site")).arg("8093"))
}

fn static_web_server(folder: &Path) -> Result<Contender, Box<dyn std::error::Error>> {
    let tools = std::path::absolute(target().join("tools"))?;
    let program = tools.join("bin/static-web-server");
    if !program.exists() {
        println!("installing static-web-server");
        execute(cargo().args(["install", "--quiet", "--locked", "--root"]).arg(&tools).arg("static-web-server"))?;
    }
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", "8094", "--log-level", "error", "--root"]).arg(folder.join("site"));
    start("static-web-server", 8094, &mut command)
}
