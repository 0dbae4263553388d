//! Checks of a request's head that come before s3s: what it does not check itself, and what R2 refuses.
//!
//! The signature covers the headers that it names, and only those. Somebody between client and server,
//! or the holder of a presigned URL, can add others; what they would change is refused here: every
//! header of S3's must be signed.
//!
//! Times of presigned URLs are checked here, as the time until which one is good is a part of the
//! request; how far clocks may differ for signatures in headers is s3s's check.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use s3s::{S3Error, S3Result};

use super::error::{invalid_argument, invalid_request, not_implemented, refusal};

/// The only algorithm of signatures.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Longest time for which a presigned URL is good, in seconds: a week.
const LONGEST_EXPIRES: i64 = 7 * 24 * 60 * 60;
/// Headers of R2's that change what a request does. Others that begin so are those of Cloudflare's proxies, which do not sign.
const OF_R2: [&str; 5] =
    ["cf-continuation-token", "cf-create-bucket-if-missing", "cf-max-keys", "cf-prefix", "cf-start-after"];
/// Header that may stand beside the signature of a URL without being signed: the URL's payload is unsigned whatever it says.
const UNSIGNED_BESIDE_URL: &str = "x-amz-content-sha256";

/// Parts of a signature that the guard reads.
#[derive(Debug)]
struct Claim {
    access_key_id: String,
    signed_headers: String,
    is_url: bool,
}

/// Returns the id of the access key with which a request says it is signed. The signature itself is verified later.
///
/// # Errors
/// A request without a signature of version 4, or with one whose parts do not hold together; one with a header of S3's or R2's that the
/// signature does not cover, since somebody else may have added it.
pub(super) fn access_key_id(head: &Parts, now: DateTime<Utc>) -> S3Result<String> {
    let claim = claim_of(head, now)?;
    let signed = claim.signed_headers.to_ascii_lowercase();
    let is_signed = |name: &str| signed.split(';').any(|one| one == name);
    if !is_signed("host") {
        return Err(invalid_request("The signature does not cover the header host"));
    }
    let must_be_signed = |name: &str| {
        let is_ours = name.starts_with("x-amz-") || name.starts_with("cf-copy-") || OF_R2.contains(&name);
        is_ours && !(claim.is_url && name == UNSIGNED_BESIDE_URL)
    };
    if let Some(name) = head.headers.keys().find(|name| must_be_signed(name.as_str()) && !is_signed(name.as_str())) {
        let message = format!("The signature does not cover the header {name}");
        return Err(refusal(StatusCode::FORBIDDEN, "AccessDenied", message));
    }
    Ok(claim.access_key_id)
}

/// Reads the parts of a signature, from the header or from the URL; both at once are refused.
fn claim_of(head: &Parts, now: DateTime<Utc>) -> S3Result<Claim> {
    let query = Query::parse(head.uri.query().unwrap_or_default());
    if is_form(&head.method, &head.headers) {
        return Err(not_implemented("Uploads by HTML forms are not implemented"));
    }
    if head.headers.contains_key("x-amz-security-token") || query.has("X-Amz-Security-Token") {
        return Err(invalid_argument("X-Amz-Security-Token: there are no temporary credentials"));
    }
    if query.has("AWSAccessKeyId") || query.has("Signature") {
        return Err(version_2());
    }
    let is_url = ["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Algorithm"].iter().any(|name| query.has(name));
    let mut authorizations = head.headers.get_all(header::AUTHORIZATION).iter();
    match (authorizations.next(), authorizations.next(), is_url) {
        (Some(_), Some(_), _) => Err(invalid_argument("There are several Authorization headers")),
        (Some(_), None, true) => Err(invalid_argument("A request is signed by its headers or by its URL, not by both")),
        (None, None, false) => Err(invalid_argument("Authorization: the request is not signed")),
        (Some(value), None, false) => {
            claim_of_header(value.to_str().map_err(|_| invalid_argument("The Authorization header is not ASCII"))?)
        }
        (None, _, _) => claim_of_url(&query, now),
    }
}

/// The error for a signature of version 2.
fn version_2() -> S3Error {
    invalid_request(format!("Signatures of version 2 are not accepted; use {ALGORITHM}"))
}

