//! The ways out of a real chromium: nothing leaves it but by the proxy, whatever protocol a page tries.
//!
//! `cargo xtask browser` runs these with the chromium that it finds or installs, named by `CHROMIUM`. Without that variable
//! and without a chromium in the system there is nothing to try.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says when it has nothing to try")]

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use isobar_objects::browser::chromium::Chromium;
use isobar_objects::browser::{BrowserEngine, NetworkPolicy, RenderFormat, RenderJob, conformance};
use serde_json::{Value as Json, json};

const PAGE: &str = include_str!("exits.html");
/// Ways out that the page tries by script.
const TRIED: &str = "tried 22";
/// How long the page has for them, in milliseconds: WebRTC repeats what is not answered.
const TRIES_FOR: u32 = 7000;

/// Listeners on this machine, and what reached them.
struct Listeners {
    udp: u16,
    udp6: u16,
    tcp: u16,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    datagrams: usize,
    /// Connections that our own process has made: the proxy.
    by_proxy: Vec<String>,
    /// Connections of another process: chromium.
    direct: Vec<String>,
}

impl Listeners {
    fn start() -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let listen = |address: &str| {
            let socket = UdpSocket::bind((address, 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            let heard = heard.clone();
            std::thread::spawn(move || {
                let mut datagram = [0; 2048];
                while socket.recv_from(&mut datagram).is_ok() {
                    heard.lock().unwrap().datagrams += 1;
                }
            });
            port
        };
        let udp = listen("127.0.0.1");
        let udp6 = listen("::1");
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let tcp = listener.local_addr().unwrap().port();
        let listeners = Self { udp, udp6, tcp, heard: heard.clone() };
        let page = listeners.page();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let heard = heard.clone();
                let page = page.clone();
                std::thread::spawn(move || answer(stream.unwrap(), &page, &heard));
            }
        });
        listeners
    }

    fn page(&self) -> String {
        let Self { udp, udp6, tcp, .. } = self;
        let page = PAGE.replace("@UDP@", &udp.to_string()).replace("@UDP6@", &udp6.to_string());
        page.replace("@TCP@", &tcp.to_string())
    }
}

/// Answers one request, with everything in its head that makes a browser report or upgrade.
fn answer(mut stream: TcpStream, page: &str, heard: &Mutex<Heard>) {
    let port = stream.peer_addr().unwrap().port();
    let is_ours = has_socket(port);
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut head = [0; 4096];
    let length = stream.read(&mut head).unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    let mut heard = heard.lock().unwrap();
    if is_ours {
        heard.by_proxy.push(line.clone());
    } else {
        heard.direct.push(line.clone());
    }
    drop(heard);
    let own = stream.local_addr().unwrap();
    let (kind, body) = match line.split(' ').nth(1).unwrap_or_default() {
        "/page" | "/prerendered" => ("text/html", page.to_owned()),
        "/worker.js" => ("text/javascript", format!("fetch('http://{own}/from-service-worker', {{mode: 'no-cors'}})")),
        "/download" => ("application/octet-stream\r\nContent-Disposition: attachment", "x".to_owned()),
        "/document.pdf" => ("application/pdf", "%PDF-1.4".to_owned()),
        _ => ("text/plain", String::new()),
    };
    let reports = json!({"group": "r", "max_age": 600, "endpoints": [{"url": format!("https://{own}/nel")}]});
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nAlt-Svc: h3=\"{own}\"; ma=600\r\nReport-To: {reports}\r\n\
         NEL: {{\"report_to\": \"r\", \"max_age\": 600, \"success_fraction\": 1.0}}\r\n\
         Reporting-Endpoints: d=\"https://{own}/reports\"\r\n\
         Content-Security-Policy-Report-Only: default-src 'none'; report-uri http://{own}/csp; report-to d\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).ok(); // a browser that has seen enough may be gone
}

/// Whether a socket of this process has the local port.
fn has_socket(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let inodes: Vec<_> =
        rows.filter(|row| row[1].ends_with(&local)).map(|row| format!("socket:[{}]", row[9])).collect();
    let files =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    files.into_iter().any(|file| inodes.iter().any(|inode| file == Path::new(inode)))
}

/// The contents of chromium's own log of its network.
#[derive(Debug, Default)]
struct NetLog {
    connected_to: BTreeSet<String>,
    datagrams: usize,
    lookups: Vec<String>,
}

