//! Migrations, compatible with wrangler's: the same table, names and order, so that either tool goes on where the other stopped.
//!
//! A migration is a file of SQL. Its name begins with a number, and the name is what the table `d1_migrations` remembers: a file
//! that was applied must keep it, and keep its text (the feature `checksums` notices otherwise). Each file runs in one
//! transaction with its row in the table, so that it is applied whole or not at all.
//!
//! | how | by |
//! |---|---|
//! | embedded in the program, and the only way in a Worker | [`migrations!`](crate::migrations!) |
//! | from a folder at run time | [`from_folder`], or [`from_pattern`] as ORMs name files |
//! | apply what is pending | [`apply`]; [`Migrator::apply`] with another table |
//! | see first what would be done | [`Migrator::dry_run`] |
//! | another file for Postgres | `NAME.postgres.sql`; [`from_pattern_for`] and a second argument of [`migrations!`](crate::migrations!) |
//! | undo the last ones | files `NAME.down.sql` and [`Migrator::undo`] |
//! | give a table another definition, with its foreign keys | `rebuild` (feature `memory`) |
//! | compare files and table, or the schema | [`Migrator::status`] (feature `checksums`), [`Migrator::drift`] |

mod dialect;
mod down;
#[cfg(all(feature = "memory", not(target_arch = "wasm32")))]
mod drift;
mod dry_run;
#[cfg(all(feature = "memory", not(target_arch = "wasm32")))]
mod rebuild;
mod records;
#[cfg(feature = "checksums")]
mod status;

use std::cmp::Ordering;

#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub use self::down::{down_file, down_file_for};
pub use self::dry_run::Planned;
#[cfg(all(feature = "memory", not(target_arch = "wasm32")))]
pub use self::rebuild::{Rebuild, RebuildOptions, rebuild};
use self::records::Records;
#[cfg(feature = "checksums")]
pub use self::records::checksum;
#[cfg(feature = "checksums")]
pub use self::status::{State, Status};
use crate::{Constraint, Dialect, Error, ErrorKind, Queryable, QueryableExt, Result};

/// wrangler's default table.
pub const TABLE: &str = "d1_migrations";
/// wrangler's default pattern, within the folder of migrations.
pub const PATTERN: &str = "*.sql";
/// End of the name of a file that undoes a migration, which is not a migration itself.
const DOWN: &str = ".down.sql";

/// A migration: a file's name, with its `.sql`, and its SQL.
///
/// The SQL is a script, as [`batch_script`](crate::Queryable::batch_script) runs it. A `BEGIN TRANSACTION` and
/// `COMMIT` around it are skipped. `PRAGMA defer_foreign_keys = ON` at its beginning lets it rebuild tables that
/// others refer to; `PRAGMA foreign_keys = OFF` has no effect in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The file's name; of one in a folder within, its path with `/`.
    pub name: String,
    /// The file's SQL.
    pub sql: String,
}

impl Migration {
    /// A migration from its name and SQL.
    pub fn new(name: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { name: name.into(), sql: sql.into() }
    }
}

/// Embeds the `.sql` files of a folder in the program, as a `Vec` of [`Migration`]s in order: what
/// [`from_folder`](crate::migrations::from_folder) (feature `local`) reads at run time is here part of the binary, so that the
/// binary needs no files beside it, and a Worker can have migrations at all.
///
/// The folder is below the package that is compiled, beside its `Cargo.toml`. Hidden files are passed over. A folder that cannot
/// be read, or has no `.sql` file, is an error of the compiler.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::{QueryableExt, SqliteDatabase, migrations};
///
/// let db = SqliteDatabase::memory().await?;
/// let applied = migrations::apply(&db, &isobar_db::migrations!("tests/migrations")).await?;
/// assert_eq!(applied, ["1_users.sql", "2_posts.sql", "10_posts_by_author.sql"]);
/// db.prepare("INSERT INTO users (name) VALUES ('Ada')").run().await?;
/// # Ok(()) }
/// ```
///
/// ```compile_fail
/// isobar_db::migrations!("no/such/folder");
/// ```
///
/// Each file is an input of the build: cargo compiles anew when one changes. Of a *new* file cargo hears nothing by itself;
/// a `build.rs` whose `main` has this line tells it to look:
///
/// ```
/// println!("cargo::rerun-if-changed=migrations");
/// ```
#[macro_export]
macro_rules! migrations {
    ($folder:literal) => {
        $crate::migrations::embedded(&$crate::__migration_files!($folder), $crate::Dialect::Sqlite)
    };
    ($folder:literal, $dialect:expr) => {
        $crate::migrations::embedded(&$crate::__migration_files!($folder), $dialect)
    };
}

