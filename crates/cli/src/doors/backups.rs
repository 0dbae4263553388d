//! Backups of a place's databases and session objects, as a catalog.
//!
//! The operator names one target (`--backups`). Below it a database of the configuration is in `d1/NAME`, and the objects of every class
//! are in `sessions`, so that the commands of `isobar d1` and `isobar sessions` work on the same backups.
//!
//! A run opens the database's file a second time, as the command does: SQLite's locks, and those of the history, keep both apart. No run
//! that a client begins removes an earlier one of session objects: who may press a button must not be able to push good runs out by bad
//! ones. Those that are too old go with the next `isobar sessions backup`.

use std::error::Error;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use isobar_cloudflare::wrangler::Config;
use isobar_db::backup as of_databases;
use isobar_gateway::catalog::{
    BackupCatalog, BackupInfo, BackupReport, BackupSource, BackupState, CatalogError, CatalogErrorKind,
};
use isobar_sessions::backup as of_sessions;

use super::buckets::unavailable;
use crate::place::{Access, Place, checked, folders, open_database};
use crate::remote::Where;
use crate::target::{BUCKET, Base};

/// Most runs of session objects that are listed: the newest ones.
const RUNS: usize = 100;

/// The backups of the databases and session objects below a root, below one target.
#[derive(Debug)]
pub(super) struct LocalBackups {
    root: PathBuf,
    /// Names of the configuration's databases, sorted: no command restores another one.
    databases: Vec<String>,
    /// The target as it was named.
    target: String,
    base: Base,
}

impl LocalBackups {
    /// Opens the target: a folder, or `r2://BUCKET/PREFIX` of the account. A bucket of this place is lost with it, and a command
    /// with another `--root` would not find it.
    ///
    /// # Errors
    /// A target that is empty; no keys for the bucket in the environment.
    pub(super) async fn open(
        place: &Place,
        root: &Path,
        config: &Config,
        target: String,
    ) -> Result<Self, Box<dyn Error>> {
        let reach = Where::default().with_remote(target.starts_with(BUCKET));
        let base = Base::open(&target, place, &reach, Access::Write).await?;
        let names = config.d1_databases.iter().map(|database| database.local_name());
        let mut databases: Vec<String> = names.filter(|name| checked(name).is_ok()).map(str::to_owned).collect();
        databases.sort();
        databases.dedup();
        Ok(Self { root: root.to_owned(), databases, target, base })
    }

    /// Path of a database's file.
    fn file(&self, name: &str) -> PathBuf {
        self.root.join("d1").join(format!("{name}.sqlite"))
    }

    fn of_database(&self, name: &str) -> Arc<dyn of_databases::BackupTarget> {
        self.base.target(&below_of(&BackupSource::Database(name.to_owned())))
    }

    fn of_class(&self, class: &str) -> Arc<dyn of_sessions::BackupTarget> {
        self.base.target(&below_of(&BackupSource::Sessions(class.to_owned())))
    }

    /// The target of a source, as commands take it.
    fn named(&self, source: &BackupSource) -> String {
        let name = format!("{}/{}", self.target.trim_end_matches('/'), below_of(source));
        let name = quoted(&name);
        if self.target.starts_with(BUCKET) { format!("{name} --remote") } else { name }
    }

    /// Names the target, in place of a path, in the log.
    fn unavailable(&self, what: &str, error: impl Display) -> CatalogError {
        unavailable(what, Path::new(&self.target), error)
    }

    async fn states_of_database(&self, name: &str, target: &str) -> Result<Vec<BackupState>, CatalogError> {
        let stretches = of_databases::stretches(&*self.of_database(name)).await;
        let stretches = stretches.map_err(|error| self.unavailable("the backup cannot be listed", error))?;
        let state = |stretch: of_databases::BackupStretch| {
            let id = stretch.to.bookmark.as_str();
            let restore = format!("isobar --root ./restored d1 restore {name} {target} --bookmark {id}");
            let mut state = BackupState::new(id, stretch.objects, restore);
            state.since = Some(stretch.from.time).filter(|_| stretch.from != stretch.to);
            state.time = Some(stretch.to.time);
            state
        };
        Ok(stretches.into_iter().rev().map(state).collect())
    }

