//! Checks that the keyring is the one with which the database was sealed.

use std::error::Error;

use isobar_db::{ErrorKind, QueryableExt, migrations};
use isobar_http_serve::Platform;

use crate::api;
use crate::bindings::{DB, KEYRING};

/// The migration that makes the vault's tables.
const VAULT_MIGRATION: &str = "0002_vault.sql";
/// A table of a later migration: where it is, the vault's tables were there. The table of migrations can have another name.
const LATER_TABLE: &str = "idempotency_keys";

/// Compares the keyring with the keys of the primary database. With a missing or different keyring, sealed values cannot be
/// opened, and a new keyring would hide that. Returns the problem and its solution; `None` where the keyring matches.
///
/// # Errors
/// Fails where the binding is missing or the database cannot be read.
pub async fn check_keyring(platform: &Platform) -> Result<Option<String>, Box<dyn Error>> {
    let database = platform.database(DB)?;
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('vault_keys', 'vault_columns', ?)";
    let tables: Vec<String> = database.prepare(sql).bind(LATER_TABLE).all().await?;
    let has = |table: &str| tables.iter().any(|name| name == table);
    if !has("vault_keys") || !has("vault_columns") {
        let applied = migrations::applied(&*database).await?.iter().any(|applied| applied.name == VAULT_MIGRATION);
        if !applied && !has(LATER_TABLE) && !has("vault_keys") && !has("vault_columns") {
            return Ok(None); // before its migrations
        }
        let lost = match (has("vault_keys"), has("vault_columns")) {
            (true, _) => "the table vault_columns",
            (false, true) => "the table vault_keys, and with it the keys of all sealed values",
            (false, false) => {
                "the tables vault_columns and vault_keys, and with vault_keys the keys of all sealed values"
            }
        };
        return Ok(Some(format!("the database {DB} has lost {lost}: restore it from a backup")));
    }
    let advice = format!(
        "restore the keyring that the database was sealed with, in its file or in {KEYRING}; without it the sealed values \
         are lost, and a new keyring can be used only once the table vault_keys is empty"
    );
    if platform.secret(KEYRING).is_err() {
        if database.prepare("SELECT count(*) FROM vault_keys").one::<i64>().await? == 0 {
            return Ok(None); // nothing was sealed yet
        }
        return Ok(Some(format!("the database {DB} has sealed values, and there is no keyring: {advice}")));
    }
    match api::vault(platform)?.check().await {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Sealed => {
            let what = format!("the keyring is not the one that the database {DB} was sealed with ({error})");
            Ok(Some(format!("{what}: {advice}")))
        }
        Err(error) => Err(error.into()),
    }
}
