//! State among a folder's files: recognised by where it is configured to be, by its name, and by its content.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Reason, plain, real_path};
use crate::{Error, ErrorKind, Result};

/// The file by which a state folder is recognised under any name. [`create_state_folder`] writes it.
pub const MARKER: &str = ".isobar-state";

const MARKER_TEXT: &str = "This folder holds state of isobar: buckets, databases, session objects, keys.\n\
    Because of this file, no isobar command publishes, copies or deletes anything in it.\n";

/// Bytes of the largest file that is looked at for keys.
const KEYRING_BYTES: u64 = 64 * 1024;

/// Creates a state folder, readable by its owner only, and marks it as one, so that every [walk](super) leaves it out under any
/// name. One that exists keeps its permissions. A program that keeps stores or databases in a folder that could be published
/// calls it once.
///
/// ```
/// use isobar_storage::walk::{MARKER, WalkOptions, create_state_folder, walk};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let site = tempfile::tempdir()?;
/// std::fs::write(site.path().join("index.html"), "")?;
/// create_state_folder(site.path().join("data"))?;
/// let walked = walk(site.path(), &WalkOptions::default()).await?;
/// assert_eq!(walked.files.len(), 1);
/// assert_eq!(walked.left_out[0].name, "data");
/// # assert!(site.path().join("data").join(MARKER).is_file());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The file system's error, with the path.
pub fn create_state_folder(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let failed = |error| plain(format_args!("cannot create the state folder {}", path.display()), error);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match isobar_base::fs::private_dir().create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created.map_err(failed)?,
    }
    match isobar_base::fs::private_file().write(true).create_new(true).open(path.join(MARKER)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // What can only be read needs no mark to be read.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        file => file.and_then(|mut file| io::Write::write_all(&mut file, MARKER_TEXT.as_bytes())).map_err(failed),
    }
}

/// Whether a file or folder of this name is state or a secret, wherever it is. ASCII letters count alike in either case, as some
/// file systems have it.
///
/// | name | reason |
/// |---|---|
/// | `.isobar`, [`MARKER`] | [`Reason::State`] |
/// | `.wrangler` | [`Reason::WranglerState`] |
/// | `.git`, `.DS_Store`, `Thumbs.db` | [`Reason::System`] |
/// | `.env*`, `.dev.vars*` (but for `.env.example`, `.dev.vars.example`), `keyring`, `*.keyring`, `signing-key`, `.npmrc` | [`Reason::Secret`] |
///
/// ```
/// use isobar_storage::walk::{Reason, state_of_name};
///
/// assert_eq!(state_of_name(".env.production"), Some(Reason::Secret));
/// assert_eq!(state_of_name(".env.example"), None);
/// assert_eq!(state_of_name("index.html"), None);
/// ```
#[must_use]
pub fn state_of_name(name: &str) -> Option<Reason> {
    let name = name.to_ascii_lowercase();
    let is_example = [".dev.vars.example", ".env.example"].contains(&&*name);
    match &*name {
        ".isobar" | MARKER => Some(Reason::State),
        ".wrangler" => Some(Reason::WranglerState),
        ".git" | ".ds_store" | "thumbs.db" => Some(Reason::System),
        "keyring" | "signing-key" | ".npmrc" => Some(Reason::Secret),
        _ if name.ends_with(".keyring") => Some(Reason::Secret),
        // As wrangler's own ignore files have it.
        _ if (name.starts_with(".dev.vars") || name.starts_with(".env")) && !is_example => Some(Reason::Secret),
        _ => None,
    }
}

/// Where state is, for one walk.
#[derive(Debug, Default)]
pub(crate) struct States {
    /// Without links, as far as they exist.
    paths: Vec<PathBuf>,
    ids: Vec<Id>,
}

impl States {
    pub(crate) fn new(configured: &[PathBuf]) -> Self {
        let paths: Vec<PathBuf> =
            configured.iter().map(|path| real_path(path).unwrap_or_else(|_| path.clone())).collect();
        let ids = paths.iter().filter_map(|path| fs::metadata(path).ok()).filter_map(|meta| id_of(&meta)).collect();
        Self { paths, ids }
    }

