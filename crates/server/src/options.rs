//! Limits and timeouts of a server.

#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::time::Duration;

use crate::proxy::TrustedProxies;

/// Options of a [`Server`](crate::Server).
///
/// ```
/// use std::time::Duration;
///
/// use isobar_server::ServerOptions;
///
/// let options = ServerOptions::default()
///     .with_connections(1_000)
///     .with_trusted_proxies("10.0.0.0/8".parse()?)
///     .with_request_timeout(Duration::from_secs(20));
/// assert_eq!(options.header_bytes, 64 * 1024);
/// # Ok::<(), isobar_server::RangeError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Time that requests in flight may take after the shutdown. Default: 30 s.
    pub drain: Duration,
    /// Threads that read and write connections, each with a listener of its own. Default: the number of processors.
    pub threads: usize,
    /// Most connections at once, WebSockets included; more are answered with 503 and `Retry-After`, or closed where they speak TLS.
    /// Default: 25,000. At most what [`DescriptorLimit`](crate::DescriptorLimit) leaves of the files that the process may have
    /// open, which [`Server::serve`](crate::Server::serve) raises to the hard limit.
    pub connections: usize,
    /// Most connections at once from one address, or from one /64 network of IPv6; trusted proxies have no such limit.
    /// Default: a half of `connections`, at least 64.
    pub connections_per_address: Option<usize>,
    /// Proxies whose headers about their clients are believed. Default: none.
    pub trusted_proxies: TrustedProxies,
    /// Every connection begins with a header of the PROXY protocol (version 1 or 2) that has the client's address; a
    /// connection without one is closed, and so is one from an address outside of `trusted_proxies`, where there are any. Also on
    /// a socket in the file system. Default: no.
    pub proxy_protocol: bool,
    /// The longest head of a request, in bytes; a longer one is answered 431. Default: 64 KiB.
    pub header_bytes: usize,
    /// Time that a client may take for the head of a request, the wait for its first byte included. Default: 60 s. Over HTTP/1.1
    /// an idle connection is closed after it, too; over HTTP/2 one stays as long as the client answers pings, which are sent
    /// that often.
    pub header_timeout: Duration,
    /// Time that a client may leave an answer unread before its connection is closed. Default: 60 s.
    pub write_timeout: Duration,
    /// Time that a client may pause while it sends a body; 408 after it. Default: 30 s. Only the time counts in which a handler
    /// waits for the body.
    pub body_timeout: Duration,
    /// Bytes a second that a client must send of a body on the mean, after a first `body_timeout`; 408 otherwise. 0 for no
    /// limit. Default: 500, as Apache's mod_reqtimeout.
    pub body_rate: u64,
    /// Bytes that the bodies of all requests in flight may take in memory; 503 with `Retry-After` for more. A body counts with
    /// what was read of it, up to the application's limit for one ([`Application::body_limit`](crate::Application::body_limit)), or
    /// with what its handler holds of it ([`BodyAccount`](crate::BodyAccount)), if that is more. Default: 256 MiB.
    pub body_memory: usize,
    /// Bytes of `body_memory` that requests from one address, or from one /64 network of IPv6, may take; 503 with `Retry-After`
    /// for more. At least the application's limit for one body; trusted proxies have no such limit. Default: a quarter of
    /// `body_memory`, and at least 8 MiB, or all of it where that is less.
    pub body_memory_per_address: Option<usize>,
    /// Time that a route may take until its answer begins; 503 after it. Default: none, no limit.
    pub request_timeout: Option<Duration>,
    /// The certificate for TLS. Default: none, plain HTTP.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsOptions>,
}

