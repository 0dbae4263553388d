//! Options of `copy`.

use crate::Conditions;

/// Options of [`ObjectStore::copy`](crate::ObjectStore::copy). Default: an unconditional copy.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_storage::memory::MemoryStore;
/// use isobar_storage::{Conditions, CopyOptions, Key, ObjectStore, ObjectStoreExt, PutResult};
/// # futures_util::FutureExt::now_or_never(async {
/// let store = MemoryStore::new();
/// store.write(&Key::new("draft")?, "text").await?;
/// let options = CopyOptions::default().with_conditions(Conditions::create_only());
/// let copied = store.copy(&Key::new("draft")?, &Key::new("published")?, options).await?;
/// assert!(matches!(copied, Some(PutResult::Stored(_))));
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Conditions for the source. Default: none.
    pub source_conditions: Option<Conditions>,
    /// Conditions for the destination. Default: none.
    pub conditions: Option<Conditions>,
}

impl CopyOptions {
    /// Copy only if these hold for the source.
    ///
    /// ```
    /// # #[cfg(feature = "memory")] {
    /// use isobar_storage::memory::MemoryStore;
    /// use isobar_storage::{Conditions, CopyOptions, Key, ObjectStore, ObjectStoreExt, PutResult};
    /// # futures_util::FutureExt::now_or_never(async {
    /// let store = MemoryStore::new();
    /// let reviewed = store.write(&Key::new("draft")?, "text").await?;
    /// store.write(&reviewed.key, "text, edited since").await?;
    /// let as_reviewed = CopyOptions::default().with_source_conditions(Conditions::if_etag(reviewed.etag)?);
    /// let copied = store.copy(&reviewed.key, &Key::new("published")?, as_reviewed).await?;
    /// assert_eq!(copied, Some(PutResult::ConditionFailed));
    /// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
    /// ```
    #[must_use]
    pub fn with_source_conditions(mut self, conditions: Conditions) -> Self {
        self.source_conditions = Some(conditions);
        self
    }

    /// Copy only if these hold for the destination.
    ///
    /// ```
    /// use isobar_storage::{Conditions, CopyOptions};
    ///
    /// let without_overwriting = CopyOptions::default().with_conditions(Conditions::create_only());
    /// assert!(without_overwriting.source_conditions.is_none());
    /// ```
    #[must_use]
    pub fn with_conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = Some(conditions);
        self
    }
}
