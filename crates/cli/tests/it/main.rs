//! The built command on a fresh folder.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CONFIG: &str = r#"
name = "test"
colour = "blue"
[[r2_buckets]]
binding = "STORAGE"
bucket_name = "assets"
[[d1_databases]]
binding = "DB"
database_name = "business"
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("wrangler.toml"), CONFIG).unwrap();
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_isobar"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn objects_are_put_shown_listed_got_and_deleted() {
    let folder = folder();
    let here = folder.path();
    fs::write(here.join("settings.html"), "<p>settings</p>").unwrap();
    ok(
        here,
        &[
            "r2",
            "object",
            "put",
            "assets/static/a/settings.html",
            "--file",
            "settings.html",
            "--content-type",
            "text/x-own",
        ],
    );
    ok(here, &["r2", "object", "put", "STORAGE/static/b.html", "--file", "settings.html"]);
    let head: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "object", "head", "assets/static/a/settings.html", "--json"])).unwrap();
    assert_eq!((&head["size"], &head["httpMetadata"]["contentType"]), (&15.into(), &"text/x-own".into()));
    let list = ok(here, &["r2", "object", "list", "assets", "--prefix", "static/", "--delimiter", "/"]);
    assert!(
        list.contains("static/a/") && list.contains("static/b.html") && list.contains("text/html; charset=utf-8"),
        "{list}"
    );
    assert_eq!(ok(here, &["r2", "object", "get", "assets/static/b.html", "--pipe"]), "<p>settings</p>");
    ok(here, &["r2", "object", "get", "assets/static/b.html", "--file", "got.html"]);
    assert_eq!(fs::read_to_string(here.join("got.html")).unwrap(), "<p>settings</p>");
    ok(here, &["r2", "object", "delete", "assets/static/b.html"]);
    assert!(
        refused(here, &["r2", "object", "get", "assets/static/b.html"])
            .contains("there is no object assets/static/b.html")
    );
}

#[test]
fn pipes_stream_and_may_close_early() {
    let folder = folder();
    let here = folder.path();
    let mut put = Command::new(env!("CARGO_BIN_EXE_isobar"))
        .args(["r2", "object", "put", "assets/data.bin", "--pipe"])
        .current_dir(here)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let data: Vec<u8> = (0..20_u32 << 20).map(|byte| (byte % 251) as u8).collect();
    put.stdin.take().unwrap().write_all(&data).unwrap();
    assert!(put.wait().unwrap().success());
    ok(here, &["r2", "object", "get", "assets/data.bin"]);
    assert!(fs::read(here.join("data.bin")).unwrap() == data);
    assert_eq!(fs::read_dir(here).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count(), 2);
    for arguments in [&["r2", "object", "get", "assets/data.bin", "--pipe"][..], &["r2", "object", "list", "assets"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isobar"))
            .args(arguments)
            .current_dir(here)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(command.stdout.take());
        let output = command.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!complaint.contains("panic") && !complaint.contains("error") && output.status.success(), "{complaint}");
    }
}

#[test]
fn wrong_use_is_told() {
    let folder = folder();
    let here = folder.path();
    assert!(refused(here, &["r2", "object", "put", "assets", "--file", "wrangler.toml"]).contains("is not BUCKET/KEY"));
    assert!(refused(here, &["r2", "object", "put", "assets/a", "--file", "none.txt"]).contains("none.txt"));
    assert!(refused(here, &["r2", "object", "list", "../x"]).contains("is no name of a bucket"));
    let long = format!("assets/{}", "k".repeat(1025));
    assert!(refused(here, &["r2", "object", "head", &long]).contains("(10020)"));
    assert!(refused(here, &["d1", "execute", "NONE", "--command", "SELECT 1"]).contains("there are: business (DB)"));
    assert!(refused(here, &["d1", "execute", "DB", "--command", "SELEC 1"]).contains("near \"SELEC\": syntax error"));
    assert!(refused(here, &["d1", "migrations", "list", "DB"]).contains("migrations"));
    assert!(
        refused(here, &["--config", "none.toml", "d1", "execute", "DB", "--command", "SELECT 1"])
            .contains("none.toml: cannot be read")
    );
}

