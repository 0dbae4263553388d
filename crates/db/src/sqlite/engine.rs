//! The engine: the connection that work goes to, and what its threads share.
//!
//! [`route`] chooses by the words of statements; [`read`] and [`write`] run work on a connection, [`run`] its statements;
//! [`shared`] is the state beneath them.

mod copy;
mod interactive;
#[cfg(feature = "local")]
mod past;
mod read;
mod result_bytes;
mod route;
mod run;
mod shared;
mod write;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use isobar_base::fs::Space;
use isobar_sqlite::Text;
use isobar_sqlite::journal::{Disk, SystemDisk};
use tokio::sync::oneshot;

use self::read::{Answer, Readers};
use self::route::{Route, route};
use self::run::Work;
use self::shared::Shared;
use self::write::WriteTask;
use super::connection::{AuthorizedConnection, Call, Settings, must_stop};
use super::lane::{Lane, Slot, Waiting, ended};
use super::{SqliteOptions, disk, fault};
use crate::options::ExportOptions;
use crate::result::Report;
use crate::{Bookmark, Error, ErrorKind, Imported, QueryResult, Result, Statement, Value, dump, sql};

/// Wait before another try to open a file that another process is busy with.
const RETRY: Duration = Duration::from_millis(2);
/// Longest wait for a database that another process has locked while it is opened.
const OPENING: Duration = Duration::from_secs(30);

const NO_STATEMENT: &str = "No SQL statements detected.";

/// The database: its connections and their shared state.
///
/// Fields are dropped in order: the writer's thread first, then readers, and the keeper of the history last, which
/// copies the log and closes the file when no other connection is left.
#[derive(Debug)]
pub(super) struct Engine {
    writer: Lane<WriteTask>,
    /// `None` in memory, where a second connection would be another database.
    readers: Option<Readers>,
    shared: Arc<Shared>,
    /// Last, as it ends when all other connections are closed.
    #[cfg(feature = "local")]
    keeper: Option<super::history::Keeper>,
}

impl Engine {
    /// Opens the file, or a database in memory.
    pub(super) async fn open(path: Option<&Path>, options: SqliteOptions) -> Result<Self> {
        Self::open_with(path, options, disk::room, Arc::new(SystemDisk)).await
    }

    /// As [`open`](Self::open), with the files of its history on this disk.
    #[cfg(feature = "local")]
    pub(super) async fn open_on(path: &Path, options: SqliteOptions, disk: Arc<dyn Disk>) -> Result<Self> {
        Self::open_with(Some(path), options, disk::room, disk).await
    }

    async fn open_with(
        path: Option<&Path>,
        options: SqliteOptions,
        room: impl Fn(&Path) -> Option<Space> + Send + Sync + 'static,
        history_disk: Arc<dyn Disk>,
    ) -> Result<Self> {
        let settings = Arc::<Settings>::default();
        #[cfg(feature = "local")]
        let has_history = past::is_kept(path, &options);
        #[cfg(not(feature = "local"))]
        let has_history = false;
        let opener = |is_reader: bool| {
            let path = path.map(Path::to_owned);
            let settings = Arc::clone(&settings);
            let open = move || -> Result<AuthorizedConnection> {
                let connection = open_connection(path.as_deref(), is_reader, &settings)?;
                if has_history {
                    connection.leave_log().map_err(|error| fault::of_open(&error))?;
                }
                Ok(connection)
            };
            Arc::new(open) as Arc<super::lane::Open>
        };
        let shared = Arc::new(Shared::new(path, options, room));
        let writing = Arc::clone(&shared);
        let run_shared = Arc::new(move |slot: &mut Slot, tasks: Vec<_>| writing.write_all(slot, tasks));
        #[cfg_attr(not(feature = "local"), allow(unused_mut, reason = "only a file has a history"))]
        let mut engine = Self {
            writer: Lane::new(1, path.is_none(), opener(false), run_shared),
            readers: path.map(|_| Readers::new(opener(true))),
            shared,
            #[cfg(feature = "local")]
            keeper: None,
        };
        let shared = Arc::clone(&engine.shared);
        let open = move |slot: &mut Slot| shared.look(slot.connection()?).map_err(|failure| fault::of(&failure));
        engine.writer.run(engine.shared.options.time_limit, open).await?;
        #[cfg(feature = "local")]
        if has_history {
            engine.open_history(history_disk).await?;
        }
        #[cfg(not(feature = "local"))]
        drop(history_disk);
        Ok(engine)
    }

    pub(super) fn options(&self) -> &SqliteOptions {
        &self.shared.options
    }

    pub(super) fn name(&self) -> String {
        self.shared.path.as_ref().map_or_else(|| "memory".to_owned(), |path| path.display().to_string())
    }

    /// The database's position in D1's form: that of the newest commit where there is a history; without one it grows with every run.
    pub(super) fn bookmark(&self) -> Bookmark {
        #[cfg(feature = "local")]
        if let Some(recorder) = self.shared.recorder.get() {
            return recorder.bookmark();
        }
        let now = chrono::Utc::now().timestamp_micros();
        let before = self.shared.position.fetch_max(now, Ordering::SeqCst);
        let position = if before >= now { self.shared.position.fetch_add(1, Ordering::SeqCst) + 1 } else { now };
        Bookmark::of_time(position)
    }

    /// Runs a statement's SQL, of which the last statement has the result.
    ///
    /// The short way comes first: a statement that a reader has kept prepared runs without a look at its words.
    /// Everything else is a batch of one.
    pub(super) async fn query(&self, statement: Statement) -> Result<QueryResult> {
        if let Some(result) = self.readers.as_ref().and_then(|readers| readers.query_kept(&self.shared, &statement)) {
            return Ok(result);
        }
        let missing = || Error::new(ErrorKind::Internal, "a statement without a result");
        self.run(vec![statement]).await?.into_iter().next_back().ok_or_else(missing)
    }

