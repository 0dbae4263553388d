//! Lifecycle rules of a bucket: the checks that they pass before they are kept, and what they say of an object.
//!
//! Their form in JSON is that of Cloudflare's API, in catalogs and on the wire. A rule that this server could not carry out is refused, an
//! unknown field as well: a condition that were ignored would delete more than it says. The time is the caller's.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, TimeDelta, Utc};
use isobar_storage::{Capabilities, ObjectMeta, UploadInfo, limits};
use serde::{Deserialize, Serialize};

use super::{CatalogError, CatalogErrorKind};

/// Most rules of a bucket, as with R2.
const MOST_RULES: usize = 1000;
const LONGEST_ID: usize = 255;
const DAY: u64 = 24 * 60 * 60;
/// Age at which stores end an upload, in seconds.
const UPLOAD_AGE: u64 = limits::UPLOAD_DAYS.unsigned_abs() * DAY;
/// Id of the rule that R2 gives to every new bucket.
const DEFAULT_ID: &str = "Default Multipart Abort Rule";

/// Time at which objects expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// Seconds after the upload.
    Age(u64),
    /// A time of the years 0 to 9999. Objects that are uploaded later expire at once.
    Date(DateTime<Utc>),
}

impl Expiry {
    /// Reports whether something of this time has expired.
    fn is_over(self, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        match self {
            Self::Date(date) => date <= now,
            Self::Age(seconds) => {
                let age = i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds);
                age.and_then(|age| since.checked_add_signed(age)).is_some_and(|end| end <= now)
            }
        }
    }
}

/// A lifecycle rule: objects and uploads by the prefix of their keys, and when they end.
///
/// ```
/// use isobar_gateway::catalog::{Expiry, LifecycleRule};
///
/// let rule = LifecycleRule::new("logs").with_prefix("logs/").with_expiry(Expiry::Age(90 * 24 * 60 * 60));
/// assert!(rule.is_enabled && rule.abort_uploads_after.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
#[non_exhaustive]
pub struct LifecycleRule {
    /// Name, of 1 to 255 bytes, and of no other rule of the bucket.
    pub id: String,
    /// Whether the rule is carried out. Default: true.
    pub is_enabled: bool,
    /// Beginning of the keys. Default: empty, which is every key.
    pub prefix: String,
    /// Time at which objects expire. Default: never.
    pub expiry: Option<Expiry>,
    /// Age at which open uploads are aborted, in seconds, at most 7 days, when they end whatever the rules say. Default: none.
    pub abort_uploads_after: Option<u64>,
}

impl LifecycleRule {
    /// Returns a rule of this name, which does nothing yet.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        let prefix = String::new();
        Self { id: id.into(), is_enabled: true, prefix, expiry: None, abort_uploads_after: None }
    }

    /// Has the rule kept, and not carried out.
    #[must_use]
    pub fn disabled(mut self) -> Self {
        self.is_enabled = false;
        self
    }

    /// Binds the rule to keys with this prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Deletes objects at this time.
    #[must_use]
    pub fn with_expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Aborts uploads of this age, in seconds.
    #[must_use]
    pub fn with_abort_uploads_after(mut self, seconds: u64) -> Self {
        self.abort_uploads_after = Some(seconds);
        self
    }
}

/// The lifecycle rules of a bucket, checked: at most 1,000.
///
/// Default: R2's, that uploads end after 7 days. Stores see to that themselves, whatever the rules say.
///
/// ```
/// use isobar_gateway::catalog::{Expiry, LifecyclePolicy, LifecycleRule};
///
/// let rule = LifecycleRule::new("logs").with_expiry(Expiry::Age(60));
/// assert_eq!(LifecyclePolicy::new(vec![rule.clone()])?.rules(), [rule.clone()]);
/// assert!(LifecyclePolicy::new(vec![rule.clone(), rule]).is_err(), "ids are unique");
/// assert_eq!(LifecyclePolicy::default().rules()[0].id, "Default Multipart Abort Rule");
/// # Ok::<(), isobar_gateway::catalog::CatalogError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct LifecyclePolicy {
    rules: Vec<LifecycleRule>,
}

impl Default for LifecyclePolicy {
    fn default() -> Self {
        Self { rules: vec![LifecycleRule::new(DEFAULT_ID).with_abort_uploads_after(UPLOAD_AGE)] }
    }
}

