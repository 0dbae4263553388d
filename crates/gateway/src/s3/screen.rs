//! The operations that there are, and what R2 does not have of each: the table of its documentation, as code.
//!
//! A header that is ignored is a promise that is not kept: a client that asks for encryption or a lock must not believe that it
//! has got it. So each operation names the headers and parameters that it knows, and those of S3's that R2 does not have are
//! refused with R2's `NotImplemented`. Source: R2's documentation, "S3 API compatibility".

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};

use super::error::{access_denied, header_not_implemented, invalid_argument, invalid_request, not_implemented};
use crate::keys::AccessKeys;

/// Headers that R2 does not have, of operations of all kinds.
const BUCKET_OWNER: &[&str] = &["x-amz-expected-bucket-owner"];
const SOURCE_OWNER: &[&str] = &["x-amz-source-expected-bucket-owner"];
const REQUEST_PAYER: &[&str] = &["x-amz-request-payer"];
const DELETE: &[&str] = &["x-amz-mfa", "x-amz-bypass-governance-retention"];
/// A condition on a delete: R2 ignores it and deletes, which nobody wants who names one.
const DELETE_CONDITIONS: &[&str] = &["if-match", "x-amz-if-match-last-modified-time", "x-amz-if-match-size"];
const GRANTS: &[&str] = &[
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
];
const TRANSITIONS: &[&str] = &["x-amz-transition-default-minimum-object-size"];
const CREATE_BUCKET: &[&str] = &["x-amz-acl", "x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"];
const WRITE: &[&str] = &[
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-write-offset-bytes",
];
const PART: &[&str] = &["x-amz-server-side-encryption"];
const COPY: &[&str] = &["x-amz-tagging-directive", "x-amz-checksum-algorithm"];
const SOURCE_CONDITIONS: &[&str] = &[
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
];
/// Headers of encryption with keys of the client's, for the object and for the source of a copy.
const CLIENT_KEYS: &[&str] = &[
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
];
/// The canned access control lists. R2 takes each and ignores it.
const CANNED_ACLS: &[&str] = &[
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];
const LIST_PARAMETERS: &[&str] = &["prefix", "delimiter", "marker", "max-keys", "encoding-type"];
const LIST_V2_PARAMETERS: &[&str] = &[
    "list-type",
    "prefix",
    "delimiter",
    "continuation-token",
    "start-after",
    "max-keys",
    "encoding-type",
    "fetch-owner",
];

const LIST_UPLOADS_PARAMETERS: &[&str] =
    &["uploads", "delimiter", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker"];

/// Parts of an object that other operations read or write.
const SUBRESOURCES: &[&str] = &[
    "acl",
    "attributes",
    "encryption",
    "legal-hold",
    "renameObject",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "uploads",
];
const PART_PARAMETERS: &[&str] = &["partNumber", "uploadId"];

/// Rules of an operation.
struct Rule {
    name: &'static str,
    /// Headers that are refused.
    refused: &'static [&'static [&'static str]],
    keys: ClientKeys,
    /// The only parameters of the query; `None` where the others are ignored.
    parameters: Option<&'static [&'static str]>,
}

/// Handling of an encryption with the client's key, which there is not.
#[derive(Clone, Copy, PartialEq)]
enum ClientKeys {
    /// The operation knows none.
    Ignored,
    /// The object has none: the client errs.
    NotApplicable,
    /// It would have to be stored so.
    NotImplemented,
}

/// A rule that allows any parameter of the query.
const fn rule(name: &'static str, keys: ClientKeys, refused: &'static [&'static [&'static str]]) -> Rule {
    Rule { name, refused, keys, parameters: None }
}