/// Input of the macro [`migrations!`]: names and texts of the files.
#[doc(hidden)]
#[must_use]
pub fn embedded(files: &[(&str, &str)], dialect: Dialect) -> Vec<Migration> {
    let files = files.iter().filter(|(name, _)| !name.ends_with(DOWN));
    let files = files.map(|(name, sql)| Migration::new(*name, *sql)).collect();
    let mut migrations = dialect::choose(files, dialect);
    sort(&mut migrations);
    migrations
}

/// A migration that has been applied.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Applied {
    /// Its number in the table.
    pub id: i64,
    /// The file's name.
    pub name: String,
    /// When, as SQLite's CURRENT_TIMESTAMP writes it.
    pub applied_at: String,
}

/// The `.sql` files of a folder, in order: [`from_pattern`] with [`PATTERN`].
///
/// ```
/// use isobar_db::migrations::from_folder;
///
/// let files = from_folder("tests/migrations")?;
/// assert_eq!(files[0].name, "1_users.sql");
/// assert!(from_folder("no/such/folder").is_err());
/// # Ok::<(), isobar_db::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Migration`] when the folder or a file cannot be read.
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub fn from_folder(folder: impl AsRef<std::path::Path>) -> Result<Vec<Migration>> {
    from_pattern(folder, PATTERN)
}

/// The files of a folder that a pattern matches, in order; wrangler's `migrations_pattern` without the folder before it, like
/// `*/migration.sql`. `*` and `?` do not match `/`. Hidden files and folders (`._0001_a.sql`, as macOS makes them) are skipped, and so
/// are files that undo a migration (`0001_a.down.sql`), which wrangler would take for migrations unless they stand in a folder within.
///
/// ```
/// use isobar_db::migrations::from_pattern;
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// std::fs::create_dir(folder.join("0000_init"))?;
/// std::fs::write(folder.join("0000_init/migration.sql"), "CREATE TABLE users (id);")?;
/// std::fs::write(folder.join("0000_init/snapshot.json"), "{}")?;
/// let files = from_pattern(folder, "*/migration.sql")?; // as Drizzle names them
/// assert_eq!(files.len(), 1);
/// assert_eq!(files[0].name, "0000_init/migration.sql");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Migration`] when the pattern is not one, or the folder or a file cannot be read.
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub fn from_pattern(folder: impl AsRef<std::path::Path>, pattern: &str) -> Result<Vec<Migration>> {
    from_pattern_for(folder, pattern, Dialect::Sqlite)
}

/// The files of a folder whose names match a pattern, in the order in which they are applied, as they are written for a dialect: see
/// [`from_pattern`].
///
/// For Postgres, `NAME.postgres.sql` stands in the place of `NAME.sql`, and is taken as it is; it is looked for beside it, and in the
/// folder `postgres` within. For SQLite these files are passed over.
///
/// # Errors
/// As [`from_pattern`].
#[cfg(all(feature = "local", not(target_arch = "wasm32")))]
pub fn from_pattern_for(
    folder: impl AsRef<std::path::Path>,
    pattern: &str,
    dialect: Dialect,
) -> Result<Vec<Migration>> {
    let failed = |path: &std::path::Path, error: std::io::Error| {
        Error::new(ErrorKind::Migration, format!("cannot read {}: {error}", path.display())).with_source(error)
    };
    let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| {
        Error::new(ErrorKind::Migration, format!("the pattern of migrations {pattern:?}: {error}")).with_source(error)
    })?;
    let matcher = glob.compile_matcher();
    let is_wanted = |name: &str| match dialect::base(name) {
        // Those of the folder `postgres` are read already.
        Some(base) => dialect == Dialect::Postgres && !name.starts_with("postgres/") && matcher.is_match(base),
        None => matcher.is_match(name) && !name.ends_with(DOWN),
    };
    let mut migrations = match dialect {
        Dialect::Postgres => dialect::within(folder.as_ref())?,
        Dialect::Sqlite => Vec::new(),
    };
    let mut folders = vec![(folder.as_ref().to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for file in std::fs::read_dir(&folder).map_err(|error| failed(&folder, error))? {
            let file = file.map_err(|error| failed(&folder, error))?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let path = file.path();
            let name = format!("{prefix}{name}");
            if file.file_type().is_ok_and(|kind| kind.is_dir()) {
                // Only a pattern with a folder in it looks into folders.
                if pattern.contains('/') {
                    folders.push((path, format!("{name}/")));
                }
            } else if is_wanted(&name) && path.is_file() {
                let sql = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
                migrations.push(Migration { name, sql });
            }
        }
    }
    let mut migrations = dialect::choose(migrations, dialect);
    sort(&mut migrations);
    Ok(migrations)
}

