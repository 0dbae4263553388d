//! Requests, signed, and what the server refuses.
//!
//! Every operation is one or more requests that are signed (AWS Signature Version 4), sent, and answered by a status. A body is
//! streamed where its length is known; its md5 goes with it where it is known beforehand. A status that is an error is read as
//! S3's XML, and becomes the error that R2's binding would give where there is such a one: its code decides, and where a server
//! sends none (to a `HEAD`, for example), the status.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use isobar_base::sync::IgnorePoison;
use isobar_cloudflare::client::{self, BodyError, Idempotency, TransportError, TransportErrorKind};
use rusty_s3::{Credentials, S3Action};
use serde::Deserialize;

use super::headers::Headers;
use crate::checksum::Digests;
use crate::{Body, Checksum, ChecksumAlgorithm, Error, ErrorKind, Result};

/// A request must begin within this of its signature; each attempt is signed anew.
const SIGNED_FOR: Duration = Duration::from_secs(3600);
/// Errors and listings are text in memory; objects are not read through this.
const TEXT_BYTES: usize = 16 * 1024 * 1024;

/// A bucket's address, the key, and what sends.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) client: client::Client,
    pub(super) bucket: rusty_s3::Bucket,
    pub(super) credentials: Arc<Credentials>,
}

/// The body of a request.
pub(super) enum Payload {
    Nothing,
    Bytes(Bytes),
    /// Sent once; what fails it stays behind in `failed`.
    Stream {
        length: u64,
        body: Option<client::Body>,
        failed: Failed,
    },
}

/// The error of the body's own source, which comes before what HTTP says of a request that broke off.
pub(super) type Failed = Arc<Mutex<Option<Error>>>;

impl Payload {
    /// A body with the checksum that it must have. Bytes at hand are checked before anything is sent; of a stream the last
    /// bytes are held back until all of it has been. With it the header by which the server checks what it gets, where the md5
    /// is known beforehand: R2 and all others take that one.
    pub(super) fn checked(body: Body, checksum: Option<Checksum>) -> Result<(Self, Option<(String, String)>)> {
        if let Some(bytes) = body.as_bytes() {
            let mut digests = Digests::new(checksum);
            digests.update(bytes);
            let md5 = digests.finish()?.swap_remove(0);
            return Ok((Self::Bytes(bytes.clone()), content_md5(&md5)));
        }
        let md5 =
            checksum.as_ref().filter(|checksum| checksum.algorithm == ChecksumAlgorithm::Md5).and_then(content_md5);
        let length = body.length();
        let failed = Failed::default();
        let keep = Arc::clone(&failed);
        let chunks = held_back(length, body, checksum).map_err(move |error| {
            let text = BodyError::from(error.to_string());
            *keep.lock().ignore_poison() = Some(error);
            text
        });
        let body = client::Body::from_stream(Some(length), chunks);
        Ok((Self::Stream { length, body: Some(body), failed }, md5))
    }

    fn failure(&self) -> Option<Error> {
        match self {
            Self::Stream { failed, .. } => failed.lock().ignore_poison().take(),
            Self::Nothing | Self::Bytes(_) => None,
        }
    }

    fn take(&mut self) -> Option<client::Body> {
        match self {
            Self::Nothing => Some(client::Body::empty()),
            Self::Bytes(bytes) => Some(bytes.clone().into()),
            Self::Stream { body, .. } => body.take(),
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { length, .. } => *length,
        }
    }
}

fn content_md5(md5: &Checksum) -> Option<(String, String)> {
    let bytes = hex::decode(&md5.hex).ok()?;
    Some(("content-md5".to_owned(), base64::engine::general_purpose::STANDARD.encode(bytes)))
}