#[test]
fn a_folder_is_synced() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir_all(here.join("site/css")).unwrap();
    fs::write(here.join("site/index.html"), "home").unwrap();
    fs::write(here.join("site/css/a.css"), "a {}").unwrap();
    let dry = ok(here, &["r2", "sync", "site", "assets/static/", "--dry-run"]);
    assert!(
        dry.contains("put     assets/static/css/a.css (text/css; charset=utf-8)")
            && dry.contains("2 would be uploaded"),
        "{dry}"
    );
    assert!(!ok(here, &["r2", "object", "list", "assets"]).contains("index.html"));
    let first: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "sync", "site", "assets/static", "--json"])).unwrap();
    assert_eq!((&first["uploaded"], &first["bytes"]), (&2.into(), &8.into()));
    fs::remove_file(here.join("site/css/a.css")).unwrap();
    let second: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "sync", "site", "assets/static", "--delete", "--json"])).unwrap();
    assert_eq!((&second["uploaded"], &second["unchanged"], &second["deleted"]), (&0.into(), &1.into(), &1.into()));
    assert!(refused(here, &["r2", "sync", "none", "assets"]).contains("none"));
}

#[test]
fn a_bucket_is_synced_into_a_folder_by_globs() {
    let folder = folder();
    let here = folder.path();
    for (name, text) in [("a.html", "a"), ("deep/b.css", "b"), ("deep/b.css.map", "m"), ("notes.tmp", "t")] {
        let path = here.join("site").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let up = ok(here, &["r2", "sync", "site", "assets/static", "--exclude", "*.tmp"]);
    assert!(up.starts_with("3 uploaded") && up.contains("1 ignored"), "{up}");
    let dry = ok(here, &["r2", "sync", "assets/static", "./back", "--exclude", "deep/*.map", "--dry-run"]);
    assert!(dry.contains("get     assets/static/deep/b.css into") && !dry.contains(".map"), "{dry}");
    assert!(!here.join("back").exists());
    let down: serde_json::Value = serde_json::from_str(&ok(
        here,
        &["r2", "sync", "assets/static", "./back", "--exclude", "deep/*.map", "--json"],
    ))
    .unwrap();
    assert_eq!((&down["downloaded"], &down["bytes"]), (&2.into(), &2.into()));
    assert_eq!(fs::read_to_string(here.join("back/deep/b.css")).unwrap(), "b");
    fs::write(here.join("back/mine.txt"), "mine").unwrap();
    let only = ["r2", "sync", "assets/static", "./back", "--include", "*.html", "--delete"];
    assert!(ok(here, &only).starts_with("0 uploaded (0 B), 0 deleted, 1 unchanged"));
    assert!(here.join("back/mine.txt").exists(), "what takes no part is not deleted");
    assert!(ok(here, &["r2", "sync", "assets/static", "back", "--delete"]).contains("1 downloaded (1 B), 1 deleted"));
    assert!(!here.join("back/mine.txt").exists());
    assert!(refused(here, &["r2", "sync", "asets/static", "./back", "--delete"]).contains("there is no bucket asets"));
    assert!(here.join("back/a.html").exists() && !here.join(".isobar/r2/asets").exists());
    assert!(refused(here, &["r2", "sync", "site", "./back"]).contains("both folders"));
    assert!(refused(here, &["r2", "sync", "nowhere", "assets"]).contains("begins with ./"));
    assert!(refused(here, &["r2", "sync", "site", "assets", "--include", "[z"]).contains("[z"));
}

#[test]
fn buckets_are_listed_counted_copied_within_and_looked_over() {
    let folder = folder();
    let here = folder.path();
    assert!(refused(here, &["r2", "bucket", "info", "STORAGE"]).contains("there is no bucket STORAGE here"));
    let list = ok(here, &["r2", "bucket", "list"]);
    assert!(list.contains("assets") && list.contains("STORAGE") && list.contains("not used yet"), "{list}");
    fs::write(here.join("large.bin"), vec![7; 100_000]).unwrap();
    ok(here, &["r2", "object", "put", "STORAGE/large.bin", "--file", "large.bin", "--cache-control", "no-store"]);
    ok(here, &["r2", "object", "copy", "assets/large.bin", "assets/copy.bin"]);
    ok(here, &["r2", "object", "copy", "assets/large.bin", "other/far.bin"]);
    let copied: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "object", "head", "other/far.bin", "--json"])).unwrap();
    assert_eq!(copied["httpMetadata"]["cacheControl"], "no-store");
    assert!(
        refused(here, &["r2", "object", "copy", "assets/large.bin", "other/far.bin", "--no-overwrite"])
            .contains("is there already")
    );
    ok(here, &["r2", "object", "copy", "other/far.bin", "assets/moved.txt", "--move"]);
    assert!(refused(here, &["r2", "object", "head", "other/far.bin"]).contains("there is no object"));
    let same = ["r2", "object", "copy", "STORAGE/large.bin", "assets/large.bin", "--move"];
    assert!(refused(here, &same).contains("are the same object"));
    ok(here, &["r2", "object", "head", "assets/large.bin"]);
    assert!(
        refused(here, &["r2", "object", "copy", "assets/none", "assets/x"]).contains("there is no object assets/none")
    );
    let info: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "bucket", "info", "STORAGE", "--json"])).unwrap();
    assert_eq!((&info["objects"], &info["bytes"]), (&3.into(), &300_000.into()));
    assert_eq!(info["extensions"]["bin"]["objects"], 2);
    assert!(ok(here, &["r2", "bucket", "info", "STORAGE"]).starts_with("3 objects, "));
    let listed: serde_json::Value = serde_json::from_str(&ok(here, &["r2", "bucket", "list", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().iter().filter(|bucket| bucket["created"] == true).count(), 2);

    assert!(ok(here, &["r2", "fsck", "STORAGE"]).contains("3 objects, 292.97 KiB"));
    let blobs = here.join(".isobar/r2/assets/blobs");
    let first = fs::read_dir(&blobs).unwrap().flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap()).next();
    fs::write(first.unwrap().unwrap().path(), vec![8; 100_000]).unwrap();
    assert!(ok(here, &["r2", "fsck", "STORAGE", "--quick"]).contains("nothing is wrong"));
    assert!(refused(here, &["r2", "fsck", "STORAGE"]).contains("mend it with --repair"));
    let mended = ok(here, &["r2", "fsck", "STORAGE", "--repair"]);
    assert!(mended.contains("is not what was stored") && mended.contains("lost"), "{mended}");
    let clean: serde_json::Value =
        serde_json::from_str(&ok(here, &["r2", "fsck", "STORAGE", "--json", "--exclusive"])).unwrap();
    assert_eq!(clean["findings"].as_array().unwrap().len(), 0, "{clean}");
}