    async fn states_of_class(&self, class: &str, target: &str) -> Result<Vec<BackupState>, CatalogError> {
        let runs = of_sessions::runs(&*self.of_class(class), class, RUNS).await;
        let runs = runs.map_err(|error| self.unavailable("the backup cannot be listed", error))?;
        let state = |run: of_sessions::BackupRun| {
            // The name is one of the target's, whose writers are not the operator.
            let name = quoted(&run.name);
            let restore = format!("isobar --root ./restored sessions restore {class} {target} --run {name}");
            let mut state = BackupState::new(run.name, run.objects, restore);
            state.time = run.ended;
            state.bytes = run.ended.map(|_| run.bytes);
            let unread = (run.unread > 0).then(|| format!("{} objects could not be read by this run", run.unread));
            state.problem = run.problem.or(unread);
            state
        };
        Ok(runs.into_iter().map(state).collect())
    }

    async fn run_database(&self, name: &str) -> Result<BackupReport, CatalogError> {
        let failed = |error: isobar_db::Error| match error.kind() {
            isobar_db::ErrorKind::Unsupported => {
                let hint = format!("isobar d1 time-travel enable {name}");
                let message = format!(
                    "the database {name} keeps no history, which a backup is made of: {hint}, then restart the server"
                );
                CatalogError::new(CatalogErrorKind::InvalidArgument, message)
            }
            _ => self.unavailable("the database cannot be backed up; the server's log says why", error),
        };
        let database = open_database(&self.file(name)).await.map_err(failed)?;
        let done = of_databases::Backup::new(database, self.of_database(name)).run().await.map_err(failed)?;
        let mut report = BackupReport::default();
        report.state = Some(done.bookmark.as_str().to_owned());
        report.objects = done.objects;
        report.bytes = done.bytes;
        Ok(report)
    }

    async fn run_class(&self, class: &str) -> Result<BackupReport, CatalogError> {
        let folder = self.root.join("sessions").join(class);
        let options = of_sessions::BackupOptions::default().with_keep(usize::MAX);
        let backup = of_sessions::Backup::new(folder, class, self.of_class(class)).with_options(options);
        let done = backup.run().await;
        let words = "the session objects cannot be backed up; the server's log says why";
        let done = done.map_err(|error| self.unavailable(words, error))?;
        let mut report = BackupReport::default();
        report.objects = done.read;
        report.bytes = done.bytes;
        // The reasons name files of the server.
        let unread =
            |id: String| format!("the object {id} could not be read: isobar sessions info {class} {id} says why");
        report.problems = done.unread.into_iter().map(|(id, _)| unread(id.to_string())).collect();
        report.problems.extend(done.problem);
        report.state = Some(done.run);
        Ok(report)
    }

    async fn verify_database(&self, name: &str) -> Result<BackupReport, CatalogError> {
        let verified = of_databases::verify(&*self.of_database(name)).await;
        let verified = verified.map_err(|error| match error.kind() {
            isobar_db::ErrorKind::History => CatalogError::new(CatalogErrorKind::NotFound, error.message()),
            _ => self.unavailable("the backup cannot be verified; the server's log says why", error),
        })?;
        let mut report = BackupReport::default();
        report.objects = verified.objects;
        report.bytes = verified.bytes;
        report.problems = verified.problems;
        if let Some(newest) = verified.newest {
            report.state = Some(newest.bookmark.as_str().to_owned());
            report.time = Some(newest.time);
        }
        Ok(report)
    }

    async fn verify_class(&self, class: &str) -> Result<BackupReport, CatalogError> {
        let mut report = BackupReport::default();
        match of_sessions::verify(&*self.of_class(class), class, None).await {
            Ok(verified) => {
                report.objects = verified.objects;
                report.bytes = verified.bytes;
                report.time = Some(verified.ended);
                let unread =
                    |(id, _): (String, String)| format!("the object {id} could not be read when the run was made");
                report.problems =
                    verified.problems.into_iter().chain(verified.unread.into_iter().map(unread)).collect();
                report.state = Some(verified.run);
            }
            Err(error) if error.kind() == isobar_sessions::ErrorKind::InvalidArgument => {
                return Err(CatalogError::new(CatalogErrorKind::NotFound, error.message()));
            }
            Err(error) if error.kind() == isobar_sessions::ErrorKind::Decode => {
                report.problems = vec![error.message().to_owned()];
            }
            Err(error) => {
                return Err(self.unavailable("the backup cannot be verified; the server's log says why", error));
            }
        }
        Ok(report)
    }
}

