//! The Worker: building it, and running it in the real workerd.

mod build;
mod workerd;

use std::path::PathBuf;

pub(crate) use build::{Size, build};
pub(crate) use workerd::{Options, Workerd};

use crate::Outcome;

/// The platform, as its wrangler.toml has it.
const PLATFORM: &str = "examples/platform";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build"] => build_platform().map(drop),
        ["dev"] => dev(8787),
        ["dev", "--port", port] => dev(port.parse().map_err(|error| format!("--port {port}: {error}"))?),
        _ => Err("cargo xtask worker build | dev [--port 8787]".into()),
    }
}

/// Builds the platform's Worker for release and says what it weighs.
pub(crate) fn build_platform() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let folder = build(PLATFORM, &["--no-default-features", "--features", "workers"])?;
    let size = Size::of(&folder)?;
    println!("{size}");
    size.check()?;
    Ok(folder)
}

/// The platform in workerd, with everything that it needs: bindings, migrations, static tree.
pub(crate) fn platform(build: PathBuf, port: u16) -> Result<Options, Box<dyn std::error::Error>> {
    Options::from_wrangler(&format!("{PLATFORM}/wrangler.toml"), build, port)
}

fn dev(port: u16) -> Outcome {
    let mut options = platform(build_platform()?, port)?;
    options.persist = Some(crate::target().join("workerd-state"));
    let workerd = Workerd::start(&options)?;
    println!("serving on http://{} (Ctrl-C ends)", workerd.address);
    workerd.wait()
}
