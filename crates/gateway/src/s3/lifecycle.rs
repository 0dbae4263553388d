//! Lifecycle rules of buckets: their forms in S3 and in a catalog.
//!
//! R2 has rules by prefix, with the actions expiration, abortion of uploads and transition to its other storage class. What S3 has beyond
//! is refused, and so are transitions, which this server does not carry out. S3 counts in days and R2 in seconds: an age that is no
//! number of days, which only Cloudflare's API sets, is shown as the next one.

use chrono::{DateTime, NaiveTime, Utc};
use http::StatusCode;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::error::{OrS3, invalid_argument, invalid_request, malformed_xml, not_implemented, refusal};
use super::metadata::timestamp;
use super::session::Session;
use crate::catalog::{self, Expiry, LifecyclePolicy};

const DAY: u64 = 24 * 60 * 60;

/// Returns the rules of a bucket.
pub(super) async fn get(
    session: &Session,
    request: S3Request<GetBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
    let bucket = request.input.bucket;
    session.to_list(&bucket, "").await?;
    let policy = session.buckets.lifecycle(&bucket).await.or_s3()?;
    if policy.rules().is_empty() {
        let message = "The lifecycle configuration does not exist";
        return Err(refusal(StatusCode::NOT_FOUND, "NoSuchLifecycleConfiguration", message));
    }
    let rules = Some(policy.rules().iter().map(shown).collect());
    Ok(S3Response::new(GetBucketLifecycleConfigurationOutput { rules, ..Default::default() }))
}

/// Replaces the rules of a bucket.
pub(super) async fn put(
    session: &Session,
    request: S3Request<PutBucketLifecycleConfigurationInput>,
) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
    session.check_administrator()?;
    let PutBucketLifecycleConfigurationInput { bucket, lifecycle_configuration, .. } = request.input;
    let store = session.to_write_some(&bucket).await?;
    let rules = lifecycle_configuration.map(|configuration| configuration.rules).unwrap_or_default();
    if rules.is_empty() {
        return Err(malformed_xml("A lifecycle configuration has at least one rule"));
    }
    let policy = LifecyclePolicy::new(rules.into_iter().map(read).collect::<S3Result<_>>()?).or_s3()?;
    policy.check_store(store.capabilities()).or_s3()?;
    session.buckets.set_lifecycle(&bucket, policy).await.or_s3()?;
    Ok(S3Response::new(PutBucketLifecycleConfigurationOutput::default()))
}

/// Removes the rules of a bucket, R2's default among them.
pub(super) async fn delete(
    session: &Session,
    request: S3Request<DeleteBucketLifecycleInput>,
) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
    session.check_administrator()?;
    session.check_bucket(&request.input.bucket).await?;
    let none = LifecyclePolicy::new(Vec::new()).or_s3()?;
    session.buckets.set_lifecycle(&request.input.bucket, none).await.or_s3()?;
    Ok(S3Response::with_status(DeleteBucketLifecycleOutput::default(), StatusCode::NO_CONTENT))
}

/// A rule as S3 shows it.
fn shown(rule: &catalog::LifecycleRule) -> LifecycleRule {
    let days = |seconds: u64| i32::try_from(seconds.div_ceil(DAY)).unwrap_or(i32::MAX);
    let expiration = rule.expiry.map(|expiry| match expiry {
        Expiry::Age(seconds) => LifecycleExpiration { days: Some(days(seconds)), ..Default::default() },
        Expiry::Date(date) => LifecycleExpiration { date: Some(timestamp(date)), ..Default::default() },
    });
    let abort = rule.abort_uploads_after;
    let status = if rule.is_enabled { ExpirationStatus::ENABLED } else { ExpirationStatus::DISABLED };
    LifecycleRule {
        abort_incomplete_multipart_upload: abort
            .map(|seconds| AbortIncompleteMultipartUpload { days_after_initiation: Some(days(seconds)) }),
        expiration,
        filter: Some(LifecycleRuleFilter { prefix: Some(rule.prefix.clone()), ..Default::default() }),
        id: Some(rule.id.clone()),
        noncurrent_version_expiration: None,
        noncurrent_version_transitions: None,
        prefix: None,
        status: ExpirationStatus::from_static(status),
        transitions: None,
    }
}

