//! `head` and `get`.
//!
//! | conditions | sent as | judged |
//! |---|---|---|
//! | none | - | - |
//! | one strong etag to match, one not to match, or both | `If-Match`, `If-None-Match` | by the server |
//! | anything else: several etags, weak ones, `*`, times | `If-Match` with the etag that was seen | here, by a `HEAD` before |
//!
//! After a 304 or 412 the object is looked at once more, for the metadata that the answer has to have; if the conditions hold by then,
//! another write came between, and the operation begins anew.

use futures_util::TryStreamExt;
use http::{Response, StatusCode, header};
use isobar_cloudflare::client::{self, Idempotency};

use super::S3Bucket;
use super::exchange::{Payload, refusal};
use super::headers::{self, Headers, check_key, surprise};
use crate::rules::{self, GetDecision};
use crate::{
    Body, ByteRange, Conditions, Error, ErrorKind, Etags, GetOptions, GetResult, Key, ObjectMeta, Operation, Range,
    Result,
};

/// How often an operation is begun anew because the object changed between looking at it and acting on it.
pub(super) const RACES: usize = 8;

impl S3Bucket {
    /// The metadata of the object, if it is there and of this etag.
    pub(super) async fn head_object(&self, key: &Key, etag: Option<&str>) -> Result<Option<ObjectMeta>> {
        check_key(key)?;
        let headers = etag.map(if_match).into_iter().collect();
        let action = self.exchange.bucket.head_object(Some(&self.exchange.credentials), key.as_str());
        let answer = self.exchange.send(Idempotency::Idempotent, action, &headers, Payload::Nothing).await?;
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED => Ok(None),
            StatusCode::OK => {
                let size = length(&answer)?;
                headers::meta(key, size, answer.headers()).map(Some)
            }
            _ => Err(refusal(answer).await),
        }
    }

    pub(super) async fn get_object(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        check_key(key)?;
        let GetOptions { conditions, range, range_or_whole } = &options;
        let conditions = conditions.clone().unwrap_or_default();
        // HTTP has no words for these ranges: they are judged once the object and the conditions are.
        let nothing = matches!(range, Some(Range::From { length: Some(0), .. } | Range::Suffix(0)));
        let judged_here = GetOptions { range: range.filter(|_| nothing), ..options.clone() };
        let range = if nothing { None } else { *range };
        for _ in 0..RACES {
            let mut headers = match said_in_etags(&conditions).filter(|_| !nothing) {
                Some(headers) => headers,
                None => match rules::decide_get(self.head_object(key, None).await?, &judged_here)? {
                    GetDecision::Read(meta, _) => vec![if_match(&meta.etag)],
                    GetDecision::ConditionFailed(meta) => return Ok(GetResult::ConditionFailed(meta)),
                    GetDecision::Missing => return Ok(GetResult::Missing),
                },
            };
            let plain = headers.is_empty();
            headers.extend(range.map(|range| ("range".to_owned(), range_header(range))));
            let answer = self.fetch(key, &headers).await?;
            match answer.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                    return found(key, answer, if nothing { None } else { range }, *range_or_whole);
                }
                StatusCode::NOT_MODIFIED | StatusCode::PRECONDITION_FAILED if !plain => {
                    match self.judged(key, &conditions).await? {
                        Judged::Fails(meta) => return Ok(GetResult::ConditionFailed(meta)),
                        Judged::Missing => return Ok(GetResult::Missing),
                        Judged::Holds(_) => {} // it does now: another write came between
                    }
                }
                StatusCode::RANGE_NOT_SATISFIABLE if *range_or_whole => {
                    let whole = GetOptions { range: None, ..options.clone() };
                    return Box::pin(self.get_object(key, whole)).await;
                }
                StatusCode::RANGE_NOT_SATISFIABLE => return Err(unsatisfiable()),
                _ => {
                    let error = refusal(answer).await;
                    return if error.code() == Some(10007) { Ok(GetResult::Missing) } else { Err(error) };
                }
            }
        }
        Err(changing())
    }

    async fn fetch(&self, key: &Key, headers: &Headers) -> Result<Response<client::Body>> {
        let action = self.exchange.bucket.get_object(Some(&self.exchange.credentials), key.as_str());
        self.exchange.send(Idempotency::Idempotent, action, headers, Payload::Nothing).await
    }

    /// Looks at the object and judges the conditions here.
    pub(super) async fn judged(&self, key: &Key, conditions: &Conditions) -> Result<Judged> {
        Ok(match self.head_object(key, None).await? {
            None => Judged::Missing,
            Some(meta) if conditions.hold(Some(&meta)) => Judged::Holds(meta),
            Some(meta) => Judged::Fails(meta),
        })
    }
}

