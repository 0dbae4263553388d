//! Conversions between JavaScript's requests and responses and those of the crate `http`.
//!
//! | from | to | body |
//! |---|---|---|
//! | `Request`, `Response` | `http` | streamed, with the length that `Content-Length` announces |
//! | `http` | `Request`, `Response` | empty: none; up to 64 KiB of known length: one piece; longer: a stream with its length; unknown: a stream |
//!
//! A header with several values stays several, `Set-Cookie` included; a value that is not UTF-8 is refused, as JavaScript's headers are
//! text. A body that panics fails its stream alone: unwinding into the executor would end every request of the isolate.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use worker::js_sys::Array;
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen_futures::spawn_local;

use super::{FixedLength, JsError, Object, readable, stream_of, uint8_array};

/// Largest body, in bytes, that is passed in one piece, which is cheaper than a stream.
const WHOLE_BYTES: u64 = 64 * 1024;

/// A body streamed by JavaScript.
///
/// Its size hint is exact where the sender has announced the length, and counts down as chunks are read. Dropping it cancels the stream.
pub struct JsBody {
    chunks: Option<BoxStream<'static, Result<Bytes, JsError>>>,
    /// Number of remaining bytes, if the sender has announced the length.
    remaining: Option<u64>,
}

impl JsBody {
    fn new(body: &Object, headers: &HeaderMap) -> Result<Self, JsError> {
        if body.is_nothing() {
            return Ok(Self { chunks: None, remaining: Some(0) });
        }
        let length = headers.get(header::CONTENT_LENGTH);
        let remaining = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(Self { chunks: Some(Box::pin(stream_of(body)?)), remaining })
    }
}

impl std::fmt::Debug for JsBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JsBody({:?} bytes)", self.remaining)
    }
}