/// Reads a rule. What it has beyond R2's is refused.
fn read(rule: LifecycleRule) -> S3Result<catalog::LifecycleRule> {
    if rule.transitions.is_some_and(|transitions| !transitions.is_empty()) {
        return Err(not_implemented("Objects do not change their storage class here: Transition is not implemented"));
    }
    if rule.noncurrent_version_expiration.is_some() || rule.noncurrent_version_transitions.is_some() {
        return Err(not_implemented("There are no versions: their lifecycle is not implemented"));
    }
    let id = match rule.id {
        Some(id) if !id.is_empty() => id,
        _ => isobar_base::random::hex_id().map_err(|error| {
            tracing::error!(target: "isobar_gateway", %error, "there is no randomness for the id of a rule");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "The server has failed; its log says why")
        })?,
    };
    let mut read = catalog::LifecycleRule::new(id).with_prefix(prefix_of(rule.prefix, rule.filter)?);
    read.is_enabled = match rule.status.as_str() {
        ExpirationStatus::ENABLED => true,
        ExpirationStatus::DISABLED => false,
        other => return Err(malformed_xml(format!("The status of a rule is Enabled or Disabled, not {other:?}"))),
    };
    read.expiry = rule.expiration.map(expiry_of).transpose()?;
    read.abort_uploads_after = match rule.abort_incomplete_multipart_upload {
        None => None,
        Some(abort) => Some(seconds_of(abort.days_after_initiation, "DaysAfterInitiation")?),
    };
    if read.expiry.is_none() && read.abort_uploads_after.is_none() {
        return Err(invalid_request("A lifecycle rule has at least one action"));
    }
    Ok(read)
}

/// The prefix of a rule, in its filter or, as S3 had it first, beside it.
fn prefix_of(prefix: Option<String>, filter: Option<LifecycleRuleFilter>) -> S3Result<String> {
    let Some(filter) = filter else { return Ok(prefix.unwrap_or_default()) };
    let has_size = filter.object_size_greater_than.is_some() || filter.object_size_less_than.is_some();
    if has_size || filter.and.is_some() || filter.tag.is_some() {
        return Err(not_implemented("A filter of a lifecycle rule by anything but a prefix is not implemented"));
    }
    if prefix.is_some() {
        return Err(malformed_xml("A lifecycle rule has a filter or a prefix, not both"));
    }
    Ok(filter.prefix.unwrap_or_default())
}

fn expiry_of(expiration: LifecycleExpiration) -> S3Result<Expiry> {
    if expiration.expired_object_delete_marker.is_some() {
        return Err(not_implemented("There are no delete markers: ExpiredObjectDeleteMarker is not implemented"));
    }
    match (expiration.days, expiration.date) {
        (days @ Some(_), None) => Ok(Expiry::Age(seconds_of(days, "Days")?)),
        (None, Some(date)) => date_of(&date).map(Expiry::Date),
        _ => Err(malformed_xml("An expiration has either Days or Date")),
    }
}

/// A number of days, in seconds.
fn seconds_of(days: Option<i32>, name: &str) -> S3Result<u64> {
    let days = days.and_then(|days| u64::try_from(days).ok()).filter(|days| *days > 0);
    days.map(|days| days * DAY)
        .ok_or_else(|| invalid_argument(format!("{name} of a lifecycle rule is a number from 1 on")))
}

/// A date, which S3 has at midnight.
fn date_of(date: &Timestamp) -> S3Result<DateTime<Utc>> {
    let mut text = Vec::new();
    let date = date.format(TimestampFormat::DateTime, &mut text).ok().and_then(|()| {
        let time = DateTime::parse_from_rfc3339(std::str::from_utf8(&text).ok()?).ok()?;
        Some(time.to_utc())
    });
    let date = date.filter(|date| date.time() == NaiveTime::MIN);
    date.ok_or_else(|| invalid_argument("Date of a lifecycle rule is at midnight UTC"))
}
