//! Files that are removed, zeroed in the middle or cut while the platform is stopped.
//!
//! Each case begins with a copy of one healthy root. The platform either refuses to start and names the file, or serves; what it
//! serves is what was acknowledged or an error, never other bytes, and everything that does not need the file is whole.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::fresh;
use super::ledger::{Entry, Found, Ledger};
use super::platform::Platform;
use crate::Outcome;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Removed,
    Zeroed,
    Cut,
}

/// Rooms of their own, so that one of several session objects is damaged.
const ROOMS: [&str; 3] = ["lobby", "second", "third"];

pub(super) fn run() -> Outcome {
    let healthy = fresh("files")?.join("healthy");
    let platform = Platform::with_owner(&healthy)?;
    let mut ledger = Ledger::default();
    for _ in 0..5 {
        ledger.write(&platform)?;
    }
    for room in ROOMS {
        ledger.say(&platform, room).map_err(|(_, error)| error)?;
    }
    let cookie = platform.cookie.clone();
    platform.stop()?;
    let kinds = kinds(&healthy)?;
    println!("  {} kinds of files: {}", kinds.len(), kinds.keys().cloned().collect::<Vec<_>>().join(", "));
    let mut failures = Vec::new();
    for (kind, file) in &kinds {
        for damage in [Damage::Removed, Damage::Zeroed, Damage::Cut] {
            let root = healthy.with_file_name("damaged");
            if root.exists() {
                fs::remove_dir_all(&root)?;
            }
            copy(&healthy, &root)?;
            harm(&root.join(file), damage)?;
            match judge(&root, &cookie, &ledger, file) {
                Ok(what) => println!("  {kind:<44} {damage:<8?} {what}"),
                Err(error) => failures.push(format!("{} {damage:?}: {error}", file.display())),
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// Starts the platform on a damaged root and says what became of it.
fn judge(root: &Path, cookie: &str, ledger: &Ledger, file: &Path) -> Result<String, Box<dyn Error>> {
    let before = names(root)?;
    let platform = match Platform::again(root, cookie) {
        Ok(platform) => platform,
        Err(error) => {
            let text = error.to_string();
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_named = text.contains(&*name)
                || file.components().any(|part| text.contains(&*part.as_os_str().to_string_lossy()));
            if !text.contains("error: ") || text.contains("panicked") || !is_named {
                return Err(format!("it does not start, and does not say that it is for this file:\n{text}").into());
            }
            let lost: Vec<String> = before.difference(&names(root)?).cloned().collect();
            if !lost.is_empty() {
                return Err(format!("a start that is refused deletes {}", lost.join(", ")).into());
            }
            let said = text.lines().find(|line| line.contains("error: ")).unwrap_or_default();
            return Ok(format!("is refused: {}", said.chars().take(160).collect::<String>()));
        }
    };
    let mut whole = 0;
    let mut refused = 0;
    let mut missing = Vec::new();
    let mut changed = Vec::new();
    let found = ledger.look_up(&platform)?;
    for (entry, found) in &found {
        match found {
            Found::Whole => whole += 1,
            Found::Error(_) => refused += 1,
            Found::Missing => missing.push(entry),
            Found::Changed(_) => changed.push(entry),
        }
    }
    if platform.log().contains("panicked") {
        return Err(format!("it panics:\n{}", platform.log()).into());
    }
    if !changed.is_empty() {
        return Err(format!("damage is served: {changed:?}").into());
    }
    let is_session = |entry: &&Entry| matches!(entry, Entry::Said(..));
    if file.starts_with("sessions") && found.iter().any(|(entry, found)| !is_session(&entry) && *found != Found::Whole)
    {
        return Err(format!("a damaged session object takes others down: {found:?}").into());
    }
    if !missing.is_empty() && is_kept(file) {
        return Err(format!("what was acknowledged is answered as if it had never been: {missing:?}").into());
    }
    Ok(format!("serves: {whole} whole, {refused} refused, {} missing", missing.len()))
}

/// Whether the loss of a file is told by what is left. A whole database that is gone leaves nothing that could tell it.
fn is_kept(file: &Path) -> bool {
    !file.starts_with("d1") && !file.starts_with("databases")
}

/// One file of each kind that the platform keeps: its path with what is random taken out, and an example. The largest is taken.
fn kinds(root: &Path) -> Result<BTreeMap<String, PathBuf>, Box<dyn Error>> {
    let mut kinds: BTreeMap<String, (u64, PathBuf)> = BTreeMap::new();
    for (path, bytes) in files(root)? {
        let relative = path.strip_prefix(root)?.to_owned();
        let is_transient = |suffix: &str| relative.to_string_lossy().ends_with(suffix);
        // Empty files (locks) hold nothing, and SQLite makes its shared memory anew.
        if bytes == 0 || is_transient("-shm") {
            continue;
        }
        let kind = relative
            .to_string_lossy()
            .split('/')
            .map(|part| if is_random(part) { "*".to_owned() + extension(part) } else { part.to_owned() })
            .collect::<Vec<_>>()
            .join("/");
        let kept = kinds.entry(kind).or_insert((0, PathBuf::new()));
        if bytes > kept.0 {
            *kept = (bytes, relative);
        }
    }
    Ok(kinds.into_iter().map(|(kind, (_, path))| (kind, path)).collect())
}

fn is_random(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or(part);
    stem.len() >= 2 && stem.chars().all(|it| it.is_ascii_hexdigit() || it == '-')
}

fn extension(part: &str) -> &str {
    part.find('.').map_or("", |at| &part[at..])
}

fn harm(file: &Path, damage: Damage) -> Outcome {
    let bytes = fs::metadata(file)?.len();
    match damage {
        Damage::Removed => fs::remove_file(file)?,
        Damage::Cut => fs::OpenOptions::new().write(true).open(file)?.set_len(bytes / 2)?,
        Damage::Zeroed => {
            let mut open = fs::OpenOptions::new().write(true).open(file)?;
            let length = (bytes / 3).clamp(1, 4096);
            open.seek(SeekFrom::Start((bytes - length) / 2))?;
            open.write_all(&vec![0; usize::try_from(length)?])?;
        }
    }
    Ok(())
}

fn names(root: &Path) -> Result<std::collections::BTreeSet<String>, Box<dyn Error>> {
    let names = files(root)?.into_iter().map(|(path, _)| path.to_string_lossy().into_owned());
    // SQLite's logs are transient.
    Ok(names.filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm")).collect())
}

/// Lists all files below a folder, with their sizes.
fn files(folder: &Path) -> std::io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
