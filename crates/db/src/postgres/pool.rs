//! Connections: opened when they are needed, kept while they are whole.
//!
//! A call takes a [`Lease`]. It says when the server is at work for it: a lease that is dropped then, since its caller has gone or its
//! time is over, has the server cancel the statement and gives the connection up, and with it what the transaction has done.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use isobar_base::sync::IgnorePoison;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::Config;

use super::connection::Connection;
use super::fault;
use super::options::PostgresOptions;
use super::tls::Tls;
use crate::{Error, ErrorKind, Result};

/// Open connections, and the right to open others.
pub(super) struct Pool {
    config: Config,
    tls: Tls,
    pub(super) options: PostgresOptions,
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
    runtime: Handle,
}

impl Pool {
    pub(super) fn new(url: &str, options: PostgresOptions) -> Result<Self> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Error::new(ErrorKind::PermissionDenied, format!("cannot read the URL of the database: {error}{cause}"))
        })?;
        if config.get_application_name().is_none() {
            config.application_name("isobar");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(options.connect_limit);
        }
        let tls = Tls::new(options.root_certificates.as_deref())?;
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Internal, "Postgres needs a Tokio runtime with I/O and time").with_source(error)
        })?;
        let free = Arc::new(Semaphore::new(options.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Self { config, tls, options, idle: Mutex::default(), free, runtime })
    }

    /// Takes a connection, as soon as there is one.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease> {
        let limit = self.options.connect_limit;
        let leased = tokio::time::timeout(limit, self.connected());
        leased.await.unwrap_or_else(|_| Err(no_connection(limit)))
    }

    async fn connected(self: &Arc<Self>) -> Result<Lease> {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let permit = permit.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let idle = self.take_idle();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let connection = Some(connection);
        Ok(Lease { pool: Arc::clone(self), connection, state: State::Idle, _permit: permit })
    }

    /// The last connection that was given back, which is the likeliest to be open still.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().ignore_poison();
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.is_closed())
    }

    async fn connect(&self) -> Result<Connection> {
        let (client, driver) = self.config.connect(self.tls.clone()).await.map_err(fault::of)?;
        // It ends when the client is dropped. Its error reaches the caller through the client.
        drop(self.runtime.spawn(driver));
        let connection = Connection::new(client);
        connection.set_up(&self.options).await?;
        Ok(connection)
    }
}

fn no_connection(limit: Duration) -> Error {
    let message =
        format!("no connection to the database within {limit:?}: all are in use, or the server does not answer");
    Error::new(ErrorKind::Unavailable, message)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No transaction is open.
    Idle,
    /// The server is at work.
    Busy,
    /// A transaction is open, and waits for its next statement.
    Open,
}

/// A connection for one call, or for one interactive transaction.
pub(super) struct Lease {
    pool: Arc<Pool>,
    /// `None` in `drop` alone.
    connection: Option<Connection>,
    state: State,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The connection, for statements until [`pause`](Self::pause) or [`end`](Self::end).
    pub(super) fn start(&mut self) -> &mut Connection {
        self.state = State::Busy;
        self.connection.as_mut().expect("a lease has its connection until it is dropped")
    }

    /// Returns whether the connection has ended.
    pub(super) fn is_lost(&self) -> bool {
        self.connection.as_ref().is_none_or(Connection::is_closed)
    }

    /// Returns whether a transaction is open, and waits for its next statement.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The statements have ended, and a transaction is open.
    pub(super) fn pause(&mut self) {
        self.state = State::Open;
    }

    /// The statements have ended, and no transaction is open.
    pub(super) fn end(&mut self) {
        self.state = State::Idle;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match self.state {
            State::Idle if !connection.is_closed() => self.pool.idle.lock().ignore_poison().push(connection),
            State::Busy => {
                let cancelled = connection.cancel(self.pool.tls.clone());
                drop(self.pool.runtime.spawn(async move {
                    cancelled.await;
                    drop(connection);
                }));
            }
            // The server rolls back when the connection ends.
            State::Idle | State::Open => {}
        }
    }
}
