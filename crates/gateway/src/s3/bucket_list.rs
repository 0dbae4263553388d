//! The list of buckets, in pages.
//!
//! S3 has `prefix`, `max-buckets` and `continuation-token` for them. R2 takes the parameters of a listing of objects, too
//! (`start-after`, `max-keys`), and each as a header for clients that cannot send parameters; a header wins. R2's elements `IsTruncated`
//! and `NextContinuationToken` are not in S3's document: here they are headers alone.

use http::{HeaderMap, HeaderValue, Uri};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::buckets::owner;
use super::error::{OrS3, access_denied, invalid_argument};
use super::metadata::timestamp;
use super::session::Session;

/// Most buckets of a page, and as many where a client does not say how many: R2's.
const MAX_BUCKETS: usize = 1000;

/// Lists the buckets that the key knows.
pub(super) async fn list(
    session: &Session,
    request: S3Request<ListBucketsInput>,
) -> S3Result<S3Response<ListBucketsOutput>> {
    if !session.key.scope.read {
        return Err(access_denied());
    }
    let S3Request { input, headers, uri, .. } = request;
    let wanted = Wanted::parse(input, &uri, &headers)?;
    let mut listed = session.buckets.list().await.or_s3()?;
    listed.retain(|bucket| session.key.scope.knows(&bucket.name) && wanted.has(&bucket.name));
    let is_truncated = listed.len() > wanted.limit;
    listed.truncate(wanted.limit);
    let next = listed.last().filter(|_| is_truncated).map(|last| token(&last.name));
    let shown = listed.into_iter().map(|bucket| Bucket {
        creation_date: Some(timestamp(bucket.created)),
        name: Some(bucket.name),
        ..Bucket::default()
    });
    let mut response = S3Response::new(ListBucketsOutput {
        buckets: Some(shown.collect()),
        continuation_token: next.clone(),
        owner: Some(owner()),
        prefix: (!wanted.prefix.is_empty()).then_some(wanted.prefix),
    });
    if let Some(next) = next {
        let next = HeaderValue::try_from(next).expect("a token has letters, digits and percent signs alone");
        response.headers.insert("cf-is-truncated", HeaderValue::from_static("true"));
        response.headers.insert("cf-next-continuation-token", next);
    }
    Ok(response)
}

/// The page that a request asks for.
struct Wanted {
    prefix: String,
    /// Name behind which the page begins.
    after: Option<String>,
    limit: usize,
}

impl Wanted {
    fn parse(input: ListBucketsInput, uri: &Uri, headers: &HeaderMap) -> S3Result<Self> {
        let prefix = header(headers, "cf-prefix")?.or(input.prefix).unwrap_or_default();
        let continued = header(headers, "cf-continuation-token")?.or(input.continuation_token);
        let after = header(headers, "cf-start-after")?.or_else(|| parameter(uri, "start-after"));
        let after = match continued {
            Some(token) => Some(name_of(&token)?),
            None => after.filter(|after| !after.is_empty()),
        };
        let asked = header(headers, "cf-max-keys")?.or_else(|| parameter(uri, "max-keys"));
        let asked = asked.or_else(|| input.max_buckets.map(|most| most.to_string()));
        let limit = match asked.as_deref().map(str::parse::<usize>) {
            None => MAX_BUCKETS,
            Some(Ok(limit)) if limit > 0 => limit.min(MAX_BUCKETS),
            Some(_) => return Err(invalid_argument("The number of buckets of a page is a number from 1 on")),
        };
        Ok(Self { prefix, after, limit })
    }

    /// Whether a bucket of this name is on the page, or behind it.
    fn has(&self, name: &str) -> bool {
        name.starts_with(&self.prefix) && self.after.as_deref().is_none_or(|after| name > after)
    }
}

/// A header of R2's for clients that cannot send parameters.
fn header(headers: &HeaderMap, name: &'static str) -> S3Result<Option<String>> {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned);
    let value = headers.get(name).map(text).transpose();
    value.map_err(|_| invalid_argument(format!("The header {name} is not ASCII")))
}

/// A parameter of R2's, which s3s does not read.
fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(known, _)| *known == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// The token of the page behind a bucket: its name, so that it can be a header.
fn token(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// Reads a token.
fn name_of(token: &str) -> S3Result<String> {
    let name = percent_decode_str(token).decode_utf8().ok().filter(|name| !name.is_empty());
    name.map(String::from).ok_or_else(|| invalid_argument("The continuation token is not one of this server's"))
}