/// The folder of a database's migrations and the pattern of their files within it, for [`from_pattern`], by wrangler's rules
/// for `migrations_dir` (default: `migrations`) and `migrations_pattern` (default: [`PATTERN`] in the folder).
///
/// ```
/// use isobar_db::migrations::location;
///
/// assert_eq!(location(None, None)?, ("migrations".to_owned(), "*.sql".to_owned()));
/// let (folder, pattern) = location(Some("drizzle"), Some("./drizzle/*/migration.sql"))?;
/// assert_eq!((folder.as_str(), pattern.as_str()), ("drizzle", "*/migration.sql"));
/// assert!(location(Some("drizzle"), Some("other/*.sql")).is_err());
/// # Ok::<(), isobar_db::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Migration`] for a pattern without a folder beside it, or one that does not begin with the folder.
pub fn location(folder: Option<&str>, pattern: Option<&str>) -> Result<(String, String)> {
    let wrong = |message: String| Err(Error::new(ErrorKind::Migration, message));
    let path = normal(folder.unwrap_or("migrations"));
    let Some(given) = pattern else { return Ok((path, PATTERN.to_owned())) };
    if folder.is_none() {
        return wrong(format!("migrations_pattern {given:?} needs a migrations_dir beside it, and begins with it"));
    }
    let pattern = normal(given);
    let within = if path == "." { Some(pattern.as_str()) } else { pattern.strip_prefix(&format!("{path}/")) };
    match within {
        Some(within) => Ok((path, within.to_owned())),
        None => wrong(format!("migrations_pattern {given:?} must begin with {path}/, the migrations_dir")),
    }
}

/// A path with `/`, without `./` and `a/..`.
fn normal(path: &str) -> String {
    let path = path.replace('\\', "/");
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            // The first empty part is the root; others are doubled or last slashes.
            "" if !parts.is_empty() => {}
            ".." if parts.last().is_some_and(|last| !["..", ""].contains(last)) => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts.as_slice() {
        [] => ".".to_owned(),
        [""] => "/".to_owned(),
        parts => parts.join("/"),
    }
}

/// wrangler's order, folder by folder: by leading number, then by name; files without a number come last.
///
/// ```
/// use isobar_db::migrations::{Migration, sort};
///
/// let mut files = ["10_posts.sql", "notes.sql", "9_users.sql"].map(|name| Migration::new(name, ""));
/// sort(&mut files);
/// assert_eq!(files.map(|file| file.name), ["9_users.sql", "10_posts.sql", "notes.sql"]);
/// ```
pub fn sort(migrations: &mut [Migration]) {
    let number = |name: &str| {
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        name[..digits].parse::<u64>().ok()
    };
    let compare = |a: &str, b: &str| match (number(a), number(b)) {
        (Some(a_number), Some(b_number)) => a_number.cmp(&b_number).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    };
    migrations.sort_by(|a, b| {
        let a = a.name.split('/').collect::<Vec<_>>();
        let b = b.name.split('/').collect::<Vec<_>>();
        let first = a.iter().zip(&b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
        first.unwrap_or_else(|| a.len().cmp(&b.len()))
    });
}

/// Applies migrations, and records them in a table.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::SqliteDatabase;
/// use isobar_db::migrations::{Migration, Migrator};
///
/// let db = SqliteDatabase::memory().await?;
/// let files = [Migration::new("0001_users.sql", "CREATE TABLE users (id)")];
/// let migrator = Migrator::default().with_table("schema_versions");
/// assert_eq!(migrator.apply(&db, &files).await?, ["0001_users.sql"]);
/// assert_eq!(migrator.pending(&db, &files).await?, []);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrator {
    records: Records,
}