impl NetLog {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        let constants = format!("{}}}", lines.next().unwrap().trim_end_matches(','));
        let constants: Json = serde_json::from_str(&constants).unwrap();
        let types = constants["constants"]["logEventTypes"].as_object().unwrap();
        let names: HashMap<i64, &str> = types.iter().map(|(name, id)| (id.as_i64().unwrap(), name.as_str())).collect();
        for name in ["TCP_CONNECT_ATTEMPT", "UDP_BYTES_SENT", "DNS_TRANSACTION", "HOST_RESOLVER_SYSTEM_TASK"] {
            assert!(types.contains_key(name), "this chromium's log knows no {name}: look what it calls it");
        }
        let mut log = Self::default();
        // The last line may be cut off: chromium is killed.
        for event in lines.filter_map(|line| serde_json::from_str::<Json>(line.trim_end_matches(',')).ok()) {
            let address = event["params"]["address"].as_str();
            match names.get(&event["type"].as_i64().unwrap_or(-1)).copied().unwrap_or_default() {
                "TCP_CONNECT_ATTEMPT" => log.connected_to.extend(address.map(str::to_owned)),
                "UDP_BYTES_SENT" => log.datagrams += 1,
                name @ ("DNS_TRANSACTION" | "HOST_RESOLVER_SYSTEM_TASK") => {
                    log.lookups.push(format!("{name} {}", event["params"]));
                }
                _ => {}
            }
        }
        log
    }
}

fn chromium() -> Option<PathBuf> {
    let found = Chromium::find().map(|chromium| chromium.program().to_owned());
    assert!(found.is_some() || std::env::var_os("CHROMIUM").is_none(), "CHROMIUM names no file");
    if found.is_none() {
        eprintln!("there is no chromium here: nothing is tried");
    }
    found
}

/// Renders a page that tries every way out; what the listeners and chromium's own log have seen of it.
async fn tried(network: NetworkPolicy, more: &str, job: impl FnOnce(&Listeners) -> Json) -> Option<(Heard, NetLog)> {
    let program = chromium()?;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("chromium.sh");
    let log = folder.path().join("net.json");
    let text = format!("#!/bin/sh\nexec {} \"$@\" --log-net-log={} {more}\n", program.display(), log.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let listeners = Listeners::start();
    let browsers = Chromium::at(script).with_network_policy(network);
    let session = browsers.open("ada", TimeDelta::minutes(1)).await.unwrap();
    let job: RenderJob = serde_json::from_value(job(&listeners)).unwrap();
    let rendered = browsers.render(&session, &job.with_format(RenderFormat::Content)).await.unwrap();
    let html = String::from_utf8_lossy(&rendered.bytes);
    assert!(html.contains(TRIED), "the page did not try all: {html}");
    browsers.close(&session).await.unwrap();
    let heard = std::mem::take(&mut *listeners.heard.lock().unwrap());
    Some((heard, NetLog::read(&log)))
}

fn html(listeners: &Listeners) -> Json {
    json!({"html": listeners.page(), "wait_ms": TRIES_FOR})
}

fn url(listeners: &Listeners) -> Json {
    json!({"url": format!("http://localhost:{}/page", listeners.tcp), "wait_ms": TRIES_FOR})
}

/// Chromium itself has sent nothing but to its proxy, and has looked up no name.
fn assert_only_the_proxy(heard: &Heard, log: &NetLog) {
    assert_eq!(heard.datagrams, 0, "datagrams reached this machine: {heard:?}");
    assert!(heard.direct.is_empty(), "connections beside the proxy: {heard:?}");
    assert_eq!(log.datagrams, 0, "datagrams were sent: {log:?}");
    assert!(log.lookups.is_empty(), "names were looked up: {log:?}");
    assert!(log.connected_to.len() <= 1, "connections beside the proxy's: {log:?}");
    assert!(log.connected_to.iter().all(|address| address.starts_with("127.0.0.1:")), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_conforms() {
    let Some(program) = chromium() else { return };
    let browsers = Chromium::at(program);
    conformance::run(async || Arc::new(browsers.clone()) as _).await.assert_green();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_may_reach_the_public_alone_reaches_no_port_of_this_machine() {
    let Some((heard, log)) = tried(NetworkPolicy::Public, "", html).await else { return };
    assert_only_the_proxy(&heard, &log);
    assert!(heard.by_proxy.is_empty(), "the proxy let something through: {heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_may_reach_this_machine_reaches_it_by_the_proxy_alone() {
    let Some((heard, log)) = tried(NetworkPolicy::Everything, "", url).await else { return };
    assert_only_the_proxy(&heard, &log);
    for way in ["/fetch", "/events", "/worker", "/socket"] {
        let came = heard.by_proxy.iter().any(|line| line.contains(way));
        assert!(came, "{way} did not come by the proxy, so it may not have been tried: {heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listeners_hear_webrtc_where_its_policy_is_taken_away() {
    let without = "--webrtc-ip-handling-policy=default";
    let Some((heard, log)) = tried(NetworkPolicy::Public, without, html).await else { return };
    assert!(heard.datagrams > 0 && log.datagrams > 0, "the test would not notice WebRTC: {heard:?}, {log:?}");
}