#[async_trait]
impl BackupCatalog for LocalBackups {
    async fn sources(&self) -> Result<Vec<BackupSource>, CatalogError> {
        let folder = self.root.join("sessions");
        let classes =
            folders(&folder).map_err(|error| unavailable("the session objects cannot be listed", &folder, error))?;
        let classes = classes.into_iter().filter(|class| checked(class).is_ok()).map(BackupSource::Sessions);
        let databases = self.databases.iter().filter(|name| self.file(name).exists()).cloned();
        Ok(databases.map(BackupSource::Database).chain(classes).collect())
    }

    async fn describe(&self, source: &BackupSource) -> Result<BackupInfo, CatalogError> {
        let target = self.named(source);
        let states = match source {
            BackupSource::Database(name) => self.states_of_database(name, &target).await?,
            BackupSource::Sessions(class) => self.states_of_class(class, &target).await?,
            _ => return Err(unknown(source)),
        };
        Ok(BackupInfo::new(target, states))
    }

    async fn run(&self, source: &BackupSource) -> Result<BackupReport, CatalogError> {
        match source {
            BackupSource::Database(name) => self.run_database(name).await,
            BackupSource::Sessions(class) => self.run_class(class).await,
            _ => Err(unknown(source)),
        }
    }

    async fn verify(&self, source: &BackupSource) -> Result<BackupReport, CatalogError> {
        match source {
            BackupSource::Database(name) => self.verify_database(name).await,
            BackupSource::Sessions(class) => self.verify_class(class).await,
            _ => Err(unknown(source)),
        }
    }
}

/// Name of a source's target below the base. Histories of several databases must not be in one; classes are apart by themselves.
fn below_of(source: &BackupSource) -> String {
    match source {
        BackupSource::Database(name) => format!("d1/{name}"),
        _ => "sessions".to_owned(),
    }
}

/// The error of a source that this catalog does not list.
fn unknown(source: &BackupSource) -> CatalogError {
    CatalogError::new(CatalogErrorKind::NotFound, format!("{:?} is not backed up here", source.name()))
}

