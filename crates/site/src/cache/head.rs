//! Heads of HTTP/1.1 responses as bytes: each is formatted once and sent many times.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

/// The formatted heads of a file's responses, without the empty line and without the headers that change with each response.
#[derive(Debug)]
pub(super) struct Heads {
    pub(super) whole: Bytes,
    /// The head of a 304.
    pub(super) not_modified: Bytes,
}

/// Formats an HTTP/1.1 head without the empty line, and without `Content-Length` where `length` is `None`. Empty if a rule has
/// set a header that is the server's, so that the slow path answers.
pub(super) fn formatted(status: StatusCode, headers: &HeaderMap, length: Option<usize>) -> Bytes {
    let servers = [header::CONNECTION, header::DATE, header::TRANSFER_ENCODING, header::UPGRADE];
    if servers.iter().any(|name| headers.contains_key(name)) {
        return Bytes::new();
    }
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    let mut line = |name: &[u8], value: &[u8]| {
        head.extend_from_slice(name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    for (name, value) in headers {
        line(name.as_str().as_bytes(), value.as_bytes());
    }
    if let Some(length) = length.filter(|_| !headers.contains_key(header::CONTENT_LENGTH)) {
        line(b"content-length", length.to_string().as_bytes());
    }
    head.into()
}