impl Migrator {
    /// Records in this table: wrangler's `migrations_table`. Default: [`TABLE`].
    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.records.rename(table.into());
        self
    }

    /// Keeps the SHA-256 of each file in a table beside that of the names, `d1_migrations_checksums`, which wrangler does not touch;
    /// [`apply`](Self::apply) refuses to go on where the file of an applied migration has been changed. Default: no.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::SqliteDatabase;
    /// use isobar_db::migrations::{Migration, Migrator};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let migrator = Migrator::default().with_checksums();
    /// migrator.apply(&db, &[Migration::new("0001_users.sql", "CREATE TABLE users (id)")]).await?;
    ///
    /// let edited = Migration::new("0001_users.sql", "CREATE TABLE users (id, name)");
    /// let new = Migration::new("0002_posts.sql", "CREATE TABLE posts (id)");
    /// let error = migrator.apply(&db, &[edited, new]).await.unwrap_err();
    /// assert!(error.to_string().starts_with("0001_users.sql changed after being applied"));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "checksums")]
    #[must_use]
    pub fn with_checksums(mut self) -> Self {
        self.records.has_checksums = true;
        self
    }

    /// Returns the applied migrations, oldest first; none where the table is missing. Creates nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::SqliteDatabase;
    /// use isobar_db::migrations::{Migration, Migrator};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let migrator = Migrator::default();
    /// assert!(migrator.applied(&db).await?.is_empty(), "there is no table yet");
    /// migrator.apply(&db, &[Migration::new("0001_users.sql", "CREATE TABLE users (id)")]).await?;
    /// assert_eq!(migrator.applied(&db).await?[0].name, "0001_users.sql");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Queryable::query`].
    pub async fn applied(&self, database: &(impl Queryable + ?Sized)) -> Result<Vec<Applied>> {
        self.records.applied(database).await
    }

    /// Those of `migrations` that have not been applied, in order.
    ///
    /// A migration counts as applied by its name alone. One that was renamed is pending again, and is applied again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::SqliteDatabase;
    /// use isobar_db::migrations::{Migration, Migrator};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let files = [Migration::new("2_b.sql", "CREATE TABLE b (x)"), Migration::new("1_a.sql", "CREATE TABLE a (x)")];
    /// let migrator = Migrator::default();
    /// let names = |files: Vec<Migration>| files.into_iter().map(|file| file.name).collect::<Vec<_>>();
    /// assert_eq!(names(migrator.pending(&db, &files).await?), ["1_a.sql", "2_b.sql"]);
    /// migrator.apply(&db, &files[1..]).await?;
    /// assert_eq!(names(migrator.pending(&db, &files).await?), ["2_b.sql"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`applied`](Self::applied).
    pub async fn pending(
        &self,
        database: &(impl Queryable + ?Sized),
        migrations: &[Migration],
    ) -> Result<Vec<Migration>> {
        let applied = self.applied(database).await?;
        let is_applied = |migration: &&Migration| applied.iter().any(|applied| applied.name == migration.name);
        let mut pending: Vec<_> = migrations.iter().filter(|migration| !is_applied(migration)).cloned().collect();
        sort(&mut pending);
        Ok(pending)
    }

    /// Applies the pending migrations, each file and its record in one transaction, and stops at the first failure; earlier
    /// files stay applied. Returns the names of those applied here, without any that another process applied at the same time.
    ///
    /// Several processes may apply at once, as when two instances start: each file is applied by one of them. A crash
    /// leaves whole files applied, and the next call goes on with the one behind.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
    /// use isobar_db::migrations::{Migration, Migrator};
    /// use isobar_db::{ErrorKind, SqliteDatabase};
    ///
    /// let db = SqliteDatabase::memory().await?;
    /// let good = Migration::new("0001_users.sql", "CREATE TABLE users (id)");
    /// let wrong = Migration::new("0002_posts.sql", "CREATE TABLE posts (id);\nINSERT INTO nope VALUES (1)");
    /// let migrator = Migrator::default();
    /// let error = migrator.apply(&db, &[good, wrong]).await.unwrap_err();
    /// assert_eq!((error.kind(), error.line()), (ErrorKind::Sql, Some(2)));
    /// assert!(error.to_string().starts_with("0002_posts.sql, line 2: no such table: nope"));
    /// assert_eq!(migrator.applied(&db).await?.len(), 1, "the first stays applied");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The failing file's, with its name, the line and the statement (where the backend reports them), and SQLite's message.
    pub async fn apply(&self, database: &(impl Queryable + ?Sized), migrations: &[Migration]) -> Result<Vec<String>> {
        let pending = self.pending(database, migrations).await?;
        if pending.is_empty() {
            return Ok(Vec::new()); // without a write, which a full disk would refuse
        }
        #[cfg(feature = "checksums")]
        if self.records.has_checksums {
            self.check_unchanged(database, migrations).await?;
        }
        self.create_tables(database).await?;
        let mut done = Vec::new();
        for file in pending {
            // The record comes first and on the file's first line: of two processes that apply at once, one waits for the other and
            // finds it there, and the lines of errors are the file's.
            let result = database.batch_script(&format!("{} {}", self.records.insert(&file), file.sql)).await;
            let Migration { name, .. } = file;
            match result {
                Ok(_) => done.push(name),
                Err(error) if error.kind() == ErrorKind::Constraint(Constraint::Unique) => {
                    if !self.applied(database).await?.iter().any(|applied| applied.name == name) {
                        return Err(error.in_file(&name));
                    }
                }
                Err(error) => return Err(error.in_file(&name)),
            }
        }
        Ok(done)
    }

    /// Creates the tables of the records where they are missing.
    async fn create_tables(&self, database: &(impl Queryable + ?Sized)) -> Result<()> {
        for create in self.records.create() {
            match database.prepare(create.clone()).run().await {
                // On Postgres one of two processes that create a table at once fails, even with IF NOT EXISTS. The table exists then.
                Err(first) if matches!(first.kind(), ErrorKind::Sql | ErrorKind::Constraint(_)) => {
                    database.prepare(create).run().await.map_err(|_| first)?;
                }
                created => drop(created?),
            }
        }
        Ok(())
    }
}