impl LifecyclePolicy {
    /// Checks rules.
    ///
    /// # Errors
    /// [`CatalogErrorKind::InvalidArgument`] for ids that are not unique, of 1 to 255 bytes; for a prefix that no key has; for a
    /// date of other years than 0 to 9999; for too many rules. [`CatalogErrorKind::Unsupported`] for uploads that would be aborted after
    /// more than 7 days.
    pub fn new(rules: Vec<LifecycleRule>) -> Result<Self, CatalogError> {
        if rules.len() > MOST_RULES {
            return Err(invalid(format!("a bucket has at most {MOST_RULES} lifecycle rules, not {}", rules.len())));
        }
        let mut ids = BTreeSet::new();
        for rule in &rules {
            let LifecycleRule { id, prefix, .. } = rule;
            if id.is_empty() || id.len() > LONGEST_ID {
                return Err(invalid(format!(
                    "the id of a lifecycle rule has 1 to {LONGEST_ID} bytes, not {}",
                    id.len()
                )));
            }
            if !ids.insert(id) {
                return Err(invalid(format!("two lifecycle rules have the id {id:?}")));
            }
            if prefix.len() > limits::KEY_BYTES {
                return Err(invalid(format!("the prefix of the lifecycle rule {id:?} is longer than any key")));
            }
            // RFC 3339 has no other years: kept, the rules could not be read again.
            if matches!(rule.expiry, Some(Expiry::Date(date)) if !(0..=9999).contains(&date.year())) {
                return Err(invalid(format!("the date of the lifecycle rule {id:?} is not of the years 0 to 9999")));
            }
            if rule.abort_uploads_after.is_some_and(|age| age > UPLOAD_AGE) {
                let days = limits::UPLOAD_DAYS;
                let message =
                    format!("uploads end after {days} days here: the lifecycle rule {id:?} cannot keep them longer");
                return Err(CatalogError::new(CatalogErrorKind::Unsupported, message));
            }
        }
        Ok(Self { rules })
    }

    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> &[LifecycleRule] {
        &self.rules
    }

    /// Reports whether an object has expired at this time.
    ///
    /// ```
    /// use chrono::{DateTime, TimeDelta};
    /// use isobar_gateway::catalog::{Expiry, LifecyclePolicy, LifecycleRule};
    /// use isobar_storage::{Key, ObjectMeta};
    ///
    /// let rule = LifecycleRule::new("logs").with_prefix("logs/").with_expiry(Expiry::Age(60));
    /// let policy = LifecyclePolicy::new(vec![rule])?;
    /// let uploaded = DateTime::UNIX_EPOCH;
    /// let log = ObjectMeta::new(Key::new("logs/a").unwrap(), "version".into(), 0, "etag".into(), uploaded);
    /// assert!(!policy.is_expired(&log, uploaded + TimeDelta::seconds(59)));
    /// assert!(policy.is_expired(&log, uploaded + TimeDelta::seconds(60)));
    /// # Ok::<(), isobar_gateway::catalog::CatalogError>(())
    /// ```
    #[must_use]
    pub fn is_expired(&self, object: &ObjectMeta, now: DateTime<Utc>) -> bool {
        let covering = self.enabled().filter(|rule| object.key.as_str().starts_with(&rule.prefix));
        covering.filter_map(|rule| rule.expiry).any(|expiry| expiry.is_over(object.uploaded, now))
    }

    /// Reports whether an upload is to be aborted at this time.
    #[must_use]
    pub fn is_abandoned(&self, upload: &UploadInfo, now: DateTime<Utc>) -> bool {
        let covering = self.enabled().filter(|rule| upload.key.as_str().starts_with(&rule.prefix));
        covering.filter_map(|rule| rule.abort_uploads_after).any(|age| Expiry::Age(age).is_over(upload.created, now))
    }

    /// Prefixes of the objects that may expire by now, none of which covers another one.
    pub(crate) fn expiring(&self, now: DateTime<Utc>) -> Vec<&str> {
        let is_due = |expiry: &Expiry| !matches!(expiry, Expiry::Date(date) if *date > now);
        distinct(self.enabled().filter(|rule| rule.expiry.as_ref().is_some_and(is_due)))
    }

    /// Prefixes of the uploads that are aborted before they end anyway.
    pub(crate) fn aborting(&self) -> Vec<&str> {
        distinct(self.enabled().filter(|rule| rule.abort_uploads_after.is_some_and(|age| age < UPLOAD_AGE)))
    }

