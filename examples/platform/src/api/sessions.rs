//! Session objects by name.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use isobar_http_serve::{Platform, Problem, forward_session};

use super::Answer;
use crate::bindings::IAM_SESSION;

pub(super) async fn forward(
    State(platform): State<Platform>,
    Path((namespace, name, _)): Path<(String, String, String)>,
    request: Request,
) -> Answer<Response> {
    // The binding's own name, or the kind of session that the class keeps.
    if !matches!(namespace.as_str(), IAM_SESSION | "chat") {
        return Err(Problem::not_found(format!("there is no session namespace {namespace:?}; there is: chat")));
    }
    if name.len() > 128 {
        return Err(Problem::bad_request("a session's name has 128 bytes at most"));
    }
    let sessions = platform.sessions(IAM_SESSION)?;
    // As the client wrote it: decoded, a path could turn into a query or gain a segment.
    let path = request.uri().path().splitn(5, '/').nth(4).unwrap_or_default();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    forward_session(&*sessions, &sessions.id_from_name(&name), &format!("/{path}{query}"), request).await
}