#[test]
fn databases_are_migrated_and_asked() {
    let folder = folder();
    let here = folder.path();
    fs::create_dir(here.join("migrations")).unwrap();
    fs::write(here.join("migrations/0001_users.sql"), "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);")
        .unwrap();
    fs::write(here.join("migrations/0002_seed.sql"), "INSERT INTO users (name) VALUES ('Ada'), (NULL);").unwrap();
    assert!(ok(here, &["d1", "migrations", "list", "DB"]).contains("0002_seed.sql"));
    assert!(ok(here, &["d1", "migrations", "apply", "business"]).contains("0001_users.sql"));
    assert!(ok(here, &["d1", "migrations", "apply", "DB"]).contains("nothing to apply"));
    let table = ok(here, &["d1", "execute", "DB", "--command", "SELECT * FROM users"]);
    assert!(
        table.contains("id  name") && table.contains(" 1  Ada") && table.contains("NULL") && table.contains("(2 rows)"),
        "{table}"
    );
    fs::write(here.join("more.sql"), "INSERT INTO users (name) VALUES ('Bob'); SELECT count(*) AS n FROM users;")
        .unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&ok(here, &["d1", "execute", "DB", "--file", "more.sql", "--json"])).unwrap();
    assert_eq!((&json[0]["meta"]["changes"], &json[1]["results"][0]["n"]), (&1.into(), &3.into()));
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
    let mut server = Command::new(env!("CARGO_BIN_EXE_isobar"))
        .args(["serve", "--port", "0"])
        .current_dir(here)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address =
        lines.find_map(|line| Some(line.strip_prefix("serving on http://")?.split(' ').next()?.to_owned())).unwrap();
    let ask = |request: String| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let get = |path: &str| ask(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let home = get("/");
    let of_the_site = ["/about.html", "/old", "/somewhere", "/app.js.map", "/_headers", "/api/none"].map(get);
    // What a signed URL says may be written and read, of a bucket that nobody reaches otherwise.
    let path = |method: &str| {
        let url = ok(here, &["r2", "presign", "STORAGE/in/box.txt", "--method", method, "--expires", "5m"]);
        assert!(url.starts_with("http://127.0.0.1:8787/r2/assets/in/box.txt?expires="), "{url}");
        url.trim().trim_start_matches("http://127.0.0.1:8787").to_owned()
    };
    let rest = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let put = ask(format!("PUT {} {rest}Content-Length: 6\r\n\r\nsigned", path("put")));
    let got = ask(format!("GET {} {rest}\r\n", path("get")));
    let unsigned = ask(format!("GET /r2/assets/in/box.txt {rest}\r\n"));
    server.kill().unwrap();
    server.wait().unwrap();
    let mut warnings = String::new();
    server.stderr.take().unwrap().read_to_string(&mut warnings).unwrap();
    assert!(warnings.contains("warning: _headers, line 3: a header is `Name: value`"), "{warnings}");
    assert!(home.starts_with("HTTP/1.1 200") && home.ends_with("from the assets"), "{home}");
    assert!(home.contains("x-site: ours"), "{home}");
    let statuses = of_the_site.each_ref().map(|answer| &answer[9..12]);
    assert_eq!(statuses, ["307", "301", "200", "404", "200", "404"], "{of_the_site:?}");
    assert!(of_the_site[1].contains("location: /about\r\n") && of_the_site[2].ends_with("from the assets"));
    assert!(of_the_site[4].ends_with("from the assets"), "the rules are no file: {}", of_the_site[4]);
    assert!(of_the_site[5].contains("problem+json"), "{}", of_the_site[5]);
    assert!(put.starts_with("HTTP/1.1 200"), "{put}");
    assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("signed"), "{got}");
    assert!(unsigned.starts_with("HTTP/1.1 403"), "{unsigned}");
    assert_eq!(ok(here, &["r2", "object", "get", "STORAGE/in/box.txt", "--pipe"]), "signed");
    assert!(refused(here, &["r2", "presign", "assets/a", "--expires", "8d"]).contains("seven days"));
}