    /// Refuses rules that a store with these capabilities cannot carry out.
    pub(crate) fn check_store(&self, capabilities: Capabilities) -> Result<(), CatalogError> {
        let refused = |message: &str| Err(CatalogError::new(CatalogErrorKind::Unsupported, message));
        if self.rules.iter().any(|rule| rule.expiry.is_some()) && !capabilities.delete_version {
            return refused(
                "the store of this bucket cannot delete an object without the risk of deleting a newer one: set the rule where \
                 its objects are",
            );
        }
        let can_abort = capabilities.multipart && capabilities.list_uploads;
        if self.rules.iter().any(|rule| rule.abort_uploads_after.is_some_and(|age| age < UPLOAD_AGE)) && !can_abort {
            return refused("the store of this bucket does not list its uploads: set the rule where its objects are");
        }
        Ok(())
    }

    fn enabled(&self) -> impl Iterator<Item = &LifecycleRule> {
        self.rules.iter().filter(|rule| rule.is_enabled)
    }
}

fn invalid(message: String) -> CatalogError {
    CatalogError::new(CatalogErrorKind::InvalidArgument, message)
}

/// Prefixes of rules without those that another one covers.
fn distinct<'a>(rules: impl Iterator<Item = &'a LifecycleRule>) -> Vec<&'a str> {
    let all: BTreeSet<&str> = rules.map(|rule| rule.prefix.as_str()).collect();
    let mut kept: Vec<&str> = Vec::new();
    // In byte order a prefix stands right before those that it covers.
    for prefix in all {
        if kept.last().is_none_or(|before| !prefix.starts_with(before)) {
            kept.push(prefix);
        }
    }
    kept
}

/// Rules as they are sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    #[serde(default)]
    rules: Vec<LifecycleRule>,
}

impl TryFrom<Unchecked> for LifecyclePolicy {
    type Error = CatalogError;

    fn try_from(unchecked: Unchecked) -> Result<Self, CatalogError> {
        Self::new(unchecked.rules)
    }
}

/// A rule in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    id: String,
    enabled: bool,
    #[serde(default)]
    conditions: WireConditions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    abort_multipart_uploads_transition: Option<WireTransition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delete_objects_transition: Option<WireTransition>,
    #[serde(default, skip_serializing)]
    storage_class_transitions: Vec<serde::de::IgnoredAny>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireConditions {
    #[serde(default)]
    prefix: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTransition {
    condition: WireCondition,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "type")]
enum WireCondition {
    #[serde(rename_all = "camelCase")]
    Age {
        max_age: u64,
    },
    Date {
        date: String,
    },
}

impl TryFrom<Wire> for LifecycleRule {
    type Error = CatalogError;

    fn try_from(wire: Wire) -> Result<Self, CatalogError> {
        let Wire { id, enabled, conditions, .. } = wire;
        if !wire.storage_class_transitions.is_empty() {
            let message = format!(
                "the lifecycle rule {id:?} cannot be carried out: objects do not change their storage class here"
            );
            return Err(CatalogError::new(CatalogErrorKind::Unsupported, message));
        }
        let expiry = match wire.delete_objects_transition.map(|transition| transition.condition) {
            None => None,
            Some(WireCondition::Age { max_age }) => Some(Expiry::Age(max_age)),
            Some(WireCondition::Date { date }) => Some(Expiry::Date(date_of(&date)?)),
        };
        let abort_uploads_after = match wire.abort_multipart_uploads_transition.map(|transition| transition.condition) {
            None => None,
            Some(WireCondition::Age { max_age }) => Some(max_age),
            Some(WireCondition::Date { .. }) => {
                return Err(invalid(format!("the lifecycle rule {id:?} aborts uploads by age alone")));
            }
        };
        Ok(Self { id, is_enabled: enabled, prefix: conditions.prefix, expiry, abort_uploads_after })
    }
}

impl From<LifecycleRule> for Wire {
    fn from(rule: LifecycleRule) -> Self {
        let condition = |expiry| match expiry {
            Expiry::Age(max_age) => WireCondition::Age { max_age },
            Expiry::Date(date) => WireCondition::Date { date: date.to_rfc3339_opts(SecondsFormat::AutoSi, true) },
        };
        let transition = |expiry| WireTransition { condition: condition(expiry) };
        Self {
            id: rule.id,
            enabled: rule.is_enabled,
            conditions: WireConditions { prefix: rule.prefix },
            abort_multipart_uploads_transition: rule.abort_uploads_after.map(Expiry::Age).map(transition),
            delete_objects_transition: rule.expiry.map(transition),
            storage_class_transitions: Vec::new(),
        }
    }
}

