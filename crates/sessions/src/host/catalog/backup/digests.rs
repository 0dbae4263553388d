//! A set of digests that may be larger than the memory.

use rusqlite::Connection;
use tempfile::TempDir;

use crate::{Error, ErrorKind, Result};

/// Digests in a temporary file.
pub(super) struct Digests {
    connection: Connection,
    /// Removed with it.
    _folder: TempDir,
}

fn failed(error: &impl std::error::Error) -> Error {
    Error::new(ErrorKind::Storage, format!("the temporary file of a backup's digests cannot be used: {error}"))
}

impl Digests {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(folder.path().join("digests.db"))?;
            connection.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
                 CREATE TABLE digests (digest TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN",
            )?;
            Ok(connection)
        };
        let connection = open().map_err(|error| failed(&error))?;
        Ok(Self { connection, _folder: folder })
    }

    pub(super) fn insert(&self, digest: &str) -> Result<()> {
        let insert = self.connection.prepare_cached("INSERT OR IGNORE INTO digests VALUES (?)");
        insert.and_then(|mut statement| statement.execute([digest])).map(drop).map_err(|error| failed(&error))
    }

    pub(super) fn contains(&self, digest: &str) -> Result<bool> {
        let select = self.connection.prepare_cached("SELECT 1 FROM digests WHERE digest = ?");
        select.and_then(|mut statement| statement.exists([digest])).map_err(|error| failed(&error))
    }

    /// Shows all digests, one by one.
    pub(super) fn each(&self, mut look: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let failed = |error: rusqlite::Error| failed(&error);
        let mut select = self.connection.prepare("SELECT digest FROM digests").map_err(failed)?;
        let mut rows = select.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            look(&row.get::<_, String>(0).map_err(failed)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_kept_once() {
        let digests = Digests::new().unwrap();
        ["b", "a", "b"].iter().for_each(|digest| digests.insert(digest).unwrap());
        let mut all = Vec::new();
        digests
            .each(|digest| {
                all.push(digest.to_owned());
                Ok(())
            })
            .unwrap();
        assert_eq!(all, ["a", "b"]);
        assert_eq!(["a", "c"].map(|digest| digests.contains(digest).unwrap()), [true, false]);
    }
}
