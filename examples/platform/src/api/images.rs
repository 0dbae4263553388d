//! Images: an object in the bucket, and a row that tells of it.
//!
//! The object is written first and the row last, so a row never names an object that is not there; what a crash, or a client
//! that goes away at the last moment, leaves is an object without a row, which nothing shows.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use futures_util::TryStreamExt;
use http::{HeaderMap, StatusCode, header};
use isobar_db::QueryableExt;
use isobar_http_serve::{Platform, Problem};
use isobar_site::{Site, SiteOptions};
use isobar_storage::{Error, ErrorKind, Key, ObjectStore, ObjectStoreExt, PutOptions, content_type};
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::bindings::{DB, STORAGE};

/// The largest upload.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
const COLUMNS: &str = "id, key, name, content_type, size, etag, created_at";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Image {
    id: String,
    #[serde(skip_serializing)]
    key: String,
    name: String,
    content_type: String,
    size: u64,
    etag: String,
    created_at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct UploadQuery {
    name: String,
}

pub(super) async fn list(State(platform): State<Platform>) -> Answer<Json<Vec<Image>>> {
    let sql = format!("SELECT {COLUMNS} FROM images ORDER BY created_at DESC, id LIMIT 200");
    Ok(Json(platform.database(DB)?.prepare(sql).all().await?))
}

pub(super) async fn show(State(platform): State<Platform>, Path(id): Path<String>) -> Answer<Json<Image>> {
    Ok(Json(find(&platform, &id).await?))
}

/// `POST /api/images?name=cat.png`, the image as the body.
pub(super) async fn upload(
    State(platform): State<Platform>,
    query: Result<Query<UploadQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Answer<(StatusCode, Json<Image>)> {
    let Query(UploadQuery { name }) =
        query.map_err(|_| Problem::bad_request("the image needs a name").with_field("name", "add ?name=cat.png"))?;
    let (content_type, length) = check(&name, request.headers())?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let id = hex::encode(random);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    let key = Key::new(format!("media/{id}.{extension}"))?;

    let chunks = request.into_body().into_data_stream();
    let chunks = chunks.map_err(|error| Error::new(ErrorKind::Body, "the upload broke off").with_source(error));
    let body = isobar_storage::Body::from_stream(length, chunks);
    let store = platform.bucket(STORAGE)?;
    let options = PutOptions::default().with_content_type(&content_type);
    let stored = store.write_with(&key, body, options).await?.stored();
    let meta = stored.ok_or_else(|| Problem::new(StatusCode::CONFLICT))?;
    let sql = format!(
        "INSERT INTO images (id, key, name, content_type, size, etag) VALUES (?, ?, ?, ?, ?, ?) RETURNING {COLUMNS}"
    );
    let row = platform.database(DB)?;
    let row = row.prepare(sql).bind(id).bind(key.as_str()).bind(name).bind(content_type);
    let image = match row.bind(i64::try_from(meta.size).unwrap_or(i64::MAX)).bind(meta.etag).one().await {
        Ok(image) => image,
        Err(error) => {
            store.delete(&[key]).await?; // nothing half done
            return Err(error.into());
        }
    };
    Ok((StatusCode::CREATED, Json(image)))
}

/// The bytes, by the rules of HTTP: ranges, conditions.
pub(super) async fn content(
    State(platform): State<Platform>,
    Path(id): Path<String>,
    request: Request,
) -> Answer<Response> {
    let image = find(&platform, &id).await?;
    let file = image.key.strip_prefix("media/").unwrap_or_default();
    let site =
        Site::new(platform.bucket(STORAGE)?, SiteOptions::default().with_prefix("media/").with_precompressed(false));
    let (mut parts, ()) = request.map(drop).into_parts();
    parts.uri = format!("/{file}").parse().map_err(|_| Problem::not_found("the image's file has no valid name"))?;
    let mut answer = site.respond(&http::Request::from_parts(parts, ())).await.map(Body::new);
    // Uploaded by somebody: never run as a page of ours, whatever is in it.
    let policy = http::HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(answer)
}

pub(super) async fn delete(State(platform): State<Platform>, Path(id): Path<String>) -> Answer<StatusCode> {
    let image = find(&platform, &id).await?;
    // The row first: what remains if this breaks off is an object that nothing shows.
    platform.database(DB)?.prepare("DELETE FROM images WHERE id = ?").bind(id).run().await?;
    platform.bucket(STORAGE)?.delete(&[Key::new(image.key)?]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(platform: &Platform, id: &str) -> Answer<Image> {
    let sql = format!("SELECT {COLUMNS} FROM images WHERE id = ?");
    let image = platform.database(DB)?.prepare(sql).bind(id).first().await?;
    image.ok_or_else(|| Problem::not_found(format!("there is no image {id:?}")))
}

/// The content type and length of an upload that may go ahead.
fn check(name: &str, headers: &HeaderMap) -> Answer<(String, u64)> {
    let invalid = |detail: &str| Problem::bad_request("the image's name is not valid").with_field("name", detail);
    if name.is_empty() || name.len() > 200 || name.chars().any(|char| char.is_control() || "/\\".contains(char)) {
        return Err(invalid("must be 1 to 200 bytes without slashes"));
    }
    let content_type = content_type::from_key(name)
        .filter(|essence| ["image/", "video/", "model/"].iter().any(|kind| essence.starts_with(kind)))
        .ok_or_else(|| invalid("must end like an image, a video or a 3D model: .png, .mp4, .glb"))?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let missing = || Problem::new(StatusCode::LENGTH_REQUIRED).with_detail("send the image with its Content-Length");
    let length = length.ok_or_else(missing)?;
    if length > MAX_BYTES {
        let detail = format!("an upload has {} MiB at most", MAX_BYTES / 1024 / 1024);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE).with_detail(detail));
    }
    Ok((content_type, length))
}