/// Reads a date or a time.
fn date_of(text: &str) -> Result<DateTime<Utc>, CatalogError> {
    let day = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0).map(|time| time.and_utc());
    let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).or_else(day);
    time.ok_or_else(|| {
        invalid(format!("invalid date {text:?} in a lifecycle rule: use 2026-12-31 or 2026-12-31T00:00:00Z"))
    })
}

#[cfg(test)]
mod tests {
    use isobar_storage::{Key, UploadId};

    use super::*;

    const NOW: DateTime<Utc> = DateTime::from_timestamp(1_767_225_600, 0).expect("it is 2026-01-01");

    fn object(key: &str, age: u64) -> ObjectMeta {
        let uploaded = NOW - TimeDelta::seconds(age as i64);
        ObjectMeta::new(Key::new(key).unwrap(), "version".into(), 0, "etag".into(), uploaded)
    }

    fn policy(rules: impl IntoIterator<Item = LifecycleRule>) -> LifecyclePolicy {
        LifecyclePolicy::new(rules.into_iter().collect()).unwrap()
    }

    #[test]
    fn objects_expire_by_age_and_date_of_any_rule_that_covers_them() {
        let rules = policy([
            LifecycleRule::new("a").with_prefix("a/").with_expiry(Expiry::Age(100)),
            LifecycleRule::new("b").with_prefix("a/b/").with_expiry(Expiry::Age(10)),
            LifecycleRule::new("c").with_prefix("c/").with_expiry(Expiry::Date(NOW)),
            LifecycleRule::new("d").with_prefix("d/").with_expiry(Expiry::Date(NOW + TimeDelta::milliseconds(1))),
            LifecycleRule::new("e").with_prefix("e/").with_expiry(Expiry::Age(0)).disabled(),
            LifecycleRule::new("f").with_prefix("f/").with_expiry(Expiry::Age(u64::MAX)),
        ]);
        for (key, age, expected) in [
            ("a/k", 100, true),
            ("a/k", 99, false),
            ("a/b/k", 10, true),
            ("a/b/k", 9, false),
            ("ab/k", 1_000_000, false),
            ("c/k", 0, true),
            ("d/k", 1_000_000, false),
            ("e/k", 1_000_000, false),
            ("f/k", 1_000_000, false),
        ] {
            assert_eq!(rules.is_expired(&object(key, age), NOW), expected, "{key} of {age} s");
        }
        assert_eq!(rules.expiring(NOW), ["a/", "c/", "f/"], "no prefix is listed twice, none before its time");
    }

    #[test]
    fn uploads_are_abandoned_by_the_shortest_age() {
        let rules = policy([
            LifecycleRule::new("all").with_abort_uploads_after(DAY),
            LifecycleRule::new("a").with_prefix("a/").with_abort_uploads_after(60),
            LifecycleRule::new("b").with_prefix("b/").with_abort_uploads_after(0).disabled(),
        ]);
        let upload = |key: &str, age: u64| {
            UploadInfo::new(Key::new(key).unwrap(), UploadId::new("id"), NOW - TimeDelta::seconds(age as i64))
        };
        for (key, age, expected) in [("a/k", 60, true), ("a/k", 59, false), ("b/k", 60, false), ("b/k", DAY, true)] {
            assert_eq!(rules.is_abandoned(&upload(key, age), NOW), expected, "{key} of {age} s");
        }
        assert_eq!(rules.aborting(), [""]);
        assert!(!rules.is_expired(&object("a/k", DAY), NOW));
        assert_eq!(LifecyclePolicy::default().aborting(), [""; 0], "stores do it themselves");
    }

    #[test]
    fn rules_survive_json_in_the_form_of_the_api() {
        let rules = policy([
            LifecycleRule::new("logs").with_prefix("logs/").with_expiry(Expiry::Age(86_400)),
            LifecycleRule::new("old").with_expiry(Expiry::Date(NOW)).with_abort_uploads_after(3600).disabled(),
        ]);
        let text = serde_json::to_string(&rules).unwrap();
        let expected = concat!(
            r#"{"rules":[{"id":"logs","enabled":true,"conditions":{"prefix":"logs/"},"#,
            r#""deleteObjectsTransition":{"condition":{"type":"Age","maxAge":86400}}},"#,
            r#"{"id":"old","enabled":false,"conditions":{"prefix":""},"#,
            r#""abortMultipartUploadsTransition":{"condition":{"type":"Age","maxAge":3600}},"#,
            r#""deleteObjectsTransition":{"condition":{"type":"Date","date":"2026-01-01T00:00:00Z"}}}]}"#,
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<LifecyclePolicy>(&text).unwrap(), rules);
        let day = text.replace("2026-01-01T00:00:00Z", "2026-01-01");
        assert_eq!(serde_json::from_str::<LifecyclePolicy>(&day).unwrap(), rules);
    }