/// [`Migrator::applied`] with wrangler's default table.
///
/// # Errors
/// As [`Queryable::query`].
pub async fn applied(database: &(impl Queryable + ?Sized)) -> Result<Vec<Applied>> {
    Migrator::default().applied(database).await
}

/// [`Migrator::pending`] with wrangler's default table.
///
/// # Errors
/// As [`applied`].
pub async fn pending(database: &(impl Queryable + ?Sized), migrations: &[Migration]) -> Result<Vec<Migration>> {
    Migrator::default().pending(database, migrations).await
}

/// [`Migrator::apply`] with wrangler's default table.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_db::Error> {
/// use isobar_db::SqliteDatabase;
/// use isobar_db::migrations::{self, Migration};
///
/// let db = SqliteDatabase::memory().await?;
/// let files = [Migration::new("0001_users.sql", "CREATE TABLE users (id)")];
/// assert_eq!(migrations::apply(&db, &files).await?, ["0001_users.sql"]);
/// assert!(migrations::apply(&db, &files).await?.is_empty(), "at each start; the second time nothing is left to do");
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`Migrator::apply`].
pub async fn apply(database: &(impl Queryable + ?Sized), migrations: &[Migration]) -> Result<Vec<String>> {
    Migrator::default().apply(database, migrations).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_of_migrations_are_wranglers() {
        let located = |folder, pattern| location(folder, pattern).map_err(|error| error.to_string());
        let fits = |folder: &str, pattern: &str| Ok((folder.to_owned(), pattern.to_owned()));
        assert_eq!(located(None, None), fits("migrations", "*.sql"));
        assert_eq!(located(Some("./db/x/../sql/"), None), fits("db/sql", "*.sql"));
        assert_eq!(located(Some("drizzle"), Some("./drizzle/*/migration.sql")), fits("drizzle", "*/migration.sql"));
        assert_eq!(located(Some("."), Some("*.up.sql")), fits(".", "*.up.sql"));
        assert_eq!(located(Some("/a//b"), None), fits("/a/b", "*.sql"));
        assert_eq!(located(Some("../shared"), None), fits("../shared", "*.sql"));
        assert!(located(None, Some("migrations/*.sql")).unwrap_err().contains("needs a migrations_dir"));
        assert!(located(Some("a"), Some("b/*.sql")).unwrap_err().contains("must begin with a/"));
    }

    #[test]
    fn folders_are_ordered_like_files() {
        let names = ["b/1.sql", "10_b/m.sql", "2_a/10.sql", "2_a/9.sql", "1.sql", "x.sql"];
        let mut sorted = names.map(|name| Migration::new(name, "")).to_vec();
        sort(&mut sorted);
        let sorted: Vec<_> = sorted.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(sorted, ["1.sql", "2_a/9.sql", "2_a/10.sql", "10_b/m.sql", "b/1.sql", "x.sql"]);
    }
}