/// A word of a command line, in quotes where a shell would take it for something else.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:@%+=".contains(char);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use isobar_db::{HistoryOptions, QueryableExt, SqliteDatabase, SqliteOptions};
    use isobar_sessions::local::{HostOptions, LocalHost};
    use isobar_sessions::{Request, Response, SessionContext, SessionNamespaceExt, SessionObject};
    use isobar_storage::memory::MemoryStore;
    use isobar_storage::{Key, ObjectStoreExt};

    use super::*;

    /// A room that counts what it is asked.
    struct Room(SessionContext);

    impl SessionObject for Room {
        type Env = ();

        async fn start(context: SessionContext, (): ()) -> isobar_sessions::Result<Self> {
            Ok(Self(context))
        }

        async fn fetch(&self, request: Request) -> isobar_sessions::Result<Response> {
            self.0.kv().put("last", &request.uri().path())?;
            Ok(Response::default())
        }
    }

    fn backups(home: &Path) -> LocalBackups {
        let folder = home.join("my backup");
        let target = format!("{}/", folder.display());
        let databases = ["orders", "plain", "unused"].map(str::to_owned).to_vec();
        LocalBackups { root: home.to_owned(), databases, target, base: Base::Folder(folder) }
    }

    #[tokio::test]
    async fn database_is_backed_up_while_it_is_open_and_its_states_are_listed() {
        let home = tempfile::tempdir().unwrap();
        let backups = backups(home.path());
        let options = SqliteOptions::default().with_history(HistoryOptions::default());
        let orders = SqliteDatabase::open_with(backups.file("orders"), options).await.unwrap();
        orders.run_script("CREATE TABLE t (a); INSERT INTO t VALUES (1)").await.unwrap();
        drop(SqliteDatabase::open(backups.file("plain")).await.unwrap());
        let database = |name: &str| BackupSource::Database(name.to_owned());
        assert_eq!(backups.sources().await.unwrap(), [database("orders"), database("plain")]);
        let empty = backups.describe(&database("orders")).await.unwrap();
        assert_eq!(empty.target, format!("'{}/my backup/d1/orders'", home.path().display()));
        assert!(empty.states.is_empty());
        assert_eq!(backups.verify(&database("orders")).await.unwrap_err().kind(), CatalogErrorKind::NotFound);
        let plain = backups.run(&database("plain")).await.unwrap_err();
        assert_eq!(plain.kind(), CatalogErrorKind::InvalidArgument);
        assert!(plain.to_string().contains("isobar d1 time-travel enable plain"), "{plain}");

        let first = backups.run(&database("orders")).await.unwrap();
        orders.run_script("INSERT INTO t VALUES (2)").await.unwrap();
        let second = backups.run(&database("orders")).await.unwrap();
        assert!(first.state < second.state && second.objects > 0, "{first:?} {second:?}");
        let verified = backups.verify(&database("orders")).await.unwrap();
        assert!(verified.problems.is_empty() && verified.state == second.state, "{verified:?}");
        let states = backups.describe(&database("orders")).await.unwrap().states;
        assert_eq!((states.len(), Some(&states[0].id)), (1, second.state.as_ref()));
        assert!(states[0].since < states[0].time && states[0].restore.ends_with(&states[0].id), "{states:?}");
        // Damage is found, and the target's name is for the log.
        let folder = home.path().join("my backup/d1/orders");
        let history = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let object = std::fs::read_dir(history).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&object).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&object, bytes).unwrap();
        let damaged = backups.verify(&database("orders")).await.unwrap();
        assert!(!damaged.problems.is_empty() && !damaged.problems[0].contains("my backup"), "{damaged:?}");
    }

    #[tokio::test]
    async fn runs_of_session_objects_remove_no_earlier_one() {
        let home = tempfile::tempdir().unwrap();
        let backups = backups(home.path());
        let folder = home.path().join("sessions/Room");
        let host = LocalHost::<Room>::open(&folder, "Room", &HostOptions::default().with_threads(1), || ()).unwrap();
        let rooms = BackupSource::Sessions("Room".to_owned());
        assert_eq!(backups.sources().await.unwrap(), std::slice::from_ref(&rooms));
        assert_eq!(backups.verify(&rooms).await.unwrap_err().kind(), CatalogErrorKind::NotFound);
        let mut newest = None;
        for number in 0..9 {
            host.get(&host.id("lobby"), &format!("/{number}")).await.unwrap();
            newest = backups.run(&rooms).await.unwrap().state;
        }
        let info = backups.describe(&rooms).await.unwrap();
        assert_eq!(info.states.len(), 9, "the command keeps 7");
        assert_eq!(Some(&info.states[0].id), newest.as_ref());
        assert!(info.states[0].restore.contains("sessions restore Room '"), "{:?}", info.states[0]);
        assert_eq!((info.states[0].objects, info.states[0].problem.as_ref()), (1, None));
        let verified = backups.verify(&rooms).await.unwrap();
        assert!(verified.problems.is_empty() && verified.state == newest && verified.objects == 1, "{verified:?}");
    }

    #[tokio::test]
    async fn name_of_a_run_is_quoted_in_its_command_line() {
        let store = Arc::new(MemoryStore::new());
        let manifest = Key::new("sessions/Room/runs/1-$(id)/manifest.json").unwrap();
        store.write(&manifest, "damaged").await.unwrap();
        let base = Base::Bucket { store, prefix: String::new() };
        let backups =
            LocalBackups { root: "nowhere".into(), databases: Vec::new(), target: "r2://backups".into(), base };
        let states = backups.describe(&BackupSource::Sessions("Room".to_owned())).await.unwrap().states;
        assert_eq!((states.len(), states[0].id.as_str(), states[0].problem.is_some()), (1, "1-$(id)", true));
        assert!(states[0].restore.ends_with("--run '1-$(id)'"), "{:?}", states[0]);
    }

    #[test]
    fn words_of_command_lines_are_quoted_where_they_must_be() {
        assert_eq!(quoted("r2://backups/2026_a-b/d1/orders"), "r2://backups/2026_a-b/d1/orders");
        assert_eq!(quoted("/mnt/it's here"), r"'/mnt/it'\''s here'");
        assert_eq!(quoted("$(rm)"), "'$(rm)'");
    }
}
