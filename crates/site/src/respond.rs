//! Responses from the store: a snapshot, the resolution of the path, and the file that it leads to.
//!
//! A response is made from one snapshot: the deploy and the rules that were current when it began. What can change meanwhile
//! is an object under its key; the body is read on the condition that its ETag is still the one of the head, and a failed
//! condition is retried once from the beginning. So the headers of one version never go with the bytes of another.

use std::sync::Arc;

use http::Response;
use isobar_storage::{Error, Key};

use crate::body::SiteBody;
use crate::representation::Representation;
use crate::request::{RequestHead, RequestTarget};
use crate::resolve::{Resolution, resolve};
use crate::response::{FromSite, error_response, finished};
use crate::serve::{Stored, serve, serve_not_found};
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::timing::{Rule, timed};

/// Answers a request from the store. An error that can be retried is retried once, then it is a response, too.
pub(crate) async fn respond(source: &Arc<Source>, head: RequestHead<'_>) -> Response<SiteBody> {
    let target = RequestTarget::of(head);
    let attempt = match from_store(source, head, &target).await {
        // Replaced between its head and its body, for example: the retry sees the new version.
        Err(error) if error.is_retryable() => from_store(source, head, &target).await,
        attempt => attempt,
    };
    let mut response = match attempt {
        Ok(response) => response,
        Err(error) => store_error_response(source, &target, &error),
    };
    response.extensions_mut().insert(FromSite);
    finished(response, head.method)
}

/// Answers a request from one snapshot.
///
/// # Errors
/// The store's error. [`Unavailable`](isobar_storage::ErrorKind::Unavailable) where the file was replaced between its head and its
/// body.
async fn from_store(
    source: &Arc<Source>,
    head: RequestHead<'_>,
    target: &RequestTarget<'_>,
) -> Result<Response<SiteBody>, Error> {
    let snapshot = Snapshot::current(source).await?;
    let (rule, resolution) = resolve(&snapshot, head, target).await?;
    let response = match resolution {
        Resolution::Done(response) | Resolution::Listing(response) => response,
        Resolution::File(file) => serve(head, &Stored::new(source, head, file)).await?,
        Resolution::NotFoundPage(page) => serve_not_found(&Stored::new(source, head, page)).await?,
    };
    Ok(timed(&source.options, snapshot.with_header_rules(target, response), rule, None))
}

/// Answers with the object at a key; `None` where there is none. Retries as [`respond`] does.
pub(crate) async fn respond_with(source: &Arc<Source>, head: RequestHead<'_>, key: &Key) -> Option<Response<SiteBody>> {
    let snapshot = Snapshot::of_keys(source);
    let object = async || match snapshot.object(key.as_str()).await? {
        Some(file) => {
            let representation = Representation::select(&snapshot, file, head).await?;
            serve(head, &Stored::new(source, head, representation)).await.map(Some)
        }
        None => Ok(None),
    };
    let attempt = match object().await {
        Err(error) if error.is_retryable() => object().await,
        attempt => attempt,
    };
    let response = attempt.transpose()?.unwrap_or_else(|error| error_response(&error));
    Some(finished(response, head.method))
}

/// Returns the response for an error of the store, with the last known `_headers` rules applied.
pub(crate) fn store_error_response(
    source: &Arc<Source>,
    target: &RequestTarget<'_>,
    error: &Error,
) -> Response<SiteBody> {
    let response = Snapshot::last(source).with_header_rules(target, error_response(error));
    timed(&source.options, response, Rule::Failed, None)
}
