//! The keyring of the store of keys.
//!
//! The store's secrets are sealed, so that a copy of the database alone signs nothing. Whoever has the
//! folder has both, as the keyring lies beside it by default; `--keyring` puts it elsewhere, on another
//! disk or in a secret of the service manager.
//!
//! | tried in this order | |
//! |---|---|
//! | `--keyring FILE` | an error if it cannot be read |
//! | `keys/keyring` in the root | where it exists |
//! | `ISOBAR_KEYRING` | where it is set |
//! | a new one in `keys/keyring` | only while the store has no secrets yet |
//!
//! The file beside the keys goes before the environment: it was made for them, while the variable may
//! be meant for an application's vault. A new keyring for a store that has secrets would make all keys
//! unusable, so that it is an error which names the missing ones.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isobar_base::fs;
use isobar_db::SqliteDatabase;
use isobar_db::vault::{self, Keyring};
use isobar_gateway::keys::KeyStore;

use crate::place::open_database;

/// Name of the key that is generated.
const NAME: &str = "keys";

/// Opens the store in a folder, which its owner alone may read.
pub(super) async fn open(folder: &Path, file: Option<PathBuf>) -> Result<KeyStore, Box<dyn Error>> {
    make_folder(folder)?;
    let database = open_database(&folder.join("keys.sqlite")).await?;
    let keyring = keyring(folder, file, &database).await?;
    Ok(KeyStore::open(Arc::new(database), keyring).await?)
}

/// Creates the folder with mode 0700, and restricts one that exists.
fn make_folder(folder: &Path) -> Result<(), String> {
    match fs::private_dir().create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("cannot create {}: {error}", folder.display()))
        }
        _ => fs::restrict(folder).map_err(|error| format!("cannot restrict {}: {error}", folder.display())),
    }
}

/// The file that was named, the one beside the keys, that of the environment, or a new one where the
/// keys have none yet.
///
/// Two processes may start at once in a new place: the file is created exclusively, and who comes
/// second reads the first one's.
///
/// # Errors
/// A keyring that is missing though secrets were sealed by it, with its keys' names; one that cannot be
/// read or written.
async fn keyring(folder: &Path, file: Option<PathBuf>, database: &SqliteDatabase) -> Result<Keyring, Box<dyn Error>> {
    if let Some(file) = file {
        return Ok(Keyring::from_file(file)?);
    }
    let own = folder.join("keyring");
    if own.exists() {
        return Ok(Keyring::from_file(own)?);
    }
    if std::env::var_os("ISOBAR_KEYRING").is_some() {
        return Ok(Keyring::from_env("ISOBAR_KEYRING")?);
    }
    let needed = vault::wrapping_keys(database).await?;
    if !needed.is_empty() {
        let needed = needed.join(", ");
        let own = own.display();
        return Err(format!(
            "the keyring of the keys ({needed}) is not there: put it back at {own}, name it with --keyring, or set ISOBAR_KEYRING"
        )
        .into());
    }
    match Keyring::generate(NAME)?.write_new(&own) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("cannot write the keyring {}: {error}", own.display()).into())
        }
        // Another process may have been quicker.
        _ => Ok(Keyring::from_file(own)?),
    }
}
