//! The operations of the trait, by name.

isobar_base::operations! {
    /// An operation of [`SessionNamespace`](crate::SessionNamespace), by one name everywhere: in
    /// [errors](crate::Error::operation) and in the scripts and records of `mock::MockNamespace` (feature `mock`).
    #[allow(missing_docs, reason = "the names are the trait's")]
    pub enum Operation {
        Fetch => "fetch",
        List => "list",
        Health => "health",
        Evict => "evict",
        Sockets => "sockets",
        Drain => "drain",
    }
}