/// Files in PEM, read at the start, and again within 5 s of a change. An invalid new one is logged, and the old one stays in use.
///
/// ```no_run
/// use isobar_server::{Server, ServerOptions};
///
/// # async fn example() -> Result<(), isobar_server::ServerError> {
/// let options = ServerOptions::default().with_tls("/etc/ssl/example.pem", "/etc/ssl/example.key");
/// let server = Server::bind_with(([0, 0, 0, 0], 443).into(), options).await?;
/// assert!(server.url().starts_with("https://"));
/// # Ok(()) }
/// ```
#[cfg(feature = "tls")]
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// The certificate, and after it its intermediate certificates.
    pub certificate: PathBuf,
    /// The private key of the certificate, in PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            connections: 25_000,
            connections_per_address: None,
            trusted_proxies: TrustedProxies::default(),
            proxy_protocol: false,
            header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            body_rate: 500,
            body_memory: 256 * 1024 * 1024,
            body_memory_per_address: None,
            request_timeout: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl ServerOptions {
    /// Sets the time that requests in flight may take after the shutdown. Default: 30 s. Those that take longer are cut off with their
    /// connections; a process manager's own time until it kills should be longer.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_server::ServerOptions;
    ///
    /// // Kubernetes kills after 30 s by default.
    /// let options = ServerOptions::default().with_drain(Duration::from_secs(25));
    /// assert_eq!(options.drain.as_secs(), 25);
    /// ```
    #[must_use]
    pub fn with_drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Sets the number of threads that read and write connections; at least one. Default: the number of processors. The application does not
    /// run on them, but for its responses in memory.
    ///
    /// ```
    /// use isobar_server::ServerOptions;
    ///
    /// assert_eq!(ServerOptions::default().with_threads(0).threads, 1);
    /// ```
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Sets the most connections at once; at least one, and no more than the limit of open files leaves. Default: 25,000.
    ///
    /// ```
    /// use isobar_server::{DescriptorLimit, ServerOptions};
    ///
    /// let options = ServerOptions::default().with_connections(1_000_000);
    /// // What a process with the usual limit serves of them, until the limit is raised:
    /// assert_eq!(options.connections.min(DescriptorLimit::default().connections()), 513);
    /// ```
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Sets the most connections at once from one address, or from one /64 network of IPv6; at least one. Default: a half of
    /// `connections`, at least 64.
    ///
    /// ```
    /// use isobar_server::ServerOptions;
    ///
    /// // A client of HTTP/1.1 opens some six; an office has many clients behind one address.
    /// let options = ServerOptions::default().with_connections_per_address(200);
    /// assert_eq!(options.connections_per_address, Some(200));
    /// ```
    #[must_use]
    pub fn with_connections_per_address(mut self, connections: usize) -> Self {
        self.connections_per_address = Some(connections.max(1));
        self
    }

    /// Sets the proxies whose headers about their clients are believed. Default: none, and every client's address is that of its connection.
    ///
    /// ```
    /// use isobar_server::ServerOptions;
    ///
    /// let options = ServerOptions::default().with_trusted_proxies("10.0.0.0/8, ::1".parse()?);
    /// assert!(options.trusted_proxies.contains("10.0.0.7".parse().unwrap()));
    /// # Ok::<(), isobar_server::RangeError>(())
    /// ```
    #[must_use]
    pub fn with_trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.trusted_proxies = proxies;
        self
    }

    /// Sets whether every connection begins with a header of the PROXY protocol; see [`proxy_protocol`](Self::proxy_protocol).
    /// Default: no. For a balancer that passes on TCP or TLS and cannot set headers of HTTP.
    ///
    /// ```
    /// use isobar_server::ServerOptions;
    ///
    /// // Without trusted proxies any sender of such a header is believed: the port must be the balancer's alone.
    /// let options = ServerOptions::default().with_proxy_protocol(true).with_trusted_proxies("10.0.0.0/8".parse()?);
    /// assert!(options.proxy_protocol && !options.trusted_proxies.is_empty());
    /// # Ok::<(), isobar_server::RangeError>(())
    /// ```
    #[must_use]
    pub fn with_proxy_protocol(mut self, proxy_protocol: bool) -> Self {
        self.proxy_protocol = proxy_protocol;
        self
    }

    /// Sets how long a client may pause while it sends a body; 408 after it. Default: 30 s. It is the time before the mean rate counts, too
    /// ([`body_rate`](Self::body_rate)).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_server::ServerOptions;
    ///
    /// // Without a rate, the pauses alone are limited.
    /// let options = ServerOptions::default().with_body_timeout(Duration::from_secs(10)).with_body_rate(0);
    /// assert_eq!((options.body_timeout.as_secs(), options.body_rate), (10, 0));
    /// ```
    #[must_use]
    pub fn with_body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Sets the bytes a second that a client must send of a body on the mean; 0 for no limit. Default: 500.
    #[must_use]
    pub fn with_body_rate(mut self, bytes_per_second: u64) -> Self {
        self.body_rate = bytes_per_second;
        self
    }

    /// Sets the bytes that the bodies of all requests in flight may take in memory; 503 for more. Default: 256 MiB.
    ///
    /// ```
    /// use isobar_server::ServerOptions;
    ///
    /// // A machine of 512 MiB: four addresses can fill it, each with 16 MiB.
    /// let options = ServerOptions::default().with_body_memory(64 << 20).with_body_memory_per_address(16 << 20);
    /// assert_eq!(options.body_memory / options.body_memory_per_address.expect("it was set"), 4);
    /// ```
    #[must_use]
    pub fn with_body_memory(mut self, bytes: usize) -> Self {
        self.body_memory = bytes;
        self
    }

    /// The bytes of body memory that requests from one address may take.
    pub(crate) fn body_share(&self) -> usize {
        let by_default = (self.body_memory / 4).max(8 * 1024 * 1024).min(self.body_memory);
        self.body_memory_per_address.unwrap_or(by_default)
    }

    /// Sets the bytes of body memory that requests from one address may take; 503 for more, and at least one body of the
    /// application's limit. Default: a quarter of `body_memory`, at least 8 MiB.
    #[must_use]
    pub fn with_body_memory_per_address(mut self, bytes: usize) -> Self {
        self.body_memory_per_address = Some(bytes);
        self
    }

    /// Sets the longest head of a request, in bytes; at least 8 KiB. A longer one is answered 431. Default: 64 KiB.
    ///
    /// ```
    /// use isobar_server::ServerOptions;
    ///
    /// assert_eq!(ServerOptions::default().with_header_bytes(100).header_bytes, 8 * 1024);
    /// ```
    #[must_use]
    pub fn with_header_bytes(mut self, bytes: usize) -> Self {
        self.header_bytes = bytes.max(8 * 1024);
        self
    }

    /// Sets how long a client may take for the head of a request, and how long a connection may be idle. Default: 60 s.
    #[must_use]
    pub fn with_header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// Sets how long a client may leave an answer unread before its connection is closed. Default: 60 s.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets how long a route may take until its answer begins; 503 after it. Default: no limit.
    ///
    /// The response to it is [`Application::refuse`](crate::Application::refuse)'s; the application's own future is dropped then. A response that
    /// has begun may take as long as its client reads it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use isobar_server::{Refusal, ServerOptions};
    ///
    /// let options = ServerOptions::default().with_request_timeout(Duration::from_secs(2));
    /// let refusal = Refusal::TimedOut(options.request_timeout.expect("it was set"));
    /// assert_eq!((refusal.status().as_u16(), refusal.to_string()), (503, "there was no answer within 2 s".to_owned()));
    /// ```
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = Some(timeout);
        self
    }

    /// Serves by TLS, with HTTP/2 and HTTP/1.1 by ALPN, and the certificate in these files; see [`TlsOptions`]. Default: plain HTTP.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(TlsOptions { certificate: certificate.into(), key: key.into() });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_quarter_of_the_memory_and_room_for_a_part_of_an_upload() {
        let share = |bytes| ServerOptions::default().with_body_memory(bytes).body_share() >> 20;
        assert_eq!((share(256 << 20), share(16 << 20), share(4 << 20)), (64, 8, 4));
        assert_eq!(ServerOptions::default().with_body_memory_per_address(5).body_share(), 5);
    }
}
