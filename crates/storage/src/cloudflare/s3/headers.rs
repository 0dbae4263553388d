//! Metadata as S3's headers carry it, both ways.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SubsecRound, Utc};
use http::{HeaderMap, HeaderName, header};

use crate::{
    Checksum, ChecksumAlgorithm, Error, ErrorKind, HttpMetadata, Key, ObjectMeta, Result, StorageClass, limits, rules,
};

/// A request's headers, by lower-case names.
pub(super) type Headers = Vec<(String, String)>;

const CUSTOM: &str = "x-amz-meta-";

/// Returns the headers that store a new object's metadata.
pub(super) fn stored_with(
    http: &HttpMetadata,
    custom: &BTreeMap<String, String>,
    class: StorageClass,
) -> Result<Headers> {
    rules::check_metadata(custom)?;
    let mut headers = HeaderMap::new();
    http.write_headers(&mut headers);
    check_http(http, &headers)?;
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let mut all: Headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    for (name, value) in custom {
        check_name(name)?;
        all.push((format!("{CUSTOM}{name}"), encode(value)));
    }
    match class {
        StorageClass::Standard => {}
        StorageClass::InfrequentAccess => all.push(("x-amz-storage-class".to_owned(), "STANDARD_IA".to_owned())),
    }
    Ok(all)
}

/// `write_headers` leaves out what HTTP cannot carry; here that would be lost in silence.
fn check_http(http: &HttpMetadata, headers: &HeaderMap) -> Result<()> {
    let HttpMetadata {
        content_type,
        content_language,
        content_disposition,
        content_encoding,
        cache_control,
        cache_expiry,
    } = http;
    let texts = [content_type, content_language, content_disposition, content_encoding, cache_control];
    let given = texts.iter().filter(|text| text.is_some()).count() + usize::from(cache_expiry.is_some());
    let ascii = headers.values().all(|value| value.to_str().is_ok());
    if headers.len() == given && ascii {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidArgument, "the HTTP metadata holds what no header can carry: plain ASCII only"))
}

/// S3 gives names back in lower case, whatever they were.
fn check_name(name: &str) -> Result<()> {
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_lower && HeaderName::from_bytes(format!("{CUSTOM}{name}").as_bytes()).is_ok() && !name.is_empty() {
        return Ok(());
    }
    let message =
        format!("the custom metadata {name:?} has no name that S3 can carry: lower-case letters, digits, - and _");
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Plain where a header can carry it, an encoded word (RFC 2047) where not: as R2's S3 side has it.
fn encode(value: &str) -> String {
    let plain = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if plain && value.trim() == value && !value.contains("  ") && !value.starts_with("=?") {
        return value.to_owned();
    }
    format!("=?UTF-8?B?{}?=", BASE64.encode(value))
}

/// Undoes [`encode`], and the other ways there are to say the same; what is none of them is taken as it is.
fn decode(value: &str) -> String {
    let words: Option<Vec<Vec<u8>>> = value.split(' ').filter(|word| !word.is_empty()).map(decode_word).collect();
    let decoded = words.filter(|words| !words.is_empty()).and_then(|words| String::from_utf8(words.concat()).ok());
    decoded.unwrap_or_else(|| value.to_owned())
}

fn decode_word(word: &str) -> Option<Vec<u8>> {
    let mut parts = word.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?');
    let charset = parts.next()?;
    let encoding = parts.next()?;
    let text = parts.next()?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    match encoding {
        "B" | "b" => BASE64.decode(text).ok(),
        "Q" | "q" => unquote(text),
        _ => None,
    }
}

fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(out)
}

