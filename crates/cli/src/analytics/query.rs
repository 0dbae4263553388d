//! The commands `isobar analytics query` and `tables`.
//!
//! Local queries run in this process, on the files of the datasets: no server is asked, and none is
//! slowed down but by the disk. They see every point that was durable when they began.
//!
//! The same SQL goes to Cloudflare with `--remote`, and to a ClickHouse server with `--clickhouse URL`; what
//! differs between the engines is listed in the guide, "Asking analytics". Names of columns that a schema
//! file gives are replaced by positions (`blob1`, `double2`) here, before the query is sent, so that they
//! work everywhere.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use isobar_analytics::clickhouse::ClickHouse;
use isobar_analytics::cloudflare::AnalyticsEngineSql;
use isobar_analytics::local::StoredSegments;
use isobar_analytics::query::{Analytics, Answer, Format, Query, QueryExecutor, QueryOptions, to_positions};
use isobar_analytics::{Error as AnalyticsError, ErrorKind, Schema};
use isobar_cloudflare::client::Account;

use crate::place::Place;
use crate::{Outcome, archive, table};

use super::{chart, counted, warn_of};

/// The datasets to use: those on this machine, on Cloudflare, or on a ClickHouse server.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// Use the datasets on this machine (default)
    #[arg(long, conflicts_with = "remote")]
    local: bool,
    /// Use the datasets on Cloudflare; needs CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN
    #[arg(long)]
    remote: bool,
    /// Use the datasets on the ClickHouse server at this URL; user, password and database are those of CLICKHOUSE_USER,
    /// CLICKHOUSE_PASSWORD and CLICKHOUSE_DATABASE in the environment
    #[arg(long, value_name = "URL", conflicts_with_all = ["local", "remote"])]
    clickhouse: Option<String>,
}

impl Where {
    fn is_local(&self) -> bool {
        !self.remote && self.clickhouse.is_none()
    }

    /// Returns an executor. The time limit is for local queries; Cloudflare and ClickHouse have their own.
    ///
    /// # Errors
    /// The account's id or token is missing in the environment, or the URL is invalid.
    async fn executor(
        &self,
        place: &Place,
        time_limit: Option<Duration>,
    ) -> Result<Box<dyn QueryExecutor>, Box<dyn Error>> {
        if self.remote {
            return Ok(Box::new(AnalyticsEngineSql::new(Account::from_env()?)));
        }
        if let Some(url) = &self.clickhouse {
            return Ok(Box::new(clickhouse(url)?));
        }
        Ok(Box::new(local(place, time_limit).await?))
    }
}

/// The server, with the user, the password and the database of the environment.
fn clickhouse(url: &str) -> Result<ClickHouse, AnalyticsError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut server = ClickHouse::new(url)?;
    let user = variable("CLICKHOUSE_USER");
    let password = variable("CLICKHOUSE_PASSWORD");
    if user.is_some() || password.is_some() {
        server =
            server.with_credentials(user.as_deref().unwrap_or("default"), password.as_deref().unwrap_or_default())?;
    }
    Ok(match variable("CLICKHOUSE_DATABASE") {
        Some(database) => server.with_database(database),
        None => server,
    })
}

