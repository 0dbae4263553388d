//! The session objects below a folder, as a catalog to look into.
//!
//! No class of an application runs here: files are read by `isobar_sessions::local::Catalog`, from
//! copies where a host has them open. Each look blocks, and therefore runs on a thread for that;
//! statements of clients have 30 s and 64 MiB. Sockets alone are in no file: a host of this process
//! lists them, if the catalog has it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use isobar_base::fs::is_plain_name;
use isobar_gateway::catalog::{
    CatalogError, CatalogErrorKind, SessionCatalog, SessionDetails, SessionInfo, SessionPage, SessionRows,
    SessionSocket, SessionTable, SessionTimer,
};
use isobar_sessions::local::{Catalog, CatalogEntry, CatalogListOptions, ObjectDetails, QueryBounds, TimerDetails};
use isobar_sessions::{Error, ErrorKind, IdScheme, SessionNamespace, SocketDetails, Value};
use serde_json::Value as Json;

/// The session objects in a folder, which has a folder for each class, as `isobar serve` and the explorer in an application look into
/// them. They are read as their files are, whichever process hosts them; an object is there once it has stored something.
///
/// A statement, and the look at an object, take 30 s at most, and the rows of a statement 64 MiB of memory. Of an object's timers the first
/// 100 are listed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use isobar_gateway::catalog::SessionCatalog;
/// use isobar_http_serve::native::LocalSessionCatalog;
/// use isobar_sessions::SessionNamespaceExt;
/// use isobar_sessions::local::{HostOptions, LocalHost};
/// # use isobar_sessions::{Request, Response, Result, SessionContext, SessionObject};
/// # struct Counter(SessionContext);
/// # impl SessionObject for Counter {
/// #     type Env = ();
/// #     async fn start(context: SessionContext, _: ()) -> Result<Self> {
/// #         Ok(Self(context))
/// #     }
/// #     async fn fetch(&self, _: Request) -> Result<Response> {
/// #         self.0.kv().put("count", &1)?;
/// #         Ok(Response::default())
/// #     }
/// # }
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let counters = LocalHost::<Counter>::open(folder.join("Counter"), "Counter", &HostOptions::default(), || ())?;
/// counters.get(&counters.id("/home"), "/").await?;
///
/// let catalog = LocalSessionCatalog::new(folder).with_namespace("Counter", Arc::new(counters));
/// let home = catalog.details("Counter", "/home").await?.expect("it has stored something");
/// assert_eq!((home.keys, home.sockets.map(|sockets| sockets.len())), (1, Some(0)));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct LocalSessionCatalog {
    folder: PathBuf,
    /// By class.
    namespaces: BTreeMap<String, Arc<dyn SessionNamespace>>,
}