    #[test]
    fn rules_that_cannot_be_carried_out_are_refused() {
        let fine = r#"{"rules":[{"id":"a","enabled":true,"conditions":{"prefix":"p"},"deleteObjectsTransition":{"condition":{"type":"Age","maxAge":1}}}]}"#;
        const BY_DATE: &str = r#"abortMultipartUploadsTransition":{"condition":{"type":"Date","date":"2026-01-01"}"#;
        let read = |from: &str, to: &str| {
            let text = fine.replace(from, to);
            assert_ne!(text, fine);
            serde_json::from_str::<LifecyclePolicy>(&text).unwrap_err().to_string()
        };
        assert!(serde_json::from_str::<LifecyclePolicy>(fine).is_ok());
        let class = r#""storageClassTransitions":[{"condition":{"type":"Age","maxAge":1},"storageClass":"InfrequentAccess"}],"id""#;
        assert!(read("\"id\"", class).contains("storage class"));
        assert!(read("\"prefix\"", "\"suffix\"").contains("unknown field"));
        assert!(read("\"maxAge\":1", "\"maxAge\":1,\"minSize\":1").contains("unknown field"));
        assert!(read("\"maxAge\":1", "\"maxAge\":-1").contains("-1"));
        assert!(read("\"type\":\"Age\",\"maxAge\":1", "\"type\":\"Date\",\"date\":\"tomorrow\"").contains("tomorrow"));
        for date in ["+12345-01-01", "-0001-01-01", "9999-12-31T23:59:59-01:00"] {
            let date = format!("\"type\":\"Date\",\"date\":\"{date}\"");
            let refused = read("\"type\":\"Age\",\"maxAge\":1", &date);
            assert!(refused.contains("9999"), "{refused}");
        }
        let by_date = read("deleteObjectsTransition\":{\"condition\":{\"type\":\"Age\",\"maxAge\":1}", BY_DATE);
        assert!(by_date.contains("by age alone"), "{by_date}");
    }

    #[test]
    fn ids_prefixes_and_numbers_have_limits() {
        let refused = |rules: Vec<LifecycleRule>| LifecyclePolicy::new(rules).unwrap_err();
        let rule = |id: &str| LifecycleRule::new(id);
        assert!(refused(vec![rule("a"), rule("a")]).to_string().contains("\"a\""));
        assert!(refused(vec![rule("")]).to_string().contains("1 to 255"));
        assert!(refused(vec![rule(&"x".repeat(256))]).to_string().contains("256"));
        assert!(refused(vec![rule("a").with_prefix("x".repeat(1025))]).to_string().contains("longer than any key"));
        for date in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let year = refused(vec![rule("a").with_expiry(Expiry::Date(date))]);
            assert_eq!((year.kind(), year.to_string().contains("9999")), (CatalogErrorKind::InvalidArgument, true));
        }
        assert!(refused((0..1001).map(|id| rule(&id.to_string())).collect()).to_string().contains("1001"));
        let long = refused(vec![rule("a").with_abort_uploads_after(7 * DAY + 1)]);
        assert_eq!((long.kind(), long.to_string().contains("7 days")), (CatalogErrorKind::Unsupported, true));
        assert!(LifecyclePolicy::new(vec![rule("a").with_abort_uploads_after(7 * DAY)]).is_ok());
    }

    #[test]
    fn store_must_be_able_to_carry_rules_out() {
        let expiring = policy([LifecycleRule::new("a").with_expiry(Expiry::Age(1))]);
        let aborting = policy([LifecycleRule::new("a").with_abort_uploads_after(1)]);
        let none = Capabilities::default();
        assert!(expiring.check_store(none).is_err() && aborting.check_store(none).is_err());
        assert!(LifecyclePolicy::default().check_store(none).is_ok());
        let mut able = Capabilities::default();
        able.delete_version = true;
        assert!(expiring.check_store(able).is_ok() && aborting.check_store(able).is_err());
        able.multipart = true;
        able.list_uploads = true;
        assert!(aborting.check_store(able).is_ok());
    }
}