#[test]
fn a_site_is_deployed_while_it_is_served_and_taken_back() {
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

    let mut server = Command::new(env!("CARGO_BIN_EXE_isobar"))
        .args(["serve", "--port", "0", "--server-timing"])
        .current_dir(here)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address =
        lines.find_map(|line| Some(line.strip_prefix("serving on http://")?.split(' ').next()?.to_owned())).unwrap();
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // What another process deploys is seen within 50 ms.
    let seen = |path: &str, end: &str| {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let mut answer = get(path);
        while !answer.ends_with(end) && std::time::Instant::now() < until {
            answer = get(path);
        }
        assert!(answer.ends_with(end), "{path}: {answer}");
        answer
    };
    let first = seen("/", "the first");
    assert!(
        first.contains("x-deploy: one\r\n") && first.contains("server-timing: rule;desc=file, cache;desc="),
        "{first}"
    );
    assert!(first.contains("binding;desc=\"STORAGE\""), "{first}");
    assert!(get("/app.js.map").starts_with("HTTP/1.1 404"));
    write("index.html", "the second");
    fs::remove_file(here.join("dist/app-3f9a1c2b.js")).unwrap();
    let second = ok(here, &["deploy", "dist", "STORAGE/static", "--json"]);
    let second: serde_json::Value = serde_json::from_str(&second).unwrap();
    assert_eq!((&second["uploaded"], &second["deploy"]["is_current"]), (&1.into(), &true.into()));
    seen("/", "the second");
    seen("/app-3f9a1c2b.js", "first()");

    // Files that are brought there as they are delete nothing of it.
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
    assert!(pruned.starts_with("1 deploys forgotten, 3 objects deleted"), "{pruned}");
    seen("/", "the second");
    assert!(seen("/app-3f9a1c2b.js", "there is nothing here\n").starts_with("HTTP/1.1 404"));
    server.kill().unwrap();
    server.wait().unwrap();

    assert!(refused(here, &["deploy", "rollback", "STORAGE/static", "2001"]).contains("there is no deploy \"2001\""));
    assert!(refused(here, &["deploy", "nowhere", "STORAGE/static"]).contains("nowhere"));
    assert!(refused(here, &["deploy", "dist"]).contains("TARGET"));
    let remote = refused(here, &["deploy", "list", "STORAGE/static", "--remote"]);
    assert!(remote.contains("needs R2_ACCESS_KEY_ID (or AWS_ACCESS_KEY_ID) in the environment"), "{remote}");
}

