//! Options of a Postgres database.

use std::time::Duration;

/// Options of a [`PostgresDatabase`](crate::PostgresDatabase).
///
/// ```
/// use std::time::Duration;
///
/// use isobar_db::{Isolation, PostgresOptions};
///
/// let options = PostgresOptions::default().with_max_connections(4).with_time_limit(Duration::from_secs(5));
/// assert_eq!((options.max_connections, options.isolation), (4, Isolation::Serializable));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// Most connections at once; others wait. An interactive transaction holds one. Default: 10; 0 counts as 1.
    pub max_connections: usize,
    /// Longest wait for a connection, the time to connect included. Default: 30 s. Beyond it the call fails with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    pub connect_limit: Duration,
    /// Longest run of a query or a batch, with its repetitions. Default: 30 s, as D1. One that takes longer is cancelled on the server
    /// and rolled back.
    pub time_limit: Duration,
    /// Isolation of transactions. Default: [`Isolation::Serializable`], as SQLite and D1.
    pub isolation: Isolation,
    /// Schema in which tables are found and created; it is created if necessary. Default: none, and the server's `search_path`.
    pub schema: Option<String>,
    /// Certificates of authorities in PEM that may vouch for the server, in place of the system's. Default: none, the system's.
    pub root_certificates: Option<Vec<u8>>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: 10,
            connect_limit: Duration::from_secs(30),
            time_limit: Duration::from_secs(30),
            isolation: Isolation::default(),
            schema: None,
            root_certificates: None,
        }
    }
}

impl PostgresOptions {
    /// Sets [`max_connections`](Self::max_connections).
    #[must_use]
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets [`connect_limit`](Self::connect_limit).
    #[must_use]
    pub fn with_connect_limit(mut self, limit: Duration) -> Self {
        self.connect_limit = limit;
        self
    }

    /// Sets [`time_limit`](Self::time_limit).
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets [`isolation`](Self::isolation).
    #[must_use]
    pub fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Sets [`schema`](Self::schema).
    #[must_use]
    pub fn with_schema(mut self, name: impl Into<String>) -> Self {
        self.schema = Some(name.into());
        self
    }

    /// Sets [`root_certificates`](Self::root_certificates).
    #[must_use]
    pub fn with_root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }
}

/// Isolation of Postgres' transactions.
///
/// SQLite and D1 have the first alone: transactions have the effect of one after the other. A batch that another transaction has
/// overtaken is run again by the backend; an interactive transaction fails with [`ErrorKind::Conflict`](crate::ErrorKind::Conflict), and
/// the program runs it again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// As if each ran alone.
    #[default]
    Serializable,
    /// One snapshot for the whole transaction; two may each miss the other's write.
    RepeatableRead,
    /// Each statement sees what was committed before it. Postgres' own default.
    ReadCommitted,
}

impl Isolation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Serializable => "serializable",
            Self::RepeatableRead => "repeatable read",
            Self::ReadCommitted => "read committed",
        }
    }
}
