//! Where a platform keeps its state, as commands that walk folders have to know it.
//!
//! State is recognised in two ways: a folder of its own has a marker file, which every walk knows
//! (`isobar_storage::walk`); where the root is the project's folder, which has no marker, the entries
//! are named here. Without the second way `isobar deploy .` would publish databases.

use std::path::Path;

use isobar_storage::walk::{WalkOptions, create_state_folder};

/// Entries that a platform keeps in its root.
const ENTRIES: [&str; 5] = ["r2", "d1", "sessions", "analytics", "keyring"];

/// The entry that `isobar serve` keeps there: copies of sites.
const COPIES: &str = "assets";

/// Returns the policy by which folders are walked beside a platform's state: what is in `root` takes no part. Where the root is the
/// project's own folder `home`, or one above it, only what the platform keeps there is state.
///
/// ```
/// use isobar_http_serve::walk_options;
///
/// // The root is the project's own folder: only what the platform keeps there is left out.
/// let project = tempfile::tempdir()?;
/// let options = walk_options(project.path(), project.path());
/// assert!(options.state.contains(&project.path().join("d1")));
/// assert!(!options.state.contains(&project.path().to_path_buf()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn walk_options(home: &Path, root: &Path) -> WalkOptions {
    let state = if is_shared(home, root) {
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        let entries = entries.filter(|path| is_copy(path) || is_mail(path));
        ENTRIES.iter().map(|name| root.join(name)).chain(entries).collect()
    } else {
        vec![root.to_owned()]
    };
    WalkOptions::default().with_state(state)
}

/// Makes the folder of a platform's state, with access for its owner only, and marks it, so that it is recognised wherever it
/// is. The project's own folder `home`, and those above it, are left as they are.
///
/// ```
/// use isobar_http_serve::{make_root, walk_options};
///
/// let project = tempfile::tempdir()?;
/// let root = project.path().join(".isobar");
/// make_root(project.path(), &root)?;
/// assert_eq!(walk_options(project.path(), &root).state, [root]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The file system's error, with the path.
pub fn make_root(home: &Path, root: &Path) -> isobar_storage::Result<()> {
    if is_shared(home, root) { Ok(()) } else { create_state_folder(root) }
}

/// Whether state lies beside other things.
fn is_shared(home: &Path, root: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_default();
    real(home).starts_with(real(root))
}

/// Whether this is a copy of a site, or its lock: `assets`, `assets-2`, `assets-2.lock`.
fn is_copy(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (base, is_lock) = name.strip_suffix(".lock").map_or((&*name, false), |base| (base, true));
    let number = base.strip_prefix(COPIES).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        && (is_lock || path.join("index.db").exists())
}

/// Whether this is a folder of messages that the platform has not sent: they have links to set passwords in them.
fn is_mail(path: &Path) -> bool {
    let is_message = |entry: std::fs::DirEntry| entry.path().extension().is_some_and(|extension| extension == "eml");
    path.ends_with("mail") && std::fs::read_dir(path).into_iter().flatten().flatten().any(is_message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separate_root_is_state_and_the_projects_folder_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path();
        let own = home.join(".isobar");
        make_root(home, &own).expect("a root");
        make_root(home, home).expect("the home");
        assert!(own.join(isobar_storage::walk::MARKER).exists() && !home.join(isobar_storage::walk::MARKER).exists());
        assert_eq!(walk_options(home, &own).state, std::slice::from_ref(&own));
        for name in ["assets", "assets-2", "assets-src"] {
            std::fs::create_dir(home.join(name)).expect("a folder");
        }
        std::fs::create_dir(home.join("mail")).expect("a folder");
        for name in ["assets-2/index.db", "assets-2.lock", "mail/1.eml"] {
            std::fs::write(home.join(name), "").expect("a file");
        }
        let mut state = walk_options(home, home).state;
        state.sort();
        let mut expected: Vec<_> =
            ENTRIES.iter().chain(&["assets-2", "assets-2.lock", "mail"]).map(|name| home.join(name)).collect();
        expected.sort();
        assert_eq!(state, expected);
        assert!(
            make_root(home, &home.join("assets-2.lock/below")).expect_err("no folder").to_string().contains("below")
        );
    }
}
