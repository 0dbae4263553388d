//! The operations of the trait, by name.
//!
//! Names of errors that are not operations of the trait stand in the backends: `open`, `compact`, `erase`, `export`, `import`, `retention`,
//! `query`, `scan`, `schema`.

isobar_base::operations! {
    /// An operation of [`EventSink`](crate::EventSink), by one name everywhere: in [errors](crate::Error::operation) and in the
    /// scripts and records of `mock::MockSink` (feature `mock`).
    #[allow(missing_docs, reason = "the names are the trait's")]
    pub enum Operation {
        Write => "write",
        Flush => "flush",
        Close => "close",
        Health => "health",
        Read => "read",
    }
}
