//! Time, injected: a test of an expiry does not wait for it.

use std::sync::Arc;

use chrono::{DateTime, Utc};

/// Tells the time. Stores cut it to milliseconds, as R2 does, and need not be asked in order: a clock that is set back makes an object
/// whose [`uploaded`](crate::ObjectMeta::uploaded) is before that of an older one, and nothing else.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::sync::Arc;
///
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Clock, Key, ObjectStoreExt};
/// # futures_util::FutureExt::now_or_never(async {
/// let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("a time in range");
/// let clock: Clock = Arc::new(move || at);
/// let meta = MemoryStore::with_clock(clock).write(&Key::new("a")?, "1").await?;
/// assert_eq!(meta.uploaded, at);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The system's clock: the default of every store that takes one.
///
/// ```
/// let clock = isobar_storage::system_clock();
/// assert!(clock().timestamp() > 1_700_000_000);
/// ```
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(Utc::now)
}
