//! Access keys and the trait by which a door finds them.
//!
//! S3 signs with a secret that the server needs in clear to check it (Signature Version 4 is an HMAC),
//! so that a store of keys has to give it out; it is wiped from memory when the last copy is dropped.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use zeroize::Zeroizing;

use super::BucketScope;

/// An access key with its secret, as a door needs it to verify a signature.
///
/// ```
/// use chrono::{TimeDelta, Utc};
/// use isobar_gateway::keys::{AccessKey, BucketScope};
///
/// let now = Utc::now();
/// let key = AccessKey::new("ci", "secret of ci", BucketScope::read_only()).with_expires(now + TimeDelta::hours(1));
/// assert!(!key.is_expired(now) && key.is_expired(now + TimeDelta::hours(1)));
/// assert!(!format!("{key:?}").contains(key.secret()));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct AccessKey {
    /// Name of the key, which requests carry.
    pub id: String,
    /// Permissions on buckets.
    pub scope: BucketScope,
    /// Time from which the key is refused. Default: none, the key does not expire.
    pub expires: Option<DateTime<Utc>>,
    secret: Zeroizing<String>,
}

impl AccessKey {
    /// Returns a key that does not expire.
    #[must_use]
    pub fn new(id: impl Into<String>, secret: impl Into<String>, scope: BucketScope) -> Self {
        Self { id: id.into(), scope, expires: None, secret: Zeroizing::new(secret.into()) }
    }

    /// Sets the time from which the key is refused. A presigned URL ends with its key, too.
    #[must_use]
    pub fn with_expires(mut self, expires: DateTime<Utc>) -> Self {
        self.expires = Some(expires);
        self
    }

    /// Returns the secret, with which requests are signed.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Reports whether the key is refused at this time: at its time of expiry, and after it.
    #[must_use]
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, scope, expires, secret: _ } = self;
        f.debug_struct("AccessKey")
            .field("id", id)
            .field("scope", scope)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

/// Failure of a store of keys. A door answers it as an error of its own, never as a wrong key.
///
/// ```
/// use isobar_gateway::keys::KeysError;
///
/// let error = KeysError::new("the table is locked").with_source("database is locked");
/// assert_eq!(error.to_string(), "access keys: the table is locked");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("access keys: {message}")]
pub struct KeysError {
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl KeysError {
    /// Returns an error with this message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// A store of access keys, as doors see it.
///
/// ```
/// use async_trait::async_trait;
/// use isobar_gateway::keys::{AccessKey, AccessKeys, BucketScope, KeysError};
///
/// #[derive(Debug)]
/// struct OneKey;
///
/// #[async_trait]
/// impl AccessKeys for OneKey {
///     async fn find(&self, access_key_id: &str) -> Result<Option<AccessKey>, KeysError> {
///         Ok((access_key_id == "ci").then(|| AccessKey::new("ci", "secret of ci", BucketScope::read_only())))
///     }
/// }
/// ```
///
/// A door asks it for each request and keeps nothing, so that a key that is revoked is refused from the
/// next request on. Finding takes as long as each request waits: tens of microseconds, not a request to
/// another machine.
#[async_trait]
pub trait AccessKeys: Debug + Send + Sync {
    /// Returns the key of this id, or `None` where there is none or it is revoked. Expired keys are returned: a door checks
    /// [`AccessKey::is_expired`] itself.
    ///
    /// # Errors
    /// [`KeysError`] where the store cannot be read.
    async fn find(&self, access_key_id: &str) -> Result<Option<AccessKey>, KeysError>;

    /// Counts a use of a key, after its signature or token was verified. It writes nothing at once. The default does nothing, for
    /// stores that do not count.
    fn note_use(&self, _access_key_id: &str) {}
}

/// A fixed list of access keys in memory, for tests and for programs with a key of their own.
///
/// ```
/// use isobar_gateway::keys::{AccessKey, AccessKeys, BucketScope, StaticKeys};
/// # futures_util::FutureExt::now_or_never(async {
/// let keys = StaticKeys::new([AccessKey::new("ci", "secret of ci", BucketScope::read_write())]);
/// assert!(keys.find("ci").await?.is_some());
/// assert!(keys.find("other").await?.is_none());
/// # Ok::<_, isobar_gateway::keys::KeysError>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct StaticKeys {
    keys: Vec<AccessKey>,
}

impl StaticKeys {
    /// Returns a store of these keys.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = AccessKey>) -> Self {
        Self { keys: keys.into_iter().collect() }
    }
}

#[async_trait]
impl AccessKeys for StaticKeys {
    async fn find(&self, access_key_id: &str) -> Result<Option<AccessKey>, KeysError> {
        Ok(self.keys.iter().find(|key| key.id == access_key_id).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_secret() {
        let key = AccessKey::new("id", "hunter2", BucketScope::default());
        assert!(!format!("{key:?}").contains("hunter2"));
    }

    #[test]
    fn key_is_expired_from_its_time_on() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let key = AccessKey::new("id", "secret", BucketScope::default()).with_expires(now);
        assert!(key.is_expired(now));
        assert!(!key.is_expired(now - chrono::TimeDelta::seconds(1)));
    }
}