/// The body's chunks, each sent when the next one is there, the last when the whole is what it must be: a server that has not
/// got all that was announced stores nothing.
fn held_back(
    length: u64,
    body: Body,
    checksum: Option<Checksum>,
) -> impl futures_util::Stream<Item = Result<Bytes>> + Send {
    let state = (body.into_stream(), Some(Digests::new(checksum)), None::<Bytes>, length);
    futures_util::stream::try_unfold(state, |(mut chunks, mut digests, mut held, length)| async move {
        loop {
            match chunks.next().await.transpose()? {
                Some(chunk) => {
                    if let Some(digests) = &mut digests {
                        digests.update(&chunk);
                    }
                    if chunk.is_empty() {
                        continue;
                    }
                    if let Some(before) = held.replace(chunk) {
                        return Ok(Some((before, (chunks, digests, held, length))));
                    }
                }
                None => {
                    if let Some(digests) = digests.take() {
                        digests.finish()?;
                    }
                    return Ok(held.take().map(|last| (last, (chunks, digests, held, length))));
                }
            }
        }
    })
}

impl Exchange {
    /// Sends an action; `headers` are signed. The answer is whatever the server says.
    pub(super) async fn send<'a, A: S3Action<'a> + Send + Sync>(
        &self,
        idempotency: Idempotency,
        mut action: A,
        headers: &'a Headers,
        mut payload: Payload,
    ) -> Result<Response<client::Body>> {
        for (name, value) in headers {
            action.headers_mut().insert(name.as_str(), value.as_str());
        }
        let writes = !matches!(A::METHOD, rusty_s3::Method::Get | rusty_s3::Method::Head);
        let length = payload.length();
        let request = || {
            let mut request = Request::builder().method(A::METHOD.to_str()).uri(action.sign(SIGNED_FOR).as_str());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if writes {
                request = request.header(http::header::CONTENT_LENGTH, length);
            }
            request.body(payload.take()?).ok()
        };
        let sent = self.client.send(idempotency, request).await;
        sent.map_err(|error| payload.failure().unwrap_or_else(|| unreachable(error)))
    }
}

