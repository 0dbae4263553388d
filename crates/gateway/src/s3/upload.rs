//! Bodies of uploads: streamed into a store, and checked before their last bytes reach it.
//!
//! A body passes one chunk behind: a chunk goes to the store when the next one has come, and the last one only after the
//! signatures of the chunks, the trailer and all digests have been compared. So a store never has all bytes of a body that is
//! wrong, and stores nothing. The reason is kept beside the stream, as the store can only report that its body broke off.
//!
//! | the body | the answer |
//! |---|---|
//! | has another digest than was announced | 400 `BadDigest`, or `XAmzContentSHA256Mismatch` |
//! | has a part with a wrong signature | 403 `SignatureDoesNotMatch` |
//! | lacks the announced trailer | 400 `MalformedTrailerError` |
//! | ends early | 400 `IncompleteBody` |
//! | has no announced length | 411 `MissingContentLength` |

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use isobar_base::sync::IgnorePoison;
use isobar_storage::{Body, Error};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, TrailingHeaders};

use super::digest::{Algorithm, Expected, Hasher};
use super::error::{invalid_request, of_storage, refusal};

/// A body of an upload.
pub(super) struct Upload {
    body: Body,
    refused: Refused,
    computed: Computed,
}

/// Reason for which a body was refused while the store read it.
#[derive(Clone, Default)]
pub(super) struct Refused(Arc<Mutex<Option<S3Error>>>);

/// Digests of the body, once it was read.
#[derive(Clone, Default)]
struct Computed(Arc<Mutex<Vec<(Algorithm, String)>>>);

/// The store's side of an error that is in [`Refused`].
#[derive(Debug, thiserror::Error)]
#[error("the body of the upload was refused")]
struct BodyRefused;

impl Refused {
    /// Keeps the reason, and returns the error for the store.
    fn set(&self, error: S3Error) -> BodyRefused {
        *self.0.lock().ignore_poison() = Some(error);
        BodyRefused
    }

    /// Returns the error to answer with: the reason for which the body was refused, or else the store's.
    pub(super) fn or(&self, error: &Error) -> S3Error {
        self.0.lock().ignore_poison().take().unwrap_or_else(|| of_storage(error))
    }
}

/// Checksums for the response to an upload.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

/// A handle on what is known of an upload after the store has read it.
pub(super) struct Outcome {
    pub(super) refused: Refused,
    computed: Computed,
}

impl Outcome {
    /// Returns the checksums that were compared.
    pub(super) fn checksums(&self) -> Checksums {
        let mut checksums = Checksums::default();
        for (algorithm, digest) in self.computed.0.lock().ignore_poison().drain(..) {
            match algorithm {
                Algorithm::Crc32 => checksums.crc32 = Some(digest),
                Algorithm::Crc32c => checksums.crc32c = Some(digest),
                Algorithm::Crc64Nvme => checksums.crc64nvme = Some(digest),
                Algorithm::Sha1 => checksums.sha1 = Some(digest),
                Algorithm::Sha256 => checksums.sha256 = Some(digest),
                Algorithm::Md5 => {}
            }
        }
        checksums
    }
}

impl Upload {
    /// Returns the body of a request.
    ///
    /// It is hashed while it passes. The last bytes are held back until the end of the stream, with its signatures and its trailer, and
    /// the digests are checked: a store that waits for the announced length never has the whole of a body that is not the client's.
    pub(super) fn new(
        blob: Option<StreamingBlob>,
        length: Option<i64>,
        headers: &HeaderMap,
        trailer: Option<TrailingHeaders>,
    ) -> S3Result<Self> {
        let length = length.and_then(|length| u64::try_from(length).ok()).ok_or_else(|| {
            refusal(StatusCode::LENGTH_REQUIRED, "MissingContentLength", "The length of the body must be announced")
        })?;
        let announced = trailers(headers)?;
        let expected = Expected::of_headers(headers)?;
        let refused = Refused::default();
        let computed = Computed::default();
        let algorithms = expected.iter().map(|one| one.algorithm).chain(announced.iter().copied());
        let mut hashers: Vec<(Algorithm, Hasher)> = Vec::new();
        for algorithm in algorithms {
            if hashers.iter().all(|(other, _)| *other != algorithm) {
                hashers.push((algorithm, Hasher::new(algorithm)));
            }
        }
        let checks = Checks { expected, announced, trailer, hashers, computed: computed.clone() };
        let body = match blob {
            Some(blob) => Body::wrap_stream(length, checked(blob, checks, refused.clone())),
            None => Body::wrap_stream(
                length,
                checked(stream::empty::<Result<Bytes, BodyRefused>>(), checks, refused.clone()),
            ),
        };
        Ok(Self { body, refused, computed })
    }

