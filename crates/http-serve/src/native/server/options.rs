//! What a server allows, and how long it waits.

use std::path::PathBuf;
use std::time::Duration;

/// Options of a [`Server`](super::Server).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// How long requests under way may take after the end was called; 30 s.
    pub drain: Duration,
    /// Threads that read and write connections, each with a listener of its own; as many as there are processors.
    pub threads: usize,
    /// Connections at once, WebSockets included; more wait until one ends. 25,000: together with files and databases it must
    /// fit the process's limit of open files.
    pub connections: usize,
    /// The longest head of a request, in bytes; a longer one is answered with 431. 64 KiB.
    pub header_bytes: usize,
    /// How long a client may take for the head of a request, the time before its first byte included; 60 s. So over HTTP/1.1 it
    /// is the longest that a connection is kept without a request, too; over HTTP/2 one stays as long as the client answers
    /// pings, which it is sent that often.
    pub header_timeout: Duration,
    /// How long a client may leave an answer unread before it is taken for gone; 60 s.
    pub write_timeout: Duration,
    /// How long a route may take until its answer begins; 503 then. Without one it may take for ever.
    pub request_timeout: Option<Duration>,
    /// The certificate to serve by TLS with; plain HTTP without one.
    pub tls: Option<TlsOptions>,
}

/// Files in PEM: read at the start, and again within 5 s when one of them is another. A new one that cannot be used is logged,
/// and the old one stays.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// The certificate, and those that lead from it to one that clients know.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            connections: 25_000,
            header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            request_timeout: None,
            tls: None,
        }
    }
}

impl ServerOptions {
    /// How long requests under way may take after the end was called.
    #[must_use]
    pub fn with_drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Threads that read and write connections; at least one.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Connections at once; at least one.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// The longest head of a request, in bytes; at least 8 KiB.
    #[must_use]
    pub fn with_header_bytes(mut self, bytes: usize) -> Self {
        self.header_bytes = bytes.max(8 * 1024);
        self
    }

    /// How long a client may take for the head of a request.
    #[must_use]
    pub fn with_header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// How long a client may leave an answer unread.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How long a route may take until its answer begins.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = Some(timeout);
        self
    }

    /// Serves by TLS, HTTP/2 and HTTP/1.1.
    #[must_use]
    pub fn with_tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(TlsOptions { certificate: certificate.into(), key: key.into() });
        self
    }
}
