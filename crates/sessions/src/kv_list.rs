//! Options of a list of keys.

/// Options of [`Kv::list`](crate::Kv::list).
///
/// ```
/// use isobar_sessions::{KvListOptions, Result, SessionContext};
///
/// /// The ten newest entries of a log whose keys begin with their time.
/// fn newest(context: &SessionContext) -> Result<Vec<(String, String)>> {
///     context.kv().list(&KvListOptions::default().with_prefix("log/").reversed().with_limit(10))
/// }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct KvListOptions {
    /// First key. Default: `None`, from the first there is. Not together with `start_after`.
    pub start: Option<String>,
    /// Key after which the list starts. Default: `None`. Not together with `start`.
    pub start_after: Option<String>,
    /// Key before which the list ends. Default: `None`, after the last there is.
    pub end: Option<String>,
    /// Prefix of the keys. Default: `None`, all keys.
    pub prefix: Option<String>,
    /// Whether the list goes from the last key to the first. Default: `false`.
    pub reverse: bool,
    /// Largest number of keys, above 0. Default: `None`, all of them.
    pub limit: Option<usize>,
}

impl KvListOptions {
    /// Starts the list at this key.
    #[must_use]
    pub fn with_start(mut self, key: impl Into<String>) -> Self {
        self.start = Some(key.into());
        self
    }

    /// Starts the list after this key.
    ///
    /// A page after another begins after its last key, and shifts by no key that was removed meanwhile:
    ///
    /// ```
    /// use isobar_sessions::{KvListOptions, Result, SessionContext};
    ///
    /// /// The hundred entries behind this one.
    /// fn page(context: &SessionContext, last: Option<&str>) -> Result<Vec<(String, u64)>> {
    ///     let options = KvListOptions::default().with_prefix("score/").with_limit(100);
    ///     context.kv().list(&match last {
    ///         Some(last) => options.with_start_after(last),
    ///         None => options,
    ///     })
    /// }
    /// # let _ = page;
    /// ```
    #[must_use]
    pub fn with_start_after(mut self, key: impl Into<String>) -> Self {
        self.start_after = Some(key.into());
        self
    }

    /// Ends the list before this key.
    #[must_use]
    pub fn with_end(mut self, key: impl Into<String>) -> Self {
        self.end = Some(key.into());
        self
    }

    /// Lists only keys with this prefix.
    ///
    /// It may be given with a start and an end: a key has to be within all of them. An empty text is no condition.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Lists from the last key to the first.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Lists at most this number of keys.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }
}
