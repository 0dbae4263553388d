//! The Worker: building it, and running it in the real workerd.

mod build;
pub(crate) mod workerd;

use std::path::PathBuf;
use std::process::Command;

pub(crate) use build::{Size, build};
pub(crate) use workerd::{MINIFLARE, MINIFLARE_VARIABLE, Options, Workerd, node};

use crate::Outcome;

/// The wrangler whose `deploy` the gate tries.
const WRANGLER: &str = "wrangler@4.164.0";
/// Number of starts of which the median is taken.
const START_UPS: u32 = 5;
/// The folder of the platform.
const PLATFORM: &str = "examples/platform";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build"] => build_platform().map(drop),
        ["build", folder] => build(folder, &[]).map(drop),
        ["dry-run"] => dry_run(),
        ["start-up"] => start_up(),
        ["dev"] => dev(8787),
        ["dev", "--port", port] => dev(port.parse().map_err(|error| format!("--port {port}: {error}"))?),
        _ => Err("cargo xtask worker build [FOLDER] | dev [--port 8787] | dry-run | start-up".into()),
    }
}

/// The platform's secrets for tests.
pub(crate) const SECRETS: [(&str, &str); 2] = [
    ("ISOBAR_KEYRING", "development:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ("SETUP_TOKEN", "for-development-only"),
];

/// Returns the body that signs the platform's first owner up.
pub(crate) fn first_owner() -> serde_json::Value {
    serde_json::json!({"email": "owner@example.com", "password": "correct horse battery", "name": "Owner",
        "tenant": {"slug": "iam", "name": "Inner Animal"}, "token": SECRETS[1].1})
}

/// Builds the platform's Worker for release and prints its size.
pub(crate) fn build_platform() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let folder = build(PLATFORM, &["--no-default-features", "--features", "workers"])?;
    crate::run(Command::new("node").arg(format!("{PLATFORM}/strip-names.mjs")).arg(folder.join("index_bg.wasm")))?;
    let size = Size::of(&folder)?;
    println!("{size}");
    size.check()?;
    Ok(folder)
}

/// Does what a user does to deploy the platform, `npx wrangler deploy` in its folder, up to the upload.
fn dry_run() -> Outcome {
    let tools = std::path::absolute(crate::target().join("wrangler"))?;
    crate::npm::install(&tools, &[WRANGLER])?;
    let out = tools.join("dry-run");
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }
    let mut command = Command::new(tools.join("node_modules/.bin/wrangler"));
    command.args(["deploy", "--dry-run", "--outdir"]).arg(&out).current_dir(PLATFORM);
    command.env("CARGO_TARGET_DIR", std::path::absolute(build::wasm_target())?).env("WRANGLER_SEND_METRICS", "false");
    crate::run(&mut command)?;
    let files = std::fs::read_dir(&out)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let files = files.collect::<std::io::Result<Vec<_>>>()?;
    match ["index.js", ".wasm"].iter().find(|end| !files.iter().any(|file| file.ends_with(*end))) {
        Some(end) => Err(format!("wrangler would deploy no {end}: {files:?}").into()),
        None => {
            println!("wrangler would deploy {}", files.join(", "));
            Ok(())
        }
    }
}

/// Returns the options that run the platform in workerd: bindings, migrations, static tree.
pub(crate) fn platform(build: PathBuf, port: u16) -> Result<Options, Box<dyn std::error::Error>> {
    let mut options = Options::from_wrangler(&format!("{PLATFORM}/wrangler.toml"), build, port)?;
    options.vars.extend(SECRETS.map(|(name, value)| (name.to_owned(), value.into())));
    Ok(options)
}

/// Builds the platform's Worker, starts it in workerd and prints its size and how long it takes to start.
fn start_up() -> Outcome {
    let took = workerd::start_up(&platform(build_platform()?, 0)?, "/healthz", START_UPS)?;
    println!("the Worker starts in {} ms: evaluation of its module to its first answer", took.as_millis());
    Ok(())
}

fn dev(port: u16) -> Outcome {
    let mut options = platform(build_platform()?, port)?;
    options.persist = Some(crate::target().join("workerd-state"));
    let workerd = Workerd::start(&options)?;
    println!("the first owner signs up at http://{}/dashboard/setup#{}", workerd.address, SECRETS[1].1);
    println!("serving on http://{} (Ctrl-C ends)", workerd.address);
    workerd.wait()
}