/// The metadata that an answer's headers tell of an object of `size` bytes.
pub(super) fn meta(key: &Key, size: u64, headers: &HeaderMap) -> Result<ObjectMeta> {
    let etag = etag(headers).ok_or_else(|| surprise("an object without an etag"))?;
    let uploaded = date(headers, &header::LAST_MODIFIED).ok_or_else(|| surprise("an object without Last-Modified"))?;
    let version = text(headers, "x-amz-version-id").filter(|version| version != "null");
    let mut meta = described(key.clone(), version, size, etag, uploaded);
    meta.http = HttpMetadata::from_headers(headers);
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix(CUSTOM) {
            meta.custom.insert(name.to_owned(), decode(&String::from_utf8_lossy(value.as_bytes())));
        }
    }
    meta.storage_class = class(text(headers, "x-amz-storage-class").as_deref());
    Ok(meta)
}

/// Returns the metadata that S3's headers give of an object. Without a version, a digest of key, time and etag stands for it.
pub(super) fn described(
    key: Key,
    version: Option<String>,
    size: u64,
    etag: String,
    uploaded: DateTime<Utc>,
) -> ObjectMeta {
    // Last-Modified knows whole seconds only; one object must not have two times.
    let uploaded = uploaded.trunc_subsecs(0);
    let made = || Checksum::of(ChecksumAlgorithm::Md5, format!("{key} {} {etag}", uploaded.timestamp()).as_bytes()).hex;
    let version = version.unwrap_or_else(made);
    let md5 = Checksum::from_hex(ChecksumAlgorithm::Md5, &etag).ok();
    let mut meta = ObjectMeta::new(key, version, size, etag, uploaded);
    meta.checksums.extend(md5);
    meta
}

pub(super) fn class(name: Option<&str>) -> StorageClass {
    match name {
        Some("STANDARD_IA") => StorageClass::InfrequentAccess,
        _ => StorageClass::Standard,
    }
}

/// The etag without quotes.
pub(super) fn etag(headers: &HeaderMap) -> Option<String> {
    text(headers, "etag").map(|etag| unquoted(&etag))
}

pub(super) fn unquoted(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

pub(super) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok().map(DateTime::from)
}

pub(super) fn surprise(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the S3 server answered {what}"))
}

/// Refuses keys that URLs cannot name: their segments `.` and `..` are resolved on the way.
pub(super) fn check_key(key: &Key) -> Result<()> {
    if !key.as_str().split('/').any(|segment| segment == "." || segment == "..") {
        return Ok(());
    }
    let message = format!("no URL can name the key {:?}: it has a segment . or ..", key.as_str());
    Err(Error::new(ErrorKind::InvalidKey, message))
}

const _: () = assert!(limits::KEY_BYTES == 1024, "S3's limit is the same");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_through_headers_and_come_back() {
        for value in ["", "plain", "two words", " edges ", "Jörg €", "=?UTF-8?B?eA==?=", "line\nbreak", "two  spaces"]
        {
            let encoded = encode(value);
            assert!(http::HeaderValue::from_str(&encoded).is_ok(), "{encoded}");
            assert_eq!(decode(&encoded), value);
        }
        assert_eq!(decode("=?utf-8?q?J=C3=B6rg_M=2E?= =?UTF-8?B?ISE=?="), "Jörg M.!!");
        assert_eq!(decode("=?latin1?Q?x?="), "=?latin1?Q?x?=");
        assert_eq!(decode("=?broken"), "=?broken");
    }

    #[test]
    fn what_s3_would_change_is_refused() {
        let custom = |name: &str| {
            let custom = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            stored_with(&HttpMetadata::default(), &custom, StorageClass::Standard)
        };
        for name in ["Upper", "", "with space", "ü"] {
            assert_eq!(custom(name).map_err(|error| error.kind()), Err(ErrorKind::InvalidArgument), "{name}");
        }
        assert!(custom("lower-case_1").is_ok());
        let http = HttpMetadata { content_disposition: Some("filename=\u{e9}\n".into()), ..HttpMetadata::default() };
        assert!(stored_with(&http, &BTreeMap::new(), StorageClass::Standard).is_err());
    }
}
