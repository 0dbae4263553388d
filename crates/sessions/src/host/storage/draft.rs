//! A database in memory, until its object has stored something: an object that was only read leaves no file behind.
//!
//! An object's `start` usually makes tables. If each object that was ever asked had a file for that, reading `/rooms/1` to
//! `/rooms/1000000` would make a million files. So a new object is in memory until its start has stored a row, or until an event after
//! that has changed anything. Then its image is written as a file, whole: under another name, synced, renamed, and the folder synced.
//! The next start makes again what is in memory alone.

use isobar_base::sync::IgnorePoison;
use isobar_sqlite::script::{literal, quoted};
use isobar_sqlite::set_last_insert_rowid;

use super::{Place, Storage, in_file};
use crate::host::disk::{self, WriteError, failed};
use crate::host::history;
use crate::{Error, ErrorKind, Result};

impl Storage {
    /// Whether a draft holds something that a new instance would not make again: rows while it starts, and later any change.
    pub(in crate::host) fn has_news(&self, is_starting: bool) -> Result<bool> {
        let before = self.baseline.get();
        let now = self.counts()?;
        if before == now {
            return Ok(false);
        }
        if is_starting && !self.has_rows()? {
            self.baseline.set(now);
            return Ok(false);
        }
        Ok(true)
    }

    pub(super) fn counts(&self) -> Result<(u64, i64)> {
        let sql = "SELECT schema_version FROM pragma_schema_version";
        let schema = self.trusted(|connection| connection.query_row(sql, [], |row| row.get(0)))?;
        Ok((self.connection.total_changes(), schema))
    }

    fn has_rows(&self) -> Result<bool> {
        let tables = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')
                      AND name NOT IN ('sqlite_schema', 'sqlite_master') AND name NOT LIKE 'sqlite~_stat%' ESCAPE '~'";
        self.trusted(|connection| {
            let mut statement = connection.prepare(tables)?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            for name in names {
                let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(&name));
                if connection.query_row(&sql, [], |row| row.get(0))? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Makes a draft a file, whole and durable, and opens that.
    pub(in crate::host) fn publish(self, name: Option<&str>) -> Result<Self> {
        let Place::Draft(path) = self.place.clone() else {
            return Err(Error::new(ErrorKind::Internal, "a session object's draft is published once"));
        };
        self.health.check_write()?;
        let changes = self.changes.get(&self.connection);
        let rowid = self.connection.last_insert_rowid();
        self.put_metadata("name", name.map(|name| rusqlite::types::Value::from(name.to_owned())))?;
        let mut image = self.image()?;
        // The file format's versions for writing and reading: 2 is WAL. So the file need not be switched, and synced, again.
        image[18..20].fill(2);
        if let Some(folder) = path.parent() {
            isobar_base::fs::create_dir(folder).map_err(|error| in_file(&path, "cannot be created", error))?;
        }
        if let Some(old) = self.histories.as_ref().and_then(|histories| histories.file(&path)) {
            // Of an object that was here before, and was given up.
            history::delete_one(&old).map_err(|error| failed(&old, "deleted", &error))?;
        }
        disk::write_whole(&path, &image).map_err(|error| match error {
            WriteError::Write(error) => in_file(&path, "cannot be created", error),
            WriteError::Sync(error) => {
                let error = in_file(&path, "cannot be made durable", error);
                self.health.poison(error.to_string());
                error
            }
        })?;
        let file = Self::file(&path, &self.health, self.log.as_ref(), self.histories.as_ref())?;
        let settings = std::mem::take(&mut *self.settings.lock().ignore_poison());
        for (name, value) in settings {
            file.own(&format!("PRAGMA {name} = {}", literal(&value)))?;
        }
        file.changes.set(changes);
        set_last_insert_rowid(&file.connection, rowid);
        Ok(file)
    }
}