/// What a collector of OpenTelemetry is sent, until it has been sent all of these.
fn collected(collector: std::net::TcpListener, wanted: &'static [&'static [u8]]) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let has = |all: &[u8], part: &[u8]| all.windows(part.len()).any(|window| window == part);
        while !wanted.iter().all(|part| has(&all, part)) {
            let (mut stream, _) = collector.accept().unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
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
    let mut server = Command::new(env!("CARGO_BIN_EXE_isobar"))
        .args(["serve", "--port", "0"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_SERVICE_NAME", "the platform")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .current_dir(here)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address =
        lines.find_map(|line| Some(line.strip_prefix("serving on http://")?.split(' ').next()?.to_owned())).unwrap();
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{trace}\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    // By the routes, and out of memory.
    ["/", "/", "/healthz"].into_iter().for_each(get);
    collected.join().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn unknown_keys_are_warned_about_and_help_has_examples() {
    let folder = folder();
    let output = run(folder.path(), &["r2", "object", "list", "assets"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("warning: line 3: unexpected key \"colour\""));
    for arguments in [&["--help"][..], &["r2", "sync", "--help"], &["d1", "execute", "--help"], &["serve", "--help"]] {
        assert!(ok(folder.path(), arguments).contains("Examples:"), "{arguments:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_vault_is_rotated_and_shows_its_state() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let here = folder.path();
    assert!(refused(here, &["vault", "keygen", "a b"]).contains("letters"));
    let keygen = |name: &str| ok(here, &["vault", "keygen", name]);
    fs::write(here.join("schema.sql"), isobar_db::vault::SCHEMA).unwrap();
    ok(here, &["d1", "execute", "DB", "--file", "schema.sql"]);
    let declare = "CREATE TABLE tokens (id INTEGER PRIMARY KEY, secret BLOB); \
        INSERT INTO tokens (secret) VALUES (NULL), ('plain'); \
        INSERT INTO vault_columns (table_name, column_name) VALUES ('tokens', 'secret')";
    ok(here, &["d1", "execute", "DB", "--command", declare]);
    assert!(refused(here, &["vault", "status", "DB"]).contains("ISOBAR_KEYRING"));
    let first = keygen("first");
    let keyring = here.join("keyring");
    let write = |text: &str| {
        fs::write(&keyring, text).unwrap();
        fs::set_permissions(&keyring, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(&first);
    let status = || -> serde_json::Value {
        serde_json::from_str(&ok(here, &["vault", "status", "DB", "--keyring", "keyring", "--json"])).unwrap()
    };
    assert_eq!(status()["keys"], serde_json::json!([[2, "first"]]));
    assert_eq!(status()["columns"][0]["outdated"], 1);

    // What is not sealed is named, and does not pass for done.
    write(&(keygen("second") + &first));
    let failed = refused(here, &["vault", "rotate", "DB", "--keyring", "keyring"]);
    assert!(failed.contains("tokens.secret of 2") && !failed.contains("plain"), "{failed}");
    ok(here, &["d1", "execute", "DB", "--command", "DELETE FROM tokens WHERE id = 2"]);
    let done = ok(here, &["vault", "rotate", "DB", "--keyring", "keyring", "--resume"]);
    assert!(done.contains("data key 3 is active: 0 values"), "{done}");
    assert_eq!(status()["keys"], serde_json::json!([[2, "second"], [3, "second"]]));
    write(fs::read_to_string(&keyring).unwrap().lines().next().unwrap());
    assert!(ok(here, &["vault", "status", "DB", "--keyring", "keyring"]).contains("DATA KEY"));
}

#[test]
fn rows_are_copied_as_a_map_says() {
    let folder = folder();
    let here = folder.path();
    let config = format!("{CONFIG}[[d1_databases]]\nbinding = \"OLD\"\ndatabase_name = \"legacy\"\n");
    fs::write(here.join("wrangler.toml"), config).unwrap();
    let old = "CREATE TABLE people (id INTEGER PRIMARY KEY, mail TEXT); \
        INSERT INTO people VALUES (1, 'Ada@example.com'), (2, 'ada@example.com'), (3, 'bob@example.com')";
    ok(here, &["d1", "execute", "OLD", "--command", old]);
    let new = "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE)";
    ok(here, &["d1", "execute", "DB", "--command", new]);
    let map = "[[table]]\nfrom = \"people\"\nto = \"users\"\n[table.columns]\nid = { id = true }\n\
        email = { column = \"mail\", as = \"lower\" }\n";
    fs::write(here.join("map.toml"), map).unwrap();
    let copy = |more: &[&str]| ok(here, &[&["d1", "copy", "OLD", "DB", "--map", "map.toml"], more].concat());
    let dry = copy(&["--dry-run"]);
    assert!(dry.contains("WOULD COPY") && dry.contains("people 2: UNIQUE constraint failed: users.email"), "{dry}");
    assert!(
        ok(here, &["d1", "execute", "DB", "--command", "SELECT count(*) AS n FROM users", "--json"])
            .contains("\"n\": 0")
    );
    let report: serde_json::Value = serde_json::from_str(&copy(&["--json"])).unwrap();
    assert_eq!((&report["tables"][0]["copied"], &report["tables"][0]["skipped"][0]["key"]), (&2.into(), &"2".into()));
    let report: serde_json::Value = serde_json::from_str(&copy(&["--json"])).unwrap();
    assert_eq!((&report["tables"][0]["copied"], &report["tables"][0]["present"]), (&0.into(), &2.into()));
    assert!(refused(here, &["d1", "copy", "DB", "DB", "--map", "map.toml"]).contains("into itself"));
    fs::write(here.join("map.toml"), "tables = 1").unwrap();
    assert!(refused(here, &["d1", "copy", "OLD", "DB", "--map", "map.toml"]).contains("map.toml: "));
}
