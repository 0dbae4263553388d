//! The contents of images: access, and links.
//!
//! Three ways to an image: it is public; it is of the principal's own tenant; or the request has a link. A link is an HMAC over
//! the image, its end and the image's epoch, so links need no rows, and raising the epoch revokes all links of an image. Who has
//! none of the three gets 404, as for an image that does not exist.

use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use chrono::{TimeDelta, Utc};
use http::{HeaderValue, StatusCode, header};
use isobar_db::{QueryableExt, Statement};
use isobar_storage::Key;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use subtle::ConstantTimeEq;

use super::{Media, resource};
use crate::background::detached;
use crate::json::{Body, input};
use crate::resource::row_object;
use crate::time::rfc3339;
use crate::{Principal, Problem};

/// Longest lifetime of a link in seconds: 7 days.
pub(super) const MAX_SECONDS: i64 = 7 * 24 * 60 * 60;
const PURPOSE: &str = "link to an image";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLink {
    seconds: i64,
}

/// The query of a link.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Signed {
    expires: Option<i64>,
    signature: Option<String>,
}

/// `GET /images/{id}/content`.
pub(super) async fn show(
    State(media): State<Media>,
    principal: Principal,
    Path(id): Path<String>,
    signed: Result<Query<Signed>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    // An invalid query has no signature.
    let Query(signed) = signed.unwrap_or_default();
    let sql = "SELECT key, visibility, tenant_id, link_epoch FROM images WHERE id = ?";
    let result = media.database().query(Statement::new(sql).bind(&id).rows_only()).await?;
    let row = result.rows.first().ok_or_else(missing)?;
    let is_public = row.get::<String>("visibility")? == "public";
    let is_own = principal.tenant() == Some(&row.get::<String>("tenant_id")?) && principal.has_scope("images", false);
    if !is_public && !is_own && !is_signed(&media, &id, row.get("link_epoch")?, &signed).await? {
        return Err(missing()); // must not reveal whether the image exists
    }
    let key = Key::new(row.get::<String>("key")?)?;
    let (parts, _) = request.into_parts();
    let mut answer = media.inner.content.serve(&key, parts).await;
    // Uploaded by users: the contents must never run as a page of this origin.
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A shared cache may store public content, briefly: it may become private again.
    let is_there = answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED;
    let caching = match (is_public, is_there) {
        (true, true) => "public, max-age=60",
        (false, true) => "private, no-cache",
        _ => "no-store",
    };
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    Ok(answer)
}

/// `POST /images/{id}/link`: a URL that shows the content to its bearer, until it expires or is revoked.
pub(super) async fn link(
    State(media): State<Media>,
    principal: Principal,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let NewLink { seconds } = input(body)?;
    if !(1..=MAX_SECONDS).contains(&seconds) {
        let detail = format!("must be 1 to {MAX_SECONDS}");
        return Err(Problem::bad_request("the link is not valid").with_field("seconds", detail));
    }
    let sql = "SELECT link_epoch FROM images WHERE id = ? AND tenant_id = ?";
    let epoch: Option<i64> = media.database().prepare(sql).bind(&id).bind(principal.tenant()).first().await?;
    let epoch = epoch.ok_or_else(missing)?; // also for another tenant's image
    let expires = Utc::now() + TimeDelta::seconds(seconds);
    let signature = signature(&media, &id, epoch, expires.timestamp()).await?;
    let url = format!("/api/images/{id}/content?expires={}&signature={signature}", expires.timestamp());
    let body = axum::Json(json!({"url": url, "expires_at": rfc3339(expires)}));
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// `DELETE /images/{id}/link`: revokes every link to the image.
pub(super) async fn revoke_links(
    State(media): State<Media>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let sql = "UPDATE images SET link_epoch = link_epoch + 1 WHERE id = ? AND tenant_id = ?";
    let changed = media.database().prepare(sql).bind(&id).bind(principal.tenant()).run().await?.changes;
    if changed == 0 { Err(missing()) } else { Ok(StatusCode::NO_CONTENT) }
}

/// `DELETE /images/{id}`.
pub(super) async fn delete(
    State(media): State<Media>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    detached(async move { media.remove(&principal, &id).await.map(|()| StatusCode::NO_CONTENT) }).await
}

/// Returns an image of the principal's tenant, as the resource shows it.
///
/// # Errors
/// 404 for any other image.
pub(super) async fn shown(media: &Media, principal: &Principal, id: &str) -> Result<Map<String, Json>, Problem> {
    let sql = "SELECT * FROM images WHERE id = ? AND tenant_id = ?";
    let result = media.database().query(Statement::new(sql).bind(id).bind(principal.tenant()).rows_only()).await?;
    let row = result.rows.first().ok_or_else(missing)?;
    row_object(&resource().all_shown(), row)
}

fn missing() -> Problem {
    Problem::not_found("not found among images")
}

async fn is_signed(media: &Media, id: &str, epoch: i64, signed: &Signed) -> Result<bool, Problem> {
    let (Some(expires), Some(given)) = (signed.expires, &signed.signature) else { return Ok(false) };
    let expected = signature(media, id, epoch, expires).await?;
    let is_same: bool = expected.as_bytes().ct_eq(given.as_bytes()).into();
    Ok(is_same && expires > Utc::now().timestamp())
}

async fn signature(media: &Media, id: &str, epoch: i64, expires: i64) -> Result<String, Problem> {
    let mac = media.vault().mac(PURPOSE, format!("{id}|{epoch}|{expires}").as_bytes()).await?;
    Ok(hex::encode(mac))
}
