//! A request on its way through the door.
//!
//! The head is copied out of the request once, as handlers need parts of it after the body was taken.

use std::net::IpAddr;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};
use serde::de::DeserializeOwned;

use super::envelope::{Answer, ApiError};
use super::route::Parameters;
use crate::ClientInfo;
use crate::keys::{Key, Permission};

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Parameters,
    pub(crate) headers: HeaderMap,
    client: ClientInfo,
}

impl Call {
    /// Takes the head of a request.
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: Parameters::of(parts.uri.query()),
            headers: parts.headers.clone(),
            client: parts.extensions.get().copied().unwrap_or_default(),
        }
    }

    /// The client's address, where the server knows it.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.client.address
    }

    /// A header that is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Scheme and host by which the client came.
    ///
    /// URLs of files are given out with it: the client has reached the door by this name, which the
    /// door cannot know otherwise.
    pub(super) fn origin(&self) -> Answer<String> {
        let host = self.header(header::HOST).ok_or_else(|| ApiError::malformed("there is no Host header"))?;
        let scheme = if self.client.is_https { "https" } else { "http" };
        Ok(format!("{scheme}://{host}"))
    }
}

/// Requires a permission of the key.
pub(crate) fn require(key: &Key, permission: Permission) -> Answer<()> {
    // A statement that writes can read, too.
    let is_included = permission == Permission::D1Read && key.scope.has(Permission::D1Write);
    if is_included || key.scope.has(permission) {
        return Ok(());
    }
    Err(ApiError::forbidden(format_args!("the token lacks the permission {permission}")))
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 above the limit; 400 where the body does not come whole.
pub(super) async fn bytes(body: Body, limit: usize) -> Answer<Bytes> {
    axum::body::to_bytes(body, limit).await.map_err(|error| ApiError::of_body(&error, limit))
}

/// Reads a body of JSON.
///
/// # Errors
/// Those of [`bytes`]; 400 for what is not JSON of this form.
pub(crate) async fn json<T: DeserializeOwned>(body: Body, limit: usize) -> Answer<T> {
    let bytes = bytes(body, limit).await?;
    serde_json::from_slice(&bytes).map_err(ApiError::malformed)
}
