//! Permissions of a key on buckets and objects.
//!
//! All questions are about texts alone and are cheap: a door asks for each object of a request.
//! Prefixes are compared byte by byte; `2026` is a prefix of `2026-old/`, `2026/` is not.

/// Permissions of a key on buckets and their objects. Default: none.
///
/// A scope that is bound to buckets knows no others: it neither creates nor deletes a bucket. One that is bound to a prefix reads,
/// writes and lists keys with the prefix alone.
///
/// ```
/// use isobar_gateway::keys::BucketScope;
///
/// let scope = BucketScope::read_only().with_bucket("photos").with_prefix("2026/");
/// assert!(scope.can_read("photos", "2026/sunrise.jpg"));
/// assert!(!scope.can_write("photos", "2026/sunrise.jpg"));
/// assert!(scope.can_list("photos", "2026/07/") && !scope.can_list("photos", ""));
/// assert!(scope.knows("photos") && !scope.knows("backups"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketScope {
    /// Whether objects and buckets may be read and listed. Default: false.
    pub read: bool,
    /// Whether objects may be written and deleted. Default: false.
    pub write: bool,
    /// Names of the only buckets. Default: empty, which is every bucket.
    pub buckets: Vec<String>,
    /// Beginning of the only keys. Default: empty, which is every key.
    pub prefix: String,
}

impl BucketScope {
    /// Returns a scope that reads every bucket.
    #[must_use]
    pub fn read_only() -> Self {
        Self { read: true, ..Self::default() }
    }

    /// Returns a scope that reads and writes every bucket.
    #[must_use]
    pub fn read_write() -> Self {
        Self { read: true, write: true, ..Self::default() }
    }

    /// Adds a bucket to the only ones. The first one narrows the scope from every bucket to this one.
    #[must_use]
    pub fn with_bucket(mut self, bucket: impl Into<String>) -> Self {
        self.buckets.push(bucket.into());
        self
    }

    /// Binds the scope to keys with this prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Reports whether the bucket is within the scope, whatever is done with it.
    #[must_use]
    pub fn knows(&self, bucket: &str) -> bool {
        self.buckets.is_empty() || self.buckets.iter().any(|name| name == bucket)
    }

    /// Reports whether anything may be done in the bucket, so that the key may learn that it exists.
    ///
    /// ```
    /// use isobar_gateway::keys::BucketScope;
    ///
    /// assert!(BucketScope::read_only().can_use("photos"));
    /// assert!(!BucketScope::read_only().with_bucket("backups").can_use("photos"));
    /// assert!(!BucketScope::default().can_use("photos"), "no permission at all");
    /// ```
    #[must_use]
    pub fn can_use(&self, bucket: &str) -> bool {
        (self.read || self.write) && self.knows(bucket)
    }

    /// Reports whether the object may be read.
    #[must_use]
    pub fn can_read(&self, bucket: &str, key: &str) -> bool {
        self.read && self.knows(bucket) && key.starts_with(&self.prefix)
    }

    /// Reports whether the object may be written and deleted.
    #[must_use]
    pub fn can_write(&self, bucket: &str, key: &str) -> bool {
        self.write && self.knows(bucket) && key.starts_with(&self.prefix)
    }

    /// Reports whether the keys with this prefix may be listed.
    ///
    /// A list with a shorter prefix than the scope's is refused, rather than cut to what the key may
    /// see: a client would take the part for the whole.
    #[must_use]
    pub fn can_list(&self, bucket: &str, prefix: &str) -> bool {
        self.can_read(bucket, prefix)
    }

    /// Reports whether buckets may be created, deleted and configured: by a scope that is bound neither to buckets nor to a prefix.
    ///
    /// ```
    /// use isobar_gateway::keys::BucketScope;
    ///
    /// assert!(BucketScope::read_write().can_administer());
    /// assert!(!BucketScope::read_write().with_bucket("photos").can_administer());
    /// assert!(!BucketScope::read_write().with_prefix("2026/").can_administer());
    /// assert!(!BucketScope::read_only().can_administer());
    /// ```
    #[must_use]
    pub fn can_administer(&self) -> bool {
        self.write && self.buckets.is_empty() && self.prefix.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_scope_allows_nothing() {
        let scope = BucketScope::default();
        assert!(!scope.can_read("a", "k") && !scope.can_write("a", "k") && !scope.can_list("a", ""));
        assert!(!scope.can_administer() && !scope.can_use("a"));
    }

    #[test]
    fn bucket_is_used_by_whoever_reads_or_writes_in_it() {
        let mut writer = BucketScope::read_write().with_bucket("a");
        writer.read = false;
        assert!(writer.can_use("a") && !writer.can_use("b"));
        assert!(BucketScope::read_only().with_prefix("p/").can_use("a"));
    }

    #[test]
    fn bound_scope_does_not_administer() {
        assert!(BucketScope::read_write().can_administer());
        assert!(!BucketScope::read_write().with_bucket("a").can_administer());
        assert!(!BucketScope::read_write().with_prefix("a").can_administer());
        assert!(!BucketScope::read_only().can_administer());
    }

    #[test]
    fn prefix_covers_no_listing_above_it() {
        let scope = BucketScope::read_only().with_prefix("a/");
        assert!(scope.can_list("any", "a/") && scope.can_list("any", "a/b"));
        assert!(!scope.can_list("any", "a") && !scope.can_list("any", ""));
    }
}
