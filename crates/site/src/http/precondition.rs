//! Conditional requests, in the order of RFC 9110 13.2.2.
//!
//! ETags decide where a request has both an ETag and a date. A file of a deploy can go back to an older version (a rollback), so
//! its date alone does not say that the client's copy is as new: there `If-Modified-Since` holds for the very date only.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, Method, header};
use isobar_storage::{Conditions, Etags, ObjectMeta};

/// Outcome of the preconditions of a request that would otherwise be answered with 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer as without preconditions.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the preconditions against the selected representation: `If-Match`, else `If-Unmodified-Since`; then `If-None-Match`, else,
/// for GET and HEAD, `If-Modified-Since`. A header that cannot be parsed is ignored.
///
/// With `goes_back` a file may be rolled back to an older version, so a date matches only if it is the same.
pub(crate) fn evaluate(headers: &HeaderMap, method: &Method, meta: &ObjectMeta, goes_back: bool) -> Verdict {
    let uploaded = seconds(meta.uploaded.into());
    let is_unchanged = |since| if goes_back { uploaded == since } else { uploaded <= since };
    if let Some(etags) = etags(headers, header::IF_MATCH) {
        if !Conditions::default().with_etag_matches(etags).hold(Some(meta)) {
            return Verdict::Failed;
        }
    } else if date(headers, header::IF_UNMODIFIED_SINCE).is_some_and(|since| uploaded > since) {
        return Verdict::Failed;
    }
    let is_read = method == Method::GET || method == Method::HEAD;
    if let Some(etags) = etags(headers, header::IF_NONE_MATCH) {
        if !Conditions::default().with_etag_does_not_match(etags).hold(Some(meta)) {
            return if is_read { Verdict::NotModified } else { Verdict::Failed };
        }
    } else if is_read && date(headers, header::IF_MODIFIED_SINCE).is_some_and(is_unchanged) {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether `If-Range` permits the `Range`: a strong ETag that matches, or the exact date (RFC 9110 13.1.5).
pub(crate) fn range_stands(headers: &HeaderMap, meta: &ObjectMeta) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    match Etags::parse_header(value) {
        Some(Etags::Any) => false,
        Some(etags) => Conditions::default().with_etag_matches(etags).hold(Some(meta)),
        None => httpdate::parse_http_date(value).is_ok_and(|date| seconds(date) == seconds(meta.uploaded.into())),
    }
}

/// Parses a list of ETags, which may be spread over several header lines.
fn etags(headers: &HeaderMap, name: HeaderName) -> Option<Etags> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    Etags::parse_header(&lines.join(", "))
}

/// Parses a date in seconds; a malformed one is ignored.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok().map(seconds)
}

/// Returns the seconds since 1970: dates in HTTP have no fractions.
fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