async fn local(place: &Place, time_limit: Option<Duration>) -> Result<Analytics, Box<dyn Error>> {
    let folder = place.root(place.config()?.as_ref()).join("analytics");
    let options = QueryOptions::default().with_time_limit(time_limit);
    let archives = archive::existing(place, &folder).await;
    Ok(Analytics::new(archive::datasets(folder, archives)).with_options(options))
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar analytics query 'SELECT blob1, count() FROM visits GROUP BY blob1 ORDER BY count() DESC LIMIT 10'
  isobar analytics query 'SELECT sum(double1) FROM visits WHERE index1 = $1' --param tenant-1
  isobar analytics query 'SELECT * FROM visits LIMIT 5' --format JSONEachRow
  isobar analytics query --chart \"SELECT toStartOfHour(timestamp) AS hour, count() FROM visits GROUP BY hour ORDER BY hour\"
  isobar analytics query --schema schemas/visits.json 'SELECT page, avg(ms) FROM visits GROUP BY page'
  isobar analytics query --remote 'SHOW TABLES'
  isobar analytics query --clickhouse http://127.0.0.1:8123 'SELECT count() FROM visits'")]
pub(crate) struct Run {
    /// The query. The answer is printed as a table, unless FORMAT, --json, --format or --chart says otherwise
    sql: String,
    /// Value of the next query parameter, starting with $1; always passed as text
    ///
    /// It is quoted as a literal, so that no value can become SQL. Convert where a number is meant:
    /// toUInt32($1).
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    param: Vec<String>,
    /// Schema file with the column names of a dataset, which the query may use. Default:
    /// schemas/DATASET.json in the project
    ///
    /// It is JSON: {"dataset": "visits", "index": "tenant", "blobs": ["page"], "doubles": ["ms"]}. May
    /// be given several times, for several datasets.
    #[arg(long, value_name = "FILE")]
    schema: Vec<PathBuf>,
    /// Print the answer as JSON, as --format JSON does
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print the answer as JSON, JSONEachRow or TabSeparated
    #[arg(long)]
    format: Option<Format>,
    /// Print a bar chart of the last numeric column
    #[arg(long, conflicts_with_all = ["json", "format"])]
    chart: bool,
    /// Print the query plan instead of the answer: the steps, the columns that are read, and their bounds. Local datasets only
    #[arg(long, conflicts_with_all = ["json", "format", "chart", "remote", "clickhouse"])]
    explain: bool,
    /// Time limit of a local query in seconds
    ///
    /// A query that takes longer ends with an error and without rows.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    time_limit: u64,
    #[command(flatten)]
    at: Where,
}

/// Prints the names of the datasets; of local ones also where their segments are.
pub(crate) async fn tables(at: Where, place: &Place) -> Outcome {
    if at.is_local() {
        return local_tables(place);
    }
    print_table(&at.executor(place, None).await?.query(&Query::new("SHOW TABLES")).await?)
}

/// Prints the datasets on this machine. The archives are not asked: how much is in them is in the manifests.
fn local_tables(place: &Place) -> Outcome {
    let headings = ["name", "log bytes", "segments", "bytes", "archived", "bytes", "archive"].map(str::to_owned);
    let folder = place.root(place.config()?.as_ref()).join("analytics");
    let mut rows = Vec::new();
    for name in place.datasets()? {
        let segments = match StoredSegments::of(folder.join(&name)) {
            Ok(segments) => segments,
            Err(error) => {
                eprintln!("warning: {error}");
                rows.push(vec![name]);
                continue;
            }
        };
        if segments.quarantined > 0 {
            eprintln!("warning: {} of {name} cannot be read", counted(segments.quarantined, "damaged segment"));
        }
        let numbers = [
            segments.log_bytes,
            segments.columnar_segments,
            segments.columnar_bytes,
            segments.archived_segments,
            segments.archived_bytes,
        ];
        let archive = segments.archive.unwrap_or_default();
        rows.push([name].into_iter().chain(numbers.map(|number| number.to_string())).chain([archive]).collect());
    }
    table::print(&headings, &rows)
}

impl Run {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        let schemas = self.schema.iter().map(|file| read_schema(file)).collect::<Result<Vec<_>, _>>()?;
        let folder = place.schemas()?;
        let sql = to_positions(&self.sql, |dataset| find_schema(&schemas, &folder, dataset))?;
        let query = self.param.into_iter().fold(Query::new(sql), Query::with);
        if self.explain {
            return Ok(std::io::stdout().lock().write_all(local(place, None).await?.explain(&query)?.as_bytes())?);
        }
        let executor = self.at.executor(place, Some(Duration::from_secs(self.time_limit))).await?;
        let answer = executor.query(&query).await?;
        warn_of(&answer.stats().damage);
        if self.chart {
            return chart::print(&answer);
        }
        let format = if self.json { Some(Format::Json) } else { self.format.or(answer.format_clause()) };
        match format {
            Some(format) => Ok(std::io::stdout().lock().write_all(&answer.to_bytes(format))?),
            None => print_table(&answer),
        }
    }
}

/// Returns the schema of a dataset: one of these, or that of its file in the folder.
///
/// Files named by `--schema` go before that of the project. A dataset's name that could leave the
/// folder has no file.
///
/// # Errors
/// A file that cannot be read or parsed; the project's file with the schema of another dataset.
fn find_schema(schemas: &[Schema], folder: &Path, dataset: &str) -> Result<Option<Schema>, AnalyticsError> {
    if let Some(schema) = schemas.iter().find(|schema| schema.dataset == dataset) {
        return Ok(Some(schema.clone()));
    }
    let is_name = dataset.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let file = folder.join(format!("{dataset}.json"));
    if !is_name || !file.is_file() {
        return Ok(None);
    }
    let schema = read_schema(&file)?;
    if schema.dataset != dataset {
        let message = format!("{}: the file is the schema of the dataset {}", file.display(), schema.dataset);
        return Err(AnalyticsError::new(ErrorKind::Schema, message));
    }
    Ok(Some(schema))
}

fn read_schema(file: &Path) -> Result<Schema, AnalyticsError> {
    let failed = |error: &dyn Error| AnalyticsError::new(ErrorKind::Schema, format!("{}: {error}", file.display()));
    let text = std::fs::read(file).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}

fn print_table(answer: &Answer) -> Outcome {
    let columns = answer.columns();
    let headings: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let row = |row| (0..columns.len()).map(|column| answer.text(row, column)).collect();
    table::print(&headings, &(0..answer.rows()).map(row).collect::<Vec<_>>())
}