/// The object as it is, compared with the conditions.
pub(super) enum Judged {
    Missing,
    Holds(ObjectMeta),
    Fails(ObjectMeta),
}

/// The conditions as headers, where every S3 server reads them alike: one strong etag. (`*` is read by few.)
fn said_in_etags(conditions: &Conditions) -> Option<Headers> {
    let Conditions { etag_matches, etag_does_not_match, uploaded_before, uploaded_after, seconds: _ } = conditions;
    if uploaded_before.is_some() || uploaded_after.is_some() {
        return None;
    }
    let mut headers = Headers::new();
    for (name, etags) in [("if-match", etag_matches), ("if-none-match", etag_does_not_match)] {
        if let Some(etags) = etags {
            headers.push((name.to_owned(), one_etag(etags)?));
        }
    }
    Some(headers)
}

/// The value of a header, where it is one strong etag.
pub(super) fn one_etag(etags: &Etags) -> Option<String> {
    match etags {
        Etags::List(list) => match &list[..] {
            [etag] if !etag.is_weak() => Some(format!("\"{}\"", etag.as_str())),
            _ => None,
        },
        Etags::Any => None,
    }
}

pub(super) fn if_match(etag: &str) -> (String, String) {
    ("if-match".to_owned(), format!("\"{etag}\""))
}

/// Every one of `RACES` looks was overtaken by another write.
pub(super) fn changing() -> Error {
    Error::new(ErrorKind::Unavailable, "the object changes faster than its conditions can be judged")
}

fn unsatisfiable() -> Error {
    Error::new(ErrorKind::InvalidRange, "The requested range is not satisfiable")
}

fn range_header(range: Range) -> String {
    match range {
        Range::From { offset, length: None } => format!("bytes={offset}-"),
        Range::From { offset, length: Some(length) } => {
            // Servers count in 63 bits at best.
            let last = offset.saturating_add(length).saturating_sub(1).min(i64::MAX as u64);
            format!("bytes={offset}-{last}")
        }
        Range::Suffix(suffix) => format!("bytes=-{suffix}"),
    }
}

fn found(key: &Key, answer: Response<client::Body>, asked: Option<Range>, or_whole: bool) -> Result<GetResult> {
    let (size, range) = match answer.status() {
        StatusCode::PARTIAL_CONTENT => content_range(&answer)?,
        _ => {
            let size = length(&answer)?;
            (size, ByteRange { offset: 0, length: size })
        }
    };
    let meta = headers::meta(key, size, answer.headers())?;
    if let Some(asked) = asked {
        let options = GetOptions { range: Some(asked), range_or_whole: or_whole, ..GetOptions::default() };
        if options.resolve_range(size)? != range {
            return Err(surprise("another range than the one that was asked for"));
        }
    }
    let broken = |error: client::BodyError| {
        Error::new(ErrorKind::Unavailable, format!("the body broke off: {error}"))
            .with_source(error)
            .during(Operation::Get)
    };
    let body = Body::from_stream(range.length, answer.into_body().into_stream().map_err(broken));
    Ok(GetResult::Object { meta, range, body })
}

fn length(answer: &Response<client::Body>) -> Result<u64> {
    let length = answer.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).ok_or_else(|| surprise("an object without its length"))
}

/// `bytes 0-4/10`: the whole size, and the part.
fn content_range(answer: &Response<client::Body>) -> Result<(u64, ByteRange)> {
    let parse = |value: &str| {
        let (part, size) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = part.split_once('-')?;
        let first = first.parse::<u64>().ok()?;
        let last = last.parse::<u64>().ok()?;
        Some((size.parse().ok()?, ByteRange { offset: first, length: last.checked_sub(first)?.checked_add(1)? }))
    };
    let value = headers::text(answer.headers(), "content-range");
    value.as_deref().and_then(parse).ok_or_else(|| surprise("a part without saying which"))
}
