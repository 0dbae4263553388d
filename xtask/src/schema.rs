//! Tests the API against its OpenAPI document, with schemathesis, on both servers.

use std::process::Command;

use serde_json::{Value, json};

use crate::http::{Server, ask};
use crate::programs::program;
use crate::worker::{SECRETS, Workerd, build_platform, first_owner, platform};
use crate::{Outcome, python, target};

const SCHEMATHESIS: &str = "4.32.5";
/// The checks of a response. Whether the document describes valid requests completely is not checked: no schema can say that a
/// cursor must come from a list, or that a reference must exist.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,unsupported_method,use_after_free";
/// A Worker cannot read its events, and here it has no binding for e-mail, so it answers these operations with 501.
const CONFIG: &str = r#"
[[operations]]
include-path = "/stats"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]

[[operations]]
include-path = "/auth/forgot"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]
"#;
/// Time on each server in seconds.
const TIME: &str = "60";

pub(crate) fn run() -> Outcome {
    let bin = python::package("schemathesis", "", SCHEMATHESIS)?;
    let program = program("platform")?;
    let state = std::path::absolute(target().join("schema-state"))?;
    if state.exists() {
        std::fs::remove_dir_all(&state)?;
    }
    let mut command = Command::new(program);
    let native =
        Server::start(command.args(["--port", "0", "--root"]).arg(&state).envs(SECRETS).env("RUST_LOG", "warn"))?;
    check(&bin, "native", &native.address)?;
    drop(native);
    let workerd = Workerd::start(&platform(build_platform()?, 0)?)?;
    check(&bin, "Worker", &workerd.address)
}

fn check(bin: &std::path::Path, name: &str, address: &str) -> Outcome {
    println!("{name}: {address}");
    let authorization = format!("Authorization: Bearer {}", key(address)?);
    let config = target().join("schemathesis.toml");
    std::fs::write(&config, CONFIG)?;
    let mut command = Command::new(bin.join("st"));
    command.arg("--config-file").arg(std::path::absolute(config)?);
    command.arg("run").arg(format!("http://{address}/api/openapi.json")).args(["--header", &authorization]);
    command.args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "10"]);
    command.args(["--max-time", TIME, "--continue-on-failure", "--no-color", "--suppress-health-check", "all"]);
    let output = command.current_dir(target()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{name}: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let tested = text.lines().filter(|line| line.contains("Tested:") || line.contains("generated"));
    println!("{name}:{}", tested.map(|line| format!(" {}", line.trim())).collect::<String>());
    Ok(())
}

/// Creates the first owner and returns an API key.
fn key(address: &str) -> Result<String, Box<dyn std::error::Error>> {
    let origin = format!("http://{address}");
    let post = |path: &str, cookie: &str, body: &Value| {
        let headers = [("Content-Type", "application/json"), ("Origin", origin.as_str()), ("Cookie", cookie)];
        ask(address, "POST", path, &headers, body.to_string().as_bytes())
    };
    let signed_up = post("/api/auth/signup", "", &first_owner())?;
    let cookie = signed_up.header("set-cookie").ok_or_else(|| signed_up.text())?;
    let made = post("/api/auth/keys", cookie.split(';').next().unwrap_or_default(), &json!({"name": "schemathesis"}))?;
    let made: Value = serde_json::from_slice(&made.body)?;
    Ok(made["key"].as_str().ok_or_else(|| made.to_string())?.to_owned())
}
