//! The session objects of a place, as a catalog to look into.
//!
//! No class of an application runs here: files are read by `isobar_sessions::local::Catalog`, from
//! copies where a host has them open. Each look blocks, and therefore runs on a thread for that;
//! statements of clients have 30 s and 64 MiB.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use isobar_gateway::catalog::{
    CatalogError, CatalogErrorKind, SessionCatalog, SessionDetails, SessionInfo, SessionPage, SessionRows,
    SessionTable, SessionTimer,
};
use isobar_sessions::local::{Catalog, CatalogEntry, CatalogListOptions, ObjectDetails, QueryBounds, TimerDetails};
use isobar_sessions::{Error, ErrorKind, IdScheme, Value};

use super::buckets::unavailable;
use crate::place::{checked, folders};

/// The objects below a root. They are looked into as their files are, whichever process hosts them.
#[derive(Debug)]
pub(super) struct LocalSessions {
    folder: PathBuf,
}

impl LocalSessions {
    pub(super) fn new(root: &Path) -> Self {
        Self { folder: root.join("sessions") }
    }

    /// Looks into the objects of a class, on a thread where that may take its time; `None` where there is no such class.
    async fn look<T: Send + 'static>(
        &self,
        class: &str,
        look: impl FnOnce(&Catalog) -> Result<Option<T>, Error> + Send + 'static,
    ) -> Result<Option<T>, CatalogError> {
        let Ok(class) = checked(class).map(str::to_owned) else { return Ok(None) };
        let folder = self.folder.join(&class);
        let shown = folder.clone();
        let looked = tokio::task::spawn_blocking(move || match folder.is_dir() {
            true => Catalog::open(&folder, &class).and_then(|catalog| look(&catalog.with_bounds(bounds()))),
            false => Ok(None),
        });
        let looked = looked.await.map_err(|error| unavailable("the session objects cannot be read", &shown, error))?;
        looked.map_err(|error| match error.kind() {
            ErrorKind::Damaged => unavailable("the session object is damaged", &shown, error),
            ErrorKind::Storage | ErrorKind::StorageFull | ErrorKind::Overloaded | ErrorKind::Internal => {
                unavailable("the session objects cannot be read now", &shown, error)
            }
            _ => CatalogError::new(CatalogErrorKind::InvalidArgument, error.message()),
        })
    }
}

#[async_trait]
impl SessionCatalog for LocalSessions {
    async fn classes(&self) -> Result<Vec<String>, CatalogError> {
        folders(&self.folder).map_err(|error| unavailable("the session objects cannot be listed", &self.folder, error))
    }

    async fn list(&self, class: &str, after: Option<&str>, limit: usize) -> Result<Option<SessionPage>, CatalogError> {
        let after = after.map(|after| IdScheme::new(class).parse(after)).transpose();
        let after = after.map_err(|error| CatalogError::new(CatalogErrorKind::InvalidArgument, error.message()))?;
        let options = CatalogListOptions::default().with_after(after).with_limit(limit);
        self.look(class, move |catalog| {
            let page = catalog.list(&options)?;
            let objects = page.objects.into_iter().map(info).collect();
            Ok(Some(SessionPage::new(objects, page.cursor.map(|id| id.to_string()))))
        })
        .await
    }

    async fn details(&self, class: &str, id: &str) -> Result<Option<SessionDetails>, CatalogError> {
        let id = id.to_owned();
        self.look(class, move |catalog| {
            let id = catalog.id(&id);
            let Some(object) = catalog.details(&id)? else { return Ok(None) };
            let has_timers = object.timers > 0;
            let mut found = details(object);
            if has_timers {
                catalog.timers(&id, |timer| {
                    found.timers.push(shown(timer));
                    if found.timers.len() < TIMERS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })?;
            }
            Ok(Some(found))
        })
        .await
    }

    async fn query(&self, class: &str, id: &str, sql: &str) -> Result<Option<SessionRows>, CatalogError> {
        let id = id.to_owned();
        let sql = sql.to_owned();
        self.look(class, move |catalog| {
            let Some(cursor) = catalog.query(&catalog.id(&id), &sql, ())? else { return Ok(None) };
            let columns = cursor.column_names().to_vec();
            let rows = cursor.raw();
            check_blobs(&rows)?;
            let rows = rows.iter().map(|row| row.iter().map(Value::to_json).collect()).collect();
            Ok(Some(SessionRows::new(columns, rows)))
        })
        .await
    }
}

/// Most timers of an object that are shown.
const TIMERS: usize = 100;
/// Most bytes of a statement's rows in memory, and of their blobs as JSON: a large page of rows.
const ROW_BYTES: usize = 64 << 20;

/// Bounds of statements, which come from clients: D1's time, and memory.
fn bounds() -> QueryBounds {
    QueryBounds::default().with_time(Duration::from_secs(30)).with_bytes(ROW_BYTES)
}

/// Refuses blobs whose JSON would take too much memory: each of their bytes is a number there.
fn check_blobs(rows: &[Vec<Value>]) -> Result<(), Error> {
    let length = |value: &Value| if let Value::Blob(bytes) = value { bytes.len() } else { 0 };
    let most = ROW_BYTES / size_of::<serde_json::Value>();
    if rows.iter().flatten().map(length).sum::<usize>() <= most {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Sql,
        format!("the rows have blobs of more than {most} bytes: ask for fewer, or for hex() of them"),
    ))
}