/// Whether a request is an upload by an HTML form, whose policy is another kind of signature.
fn is_form(method: &Method, headers: &HeaderMap) -> bool {
    let is_form = |value: &http::HeaderValue| {
        value.as_bytes().trim_ascii_start().to_ascii_lowercase().starts_with(b"multipart/form-data")
    };
    *method == Method::POST && headers.get_all(header::CONTENT_TYPE).iter().any(is_form)
}

/// Reads the `Authorization` header.
fn claim_of_header(value: &str) -> S3Result<Claim> {
    let Some(fields) = value.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with([' ', '\t'])) else {
        return Err(if value.starts_with("AWS ") {
            version_2()
        } else {
            invalid_request(format!("The Authorization header does not begin with {ALGORITHM}"))
        });
    };
    let field = |name: &str| {
        let mut found = fields.split(',').filter_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        match (found.next(), found.next()) {
            (Some(value), None) => Ok(value.trim()),
            _ => Err(invalid_request(format!("The Authorization header does not have one {name}"))),
        }
    };
    field("Signature")?;
    let access_key_id = key_of_credential(field("Credential")?)?;
    Ok(Claim { access_key_id, signed_headers: field("SignedHeaders")?.to_owned(), is_url: false })
}

/// Reads the parameters of a presigned URL, and checks its time.
fn claim_of_url(query: &Query, now: DateTime<Utc>) -> S3Result<Claim> {
    let one = |name: &str| query.one(name).ok_or_else(|| invalid_argument(format!("The URL does not have one {name}")));
    if one("X-Amz-Algorithm")? != ALGORITHM {
        return Err(invalid_request(format!("X-Amz-Algorithm is not {ALGORITHM}")));
    }
    one("X-Amz-Signature")?;
    let signed_at = time_of(&one("X-Amz-Date")?)
        .ok_or_else(|| invalid_argument("X-Amz-Date is not a time like 20260131T235959Z"))?;
    let expires = one("X-Amz-Expires")?;
    let is_number = !expires.is_empty() && expires.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = expires.parse::<i64>().ok().filter(|seconds| is_number && (1..=LONGEST_EXPIRES).contains(seconds));
    let seconds = seconds
        .ok_or_else(|| invalid_argument(format!("X-Amz-Expires is not between 1 and {LONGEST_EXPIRES} seconds")))?;
    // A date that is too far ahead is refused with the signature's own checks.
    if signed_at.checked_add_signed(TimeDelta::seconds(seconds)).is_some_and(|end| end < now) {
        return Err(refusal(StatusCode::FORBIDDEN, "ExpiredRequest", "The URL has expired"));
    }
    let access_key_id = key_of_credential(&one("X-Amz-Credential")?)?;
    Ok(Claim { access_key_id, signed_headers: one("X-Amz-SignedHeaders")?, is_url: true })
}

/// Reads a time like `20260131T235959Z`, and no other form: chrono alone would take signs, spaces, and years at the end of its range.
fn time_of(text: &str) -> Option<DateTime<Utc>> {
    let is_in_place = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    let has_form = text.len() == 16 && text.bytes().enumerate().all(is_in_place);
    has_form.then_some(())?;
    NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ").ok().map(|time| time.and_utc())
}

/// Returns the access key's id out of `ID/DATE/REGION/s3/aws4_request`. Any region is taken, as R2 takes it.
fn key_of_credential(credential: &str) -> S3Result<String> {
    let parts: Vec<&str> = credential.split('/').collect();
    match parts[..] {
        [id, _date, _region, "s3", "aws4_request"] if !id.is_empty() => Ok(id.to_owned()),
        _ => Err(invalid_argument("The credential is not KEY/DATE/REGION/s3/aws4_request")),
    }
}

