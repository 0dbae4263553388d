//! A minimal HTTP client for comparing responses, and servers that end with the task.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::Outcome;

/// A server process that prints its address.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    /// Lines that it has printed.
    lines: Arc<Mutex<Vec<String>>>,
    /// Whether it ends itself and its children when its standard input is closed.
    pub(crate) watches_input: bool,
}

/// A response of a server.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Headers, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Returns the values of a header, joined by `, `.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(one, _)| one == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        // A server that watches its input ends with this process, also when that is killed.
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.map_err(|error| format!("{command:?}: {error}"))?;
        let output = process.stdout.take().ok_or("a piped output is there")?;
        let mut lines = Vec::new();
        let mut address = None;
        let mut reader = BufReader::new(output).lines().map_while(Result::ok);
        while address.is_none() {
            let Some(line) = reader.next() else {
                return Err(format!("{command:?} ended without serving:\n{}", lines.join("\n")));
            };
            address =
                line.strip_prefix("serving on http://").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
            lines.push(line);
        }
        let lines = Arc::new(Mutex::new(lines));
        let later = Arc::clone(&lines);
        // Read its later output, so that it never blocks on a full pipe.
        std::thread::spawn(move || reader.for_each(|line| later.lock().expect("no holder panics").push(line)));
        Ok(Self { process, address: address.unwrap_or_default(), lines, watches_input: false })
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns the rest of the first line with this prefix.
    pub(crate) fn said(&self, prefix: &str) -> Option<String> {
        self.printed().iter().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned)
    }

    /// Returns the lines that it has printed.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.lines.lock().expect("no holder panics").clone()
    }

    /// Sends a GET. Returns status, head in lower case, and body.
    pub(crate) fn get(&self, path: &str) -> std::io::Result<(u16, String, Vec<u8>)> {
        let answer = ask(&self.address, "GET", path, &[], b"")?;
        let head: Vec<_> =
            answer.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_lowercase())).collect();
        Ok((answer.status, head.join("\r\n"), answer.body))
    }

    pub(crate) fn wait(mut self) -> Outcome {
        // Waiting would close the input, which would end the server.
        let input = self.process.stdin.take();
        self.process.wait()?;
        drop(input);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while self.watches_input && std::time::Instant::now() < deadline {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It may have ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Returns a free port.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until the address accepts connections; returns false after 30 seconds.
pub(crate) fn listens(address: &str) -> bool {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while std::time::Instant::now() < deadline {
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// A process that is killed when this is dropped.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Sends a request and reads the whole response.
pub(crate) fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    // A server that refuses early may close the connection before it has read everything.
    stream.write_all(body).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    parse(&answer).ok_or_else(|| std::io::Error::other(format!("{method} {path}: no HTTP response")))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let rest = &answer[end + 4..];
    let body = if chunked { unchunk(rest)? } else { rest.to_vec() };
    Some(Answer { status, headers, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