impl Body for JsBody {
    type Data = Bytes;
    type Error = JsError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, JsError>>> {
        let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
        let chunk = std::task::ready!(chunks.poll_next_unpin(cx));
        match &chunk {
            Some(Ok(bytes)) => self.remaining = self.remaining.map(|left| left.saturating_sub(bytes.len() as u64)),
            Some(Err(_)) | None => self.chunks = None,
        }
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Converts a JavaScript `Request`. The URI is the whole URL.
///
/// ```no_run
/// use bytes::Bytes;
/// use isobar_cloudflare::binding::{JsError, Object, request_from_js, response_to_js};
///
/// /// Answers a `fetch` event with the method and the path of its request.
/// async fn fetch(request: Object) -> Result<Object, JsError> {
///     let request = request_from_js(&request)?;
///     let text = format!("{} {}\n", request.method(), request.uri().path());
///     let body = http_body_util::Full::new(Bytes::from(text));
///     response_to_js(http::Response::new(body), None).await
/// }
/// ```
///
/// # Errors
/// Fails where its URL, method or a header is not valid in HTTP, or its body is already being read.
pub fn request_from_js(request: &Object) -> Result<http::Request<JsBody>, JsError> {
    let text = |name| request.text(name).ok_or_else(|| JsError::new(format!("the request has no {name}")));
    let headers = headers_from_js(&request.object("headers"))?;
    let body = JsBody::new(&request.object("body"), &headers)?;
    let invalid = |error: http::Error| JsError::new(format!("the request is not valid HTTP: {error}"));
    let mut converted =
        http::Request::builder().method(text("method")?.as_str()).uri(text("url")?).body(body).map_err(invalid)?;
    *converted.headers_mut() = headers;
    Ok(converted)
}

/// Creates a JavaScript `Request`. Redirects are not followed.
///
/// The URI of the request is not used: `url` is the whole one.
///
/// # Errors
/// The exception of the constructor, for example for a body on a GET.
pub async fn request_to_js<B>(url: &str, request: http::Request<B>) -> Result<Object, JsError>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let init = Object::empty()
        .with("method", parts.method.as_str())
        .with("headers", headers_to_js(&parts.headers)?)
        .with("redirect", "manual")
        .with_some("body", body_to_js(body).await?);
    Object::construct("Request", &[url.into(), init.into()])
}

/// Converts a JavaScript `Response`. A WebSocket in it stays there.
///
/// # Errors
/// As [`request_from_js`].
pub fn response_from_js(response: &Object) -> Result<http::Response<JsBody>, JsError> {
    let headers = headers_from_js(&response.object("headers"))?;
    let mut converted = http::Response::new(JsBody::new(&response.object("body"), &headers)?);
    let status = response.number("status").unwrap_or_default() as u16;
    *converted.status_mut() =
        StatusCode::from_u16(status).map_err(|_| JsError::new(format!("invalid HTTP status {status}")))?;
    *converted.headers_mut() = headers;
    Ok(converted)
}

/// Creates a JavaScript `Response`, with a WebSocket if there is one. A body of known length keeps its `Content-Length`, and an
/// encoded body is not encoded again.
///
/// A status that has no body (101, 103, 204, 205, 304) gets none, whatever the response has.
///
/// # Errors
/// The exception of the constructor.
pub async fn response_to_js<B>(response: http::Response<B>, socket: Option<Object>) -> Result<Object, JsError>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: std::fmt::Display,
{
    let (mut parts, body) = response.into_parts();
    // The runtime does not set `Content-Length` itself.
    if let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream()) {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let encoded = parts.headers.contains_key(header::CONTENT_ENCODING).then_some("manual");
    let init = Object::empty()
        .with("status", parts.status.as_u16())
        .with("headers", headers_to_js(&parts.headers)?)
        .with_some("encodeBody", encoded)
        .with_some("webSocket", socket);
    // Fetch's "null body status": anything else but null is a TypeError.
    let bodiless = matches!(parts.status.as_u16(), 101 | 103 | 204 | 205 | 304);
    let body = if bodiless { None } else { body_to_js(body).await? };
    Object::construct("Response", &[body.unwrap_or(JsValue::NULL), init.into()])
}

/// `None` for an empty body.
async fn body_to_js<B>(body: B) -> Result<Option<JsValue>, JsError>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: std::fmt::Display,
{
    if body.is_end_stream() {
        return Ok(None);
    }
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length <= WHOLE_BYTES) {
        let whole = body.collect().await.map_err(|error| JsError::new(error.to_string()))?.to_bytes();
        return Ok(Some(uint8_array(&whole)));
    }
    // fetch has no trailers.
    let chunks = body.into_data_stream().map_err(|error| JsError::new(error.to_string()));
    // A panic must not unwind into the executor, on which all requests of this isolate run.
    let chunks = AssertUnwindSafe(chunks).catch_unwind();
    let chunks = chunks.map(|chunk| chunk.unwrap_or_else(|_| Err(JsError::new("the body panicked"))));
    let Some(length) = length else { return Ok(Some(readable(chunks))) };
    let stream = FixedLength::new(length)?;
    let readable = stream.readable();
    // A failure here fails the stream, so that its reader gets the error.
    spawn_local(async move { drop(stream.fill(Box::pin(chunks)).await) });
    Ok(Some(readable))
}

fn headers_from_js(headers: &Object) -> Result<HeaderMap, JsError> {
    let mut map = HeaderMap::new();
    let entries = Object::global().object("Array").call("from", &[headers.call("entries", &[])?])?;
    for entry in Object::from(entries).elements() {
        let pair = Array::from(&entry);
        let name = pair.get(0).as_string().unwrap_or_default();
        let value = pair.get(1).as_string().unwrap_or_default();
        let invalid = || JsError::new(format!("invalid header {name}"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        map.append(key, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?);
    }
    Ok(map)
}

fn headers_to_js(headers: &HeaderMap) -> Result<Object, JsError> {
    let js = Object::construct("Headers", &[])?;
    for (name, value) in headers {
        let value = std::str::from_utf8(value.as_bytes());
        let value = value.map_err(|_| JsError::new(format!("the header {name} is not UTF-8")))?;
        js.call("append", &[name.as_str().into(), value.into()])?;
    }
    Ok(js)
}
