//! Tests of `isobar serve` and `isobar deploy` by requests to the site.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{CONFIG, folder, ok, refused, run};

/// A running `isobar serve`, stopped when this is dropped.
pub(crate) struct Served {
    process: Child,
    address: String,
    /// Lines that were printed before that of the address.
    pub(crate) said: Vec<String>,
}

impl Served {
    /// Starts a server in this folder with additional arguments and environment variables. Logs only warnings.
    pub(crate) fn start(here: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_isobar"))
            .args(["serve", "--port", "0"])
            .args(arguments)
            .env("RUST_LOG", "warn")
            .envs(variables.iter().copied())
            .current_dir(here)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let address =
                line.strip_prefix("serving on http://").and_then(|rest| rest.split(' ').next().map(str::to_owned));
            said.push(line);
            address
        });
        Self { process, address: address.unwrap(), said }
    }

    fn ask(&self, head: &str, body: &str) -> String {
        ask(&self.address, head, body)
    }

    /// Requests a path until the answer has this end. A deploy by another process is visible within 50 ms.
    fn wait_for(&self, path: &str, end: &str) -> String {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let mut answer = self.get(path);
        while !answer.ends_with(end) && std::time::Instant::now() < until {
            answer = self.get(path);
        }
        assert!(answer.ends_with(end), "{path}: {answer}");
        answer
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1"), "")
    }

    /// Ends the server as a supervisor does, and waits for its end.
    #[cfg(unix)]
    pub(crate) fn terminate(mut self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }

    /// Stops the server and returns its log.
    pub(crate) fn end(mut self) -> String {
        self.process.kill().unwrap();
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

/// Sends a request, given by its head without `Host` and its body, and returns the response.
pub(crate) fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn the_site_of_a_configuration_is_served() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("public")).unwrap();
    for (name, text) in [
        ("index.html", "from the assets"),
        ("about.html", "about"),
        ("_headers", "/*\n  X-Site: ours\nnonsense\n"),
        ("_redirects", "/old /about 301\n"),
        (".assetsignore", "*.map\n"),
        ("app.js.map", "not for the world"),
    ] {
        fs::write(here.join("public").join(name), text).unwrap();
    }
    let assets = "[assets]\ndirectory = \"public\"\nnot_found_handling = \"single-page-application\"\n";
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}{assets}")).unwrap();
    let server = Served::start(here, &[], &[]);
    let get = |path: &str| server.get(path);
    let home = get("/");
    let of_the_site = ["/about.html", "/old", "/somewhere", "/app.js.map", "/_headers", "/api/none"].map(get);
    // A signed URL permits reading and writing in a bucket that is not served otherwise.
    let path = |method: &str| {
        let url = ok(here, &["r2", "presign", "STORAGE/in/box.txt", "--method", method, "--expires", "5m"]);
        assert!(url.starts_with("http://127.0.0.1:8787/r2/assets/in/box.txt?expires="), "{url}");
        url.trim().trim_start_matches("http://127.0.0.1:8787").to_owned()
    };
    let put = server.ask(&format!("PUT {} HTTP/1.1\r\nContent-Length: 6", path("put")), "signed");
    let got = get(&path("get"));
    let unsigned = get("/r2/assets/in/box.txt");
    let warnings = server.end();
    assert!(warnings.contains("warning: _headers, line 3: a header is `Name: value`"), "{warnings}");
    assert!(home.starts_with("HTTP/1.1 200") && home.ends_with("from the assets"), "{home}");
    assert!(home.contains("x-site: ours"), "{home}");
    let statuses = of_the_site.each_ref().map(|answer| &answer[9..12]);
    assert_eq!(statuses, ["307", "301", "200", "404", "200", "404"], "{of_the_site:?}");
    assert!(of_the_site[1].contains("location: /about\r\n") && of_the_site[2].ends_with("from the assets"));
    assert!(of_the_site[4].ends_with("from the assets"), "files of rules are not served: {}", of_the_site[4]);
    assert!(of_the_site[5].contains("problem+json"), "{}", of_the_site[5]);
    assert!(put.starts_with("HTTP/1.1 200"), "{put}");
    assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("signed"), "{got}");
    assert!(unsigned.starts_with("HTTP/1.1 403"), "{unsigned}");
    assert_eq!(ok(here, &["r2", "object", "get", "STORAGE/in/box.txt", "--pipe"]), "signed");
    assert!(refused(here, &["r2", "presign", "assets/a", "--expires", "8d"]).contains("seven days"));
}

