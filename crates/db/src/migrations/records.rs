//! The tables that record which migrations are applied: wrangler's, and beside it that of the checksums. All SQL on them is here.
//!
//! wrangler's table has `id`, `name` (unique) and `applied_at`, and is made by the same statement, so that either
//! tool finds its own. Checksums are in a table beside it, since a column more would be one that wrangler does not
//! write.

#[cfg(feature = "checksums")]
use std::collections::BTreeMap;

#[cfg(feature = "checksums")]
use sha2::{Digest, Sha256};

use super::{Applied, Migration, TABLE};
#[cfg(feature = "checksums")]
use crate::Statement;
use crate::{Queryable, QueryableExt, Result, sql};

/// The clause by which a checksum takes the place of an older one.
#[cfg(feature = "checksums")]
const REPLACES_CHECKSUM: &str = "ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256";

/// Text of the error of a migration that is not applied.
const NOT_APPLIED: &str = "isobar_migration_is_not_applied";

/// The tables of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Records {
    table: String,
    /// Whether checksums are kept.
    #[cfg(feature = "checksums")]
    pub(super) has_checksums: bool,
}

impl Default for Records {
    fn default() -> Self {
        Self::new(TABLE.to_owned())
    }
}

impl Records {
    /// Records in the table of this name.
    pub(super) fn new(table: String) -> Self {
        Self {
            table,
            #[cfg(feature = "checksums")]
            has_checksums: false,
        }
    }

    /// Records in the table of another name.
    pub(super) fn rename(&mut self, table: String) {
        self.table = table;
    }

    /// Names of the tables, whether or not checksums are kept.
    pub(super) fn names(&self) -> [String; 2] {
        [self.table.clone(), self.checksums_name()]
    }

    fn checksums_name(&self) -> String {
        format!("{}_checksums", self.table)
    }

    /// The statements that create the tables where they are missing.
    pub(super) fn create(&self) -> Vec<String> {
        #[allow(unused_mut, reason = "without checksums there is one")]
        let mut tables = vec![format!(
            "CREATE TABLE IF NOT EXISTS {}(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, \
             applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)",
            sql::quoted(&self.table)
        )];
        #[cfg(feature = "checksums")]
        if self.has_checksums {
            let name = sql::quoted(&self.checksums_name());
            tables.push(format!("CREATE TABLE IF NOT EXISTS {name}(name TEXT PRIMARY KEY, sha256 TEXT NOT NULL)"));
        }
        tables
    }

    /// The SQL that records a migration as applied, on one line.
    ///
    /// The name is a literal, not a parameter: a script has none. It comes before the file's own SQL, so the unique
    /// name makes the second of two processes fail before it has run anything.
    pub(super) fn insert(&self, file: &Migration) -> String {
        let name = sql::literal(&file.name);
        #[allow(unused_mut, reason = "without checksums it is complete")]
        let mut record = format!("INSERT INTO {} (name) VALUES ({name});", sql::quoted(&self.table));
        #[cfg(feature = "checksums")]
        if self.has_checksums {
            let checksums = sql::quoted(&self.checksums_name());
            let sum = checksum(&file.sql);
            record.push_str(&format!(
                " INSERT INTO {checksums} (name, sha256) VALUES ({name}, '{sum}') {REPLACES_CHECKSUM};"
            ));
        }
        record
    }

    /// The statement that records a migration as applied, without its checksum.
    #[cfg(feature = "checksums")]
    pub(super) fn insert_name(&self, name: &str) -> Statement {
        Statement::new(format!("INSERT INTO {} (name) VALUES (?)", sql::quoted(&self.table))).bind(name)
    }

    /// The statement that records a file's checksum.
    #[cfg(feature = "checksums")]
    pub(super) fn insert_checksum(&self, file: &Migration) -> Statement {
        let table = sql::quoted(&self.checksums_name());
        let insert = Statement::new(format!("INSERT INTO {table} (name, sha256) VALUES (?, ?) {REPLACES_CHECKSUM}"));
        insert.bind(file.name.as_str()).bind(checksum(&file.sql))
    }

    /// The SQL that removes the record of a migration, on one line. It fails where there is none: see
    /// [`is_not_applied`].
    pub(super) async fn remove(&self, database: &(impl Queryable + ?Sized), name: &str) -> Result<String> {
        let name = sql::literal(name);
        let mut script = format!(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM {} WHERE name = {name}) THEN '' ELSE json_extract('{{}}', '{NOT_APPLIED}') END;",
            sql::quoted(&self.table)
        );
        for table in self.names() {
            if exists(database, &table).await? {
                script.push_str(&format!(" DELETE FROM {} WHERE name = {name};", sql::quoted(&table)));
            }
        }
        Ok(script)
    }

    /// The applied migrations, oldest first; none where the table is missing.
    pub(super) async fn applied(&self, database: &(impl Queryable + ?Sized)) -> Result<Vec<Applied>> {
        if !exists(database, &self.table).await? {
            return Ok(Vec::new());
        }
        let select = format!("SELECT id, name, applied_at FROM {} ORDER BY id", sql::quoted(&self.table));
        database.prepare(select).all().await
    }

    /// The checksums that are known, by names.
    #[cfg(feature = "checksums")]
    pub(super) async fn checksums(&self, database: &(impl Queryable + ?Sized)) -> Result<BTreeMap<String, String>> {
        let table = self.checksums_name();
        if !exists(database, &table).await? {
            return Ok(BTreeMap::new());
        }
        let rows = database.prepare(format!("SELECT name, sha256 FROM {}", sql::quoted(&table)));
        Ok(rows.all::<(String, String)>().await?.into_iter().collect())
    }
}

/// Returns whether the error is that of [`Records::remove`] for a migration that is not applied.
pub(super) fn is_not_applied(error: &crate::Error) -> bool {
    error.message().contains(NOT_APPLIED)
}

async fn exists(database: &(impl Queryable + ?Sized), table: &str) -> Result<bool> {
    let known = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND lower(name) = lower(?)";
    Ok(database.prepare(known).bind(table).one::<i64>().await? > 0)
}

/// SHA-256 of a migration's SQL, in hexadecimal digits. Line ends count as one, `\r\n` or `\n`, since git may change them.
///
/// ```
/// use isobar_db::migrations::checksum;
///
/// assert_eq!(checksum("SELECT 1;\r\n"), checksum("SELECT 1;\n"));
/// assert_ne!(checksum("SELECT 1;"), checksum("SELECT 2;"));
/// assert_eq!(checksum("").len(), 64);
/// ```
#[cfg(feature = "checksums")]
#[must_use]
pub fn checksum(sql: &str) -> String {
    let digest = Sha256::digest(sql.replace("\r\n", "\n").as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