fn info(entry: CatalogEntry) -> SessionInfo {
    let mut info = SessionInfo::new(entry.id.to_string());
    info.name = entry.id.name().map(str::to_owned);
    info.bytes = entry.bytes;
    info.alarm = entry.alarm;
    info.changed = entry.changed;
    // The reason names files of the server.
    info.damage = entry.damage.map(|_| "its file is damaged: isobar sessions info says how".to_owned());
    info
}

fn details(found: ObjectDetails) -> SessionDetails {
    let tables = found.tables.into_iter().map(|table| SessionTable::new(table.name, table.rows)).collect();
    let mut details = SessionDetails::new(info(found.entry), found.keys, tables);
    if let Some(alarm) = found.alarm {
        details.info.alarm = Some(alarm.due);
        details.alarm_retries = alarm.retries;
    }
    details
}

fn shown(timer: TimerDetails) -> SessionTimer {
    let mut shown = SessionTimer::new(timer.name);
    shown.due = timer.due;
    shown.cron = timer.cron;
    shown.retries = timer.retries;
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use isobar_sessions::local::{HostOptions, LocalHost};
    use isobar_sessions::{Request, Response, SessionContext, SessionNamespaceExt, SessionObject};
    use serde_json::json;

    use super::*;

    /// A room that keeps the paths it is asked for.
    struct Room(SessionContext);

    impl SessionObject for Room {
        type Env = ();

        async fn start(context: SessionContext, (): ()) -> isobar_sessions::Result<Self> {
            context.sql().exec("CREATE TABLE IF NOT EXISTS messages (text TEXT, bytes BLOB)", ())?;
            Ok(Self(context))
        }

        async fn fetch(&self, request: Request) -> isobar_sessions::Result<Response> {
            self.0.sql().exec("INSERT INTO messages VALUES (?, x'01ff')", (request.uri().path(),))?;
            Ok(Response::default())
        }
    }

    #[tokio::test]
    async fn object_is_listed_described_and_read() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("sessions/Room");
        let host = LocalHost::<Room>::open(&folder, "Room", &HostOptions::default().with_threads(1), || ()).unwrap();
        for name in ["lobby", "kitchen"] {
            host.get(&host.id(name), "/hello").await.unwrap();
        }
        let sessions = LocalSessions::new(home.path());
        let first = sessions.list("Room", None, 1).await.unwrap().unwrap();
        let second = sessions.list("Room", first.cursor.as_deref(), 1).await.unwrap().unwrap();
        let mut names = [&first, &second].map(|page| page.objects[0].name.clone().unwrap());
        names.sort();
        assert_eq!((names, second.cursor), (["kitchen", "lobby"].map(String::from), None));
        let lobby = sessions.details("Room", "lobby").await.unwrap().unwrap();
        assert_eq!(sessions.details("Room", &lobby.info.id).await.unwrap().unwrap(), lobby);
        assert!(lobby.tables.contains(&SessionTable::new("messages", 1)) && lobby.info.damage.is_none(), "{lobby:?}");
        let rows = sessions.query("Room", "lobby", "SELECT * FROM messages").await.unwrap().unwrap();
        let columns = ["text", "bytes"].map(String::from).to_vec();
        assert_eq!(rows, SessionRows::new(columns, vec![vec![json!("/hello"), json!([1, 255])]]));
        for sql in ["DELETE FROM messages", "SELECT nothing", "SELECT 1; SELECT 2", ""] {
            let error = sessions.query("Room", "lobby", sql).await.unwrap_err();
            assert_eq!(error.kind(), CatalogErrorKind::InvalidArgument, "{sql}: {error}");
        }
        assert_eq!(sessions.query("Room", "nobody", "SELECT 1").await.unwrap(), None);
    }

    /// The rows have 40 MB, which the bound on rows lets through; their JSON would have more than a gigabyte.
    #[tokio::test]
    async fn blobs_whose_json_would_fill_the_memory_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("sessions/Room");
        let host = LocalHost::<Room>::open(&folder, "Room", &HostOptions::default().with_threads(1), || ()).unwrap();
        host.get(&host.id("lobby"), "/").await.unwrap();
        let sessions = LocalSessions::new(home.path());
        let blobs =
            |count: usize| format!("SELECT zeroblob(400000) AS b FROM json_each('[{}1]')", "1,".repeat(count - 1));
        let rows = sessions.query("Room", "lobby", &blobs(2)).await.unwrap().unwrap();
        assert_eq!(rows.rows.len(), 2);
        let error = sessions.query("Room", "lobby", &blobs(100)).await.unwrap_err();
        assert_eq!(error.kind(), CatalogErrorKind::InvalidArgument);
        assert!(error.to_string().contains("blobs"), "{error}");
    }

    #[tokio::test]
    async fn names_of_other_folders_are_no_classes() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("sessions/Room")).unwrap();
        std::fs::create_dir_all(home.path().join("keys")).unwrap();
        let sessions = LocalSessions::new(home.path());
        assert_eq!(sessions.classes().await.unwrap(), ["Room"]);
        for class in ["../keys", "..", "", ".", "Room/..", "Nothing"] {
            assert_eq!(sessions.list(class, None, 10).await.unwrap(), None, "{class}");
            assert_eq!(sessions.details(class, "lobby").await.unwrap(), None, "{class}");
            assert_eq!(sessions.query(class, "lobby", "SELECT 1").await.unwrap(), None, "{class}");
        }
        assert_eq!(sessions.list("Room", None, 10).await.unwrap(), Some(SessionPage::default()));
        assert_eq!(sessions.details("Room", "lobby").await.unwrap(), None);
        let error = sessions.list("Room", Some("lobby"), 10).await.unwrap_err();
        assert_eq!(error.kind(), CatalogErrorKind::InvalidArgument);
    }
}