fn unreachable(error: TransportError) -> Error {
    let kind = match error.kind() {
        TransportErrorKind::Request => ErrorKind::InvalidArgument,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

/// The text of an answer.
pub(super) async fn text(answer: Response<client::Body>) -> Result<String> {
    let bytes = answer.into_body().bytes(TEXT_BYTES).await;
    let bytes = bytes.map_err(|error| Error::new(ErrorKind::Unavailable, error.to_string()).with_source(error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The answer, if it is of success; else what its error means.
pub(super) async fn accepted(answer: Response<client::Body>) -> Result<Response<client::Body>> {
    if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
}

/// The text of an answer that may say 200 first and change its mind in the body.
pub(super) async fn accepted_text(answer: Response<client::Body>) -> Result<String> {
    let text = text(accepted(answer).await?).await?;
    match parse::<S3Error>(&text) {
        Some(error) if text.contains("<Error>") => Err(error.into_error(StatusCode::OK)),
        _ => Ok(text),
    }
}

/// Returns the error of an answer without success.
pub(super) async fn refusal(answer: Response<client::Body>) -> Error {
    let status = answer.status();
    let wait = retry_after(answer.headers());
    let text = match text(answer).await {
        Ok(text) => text,
        Err(error) => return error,
    };
    let error = parse::<S3Error>(&text).unwrap_or_default().into_error(status);
    match wait {
        Some(wait) => Error::new(error.kind(), format!("{error}; it asks to wait for {wait}")).with_source(error),
        None => error,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<String> {
    super::headers::text(headers, "retry-after")
}

pub(super) fn parse<'a, T: Deserialize<'a>>(xml: &'a str) -> Option<T> {
    quick_xml::de::from_str(xml).ok()
}

/// S3's error.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct S3Error {
    code: String,
    message: String,
}

impl S3Error {
    fn into_error(self, status: StatusCode) -> Error {
        let kind = kind(&self.code, status);
        let mut message =
            if self.message.is_empty() { format!("the S3 server answers {status}") } else { self.message };
        if !self.code.is_empty() && kind != ErrorKind::BadDigest {
            message = format!("{message} [{}]", self.code);
        }
        let error = Error::new(kind, message);
        match self.code.as_str() {
            "NoSuchKey" => error.with_code(10007),
            "NoSuchBucket" => error.with_code(10006),
            _ => error,
        }
    }
}

fn kind(code: &str, status: StatusCode) -> ErrorKind {
    match code {
        "KeyTooLongError" => ErrorKind::InvalidKey,
        "MetadataTooLarge" => ErrorKind::MetadataTooLarge,
        "InvalidMaxKeys" => ErrorKind::InvalidListLimit,
        "BadDigest" | "InvalidDigest" | "XAmzContentChecksumMismatch" => ErrorKind::BadDigest,
        "InvalidRange" => ErrorKind::InvalidRange,
        "EntityTooSmall" => ErrorKind::PartTooSmall,
        "EntityTooLarge" => ErrorKind::TooLarge,
        "InvalidPart" | "InvalidPartOrder" => ErrorKind::InvalidPart,
        "NoSuchUpload" => ErrorKind::NoSuchUpload,
        "NotImplemented" => ErrorKind::Unsupported,
        "NoSuchKey" | "NoSuchBucket" | "InvalidArgument" | "InvalidRequest" | "InvalidBucketName" | "MalformedXML" => {
            ErrorKind::InvalidArgument
        }
        "ConditionalRequestConflict" | "OperationAborted" | "RequestTimeout" | "SlowDown" => ErrorKind::Unavailable,
        _ => match status.as_u16() {
            401 | 403 => ErrorKind::PermissionDenied,
            408 | 409 | 429 | 500.. => ErrorKind::Unavailable,
            416 => ErrorKind::InvalidRange,
            400..=499 => ErrorKind::InvalidArgument,
            _ => ErrorKind::Internal,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_kinds_and_words() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>EntityTooSmall</Code><Message>Too &amp; small.</Message><Resource>x</Resource></Error>"#;
        let error = parse::<S3Error>(xml).expect("an error").into_error(StatusCode::BAD_REQUEST);
        assert_eq!((error.kind(), error.code()), (ErrorKind::PartTooSmall, Some(10011)));
        assert_eq!(error.to_string(), "Too & small. [EntityTooSmall] (10011)");
        let silent = S3Error::default().into_error(StatusCode::BAD_GATEWAY);
        assert!(silent.is_retryable() && silent.to_string().contains("502"), "{silent}");
        assert_eq!(kind("SignatureDoesNotMatch", StatusCode::FORBIDDEN), ErrorKind::PermissionDenied);
    }

    #[test]
    fn the_server_is_told_the_md5_where_it_is_known() {
        let md5 = |body: Body, checksum| Payload::checked(body, checksum).expect("a good body").1.map(|(_, md5)| md5);
        let stream = || Body::from_stream(5, futures_util::stream::iter([Ok(Bytes::from("hello"))]));
        let known = Some("XUFAKrxLKna5cZ2REBfFkg==".to_owned());
        let asked = |algorithm| Some(Checksum::of(algorithm, b"hello"));
        assert_eq!(md5("hello".into(), None), known);
        assert_eq!(md5("hello".into(), asked(ChecksumAlgorithm::Sha256)), known);
        assert_eq!(md5(stream(), asked(ChecksumAlgorithm::Md5)), known);
        assert_eq!(md5(stream(), asked(ChecksumAlgorithm::Sha256)), None);
    }

    #[tokio::test]
    async fn the_last_bytes_wait_for_the_checksum() {
        let chunks = |of: &'static [&'static str]| {
            let length = of.iter().map(|chunk| chunk.len() as u64).sum();
            Body::from_stream(length, futures_util::stream::iter(of.iter().map(|chunk| Ok(Bytes::from(*chunk)))))
        };
        let sent = |body: Body, checksum| async move {
            let mut sent = String::new();
            let mut chunks = Box::pin(held_back(body.length(), body, Some(checksum)));
            while let Some(chunk) = chunks.next().await {
                match chunk {
                    Ok(chunk) => sent.push_str(&String::from_utf8_lossy(&chunk)),
                    Err(error) => return (sent, Some(error.kind())),
                }
            }
            (sent, None)
        };
        let good = Checksum::of(crate::ChecksumAlgorithm::Sha512, b"onetwothree");
        assert_eq!(sent(chunks(&["one", "two", "", "three"]), good.clone()).await, ("onetwothree".to_owned(), None));
        assert_eq!(
            sent(chunks(&["one", "two", "four"]), good.clone()).await,
            ("onetwo".to_owned(), Some(ErrorKind::BadDigest))
        );
        assert_eq!(sent(chunks(&["one"]), good).await, (String::new(), Some(ErrorKind::BadDigest)));
    }
}
