//! Imports and exports of a database: files of SQL, by URLs of their own.
//!
//! An import begins (`init`, with the file's MD5), its file comes by the URL that this gave, it is started (`ingest`) and asked for
//! (`poll`) until it has ended. It is one transaction: one that fails has written nothing. An export is asked for until it has ended,
//! and its file is then at a URL. Neither URL outlives the key that began the job.
//!
//! | step | request | answer |
//! |---|---|---|
//! | `init` | `POST .../import`, the file's MD5 | a URL, a file name |
//! | upload | `PUT` to the URL | `ETag`, or 400 where the MD5 is another one |
//! | `ingest` | `POST .../import`, MD5 and file name | as `poll` |
//! | `poll` | `POST .../import`, `current_bookmark` | `active`, `complete` with counts, or `error` |
//! | export | `POST .../export`, again with `current_bookmark` | `active`, or `complete` with a URL |
//! | download | `GET` of the URL | the SQL |
//!
//! A request waits up to 2 s for the end of a job, so that most clients ask once. Dropped, it leaves
//! the job running. An import that is cut off by the process's end has been rolled back.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::Utc;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use isobar_base::sync::IgnorePoison;
use isobar_db::Database;
use isobar_db::dump::{Content, ExportOptions};
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::call::{self, Call, require};
use super::databases;
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, code, success};
use super::failure::shown;
use super::jobs::{self, Outcome, State, TooMany};
use super::query;
use super::room::{Full, NewFile, Refused, Reserved};
use super::route::PREFIX;
use crate::keys::{AccessKeys, Key, Permission};

/// Time for which a request waits for the end of a job, as D1's do: most end within it.
const WAIT: Duration = Duration::from_secs(2);
/// End of the file names that clients see.
const EXTENSION: &str = ".sql";

/// Body of an import's request.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum Import {
    Init { etag: String },
    Ingest { etag: String, filename: String },
    Poll { current_bookmark: String },
}

/// Body of an export's request.
#[derive(Debug, Deserialize)]
struct Export {
    output_format: String,
    current_bookmark: Option<String>,
    #[serde(default)]
    dump_options: DumpOptions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DumpOptions {
    no_data: Option<bool>,
    no_schema: Option<bool>,
    tables: Option<Vec<String>>,
}

impl DumpOptions {
    /// wrangler sends an empty list for every table.
    fn into_options(self) -> Answer<ExportOptions> {
        let content = match (self.no_data == Some(true), self.no_schema == Some(true)) {
            (false, false) => Content::All,
            (true, false) => Content::Schema,
            (false, true) => Content::Rows,
            (true, true) => return Err(ApiError::malformed("an export has the schema, the rows, or both")),
        };
        Ok(ExportOptions::default().with_tables(self.tables.unwrap_or_default()).with_content(content))
    }
}

/// Takes a step of an import.
pub(super) async fn import(door: &RestDoor, call: &Call, key: &Key, id: &str, body: Body) -> Answer {
    require(key, Permission::D1Write)?;
    let (info, database) = databases::open(door, key, id).await?;
    match call::json(body, door.options.json_bytes).await? {
        Import::Init { etag } => {
            if etag.len() != 32 || !etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(ApiError::malformed("the etag is not the MD5 of the file, in hexadecimal"));
            }
            let job = added(door, key, &info.id, State::Announced { etag })?;
            let upload_url = format!("{}{PREFIX}/uploads/{job}", call.origin()?);
            success(&json!({
                "success": true, "type": "import", "filename": format!("{job}{EXTENSION}"), "upload_url": upload_url,
                "messages": [],
            }))
        }
        Import::Ingest { etag, filename } => {
            let job = filename.strip_suffix(EXTENSION).unwrap_or(&filename);
            match door.jobs.state_of(job, &info.id) {
                Some(State::Uploaded { etag: known, .. }) if known == etag => start_import(door, job, database)?,
                Some(State::Uploaded { .. }) => {
                    return Err(ApiError::malformed("the etag is not the one of the import"));
                }
                Some(State::Announced { .. }) => return Err(ApiError::malformed("the file has not been uploaded")),
                Some(State::Running(_)) => {} // a repeated request
                None => return Err(unknown_job(&filename)),
            }
            polled(door, job, &info.id, "import", call).await
        }
        Import::Poll { current_bookmark } => polled(door, &current_bookmark, &info.id, "import", call).await,
    }
}

