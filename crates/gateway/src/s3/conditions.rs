//! Conditions in headers.
//!
//! Dates of HTTP have seconds, those of stores milliseconds. `If-Unmodified-Since` holds for an object
//! of the same second, and so is asked for as before the next one; `seconds` has the store compare
//! whole seconds for the other.

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName};
use isobar_storage::{Conditions, Etags, ObjectMeta};
use s3s::S3Result;

use super::error::invalid_argument;

/// Headers of conditions on the object of a request.
pub(super) const OBJECT: Names = Names {
    etag_matches: HeaderName::from_static("if-match"),
    etag_does_not_match: HeaderName::from_static("if-none-match"),
    unmodified_since: HeaderName::from_static("if-unmodified-since"),
    modified_since: HeaderName::from_static("if-modified-since"),
};
/// Headers of conditions on the source of a copy.
pub(super) const COPY_SOURCE: Names = Names {
    etag_matches: HeaderName::from_static("x-amz-copy-source-if-match"),
    etag_does_not_match: HeaderName::from_static("x-amz-copy-source-if-none-match"),
    unmodified_since: HeaderName::from_static("x-amz-copy-source-if-unmodified-since"),
    modified_since: HeaderName::from_static("x-amz-copy-source-if-modified-since"),
};
/// Headers of conditions on the destination of a copy, an extension of R2's.
pub(super) const COPY_DESTINATION: Names = Names {
    etag_matches: HeaderName::from_static("cf-copy-destination-if-match"),
    etag_does_not_match: HeaderName::from_static("cf-copy-destination-if-none-match"),
    unmodified_since: HeaderName::from_static("cf-copy-destination-if-unmodified-since"),
    modified_since: HeaderName::from_static("cf-copy-destination-if-modified-since"),
};

/// Names of the four headers of conditions.
#[derive(Debug)]
pub(super) struct Names {
    etag_matches: HeaderName,
    etag_does_not_match: HeaderName,
    unmodified_since: HeaderName,
    modified_since: HeaderName,
}

/// Returns the conditions that the headers have; `None` where they have none.
pub(super) fn parse(headers: &HeaderMap, names: &Names) -> S3Result<Option<Conditions>> {
    let mut conditions = Conditions::default();
    conditions.etag_matches = etags(headers, &names.etag_matches)?;
    conditions.etag_does_not_match = etags(headers, &names.etag_does_not_match)?;
    // Stores compare strictly, and HTTP's header holds at its own second, too.
    conditions.uploaded_before = date(headers, &names.unmodified_since).map(|at| at + TimeDelta::seconds(1));
    conditions.uploaded_after = date(headers, &names.modified_since);
    if conditions == Conditions::default() {
        return Ok(None);
    }
    conditions.seconds = true;
    Ok(Some(conditions))
}

/// Reports whether failed conditions of a read mean that the client's copy is current (304): those that ask for another object fail, and
/// those that ask for this one hold.
pub(super) fn is_not_modified(conditions: &Conditions, object: &ObjectMeta) -> bool {
    let mut required = conditions.clone();
    required.etag_does_not_match = None;
    required.uploaded_after = None;
    required.hold(Some(object))
}

/// Reads entity tags: a list, `*`, or one without quotes.
fn etags(headers: &HeaderMap, name: &HeaderName) -> S3Result<Option<Etags>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let invalid = || invalid_argument(format!("The header {name} is not an entity tag, a list of them, or *"));
    let value = value.to_str().map_err(|_| invalid())?.trim();
    // Many clients leave out the quotes.
    let is_bare = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let parsed = if is_bare { Etags::parse_header(&format!("\"{value}\"")) } else { Etags::parse_header(value) };
    parsed.map(Some).ok_or_else(invalid)
}

/// Returns a date. An invalid one is ignored, as RFC 9110 has it.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<DateTime<Utc>> {
    let value = headers.get(name)?.to_str().ok()?;
    httpdate::parse_http_date(value).ok().map(DateTime::from)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use isobar_storage::Key;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn object() -> ObjectMeta {
        let uploaded = DateTime::from_timestamp(1_700_000_000, 500_000_000).unwrap();
        ObjectMeta::new(Key::new("k").unwrap(), "v".into(), 1, "abc".into(), uploaded)
    }

    #[test]
    fn unmodified_since_holds_at_the_second_of_the_write() {
        let holds = |name, date| parse(&headers(&[(name, date)]), &OBJECT).unwrap().unwrap().hold(Some(&object()));
        assert!(holds("if-unmodified-since", "Tue, 14 Nov 2023 22:13:20 GMT"));
        assert!(!holds("if-unmodified-since", "Tue, 14 Nov 2023 22:13:19 GMT"));
        assert!(!holds("if-modified-since", "Tue, 14 Nov 2023 22:13:20 GMT"));
        assert!(holds("if-modified-since", "Tue, 14 Nov 2023 22:13:19 GMT"));
    }

    #[test]
    fn etags_may_have_quotes_or_not() {
        for value in ["abc", "\"abc\"", "\"x\", \"abc\"", "*"] {
            let conditions = parse(&headers(&[("if-match", value)]), &OBJECT).unwrap().unwrap();
            assert!(conditions.hold(Some(&object())), "{value}");
        }
        assert!(parse(&headers(&[("if-match", "\"abc")]), &OBJECT).is_err());
        assert_eq!(parse(&headers(&[("if-modified-since", "yesterday")]), &OBJECT).unwrap(), None);
    }

    #[test]
    fn failed_match_is_not_a_304() {
        let both = headers(&[("if-match", "other"), ("if-none-match", "abc")]);
        assert!(!is_not_modified(&parse(&both, &OBJECT).unwrap().unwrap(), &object()));
        let one = headers(&[("if-none-match", "abc")]);
        assert!(is_not_modified(&parse(&one, &OBJECT).unwrap().unwrap(), &object()));
    }
}
