//! Imports and exports of a database: files of SQL, by URLs of their own.
//!
//! An import begins (`init`, with the file's MD5), its file comes by the URL that this gave, it is started (`ingest`) and asked for
//! (`poll`) until it has ended. It is one transaction: one that fails has written nothing. An export is asked for until it has ended,
//! and its file is then at a URL.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use isobar_base::random::NoRandomness;
use isobar_db::{Database, Meta, QueryResult};
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::call::{self, Call, require};
use super::databases;
use super::door::RestDoor;
use super::dump::{self, DumpOptions};
use super::envelope::{Answer, ApiError, code, success};
use super::failure::shown;
use super::jobs::{self, Full, Outcome, State};
use super::query;
use super::route::PREFIX;
use crate::keys::{Key, Permission};

/// Time for which a request waits for the end of a job, as D1's do: most end within it.
const WAIT: Duration = Duration::from_secs(2);
/// End of the file names that clients see.
const EXTENSION: &str = ".sql";

#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum Import {
    Init { etag: String },
    Ingest { etag: String, filename: String },
    Poll { current_bookmark: String },
}

#[derive(Debug, Deserialize)]
struct Export {
    output_format: String,
    current_bookmark: Option<String>,
    #[serde(default)]
    dump_options: DumpOptions,
}

pub(super) async fn import(door: &RestDoor, call: &Call, key: &Key, id: &str, body: Body) -> Answer {
    require(key, Permission::D1Write)?;
    let (info, database) = databases::open(door, key, id).await?;
    match call::json(body, door.options.json_bytes).await? {
        Import::Init { etag } => {
            let job = added(door.jobs.add(&info.id, State::Announced { etag }))?;
            let upload_url = format!("{}{PREFIX}/uploads/{job}", call.origin()?);
            success(&json!({
                "success": true, "type": "import", "filename": format!("{job}{EXTENSION}"), "upload_url": upload_url,
                "messages": [],
            }))
        }
        Import::Ingest { etag, filename } => {
            let job = filename.strip_suffix(EXTENSION).unwrap_or(&filename);
            match door.jobs.state_of(job, &info.id) {
                Some(State::Uploaded { etag: known, .. }) if known == etag => start_import(door, job, database),
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
            let (sender, receiver) = watch::channel(None);
            let job = added(door.jobs.add(&info.id, State::Running(receiver)))?;
            let door = door.clone();
            jobs::spawn(async move { dumped(&door, &*database, &dump_options).await }, sender);
            job
        }
    };
    polled(door, &job, &info.id, "export", call).await
}

/// Takes the file of an import, at the URL that its beginning gave.
pub(super) async fn upload(door: &RestDoor, job: &str, body: Body) -> Answer {
    let etag = match door.jobs.state(job) {
        Some(State::Announced { etag } | State::Uploaded { etag, .. }) => etag,
        Some(State::Running(_)) => return Err(ApiError::malformed("the import has been started")),
        None => return Err(unknown_job(job)),
    };
    let file = call::bytes(body, door.options.import_bytes).await?;
    let md5 = hex::encode(Md5::digest(&file));
    if !md5.eq_ignore_ascii_case(&etag) {
        return Err(ApiError::malformed(format_args!("the file's MD5 is {md5}, and {etag} was announced")));
    }
    door.jobs.upload(job, file, door.options.transfer_bytes).map_err(full)?;
    let etag = HeaderValue::from_str(&format!("\"{md5}\"")).expect("hexadecimal digits are a header's value");
    Ok((StatusCode::OK, [(header::ETAG, etag)]).into_response())
}

/// Gives the file of an export.
pub(super) fn download(door: &RestDoor, job: &str) -> Answer {
    let Some(State::Running(outcome)) = door.jobs.state(job.strip_suffix(EXTENSION).unwrap_or(job)) else {
        return Err(unknown_job(job));
    };
    let dump = match &*outcome.borrow() {
        Some(Outcome::Exported(dump)) => dump.clone(),
        _ => return Err(unknown_job(job)),
    };
    Ok(file_response(dump))
}

fn file_response(dump: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/sql")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::OK, headers, dump).into_response()
}

fn start_import(door: &RestDoor, job: &str, database: Arc<dyn Database>) {
    // `None` where another request has started it since.
    if let Some((file, done)) = door.jobs.start(job) {
        jobs::spawn(imported(database, file), done);
    }
}

/// Runs the file in one transaction.
async fn imported(database: Arc<dyn Database>, file: Bytes) -> Outcome {
    let Ok(script) = std::str::from_utf8(&file) else {
        return Outcome::Failed("the file is not SQL in UTF-8".to_owned());
    };
    let results = match database.batch_script(script).await {
        Ok(results) => results,
        Err(error) => return Outcome::Failed(shown(&error).to_owned()),
    };
    let bookmark = databases::current_bookmark(&*database).await.unwrap_or_default();
    let count = results.len();
    Outcome::Imported(json!({"num_queries": count, "final_bookmark": bookmark, "meta": query::meta(&total(&results))}))
}

/// The sum of the statements' counts. One that the backend does not count for each is not known.
fn total(results: &[QueryResult]) -> Meta {
    let metas = || results.iter().map(|result| &result.meta);
    let mut total = metas().next_back().cloned().unwrap_or_default();
    total.duration = metas().map(|meta| meta.duration).sum();
    total.changes = metas().map(|meta| meta.changes).sum();
    total.changed_db = metas().any(|meta| meta.changed_db);
    total.rows_read = metas().map(|meta| meta.rows_read).sum();
    total.rows_written = metas().map(|meta| meta.rows_written).sum();
    total
}

async fn dumped(door: &RestDoor, database: &dyn Database, options: &DumpOptions) -> Outcome {
    match dump::dump(database, options, door.options.import_bytes).await {
        Ok(dump) if door.jobs.has_room(dump.len(), door.options.transfer_bytes) => Outcome::Exported(dump.into()),
        Ok(_) => Outcome::Failed(full(Full).message),
        Err(error) => Outcome::Failed(shown(&error).to_owned()),
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

fn completed(answer: &mut Json, result: Json) {
    answer["status"] = "complete".into();
    answer["result"] = result;
}

fn added(added: Result<Result<String, Full>, NoRandomness>) -> Answer<String> {
    let added =
        added.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, error.to_string()))?;
    added.map_err(full)
}

/// 400, since clients would repeat the upload of a large file after a 5xx.
fn full(Full: Full) -> ApiError {
    let message = "the server keeps as many files of imports and exports as it may: try again in an hour";
    ApiError::new(StatusCode::BAD_REQUEST, code::SQL, message)
}

fn unknown_job(id: &str) -> ApiError {
    let shown: String = id.chars().take(100).collect();
    ApiError::new(
        StatusCode::NOT_FOUND,
        code::MALFORMED,
        format!("there is no import or export {shown:?}, or it is over"),
    )
}