/// Begins an export, or says how one stands.
pub(super) async fn export(door: &RestDoor, call: &Call, key: &Key, id: &str, body: Body) -> Answer {
    require(key, Permission::D1Read)?;
    let (info, database) = databases::open(door, key, id).await?;
    let Export { output_format, current_bookmark, dump_options } = call::json(body, door.options.json_bytes).await?;
    if output_format != "polling" {
        return Err(ApiError::malformed("the only output_format is polling"));
    }
    let job = match current_bookmark {
        Some(job) => job,
        None => {
            let options = dump_options.into_options()?;
            let (sender, receiver) = watch::channel(None);
            let job = added(door, key, &info.id, State::Running(receiver))?;
            let file = door.new_file();
            jobs::spawn(async move { exported(&*database, options, file).await }, sender);
            job
        }
    };
    polled(door, &job, &info.id, "export", call).await
}

/// Takes the file of an import, at the URL that its beginning gave.
pub(super) async fn upload(door: &RestDoor, job: &str, body: Body) -> Answer {
    check_key(door, job).await?;
    let etag = match door.jobs.state(job) {
        Some(State::Announced { etag } | State::Uploaded { etag, .. }) => etag,
        Some(State::Running(_)) => return Err(ApiError::malformed("the import has been started")),
        None => return Err(unknown_job(job)),
    };
    let (file, md5) = received(door.new_file(), body).await?;
    if !md5.eq_ignore_ascii_case(&etag) {
        return Err(ApiError::malformed(format_args!("the file's MD5 is {md5}, and {etag} was announced")));
    }
    door.jobs.upload(job, file);
    let etag = HeaderValue::from_str(&format!("\"{md5}\"")).expect("hexadecimal digits are a header's value");
    Ok((StatusCode::OK, [(header::ETAG, etag)]).into_response())
}

/// Receives a file, and computes its MD5 as it comes: neither takes a thread for longer than a chunk does.
async fn received(mut file: NewFile, mut body: Body) -> Answer<(Bytes, String)> {
    let mut md5 = Md5::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::malformed(format_args!("the body cannot be read: {error}")))?;
        let Ok(chunk) = frame.into_data() else { continue };
        file.push(&chunk).map_err(|refused| match refused {
            Refused::TooLong => ApiError::too_long(file.longest()),
            Refused::Full => full(),
        })?;
        md5.update(&chunk);
    }
    Ok((file.finish(), hex::encode(md5.finalize())))
}

/// Refuses a job whose key has been revoked or has expired since.
async fn check_key(door: &RestDoor, job: &str) -> Answer<()> {
    let id = door.jobs.key_of(job).ok_or_else(|| unknown_job(job))?;
    match door.keys.find(&id).await? {
        Some(key) if !key.is_expired(Utc::now()) => Ok(()),
        _ => Err(unknown_job(job).refused(format!("the key {id} of the import or export is revoked or has expired"))),
    }
}

/// Gives the file of an export.
pub(super) async fn download(door: &RestDoor, job: &str) -> Answer {
    let job = job.strip_suffix(EXTENSION).unwrap_or(job);
    check_key(door, job).await?;
    let Some(State::Running(outcome)) = door.jobs.state(job) else { return Err(unknown_job(job)) };
    let dump = match &*outcome.borrow() {
        Some(Outcome::Exported(dump)) => dump.clone(),
        _ => return Err(unknown_job(job)),
    };
    Ok(file_response(dump))
}

/// The response with a file, which no cache keeps.
fn file_response(dump: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/sql")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::OK, headers, dump).into_response()
}

/// Starts an import, unless another request has. The database makes a copy of the file, for which there must be room, too.
fn start_import(door: &RestDoor, job: &str, database: Arc<dyn Database>) -> Answer<()> {
    let Some(State::Uploaded { file, .. }) = door.jobs.state(job) else { return Ok(()) };
    let copy = door.room.reserve(file.len(), door.options.transfer_bytes).map_err(|Full| full())?;
    if let Some((file, done)) = door.jobs.start(job) {
        jobs::spawn(imported(database, file, copy), done);
    }
    Ok(())
}