impl LocalSessionCatalog {
    /// Returns a catalog of the classes in this folder: `sessions` below a platform's root. It need not exist.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), namespaces: BTreeMap::new() }
    }

    /// Lists the WebSockets of a class by its namespace in this process, such as that of a
    /// [`Platform`](crate::Platform::sessions). Default: none, and sockets are not known.
    #[must_use]
    pub fn with_namespace(mut self, class: impl Into<String>, namespace: Arc<dyn SessionNamespace>) -> Self {
        self.namespaces.insert(class.into(), namespace);
        self
    }

    /// The sockets of an object; `None` where they are not known.
    async fn sockets(&self, class: &str, id: &str) -> Result<Option<Vec<SessionSocket>>, CatalogError> {
        let Some(namespace) = self.namespaces.get(class) else { return Ok(None) };
        let listed = match namespace.parse_id(id) {
            Ok(id) => namespace.sockets(&id).await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(sockets) => Ok(Some(sockets.into_iter().map(socket).collect())),
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(unavailable("the sockets cannot be listed now", &self.folder.join(class), error)),
        }
    }

    /// Looks into the objects of a class, on a thread where that may take its time; `None` where there is no such class.
    async fn look<T: Send + 'static>(
        &self,
        class: &str,
        look: impl FnOnce(&Catalog) -> Result<Option<T>, Error> + Send + 'static,
    ) -> Result<Option<T>, CatalogError> {
        if !is_plain_name(class) {
            return Ok(None);
        }
        let class = class.to_owned();
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
impl SessionCatalog for LocalSessionCatalog {
    async fn classes(&self) -> Result<Vec<String>, CatalogError> {
        let failed = |error: std::io::Error| unavailable("the session objects cannot be listed", &self.folder, error);
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut classes = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            classes.extend(Some(name).filter(|name| is_plain_name(name) && entry.path().is_dir()));
        }
        classes.sort();
        Ok(classes)
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
        let named = id.to_owned();
        let found = self.look(class, move |catalog| {
            let id = catalog.id(&named);
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
        });
        let Some(mut found) = found.await? else { return Ok(None) };
        found.sockets = self.sockets(class, &found.info.id).await?;
        Ok(Some(found))
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

/// The error of objects that cannot be had now. Clients are told what it is; the log has the path and the cause.
fn unavailable(what: &str, path: &Path, error: impl Display) -> CatalogError {
    CatalogError::new(CatalogErrorKind::Unavailable, what).with_source(format!("{}: {error}", path.display()))
}

fn socket(details: SocketDetails) -> SessionSocket {
    let mut socket = SessionSocket::new(details.id, details.tags);
    let text = |bytes: &[u8]| Json::from(String::from_utf8_lossy(bytes));
    socket.attachment =
        details.attachment.as_deref().map(|bytes| serde_json::from_slice(bytes).unwrap_or_else(|_| text(bytes)));
    socket.is_open = details.is_open;
    socket
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
    use isobar_sessions::{
        Message, Request, Response, SessionContext, SessionNamespaceExt, SessionObject, WebSocket, socket_pair,
        websocket_response,
    };
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
            if request.headers().contains_key(http::header::UPGRADE) {
                let (client, server) = socket_pair();
                self.0.accept_websocket(server, &["member"])?.set_attachment(&json!({"colour": "red"}))?;
                return Ok(websocket_response(client));
            }
            self.0.sql().exec("INSERT INTO messages VALUES (?, x'01ff')", (request.uri().path(),))?;
            Ok(Response::default())
        }

        async fn message(&self, _: &WebSocket, _: Message) -> isobar_sessions::Result<()> {
            Ok(())
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
        let sessions = LocalSessionCatalog::new(home.path().join("sessions"));
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

    #[tokio::test]
    async fn sockets_are_known_by_the_namespace_of_this_process() {
        let home = tempfile::tempdir().unwrap();
        let host =
            LocalHost::<Room>::open(home.path().join("Room"), "Room", &HostOptions::default().with_threads(1), || ())
                .unwrap();
        host.get(&host.id("lobby"), "/hello").await.unwrap();
        let _client = host.connect(&host.id("lobby"), "/").await.unwrap();
        let catalog = LocalSessionCatalog::new(home.path());
        assert_eq!(catalog.details("Room", "lobby").await.unwrap().unwrap().sockets, None);
        let catalog = catalog.with_namespace("Room", Arc::new(host));
        let sockets = catalog.details("Room", "lobby").await.unwrap().unwrap().sockets.unwrap();
        assert_eq!(sockets.len(), 1);
        assert_eq!((&sockets[0].tags[..], sockets[0].is_open), (&["member".to_owned()][..], true));
        assert_eq!(sockets[0].attachment, Some(json!({"colour": "red"})));
    }

    /// The rows have 40 MB, which the bound on rows lets through; their JSON would have more than a gigabyte.
    #[tokio::test]
    async fn blobs_whose_json_would_fill_the_memory_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("sessions/Room");
        let host = LocalHost::<Room>::open(&folder, "Room", &HostOptions::default().with_threads(1), || ()).unwrap();
        host.get(&host.id("lobby"), "/").await.unwrap();
        let sessions = LocalSessionCatalog::new(home.path().join("sessions"));
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
        let sessions = LocalSessionCatalog::new(home.path().join("sessions"));
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
