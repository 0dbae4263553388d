//! The operations of the traits, by name.
//!
//! Names are what logs, metrics and scripts of mocks show, so they do not change: a new operation is a new name.

isobar_base::operations! {
    /// An operation of [`Queryable`](crate::Queryable), [`Database`](crate::Database) and interactive transactions, by one name
    /// everywhere: in [errors](crate::Error::operation) and in the scripts and records of `mock::MockDatabase` (feature `mock`). A
    /// script of SQL ([`batch_script`](crate::Queryable::batch_script)) is a batch.
    #[allow(missing_docs, reason = "the names are the trait's")]
    pub enum Operation {
        Query => "query",
        Batch => "batch",
        Exec => "exec",
        Health => "health",
        Export => "export",
        Import => "import",
        Begin => "begin",
        Commit => "commit",
        Rollback => "rollback",
    }
}