/// Runs the file in one transaction.
async fn imported(database: Arc<dyn Database>, file: Bytes, _copy: Reserved) -> Outcome {
    let Ok(script) = std::str::from_utf8(&file) else {
        return Outcome::Failed("the file is not SQL in UTF-8".to_owned());
    };
    let imported = match database.import(script).await {
        Ok(imported) => imported,
        Err(error) => return Outcome::Failed(shown(&error).to_owned()),
    };
    let bookmark = databases::current_bookmark(&*database).await.unwrap_or_default();
    let meta = query::meta(&imported.meta);
    Outcome::Imported(json!({"num_queries": imported.statements, "final_bookmark": bookmark, "meta": meta}))
}

/// Output of an export, which the database writes on a thread of its own.
#[derive(Debug, Clone)]
struct Output(Arc<Mutex<Exporting>>);

#[derive(Debug)]
struct Exporting {
    /// `None` when it is finished.
    file: Option<NewFile>,
    refused: Option<Refused>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Exporting { file, refused } = &mut *self.0.lock().ignore_poison();
        let file = file.as_mut().ok_or_else(|| io::Error::other("the export is over"))?;
        file.push(bytes).map_err(|reason| {
            *refused = Some(reason);
            io::Error::other("the export is too long")
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the dump into memory, up to its limit and the room there is.
async fn exported(database: &dyn Database, options: ExportOptions, file: NewFile) -> Outcome {
    let longest = file.longest();
    let output = Output(Arc::new(Mutex::new(Exporting { file: Some(file), refused: None })));
    let result = database.export(options, Box::new(output.clone())).await;
    let mut exporting = output.0.lock().ignore_poison();
    match (exporting.file.take(), exporting.refused, result) {
        (_, Some(Refused::TooLong), _) => Outcome::Failed(format!("the export has more than {longest} bytes")),
        (_, Some(Refused::Full), _) => Outcome::Failed(full().message),
        (_, None, Err(error)) => Outcome::Failed(shown(&error).to_owned()),
        (file, None, Ok(_)) => Outcome::Exported(file.map(NewFile::finish).unwrap_or_default()),
    }
}

/// Waits for a job, and answers how it stands.
async fn polled(door: &RestDoor, job: &str, database: &str, kind: &str, call: &Call) -> Answer {
    let Some(State::Running(outcome)) = door.jobs.state_of(job, database) else { return Err(unknown_job(job)) };
    let mut answer = json!({"success": true, "type": kind, "at_bookmark": job, "messages": []});
    match jobs::wait(outcome, WAIT).await {
        // Clients ask again at once where there is no status, or another one than these.
        None => answer["status"] = "active".into(),
        Some(Outcome::Failed(message)) => {
            answer["success"] = false.into();
            answer["status"] = "error".into();
            answer["errors"] = json!([message]);
            answer["error"] = message.into();
        }
        Some(Outcome::Imported(result)) => completed(&mut answer, result),
        Some(Outcome::Exported(_)) => {
            let filename = format!("{job}{EXTENSION}");
            let signed_url = format!("{}{PREFIX}/downloads/{filename}", call.origin()?);
            completed(&mut answer, json!({"filename": filename, "signed_url": signed_url}));
        }
    }
    success(&answer)
}

/// Marks a job's answer as complete.
fn completed(answer: &mut Json, result: Json) {
    answer["status"] = "complete".into();
    answer["result"] = result;
}

/// Adds a job.
fn added(door: &RestDoor, key: &Key, database: &str, state: State) -> Answer<String> {
    let added = door.jobs.add(database, &key.id, state, door.options.transfer_time);
    let added =
        added.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, error.to_string()))?;
    added.map_err(|TooMany| full())
}

/// 400, since clients would repeat the upload of a large file after a 5xx.
fn full() -> ApiError {
    let message = "the server keeps as many imports and exports, or bytes of their files, as it may: try again later";
    ApiError::new(StatusCode::BAD_REQUEST, code::SQL, message)
}

/// The error of a job that is not there: never was, is over, or belongs to another database.
fn unknown_job(id: &str) -> ApiError {
    let shown: String = id.chars().take(100).collect();
    ApiError::new(
        StatusCode::NOT_FOUND,
        code::MALFORMED,
        format!("there is no import or export {shown:?}, or it is over"),
    )
}