#[test]
fn rules_that_are_edited_are_in_force_at_once_unless_they_are_invalid() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("public")).unwrap();
    let write = |name: &str, text: &str| fs::write(here.join("public").join(name), text).unwrap();
    write("index.html", "home");
    write("_headers", "/*\n  X-Rule: one\n");
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"public\"\n")).unwrap();
    let server = Served::start(here, &[], &[]);
    let until = |path: &str, part: &str| {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let mut answer = server.get(path);
        while !answer.contains(part) && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(20));
            answer = server.get(path);
        }
        assert!(answer.contains(part), "{path}: {answer}");
        answer
    };
    until("/", "x-rule: one\r\n");
    write("_headers", "/*\n  X-Rule: two\n");
    until("/", "x-rule: two\r\n");
    write("_redirects", "/old /new 302\n");
    until("/old", "location: /new\r\n");
    // Invalid, with a page by which one sees that the folder was looked at.
    write("_headers", "/*\n  X-Rule: three\nnonsense\n");
    write("index.html", "changed");
    until("/", "\r\n\r\nchanged");
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert!(server.get("/").contains("x-rule: two\r\n"), "{}", server.get("/"));
    write("_headers", "/*\n  X-Rule: four\n");
    until("/", "x-rule: four\r\n");
    let log = server.end();
    assert!(log.contains("warning: _headers, line 3: a header is `Name: value`"), "{log}");
    assert!(log.contains("the earlier rules of _headers stay in force"), "{log}");
    assert!(log.contains("note: _redirects has changed; its rules are in force"), "{log}");
}

#[test]
fn site_is_deployed_and_rolled_back_while_served() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("wrangler.toml"), CONFIG).unwrap();
    let write = |name: &str, text: &str| {
        let path = here.join("dist").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("index.html", "the first");
    write("app-3f9a1c2b.js", "first()");
    write("_headers", "/*\n  X-Deploy: one\nnonsense\n");
    write(".assetsignore", "*.map\n");
    write("app.js.map", "not for the world");
    let deployed = run(here, &["deploy", "dist", "STORAGE/static", "--message", "the first one"]);
    let warnings = String::from_utf8(deployed.stderr).unwrap();
    assert!(warnings.contains("warning: _headers, line 3: a header is `Name: value`"), "{warnings}");
    let told = String::from_utf8(deployed.stdout).unwrap();
    assert!(told.contains("2 files") && told.contains("2 uploaded"), "{told}");
    assert!(ok(here, &["deploy", "dist", "STORAGE/static"]).starts_with("nothing has changed"));

    let server = Served::start(here, &["--server-timing"], &[]);
    let seen = |path: &str, end: &str| server.wait_for(path, end);
    let first = seen("/", "the first");
    assert!(
        first.contains("x-deploy: one\r\n") && first.contains("server-timing: rule;desc=file, cache;desc="),
        "{first}"
    );
    assert!(first.contains("binding;desc=\"STORAGE\""), "{first}");
    assert!(server.get("/app.js.map").starts_with("HTTP/1.1 404"));
    write("index.html", "the second");
    fs::remove_file(here.join("dist/app-3f9a1c2b.js")).unwrap();
    let second = ok(here, &["deploy", "dist", "STORAGE/static", "--json"]);
    let second: serde_json::Value = serde_json::from_str(&second).unwrap();
    assert_eq!((&second["uploaded"], &second["deploy"]["is_current"]), (&1.into(), &true.into()));
    seen("/", "the second");
    seen("/app-3f9a1c2b.js", "first()");

    // Syncing files to the same prefix deletes nothing of the deploys.
    let synced = run(here, &["r2", "sync", "dist", "STORAGE/static", "--delete"]);
    let warned = String::from_utf8(synced.stderr).unwrap();
    assert!(synced.status.success() && warned.contains("warning: STORAGE/static has deploys"), "{warned}");
    let list = ok(here, &["deploy", "list", "STORAGE/static"]);
    assert!(list.lines().count() == 4 && list.contains("the first one"), "{list}");
    let told = ok(here, &["deploy", "rollback", "STORAGE/static"]);
    seen("/", "the first");
    assert!(told.contains(" now"), "{told}");
    ok(here, &["deploy", "rollback", "STORAGE/static", second["deploy"]["id"].as_str().unwrap()]);
    let pruned = ok(here, &["deploy", "prune", "STORAGE/static", "--keep", "1"]);
    assert!(pruned.starts_with("1 deploys and 3 objects deleted"), "{pruned}");
    seen("/", "the second");
    assert!(seen("/app-3f9a1c2b.js", "not found\n").starts_with("HTTP/1.1 404"));
}

