//! Uploads in one request: a form, or the bytes themselves.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, Multipart, Query, Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::Media;
use super::content::shown;
use super::upload::{BodyError, Received};
use crate::background::detached;
use crate::{BodyMemory, Principal, Problem};

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    name: String,
}

/// `POST /images`: a form of `multipart/form-data`, or what [`put`] takes.
pub(super) async fn post(
    State(media): State<Media>,
    principal: Principal,
    query: Result<Query<Named>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    if is_form(request.headers()) {
        form(media, principal, request).await
    } else {
        raw(media, principal, query, request).await
    }
}

/// `PUT /images?name=cat.png`: the bytes as the body.
pub(super) async fn put(
    State(media): State<Media>,
    principal: Principal,
    query: Result<Query<Named>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    raw(media, principal, query, request).await
}

async fn raw(
    media: Media,
    principal: Principal,
    query: Result<Query<Named>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Query(Named { name }) =
        query.map_err(|_| Problem::bad_request("the upload needs a name").with_field("name", "add ?name=cat.png"))?;
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let detail = "send the bytes as they are, without Content-Encoding";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE).with_detail(detail));
    }
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let memory = request.extensions().get::<BodyMemory>().cloned();
    let chunks = request.into_body().into_data_stream().map_err(|error| Box::new(error) as BodyError).boxed();
    // Continues if the client disconnects, so that a begun upload is finished or deleted.
    detached(async move {
        let upload = media.open(&principal, &name, length, false, None).await?;
        let id = upload.id.clone();
        whole(media.take(upload, chunks, false, memory).await?)?;
        let headers = [(header::LOCATION, format!("/api/images/{id}")), (header::CACHE_CONTROL, "no-store".to_owned())];
        Ok((StatusCode::CREATED, headers, axum::Json(shown(&media, &principal, &id).await?)).into_response())
    })
    .await
}

/// Stores every file of the form, under any field name. If one is refused, the files before it stay.
async fn form(media: Media, principal: Principal, request: Request) -> Result<Response, Problem> {
    let malformed = |error: &dyn std::fmt::Display| Problem::bad_request(format!("the form cannot be read: {error}"));
    let memory = request.extensions().get::<BodyMemory>().cloned();
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| malformed(&error))?;
    detached(async move {
        let mut items = Vec::new();
        while let Some(field) = form.next_field().await.map_err(|error| malformed(&error))? {
            let Some(name) = field.file_name().map(str::to_owned) else { continue };
            let upload = media.open(&principal, &name, None, false, None).await?;
            let id = upload.id.clone();
            let chunks = field.map_err(|error| Box::new(error) as BodyError).boxed();
            whole(media.take(upload, chunks, false, memory.clone()).await?)?;
            items.push(shown(&media, &principal, &id).await?);
        }
        if items.is_empty() {
            return Err(Problem::bad_request("the form has no file").with_field("file", "add a file with a name"));
        }
        Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], axum::Json(json!({ "items": items })))
            .into_response())
    })
    .await
}

/// # Errors
/// 400 for an upload in one request that is not complete.
fn whole(received: Received) -> Result<(), Problem> {
    match received {
        Received::Whole => Ok(()),
        Received::Part(bytes) => Err(Problem::bad_request(format!("the upload broke off after {bytes} bytes"))),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.to_ascii_lowercase().starts_with("multipart/form-data")
}
