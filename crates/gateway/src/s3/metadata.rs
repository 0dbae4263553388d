//! Metadata of objects in headers.
//!
//! Custom metadata is any text to a store, and a header `x-amz-meta-*` to S3, which has ASCII names
//! without case. Entries that cannot be a header are left out and counted in `x-amz-missing-meta`, as
//! S3 does it.

use std::collections::{BTreeMap, HashMap};

use http::{HeaderMap, HeaderName, StatusCode};
use isobar_storage::{ChecksumAlgorithm, HttpMetadata, ObjectMeta, StorageClass};
use s3s::S3Result;
use s3s::dto::{self, Timestamp};

use super::error::refusal;

/// Content type of an object that has none, as R2 answers it.
pub(super) const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// Returns the HTTP metadata of a request. The encoding of the request itself, `aws-chunked`, does not belong to it.
pub(super) fn http_of(headers: &HeaderMap) -> HttpMetadata {
    let mut http = HttpMetadata::from_headers(headers);
    http.content_encoding = http.content_encoding.and_then(|encodings| {
        let kept: Vec<&str> = encodings
            .split(',')
            .map(str::trim)
            .filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("aws-chunked"))
            .collect();
        (!kept.is_empty()).then(|| kept.join(", "))
    });
    http
}

/// Returns the custom metadata of a request.
pub(super) fn custom_of(metadata: Option<dto::Metadata>) -> BTreeMap<String, String> {
    metadata.unwrap_or_default().into_iter().collect()
}

/// Returns the storage class of a request.
pub(super) fn storage_class_of(class: Option<&dto::StorageClass>) -> S3Result<StorageClass> {
    match class.map(dto::StorageClass::as_str) {
        None | Some("STANDARD") => Ok(StorageClass::Standard),
        Some("STANDARD_IA") => Ok(StorageClass::InfrequentAccess),
        Some(other) => {
            let message = format!("There is no storage class {other:?}: use STANDARD or STANDARD_IA");
            Err(refusal(StatusCode::BAD_REQUEST, "InvalidStorageClass", message))
        }
    }
}

/// Returns a storage class as S3 names it.
pub(super) fn class_name(class: StorageClass) -> &'static str {
    match class {
        StorageClass::InfrequentAccess => "STANDARD_IA",
        _ => "STANDARD",
    }
}

/// A time as s3s writes it.
pub(super) fn timestamp(at: chrono::DateTime<chrono::Utc>) -> Timestamp {
    std::time::SystemTime::from(at).into()
}

/// Metadata of an object as responses to a read have it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) metadata: Option<HashMap<String, String>>,
    /// Entries of the custom metadata that no header can have: R2 leaves them out and counts them.
    pub(super) missing: Option<i32>,
    pub(super) content_type: String,
    pub(super) expires: Option<Timestamp>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

impl Shown {
    /// Returns what responses show; checksums only where the client asks for them.
    pub(super) fn new(meta: &ObjectMeta, with_checksums: bool) -> Self {
        let is_shown = |(name, value): &(&String, &String)| {
            HeaderName::from_bytes(format!("x-amz-meta-{name}").as_bytes()).is_ok()
                && name.to_ascii_lowercase() == **name
                && !value.chars().any(|char| char.is_ascii_control())
        };
        let shown: HashMap<String, String> =
            meta.custom.iter().filter(is_shown).map(|(name, value)| (name.clone(), value.clone())).collect();
        let missing = meta.custom.len() - shown.len();
        let checksum = |algorithm| {
            let checksum = meta.checksum(algorithm).filter(|_| with_checksums)?;
            super::digest::base64_of_hex(&checksum.hex)
        };
        Self {
            metadata: (!shown.is_empty()).then_some(shown),
            missing: i32::try_from(missing).ok().filter(|missing| *missing > 0),
            content_type: meta.http.content_type.clone().unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned()),
            expires: meta.http.cache_expiry.map(timestamp),
            sha1: checksum(ChecksumAlgorithm::Sha1),
            sha256: checksum(ChecksumAlgorithm::Sha256),
        }
    }
}