    /// Refuses a folder that is inside a state folder, or is one.
    pub(crate) fn check_root(&self, shown: &Path, real: &Path) -> Result<()> {
        let inside = |state: &Path| {
            let message = format!(
                "{} is inside the state folder {}: state is neither published nor overwritten; choose another folder",
                shown.display(),
                state.display()
            );
            Error::new(ErrorKind::InvalidArgument, message)
        };
        if let Some(state) = self.paths.iter().find(|state| real.starts_with(state)) {
            return Err(inside(state));
        }
        // A folder that is configured to hold state beside other things is not state by its content.
        let is_home = |folder: &Path| self.paths.iter().any(|state| state.parent() == Some(folder));
        let by_name = |folder: &Path| folder.file_name().and_then(|name| state_of_name(&name.to_string_lossy()));
        let is_ours = |folder: &Path| by_name(folder) == Some(Reason::State) || is_isobar_state(folder);
        match real.ancestors().find(|folder| !is_home(folder) && is_ours(folder)) {
            Some(state) => Err(inside(state)),
            None => Ok(()),
        }
    }

    /// Whether an entry of a folder is state, before its links are followed.
    pub(super) fn of_entry(&self, path: &Path, meta: &Metadata) -> Option<Reason> {
        let by_name = path.file_name().map(OsStr::to_string_lossy).and_then(|name| state_of_name(&name));
        by_name.or_else(|| self.of_content(path, meta))
    }

    /// Whether a path without links is state, or is below it. Below the root of a walk only what is below the root counts.
    pub(super) fn above(&self, real: &Path, root: &Path) -> Option<Reason> {
        real.ancestors().take_while(|path| *path != root).find_map(|path| {
            let meta = fs::metadata(path).ok();
            let by_name = path.file_name().map(OsStr::to_string_lossy).and_then(|name| state_of_name(&name));
            by_name.or_else(|| self.of_content(path, &meta?))
        })
    }

    fn of_content(&self, path: &Path, meta: &Metadata) -> Option<Reason> {
        let is_configured =
            self.paths.iter().any(|state| state == path) || id_of(meta).is_some_and(|id| self.ids.contains(&id));
        if is_configured {
            return Some(if meta.is_dir() { Reason::State } else { Reason::Secret });
        }
        if meta.is_dir() {
            return match () {
                () if is_isobar_state(path) => Some(Reason::State),
                () if is_wrangler_state(path) => Some(Reason::WranglerState),
                () => None,
            };
        }
        (meta.is_file() && meta.len() <= KEYRING_BYTES && is_keyring(path)).then_some(Reason::Secret)
    }
}

/// The same file under another name, or in another case, has the same numbers.
type Id = (u64, u64);

#[cfg(unix)]
fn id_of(meta: &Metadata) -> Option<Id> {
    use std::os::unix::fs::MetadataExt;
    Some((meta.dev(), meta.ino()))
}

#[cfg(not(unix))]
fn id_of(_: &Metadata) -> Option<Id> {
    None
}

/// Whether a folder is a state folder of isobar's by its content: the mark, a bucket, a namespace of sessions, or a root with a
/// bucket in `r2` or a namespace in `sessions`.
///
/// Names that other programs use as well decide nothing: `d1/site.sqlite`, `index.db` or `packs` alone are files like any others.
/// So databases are state only in a folder that is marked, configured or called `.isobar`, or beside a bucket or a namespace.
fn is_isobar_state(folder: &Path) -> bool {
    let any = |name: &str, is: fn(&Path) -> bool| children(&folder.join(name)).any(|path| is(&path));
    folder.join(MARKER).exists()
        || is_bucket(folder)
        || is_namespace(folder)
        || any("r2", is_bucket)
        || any("sessions", is_namespace)
}

/// Whether a folder is a bucket: it has packs, or the folders of blobs beside one of packs or an index, as
/// isobar names them.
fn is_bucket(folder: &Path) -> bool {
    let is_pack = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.strip_suffix(".pack")
            .is_some_and(|number| number.len() == 12 && number.bytes().all(|it| it.is_ascii_digit()))
    };
    let blobs = folder.join("blobs");
    let has_blobs = ["00", "7f", "ff"].iter().all(|name| blobs.join(name).is_dir());
    let has_others = folder.join("packs").is_dir() || folder.join("index.db").is_file();
    has_blobs && has_others || children(&folder.join("packs")).any(is_pack)
}

