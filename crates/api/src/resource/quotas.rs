//! Limits of a tenant.
//!
//! Rows are counted in [`row_count`](super::row_count); the keys here. Each limit is of one tenant, so that no tenant can use
//! up what others need, and each is checked where the write is, in its transaction or just before it. Two requests at the
//! limit of keys may both pass: the limit bounds storage, and one answer more does no harm.

use http::{HeaderValue, StatusCode};
use isobar_db::{Database, QueryableExt};

use crate::Problem;
use crate::integer::integer;

/// Limits of each tenant.
///
/// ```
/// use isobar_api::Quotas;
/// let quotas = Quotas::default().with_rows(1_000).with_idempotency(100, 1 << 20);
/// assert_eq!((quotas.rows, quotas.idempotency_keys, quotas.idempotency_bytes), (1_000, 100, 1 << 20));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Quotas {
    /// Largest number of rows of each resource. Beyond it a creation is answered 507. [`Resource::max_rows`](crate::Resource::max_rows)
    /// overrides it. Default: 100,000.
    pub rows: u64,
    /// Largest number of stored answers to requests with an `Idempotency-Key`. Each is stored for 24 hours. Beyond it a request with
    /// a new key is answered 429. Default: 10,000.
    pub idempotency_keys: u64,
    /// Largest total size of those answers in bytes. Beyond it a request with a new key is answered 429. Default: 64 MiB.
    pub idempotency_bytes: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { rows: 100_000, idempotency_keys: 10_000, idempotency_bytes: 64 << 20 }
    }
}

impl Quotas {
    /// Sets the number of rows of each resource. Default: 100,000.
    ///
    /// ```
    /// let quotas = isobar_api::Quotas::default().with_rows(5_000);
    /// assert_eq!((quotas.rows, quotas.idempotency_keys), (5_000, 10_000));
    /// ```
    #[must_use]
    pub fn with_rows(mut self, rows: u64) -> Self {
        self.rows = rows;
        self
    }

    /// Sets the number of stored answers to requests with an `Idempotency-Key`, and their total size in bytes. Default: 10,000, and
    /// 64 MiB.
    ///
    /// ```
    /// let quotas = isobar_api::Quotas::default().with_idempotency(1_000, 8 << 20);
    /// assert_eq!((quotas.idempotency_keys, quotas.idempotency_bytes), (1_000, 8_388_608));
    /// ```
    #[must_use]
    pub fn with_idempotency(mut self, keys: u64, bytes: u64) -> Self {
        self.idempotency_keys = keys;
        self.idempotency_bytes = bytes;
        self
    }

    /// Checks that a tenant may use a new `Idempotency-Key`.
    ///
    /// # Errors
    /// 429.
    pub(super) async fn check_keys(&self, database: &dyn Database, tenant: &str, since: &str) -> Result<(), Problem> {
        // Answered by a covering index, whose size the limit bounds.
        let sql =
            "SELECT count(*), coalesce(sum(bytes), 0) FROM idempotency_keys WHERE tenant_id = ? AND created_at >= ?";
        let (keys, bytes): (i64, i64) = database.prepare(sql).bind(tenant).bind(since).one().await?;
        if keys < integer(self.idempotency_keys) && bytes < integer(self.idempotency_bytes) {
            return Ok(());
        }
        let detail = format!(
            "your team has used {} Idempotency-Keys within a day, or their answers have {} bytes; send the request without one, \
             or later",
            self.idempotency_keys, self.idempotency_bytes
        );
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS).with_detail(detail);
        Err(problem.with_retry_after(HeaderValue::from_static("3600")))
    }
}