    /// Returns the body for the store, and the handle on its outcome. An empty body is read and checked here: a store that has all of
    /// its bytes at once need not look whether the stream ends well.
    ///
    /// # Errors
    /// Those of an empty body: a digest or a signature that is another one, or more bytes than were announced.
    pub(super) async fn split(self) -> S3Result<(Body, Outcome)> {
        let Self { body, refused, computed } = self;
        let outcome = Outcome { refused, computed };
        if body.length() > 0 {
            return Ok((body, outcome));
        }
        match body.bytes().await {
            Ok(_) => Ok((Body::empty(), outcome)),
            Err(error) => Err(outcome.refused.or(&error)),
        }
    }
}

/// Returns the algorithms whose digests come in the trailer.
fn trailers(headers: &HeaderMap) -> S3Result<Vec<Algorithm>> {
    let mut announced = Vec::new();
    for value in headers.get_all("x-amz-trailer") {
        for name in value.to_str().unwrap_or("?").split(',').map(str::trim) {
            let unknown = || invalid_request(format!("The trailer {name:?} is not supported: it is not a checksum"));
            announced.push(Algorithm::of_trailer(name).ok_or_else(unknown)?);
        }
    }
    Ok(announced)
}

/// Digests that are compared at the end of a body.
struct Checks {
    expected: Vec<Expected>,
    announced: Vec<Algorithm>,
    trailer: Option<TrailingHeaders>,
    hashers: Vec<(Algorithm, Hasher)>,
    computed: Computed,
}

impl Checks {
    /// Hashes a chunk.
    fn update(&mut self, chunk: &[u8]) {
        for (_, hasher) in &mut self.hashers {
            hasher.update(chunk);
        }
    }

    /// Reads the trailer, and compares all digests.
    fn finish(&mut self) -> S3Result<()> {
        for algorithm in std::mem::take(&mut self.announced) {
            let header = algorithm.header();
            let text = |headers: &HeaderMap| headers.get(header)?.to_str().ok().map(str::to_owned);
            let value = self.trailer.as_ref().and_then(|trailer| trailer.read(text).flatten()).ok_or_else(|| {
                let message = format!("The trailer {header} was announced and did not come");
                refusal(StatusCode::BAD_REQUEST, "MalformedTrailerError", message)
            })?;
            self.expected.push(Expected::parse(algorithm, &value)?);
        }
        for (algorithm, hasher) in self.hashers.drain(..) {
            let got = hasher.finish();
            for expected in self.expected.iter().filter(|expected| expected.algorithm == algorithm) {
                expected.check(&got)?;
                self.computed.0.lock().ignore_poison().push((algorithm, expected.base64()));
            }
        }
        Ok(())
    }
}

/// Wraps the stream of a request's body: chunks pass one behind, so that the last one waits for the checks.
fn checked<S, E>(
    chunks: S,
    checks: Checks,
    refused: Refused,
) -> impl futures_util::Stream<Item = Result<Bytes, BodyRefused>> + Send
where
    S: futures_util::Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::fmt::Display + Send,
{
    struct State<S> {
        chunks: S,
        checks: Checks,
        held: Option<Bytes>,
        is_over: bool,
        refused: Refused,
    }
    let state = State { chunks, checks, held: None, is_over: false, refused };
    stream::try_unfold(state, |mut state| async move {
        while !state.is_over {
            match state.chunks.next().await {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    state.checks.update(&chunk);
                    if let Some(earlier) = state.held.replace(chunk) {
                        return Ok(Some((earlier, state)));
                    }
                }
                Some(Err(error)) => return Err(state.refused.set(of_stream(&error))),
                None => {
                    state.checks.finish().map_err(|error| state.refused.set(error))?;
                    state.is_over = true;
                }
            }
        }
        Ok(state.held.take().map(|last| (last, state)))
    })
}

/// Translates an error of the stream. s3s has no type for it that could be named, only its words; a test has each of them.
fn of_stream(error: &impl std::fmt::Display) -> S3Error {
    let text = error.to_string();
    if text.contains("SignatureMismatch") {
        let message = "The signature of a part of the body is not the one that was computed";
        return refusal(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message);
    }
    if text.contains("Sha256Mismatch") {
        let message = "The body is not the one whose SHA-256 x-amz-content-sha256 announces";
        return refusal(StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch", message);
    }
    refusal(StatusCode::BAD_REQUEST, "IncompleteBody", "The body ended before its announced length, or is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code of the error that an empty body with this header gets.
    async fn of_empty(name: &'static str, value: &str) -> Result<(), String> {
        let headers: HeaderMap = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
        let upload = Upload::new(None, Some(0), &headers, None).unwrap();
        upload.split().await.map(drop).map_err(|error| error.code().as_str().to_owned())
    }

    #[tokio::test]
    async fn digest_of_an_empty_body_is_checked_before_a_store_has_it() {
        assert_eq!(of_empty("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==").await, Ok(()));
        assert_eq!(of_empty("x-amz-checksum-crc32", "AAAAAA==").await, Ok(()));
        assert_eq!(of_empty("content-md5", "XUFAKrxLKna5cZ2REBfFkg==").await, Err("BadDigest".to_owned()));
        assert_eq!(of_empty("x-amz-checksum-crc32", "NhCmhg==").await, Err("BadDigest".to_owned()));
    }
}