/// Whether a folder is a namespace of session objects.
fn is_namespace(folder: &Path) -> bool {
    folder.join("host.lock").is_file() && ["index.db", "objects"].iter().any(|name| folder.join(name).exists())
}

/// Whether a folder is what `wrangler --persist-to` has made: `v3/r2/miniflare-R2BucketObject` and the like.
fn is_wrangler_state(folder: &Path) -> bool {
    let is_miniflare =
        |path: PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("miniflare-"));
    children(&folder.join("v3")).any(|kind| children(&kind).any(is_miniflare))
}

fn children(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Whether a file whose name may be that of a keyring has keys in it, one a line: `name:` and 32 bytes in base64.
fn is_keyring(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let may_be = name.contains("keyring") || matches!(extension, None | Some("txt" | "key" | "keys" | "bak" | "old"));
    may_be && fs::read_to_string(path).is_ok_and(|text| has_keys(&text))
}

fn has_keys(text: &str) -> bool {
    let entries =
        || text.split(['\n', ',']).map(str::trim).filter(|entry| !entry.is_empty() && !entry.starts_with('#'));
    let is_key = |entry: &str| {
        let key = entry.split_once(':').map(|(_, key)| key.trim());
        key.is_some_and(|key| key.len() == 44 && STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 32))
    };
    entries().next().is_some() && entries().all(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_state_and_secrets_are_recognised_in_either_case() {
        for name in [".isobar", ".ISOBAR", ".wrangler", ".dev.vars", ".dev.vars.staging", ".env", ".env.local", ".Env"]
        {
            assert!(state_of_name(name).is_some(), "{name}");
        }
        for name in ["keyring", "prod.keyring", "signing-key", ".git", ".DS_Store", "Thumbs.db", ".npmrc"] {
            assert!(state_of_name(name).is_some(), "{name}");
        }
        for name in ["isobar", ".env.example", ".dev.vars.example", "env", "keyring.html", ".well-known", ".github"] {
            assert_eq!(state_of_name(name), None, "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_state_folder_is_its_owners_and_its_parents_are_as_usual() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("srv/state");
        create_state_folder(&state).expect("a folder");
        let mode = |path: &Path| fs::metadata(path).expect("it was made").permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(MARKER))), (0o700, 0o600));
        fs::create_dir(folder.path().join("usual")).expect("a folder");
        assert_eq!(mode(&folder.path().join("srv")), mode(&folder.path().join("usual")));
        fs::set_permissions(&state, fs::Permissions::from_mode(0o750)).expect("permissions");
        create_state_folder(&state).expect("the same folder");
        assert_eq!(mode(&state), 0o750);
        fs::write(folder.path().join("file"), "").expect("a file");
        assert!(create_state_folder(folder.path().join("file")).is_err());
    }

    #[test]
    fn a_keyring_is_recognised_by_its_keys_alone() {
        let key = STANDARD.encode([7; 32]);
        assert!(has_keys(&format!("# mine\nfirst:{key}\nsecond: {key}\n")) && has_keys(&format!("a:{key},b:{key}")));
        for text in ["", "# nothing", "a:b", "first:short\n", &format!("first:{key}\nno key here\n")] {
            assert!(!has_keys(text), "{text}");
        }
    }
    #[test]
    fn a_bucket_has_blobs_beside_an_index_or_packs() {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path();
        for name in ["blobs/00", "blobs/7f", "blobs/ff"] {
            fs::create_dir_all(here.join(name)).expect("a folder");
        }
        assert!(!is_bucket(here), "the folders of blobs alone");
        fs::write(here.join("index.db"), "").expect("a file");
        assert!(is_bucket(here), "of version 1 or 2");
        fs::remove_file(here.join("index.db")).expect("it was there");
        fs::create_dir(here.join("packs")).expect("a folder");
        assert!(is_bucket(here), "without its index");
    }
}