#[test]
fn deploy_names_a_missing_bucket_deploy_folder_target_or_key() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("wrangler.toml"), CONFIG).unwrap();
    fs::create_dir(here.join("dist")).unwrap();
    fs::write(here.join("dist/index.html"), "the first").unwrap();
    ok(here, &["deploy", "dist", "STORAGE/static"]);
    assert_eq!(ok(here, &["deploy", "list", "STORAGE/other"]), "nothing has been deployed to STORAGE/other\n");
    assert!(refused(here, &["deploy", "list", "nowhere/static"]).contains("there is no bucket nowhere here"));
    assert!(refused(here, &["deploy", "rollback", "STORAGE/static", "2001"]).contains("there is no deploy \"2001\""));
    assert!(refused(here, &["deploy", "nowhere", "STORAGE/static"]).contains("nowhere"));
    assert!(refused(here, &["deploy", "dist"]).contains("TARGET"));
    let remote = refused(here, &["deploy", "list", "STORAGE/static", "--remote"]);
    assert!(remote.contains("needs R2_ACCESS_KEY_ID (or AWS_ACCESS_KEY_ID) in the environment"), "{remote}");
}

/// Runs an OpenTelemetry collector until it has received all of these.
fn collected(collector: std::net::TcpListener, wanted: &'static [&'static [u8]]) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let has = |all: &[u8], part: &[u8]| all.windows(part.len()).any(|window| window == part);
        while !wanted.iter().all(|part| has(&all, part)) {
            let (mut stream, _) = collector.accept().unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let read = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
                let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
                assert!(head.starts_with("post /v1/traces "), "{head}");
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if request.len() == end + 4 + length.parse::<usize>().unwrap() {
                    break;
                }
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            all.extend_from_slice(&request);
        }
        all
    })
}

#[test]
fn each_request_is_a_span_of_the_trace_it_comes_with() {
    const TRACE: &[u8] =
        &[0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c];
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("public")).unwrap();
    fs::write(here.join("public/index.html"), "home").unwrap();
    fs::write(here.join("wrangler.toml"), format!("{CONFIG}[assets]\ndirectory = \"public\"\n")).unwrap();
    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let collected = collected(collector, &[TRACE, b"GET site", b"GET /healthz", b"url.path", b"the platform"]);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_SERVICE_NAME", "the platform"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let server = Served::start(here, &[], &variables);
    let get = |path: &str| {
        let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let answer = server.ask(&format!("GET {path} HTTP/1.1\r\n{trace}"), "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    // Requests to routes, and to cached files.
    ["/", "/", "/healthz"].into_iter().for_each(get);
    collected.join().unwrap();
}
