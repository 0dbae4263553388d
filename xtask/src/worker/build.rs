//! Building a Worker with worker-build.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::{Outcome, cargo, run, target};

/// Must be the version of `worker` in Cargo.lock.
const WORKER_BUILD: &str = "0.8.7";
/// Largest size of the Worker, compressed, in bytes. Cloudflare's limit is 3 MiB on the free plan.
const LIMIT: u64 = 1400 * 1024;

/// Folders and files that a Worker is made of.
const SOURCES: [&str; 5] = ["Cargo.lock", "Cargo.toml", "conformance", "crates", "examples"];

/// Builds a package's Worker for release and returns the folder of its files. A Worker that is newer than all sources is taken as it
/// is: optimising it again takes a minute.
pub(crate) fn build(package: &str, features: &[&str]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let name = Path::new(package).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let out = std::path::absolute(target().join("worker").join(name))?;
    let built = fs::metadata(out.join("index_bg.wasm")).and_then(|file| file.modified()).ok();
    if built.is_some_and(|built| SOURCES.iter().all(|path| newest(Path::new(path)).is_ok_and(|source| source < built)))
    {
        return Ok(out);
    }
    // Panics must unwind to become a response: with `abort` the client of a session object would hang.
    let mut command = Command::new(worker_build()?);
    command
        .current_dir(package)
        .args(["--profile", "worker", "--panic-unwind", "--out-dir"])
        .arg(&out)
        .arg(".")
        .args(features);
    command.env("CARGO_TARGET_DIR", std::path::absolute(wasm_target())?).env("RUST_BACKTRACE", "0");
    run(&mut command)?;
    Ok(out)
}

/// Returns when the newest of the files below a path was changed. Names that begin with a dot do not count.
fn newest(path: &Path) -> std::io::Result<SystemTime> {
    let of_itself = fs::metadata(path)?.modified()?;
    if !path.is_dir() {
        return Ok(of_itself);
    }
    fs::read_dir(path)?.try_fold(of_itself, |newest_yet, entry| {
        let entry = entry?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        Ok(if is_hidden { newest_yet } else { newest_yet.max(newest(&entry.path())?) })
    })
}

/// Returns the target folder, separate from the native one if the compiler differs.
fn wasm_target() -> PathBuf {
    std::env::var_os("ISOBAR_WASM_TARGET_DIR").map_or_else(target, PathBuf::from)
}

/// Returns the command: the value of `WORKER_BUILD`, else the installed one, else installs it.
fn worker_build() -> Result<PathBuf, Box<dyn std::error::Error>> {
    if let Some(named) = std::env::var_os("WORKER_BUILD") {
        return Ok(named.into());
    }
    let is_right = |path: &Path| {
        let output = Command::new(path).arg("--version").output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(WORKER_BUILD))
    };
    let tools = std::path::absolute(target().join("tools"))?;
    let candidates = [PathBuf::from("worker-build"), tools.join("bin/worker-build")];
    if let Some(found) = candidates.iter().find(|path| is_right(path)) {
        return Ok(found.clone());
    }
    println!("installing worker-build {WORKER_BUILD}");
    run(cargo()
        .args(["install", "--quiet", "--locked", "--version", WORKER_BUILD, "--root"])
        .arg(&tools)
        .arg("worker-build"))?;
    Ok(tools.join("bin/worker-build"))
}

/// Size of a built Worker in bytes.
pub(crate) struct Size {
    plain: u64,
    compressed: u64,
}

impl Size {
    pub(crate) fn of(folder: &Path) -> std::io::Result<Self> {
        let mut size = Self { plain: 0, compressed: 0 };
        for file in ["index.js", "index_bg.wasm"] {
            let bytes = fs::read(folder.join(file))?;
            size.plain += bytes.len() as u64;
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            gzip.write_all(&bytes)?;
            size.compressed += gzip.finish()?.len() as u64;
        }
        Ok(size)
    }

    pub(crate) fn check(&self) -> Outcome {
        if self.compressed > LIMIT { Err(format!("{self}: over {} KiB", LIMIT / 1024).into()) } else { Ok(()) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Worker has {} KiB, {} KiB gzipped", self.plain / 1024, self.compressed / 1024)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_newest_file_of_a_folder_counts_unless_it_is_hidden() {
        let folder = std::env::temp_dir().join(format!("isobar-newest-{}", std::process::id()));
        fs::create_dir_all(folder.join("src")).expect("a folder");
        let later = SystemTime::now() + Duration::from_secs(3600);
        for (name, time) in [("src/a.rs", later), (".hidden", later + Duration::from_secs(3600))] {
            let file = fs::File::create(folder.join(name)).expect("a file");
            file.set_modified(time).expect("the time is set");
        }
        let found = newest(&folder).expect("the folder is read");
        fs::remove_dir_all(&folder).expect("the folder is removed");
        assert_eq!(found, later);
    }
}