    /// Runs statements in one transaction; a result for each that is not empty.
    pub(super) async fn run(&self, mut statements: Vec<Statement>) -> Result<Vec<QueryResult>> {
        let Some(route) = route(&mut statements) else { return Err(Error::new(ErrorKind::Sql, NO_STATEMENT)) };
        self.work(Work::Batch(statements), route).await
    }

    /// Runs a script in one transaction; a result for each of its statements.
    pub(super) async fn run_script(&self, script: &str) -> Result<Vec<QueryResult>> {
        self.work(Work::Script(text_of(script)?), Route::Writer).await
    }

    /// Runs a script in one transaction, and keeps of its statements what they report together.
    pub(super) async fn import(&self, script: &str) -> Result<Imported> {
        let results = self.work(Work::Import(text_of(script)?), Route::Writer).await?;
        let counted = results.into_iter().next().and_then(|result| {
            let [Value::Integer(count)] = result.rows.first()?.values() else { return None };
            Some(Imported { statements: count.unsigned_abs(), meta: result.meta })
        });
        counted.ok_or_else(|| Error::new(ErrorKind::Internal, "an import without a count"))
    }

    /// Writes the database as SQL, by a thread of its own; one in memory by the thread that has it.
    pub(super) async fn export(&self, options: ExportOptions, mut output: Box<dyn Write + Send>) -> Result<Report> {
        let Some(path) = self.shared.path.clone() else {
            let export = move |slot: &mut Slot| {
                let connection = slot.connection()?;
                connection.trusted(|connection| dump::export_from(connection, &mut output, &options, &mut |_| ()))
            };
            return self.writer.run(self.shared.options.time_limit, export).await;
        };
        export_file(path, options, output).await
    }

    /// The words of a statement choose the connection; SQLite decides whether it may run there.
    ///
    /// A dropped future abandons the call (`Waiting`), which the thread sees at its next check: before it begins, or
    /// after some 1,000 instructions.
    async fn work(&self, mut work: Work, mut route: Route) -> Result<Vec<QueryResult>> {
        if let Some(readers) = self.readers.as_ref().filter(|_| route == Route::Reader) {
            match readers.run(&self.shared, work).await? {
                Answer::Done(results) => return Ok(results),
                Answer::Writer(same, on) => {
                    work = same;
                    route = on;
                }
            }
        }
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting(Arc::new(Call::new(self.shared.options.time_limit)));
        // In memory there is nothing to sync, and so nothing to share.
        let route = if self.readers.is_none() { route.alone() } else { route };
        self.writer.share(WriteTask::new(work, route, Arc::clone(&waiting.0), answer))?;
        let result = answered.await;
        drop(waiting);
        result.unwrap_or_else(|_| Err(ended()))
    }

    /// Checks that the database reads and could write: see [`Database::health`](crate::Database::health).
    pub(super) async fn health(&self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        if let Some(readers) = &self.readers {
            readers.check(&shared).await?;
        }
        self.writer.run(self.shared.options.time_limit, move |slot| shared.probe(slot)).await
    }
}

/// The script as it is run: in a transaction of the engine's.
fn text_of(script: &str) -> Result<Text> {
    let script = sql::without_transaction(script)?;
    if sql::split(&script).next().is_none() {
        return Err(Error::new(ErrorKind::Sql, NO_STATEMENT));
    }
    Ok(Text::new(&script))
}

#[cfg(feature = "local")]
async fn export_file(path: PathBuf, options: ExportOptions, output: Box<dyn Write + Send>) -> Result<Report> {
    let (answer, answered) = oneshot::channel();
    let export = move || {
        let mut output = Wanted { output, answer: &answer };
        let result = dump::export(&path, &mut output, &options, &mut |_| ());
        // The output ends before its export is answered.
        drop(output);
        drop(answer.send(result));
    };
    thread::Builder::new().name("isobar-db-export".to_owned()).spawn(export).map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("cannot start a thread for the export: {error}")).with_source(error)
    })?;
    answered.await.unwrap_or_else(|_| Err(ended()))
}

/// Without the feature `local` no database has a path.
#[cfg(not(feature = "local"))]
async fn export_file(_path: PathBuf, _options: ExportOptions, _output: Box<dyn Write + Send>) -> Result<Report> {
    Err(Error::new(ErrorKind::Unsupported, "this database has no export"))
}

/// The output of an export that somebody waits for; one that nobody does ends with the next write.
#[cfg(feature = "local")]
struct Wanted<'a> {
    output: Box<dyn Write + Send>,
    answer: &'a oneshot::Sender<Result<Report>>,
}

#[cfg(feature = "local")]
impl Write for Wanted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.answer.is_closed() {
            return Err(std::io::Error::other("nobody waits for the export any more"));
        }
        self.output.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// Opens a connection. A lock that stays becomes an error, even where the caller's time limit is longer.
fn open_connection(path: Option<&Path>, is_reader: bool, settings: &Arc<Settings>) -> Result<AuthorizedConnection> {
    let last = Instant::now() + OPENING;
    loop {
        match AuthorizedConnection::open(path, is_reader, settings) {
            // SQLite itself does not wait while another process makes the log.
            Err(error) if fault::is_busy(&error) && !must_stop() && Instant::now() < last => thread::sleep(RETRY),
            opened => return opened.map_err(|error| fault::of_open(&error)),
        }
    }
}

#[cfg(all(test, feature = "local"))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
