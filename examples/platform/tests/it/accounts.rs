//! Tests of the running platform's accounts: the operator, and account actions by e-mail.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{JSON, Platform, cookie, sign_up};

/// Returns the token of the link to a page in the newest e-mail to an address.
pub(crate) fn mailed(root: &Path, to: &str, page: &str) -> String {
    let begin = Instant::now();
    let start = format!("/dashboard/{page}#");
    loop {
        let entries = std::fs::read_dir(root.join("mail")).into_iter().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files.iter().rev() {
            let text = std::fs::read_to_string(file).unwrap();
            let token = text.lines().find_map(|line| line.split_once(&start)).map(|(_, token)| token.trim().to_owned());
            if let (true, Some(token)) = (text.contains(&format!("To: {to}")), token) {
                return token;
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "no message to {to} with a link to {page}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_forgotten_password_is_reset_by_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let mut platform = Platform::owned(folder.path());
    let (_, key) = platform.post("/api/auth/keys", &json!({"name": "CI"}));
    let key = format!("Authorization: Bearer {}\r\n", key["key"].as_str().unwrap());
    let confirm = mailed(folder.path(), "ada@example.com", "verify");
    assert_eq!(platform.post("/api/auth/verify", &json!({"token": confirm})).0, 200);
    let session = platform.cookie.take();
    assert_eq!(platform.ask("GET", "/api/prompts", &key, b"").0, 200);
    assert_eq!(platform.post("/api/auth/forgot", &json!({"email": "nobody@example.com"})).0, 202);
    assert_eq!(platform.post("/api/auth/forgot", &json!({"email": "ada@example.com"})).0, 202);
    let token = mailed(folder.path(), "ada@example.com", "reset");
    let reset = |password: &str| json!({"token": token, "password": password});
    assert_eq!(platform.post("/api/auth/reset", &reset("password123")).0, 400);
    assert_eq!(platform.post("/api/auth/reset", &reset("another password of mine")).0, 204);
    assert_eq!(platform.post("/api/auth/reset", &reset("a third password of mine")).0, 403);
    assert_eq!(platform.ask("GET", "/api/prompts", &key, b"").0, 401);
    platform.cookie = session;
    assert_eq!(platform.get("/api/auth/me").0, 401);
    platform.cookie = None;
    let log_in = |password: &str| json!({"email": "ada@example.com", "password": password});
    assert_eq!(platform.post("/api/auth/login", &log_in("correct horse battery")).0, 401);
    assert_eq!(platform.post("/api/auth/login", &log_in("another password of mine")).0, 200);
    for page in ["forgot", "reset", "verify", "login"] {
        assert_eq!(platform.get(&format!("/dashboard/{page}")).0, 200, "{page}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path().join("mail")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn the_first_stranger_at_an_open_platform_is_not_its_operator() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = std::fs::read_to_string(manifest.join("wrangler.toml")).unwrap();
    let config = config.replace("SIGNUP = \"closed\"", "SIGNUP = \"open\"");
    let config = config.replace("\"migrations/", &format!("\"{}/migrations/", manifest.display()));
    std::fs::create_dir(folder.path().join("static")).unwrap();
    std::fs::write(folder.path().join("static/index.html"), "<title>x</title>").unwrap();
    std::fs::write(folder.path().join("wrangler.toml"), config).unwrap();
    let config = folder.path().join("wrangler.toml");
    let mut platform =
        Platform::start_as(&folder.path().join("state"), &["--config", config.to_str().unwrap()], Stdio::null());
    let stranger = |name: &str| {
        let mut body: serde_json::Value = serde_json::from_str(&sign_up(name, "")).unwrap();
        body.as_object_mut().unwrap().remove("token");
        body
    };
    let (status, problem) = platform.post("/api/auth/signup", &stranger("mallory"));
    assert_eq!(status, 503, "{problem}");
    platform = platform.with_owner();
    assert_eq!(platform.get("/api/projects").0, 200, "the operator sees the legacy database");
    platform.cookie = None;
    let (status, head, _) = platform.ask("POST", "/api/auth/signup", JSON, stranger("mallory").to_string().as_bytes());
    assert_eq!(status, 201);
    platform.cookie = Some(cookie(&head));
    assert_eq!(platform.get("/api/projects").0, 404);
}

#[test]
fn a_short_set_up_token_ends_a_start_that_needs_it_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_platform"));
        command.args(["--port", "0", "--root"]).arg(folder.path()).env("SETUP_TOKEN", "short");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let refused = start().wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("SETUP_TOKEN") && told.contains("at least 16"), "{told}");
    Platform::owned(folder.path()).kill();
    // Set up long ago.
    let mut serving = start();
    let mut lines = BufReader::new(serving.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("serving on")), "it serves on");
    serving.kill().unwrap();
    let told = String::from_utf8_lossy(&serving.wait_with_output().unwrap().stderr).into_owned();
    assert!(told.contains("warning: SETUP_TOKEN is not used"), "{told}");
}
