//! Building a Worker with worker-build.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{Outcome, cargo, run, target};

/// Must be the version of `worker` in Cargo.lock.
const WORKER_BUILD: &str = "0.8.7";
/// Largest size of the Worker, compressed, in bytes. Cloudflare's limit is 3 MiB on the free plan.
const LIMIT: u64 = 1400 * 1024;

/// Folders and files that a Worker is made of.
const SOURCES: [&str; 5] = ["Cargo.lock", "Cargo.toml", "conformance", "crates", "examples"];

/// Builds a package's Worker for release and returns the folder of its files. A Worker that was made of the same sources in the same
/// way is taken as it is: optimising it again takes a minute.
pub(crate) fn build(package: &str, features: &[&str]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let name = Path::new(package).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let out = std::path::absolute(target().join("worker").join(name))?;
    let stamp = out.join(".made-of");
    let sources = fingerprint(&[&[package], features].concat())?;
    if fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == sources) {
        return Ok(out);
    }
    // A build that breaks off leaves no stamp, and nor do sources that change meanwhile.
    drop(fs::remove_file(&stamp));
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
    if fingerprint(&[&[package], features].concat())? == sources {
        fs::write(stamp, sources)?;
    }
    Ok(out)
}

/// Returns a hash of all sources, of how they are built, and of these words.
fn fingerprint(words: &[&str]) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    for word in words.iter().chain(&[WORKER_BUILD, include_str!("build.rs")]) {
        hash.update((word.len() as u64).to_le_bytes());
        hash.update(word);
    }
    for path in SOURCES {
        add(&mut hash, Path::new(path))?;
    }
    Ok(hex::encode(hash.finalize()))
}

/// Adds the names and contents of the files below a path. Names that begin with a dot do not count, nor
/// does `build`, the folder that wrangler's build fills.
fn add(hash: &mut Sha256, path: &Path) -> std::io::Result<()> {
    hash.update(path.as_os_str().as_encoded_bytes());
    if !path.is_dir() {
        let bytes = fs::read(path)?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with('.') && name != "build"
    });
    entries.sort();
    entries.iter().try_for_each(|entry| add(hash, entry))
}

/// Returns the target folder, separate from the native one if the compiler differs.
pub(super) fn wasm_target() -> PathBuf {
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
    use super::*;

    #[test]
    fn names_and_contents_of_files_count_unless_they_are_hidden() {
        let folder = std::env::temp_dir().join(format!("isobar-made-of-{}", std::process::id()));
        fs::create_dir_all(folder.join("src")).expect("a folder");
        let of_now = || {
            let mut hash = Sha256::new();
            add(&mut hash, &folder).expect("the folder is read");
            hex::encode(hash.finalize())
        };
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text).expect("a file");
            of_now()
        };
        let first = write("src/a.rs", "one");
        assert_eq!(write(".hidden", "x"), first);
        assert_eq!(write("src/a.rs", "one"), first);
        assert_ne!(write("src/a.rs", "two"), first);
        assert_eq!(write("src/a.rs", "one"), first);
        fs::create_dir_all(folder.join("build")).expect("a folder");
        assert_eq!(write("build/index.js", "x"), first);
        assert_ne!(write("src/b.rs", ""), first);
        fs::remove_dir_all(&folder).expect("the folder is removed");
    }
}