/// A query, decoded.
#[derive(Debug)]
struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query.
    fn parse(query: &str) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        };
        Self(query.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    /// Whether there is a parameter of this name, in any case of its letters.
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// The value of a parameter that is there once.
    fn one(&self, name: &str) -> Option<String> {
        let mut found = self.0.iter().filter(|(other, _)| other == name);
        let (_, value) = found.next()?;
        found.next().is_none().then(|| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const SIGNED: &str =
        "AWS4-HMAC-SHA256 Credential=id/20260101/auto/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00";

    const NOW: DateTime<Utc> = DateTime::from_timestamp(1_767_225_600, 0).expect("it is 2026-01-01");

    fn refused(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> String {
        let request = build(Request::builder().uri("/bucket/key")).body(()).unwrap();
        access_key_id(&request.into_parts().0, NOW).unwrap_err().code().as_str().to_owned()
    }

    #[test]
    fn key_of_a_signed_header_is_found() {
        let request = Request::builder().uri("/b/k").header("authorization", SIGNED).header("x-amz-date", "x");
        assert_eq!(access_key_id(&request.body(()).unwrap().into_parts().0, NOW).unwrap(), "id");
    }

    #[test]
    fn unsigned_and_old_signatures_are_refused() {
        assert_eq!(refused(|request| request), "InvalidArgument");
        assert_eq!(refused(|request| request.header("authorization", "AWS id:c2ln")), "InvalidRequest");
        assert_eq!(refused(|request| request.header("authorization", "Basic aWQ6")), "InvalidRequest");
        assert_eq!(refused(|request| request.uri("/b/k?AWSAccessKeyId=id&Signature=x&Expires=1")), "InvalidRequest");
        let twice =
            |request: http::request::Builder| request.header("authorization", SIGNED).header("authorization", SIGNED);
        assert_eq!(refused(twice), "InvalidArgument");
    }

    #[test]
    fn header_that_was_added_to_a_signed_request_is_refused() {
        let add = |request: http::request::Builder| {
            request.header("authorization", SIGNED).header("x-amz-copy-source", "/other/secret")
        };
        assert_eq!(refused(add), "AccessDenied");
        for name in ["cf-copy-destination-if-match", "cf-create-bucket-if-missing", "cf-prefix"] {
            let add = |request: http::request::Builder| request.header("authorization", SIGNED).header(name, "x");
            assert_eq!(refused(add), "AccessDenied", "{name}");
        }
        // A proxy of Cloudflare's adds it.
        let proxied = Request::builder().uri("/b/k").header("authorization", SIGNED).header("cf-ray", "x");
        assert_eq!(access_key_id(&proxied.body(()).unwrap().into_parts().0, NOW).unwrap(), "id");
    }

    #[test]
    fn time_of_a_url_has_limits() {
        let url = |expires: &str| {
            format!(
                "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=id%2F20260101%2Fauto%2Fs3%2Faws4_request\
                 &X-Amz-Date=20260101T000000Z&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
            )
        };
        let check = |expires: &str| {
            let request = Request::builder().uri(url(expires)).body(()).unwrap();
            access_key_id(&request.into_parts().0, NOW).map_err(|error| error.code().as_str().to_owned())
        };
        assert_eq!(check("604800"), Ok("id".to_owned()));
        for expires in ["604801", "0", "-1", "+5", "1e3", "", "99999999999999999999"] {
            assert_eq!(check(expires), Err("InvalidArgument".to_owned()), "{expires}");
        }
        assert_eq!(check("60&X-Amz-Expires=60"), Err("InvalidArgument".to_owned()));
    }

    #[test]
    fn date_of_a_url_has_one_form() {
        let check = |date: &str| {
            let url = format!(
                "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=id%2F20260101%2Fauto%2Fs3%2Faws4_request\
                 &X-Amz-Date={date}&X-Amz-Expires=604800&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
            );
            let request = Request::builder().uri(url).body(()).unwrap();
            access_key_id(&request.into_parts().0, NOW).map_err(|error| error.code().as_str().to_owned())
        };
        assert_eq!(check("20260101T000000Z"), Ok("id".to_owned()));
        assert_eq!(check("99991231T235959Z"), Ok("id".to_owned()), "its distance is judged with the signature");
        assert_eq!(check("00010101T000000Z"), Err("ExpiredRequest".to_owned()));
        for date in [
            "%2B262142+1231T235959Z", // the last day that chrono knows: an end seven days later is none
            "%2B2621421231T235959Z",
            "-262143+0101T000000Z",
            "20260101T000000",
            "2026+101T000000Z",
            "20261301T000000Z",
            "20260101T250000Z",
            "",
        ] {
            assert_eq!(check(date), Err("InvalidArgument".to_owned()), "{date}");
        }
    }

    #[test]
    fn form_and_temporary_credentials_are_refused() {
        let form = |request: http::request::Builder| {
            request.method("POST").header("content-type", "Multipart/Form-Data; boundary=x")
        };
        assert_eq!(refused(form), "NotImplemented");
        assert_eq!(refused(|request| request.header("x-amz-security-token", "x")), "InvalidArgument");
    }
}