/// The operations that there are.
const RULES: &[Rule] = &[
    rule("ListBuckets", ClientKeys::Ignored, &[]),
    rule("HeadBucket", ClientKeys::Ignored, &[BUCKET_OWNER]),
    // A configuration that s3s does not know would be taken for the bucket.
    Rule { parameters: Some(&[]), ..rule("CreateBucket", ClientKeys::Ignored, &[BUCKET_OWNER, GRANTS, CREATE_BUCKET]) },
    Rule { parameters: Some(&[]), ..rule("DeleteBucket", ClientKeys::Ignored, &[BUCKET_OWNER]) },
    rule("GetBucketLocation", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("GetBucketEncryption", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("GetBucketVersioning", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("GetBucketTagging", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("GetBucketReplication", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("GetObjectLockConfiguration", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("GetBucketLifecycleConfiguration", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("PutBucketLifecycleConfiguration", ClientKeys::Ignored, &[BUCKET_OWNER, TRANSITIONS]),
    rule("DeleteBucketLifecycle", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("GetBucketCors", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("PutBucketCors", ClientKeys::Ignored, &[BUCKET_OWNER]),
    rule("DeleteBucketCors", ClientKeys::Ignored, &[BUCKET_OWNER]),
    Rule {
        parameters: Some(LIST_PARAMETERS),
        ..rule("ListObjects", ClientKeys::Ignored, &[BUCKET_OWNER, REQUEST_PAYER])
    },
    Rule {
        parameters: Some(LIST_V2_PARAMETERS),
        ..rule("ListObjectsV2", ClientKeys::Ignored, &[BUCKET_OWNER, REQUEST_PAYER])
    },
    rule("HeadObject", ClientKeys::NotApplicable, &[BUCKET_OWNER, REQUEST_PAYER]),
    rule("GetObject", ClientKeys::NotApplicable, &[BUCKET_OWNER, REQUEST_PAYER]),
    rule("PutObject", ClientKeys::NotImplemented, &[BUCKET_OWNER, REQUEST_PAYER, GRANTS, WRITE]),
    rule("DeleteObject", ClientKeys::Ignored, &[BUCKET_OWNER, REQUEST_PAYER, DELETE, DELETE_CONDITIONS]),
    rule("DeleteObjects", ClientKeys::Ignored, &[BUCKET_OWNER, REQUEST_PAYER, DELETE]),
    rule("CopyObject", ClientKeys::NotImplemented, &[BUCKET_OWNER, SOURCE_OWNER, REQUEST_PAYER, GRANTS, WRITE, COPY]),
    rule("CreateMultipartUpload", ClientKeys::NotImplemented, &[BUCKET_OWNER, REQUEST_PAYER, GRANTS, WRITE]),
    rule("UploadPart", ClientKeys::NotImplemented, &[BUCKET_OWNER, REQUEST_PAYER, PART]),
    rule("UploadPartCopy", ClientKeys::NotImplemented, &[BUCKET_OWNER, SOURCE_OWNER, REQUEST_PAYER, SOURCE_CONDITIONS]),
    rule("CompleteMultipartUpload", ClientKeys::Ignored, &[BUCKET_OWNER, REQUEST_PAYER]),
    rule("AbortMultipartUpload", ClientKeys::Ignored, &[REQUEST_PAYER]),
    Rule {
        parameters: Some(LIST_UPLOADS_PARAMETERS),
        ..rule("ListMultipartUploads", ClientKeys::Ignored, &[BUCKET_OWNER])
    },
    rule("ListParts", ClientKeys::Ignored, &[BUCKET_OWNER, REQUEST_PAYER]),
];

/// The screen before every operation, after the signature: what is not in the table is refused.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) keys: Arc<dyn AccessKeys>,
    /// Set once the signature was verified.
    pub(super) is_verified: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl S3Access for Screen {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = cx.credentials() else { return Err(access_denied()) };
        // The signature is verified: this is a use of the key, whatever comes of it.
        self.keys.note_use(&credentials.access_key);
        self.is_verified.store(true, Ordering::Relaxed);
        let name = cx.s3_op().name();
        let unknown = || not_implemented(format!("{name} not implemented"));
        let rule = RULES.iter().find(|rule| rule.name == name).ok_or_else(unknown)?;
        check_headers(rule, cx.headers())?;
        let query = cx.uri().query().unwrap_or_default();
        check_subresources(rule, query)?;
        check_parameters(rule, query)
    }
}

/// Refuses the headers of S3's that R2 does not have.
fn check_headers(rule: &Rule, headers: &HeaderMap) -> S3Result<()> {
    let refused = rule.refused.iter().copied().flatten();
    let refused = refused.filter_map(|name| headers.get(*name).map(|value| (*name, value)));
    let mut refused = refused.map(|(name, value)| header_not_implemented(name, value.to_str().unwrap_or_default()));
    if let Some(error) = refused.next() {
        return Err(error);
    }
    let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(encryption) = value("x-amz-server-side-encryption").filter(|encryption| *encryption != "AES256") {
        return Err(header_not_implemented("x-amz-server-side-encryption", encryption));
    }
    if let Some(acl) = value("x-amz-acl").filter(|acl| !CANNED_ACLS.contains(acl)) {
        return Err(header_not_implemented("x-amz-acl", acl));
    }
    let keys = CLIENT_KEYS.iter().find_map(|name| Some((*name, value(name)?)));
    match (rule.keys, keys) {
        (ClientKeys::NotApplicable, Some((name, _))) => Err(invalid_request(format!(
            "The object is not encrypted with a key of the client's: {name} does not apply"
        ))),
        // The value of the key is not repeated.
        (ClientKeys::NotImplemented, Some((name, _))) => Err(header_not_implemented(name, "")),
        _ => Ok(()),
    }
}

/// Refuses a parameter that makes another operation of this one with other methods: ignored, it would have an object written or deleted
/// by a client that meant something else.
fn check_subresources(rule: &Rule, query: &str) -> S3Result<()> {
    if !matches!(rule.name, "PutObject" | "CopyObject" | "DeleteObject") {
        return Ok(());
    }
    for name in names(query) {
        if SUBRESOURCES.contains(&&*name) {
            return Err(not_implemented(format!("{} search parameter {name} not implemented", rule.name)));
        }
        if PART_PARAMETERS.contains(&&*name) {
            return Err(invalid_argument(format!(
                "{name} belongs to an upload of parts, which needs uploadId and partNumber"
            )));
        }
    }
    Ok(())
}

/// The names of a query's parameters.
fn names(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| percent_decode_str(part.split('=').next().unwrap_or_default()).decode_utf8_lossy())
}

/// Refuses unknown parameters of operations that name theirs. One that is ignored would give a longer list than was asked for, or create or
/// delete a bucket in place of a part of its configuration.
fn check_parameters(rule: &Rule, query: &str) -> S3Result<()> {
    let Some(allowed) = rule.parameters else { return Ok(()) };
    for name in names(query) {
        if name == "continuation-token" && !allowed.contains(&&*name) {
            return Err(invalid_argument("continuation-token belongs to ListObjectsV2"));
        }
        if !allowed.contains(&&*name) && !name.starts_with("X-Amz-") && name != "x-id" {
            return Err(not_implemented(format!("{} search parameter {name} not implemented", rule.name)));
        }
    }
    Ok(())
}
