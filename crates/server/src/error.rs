//! Why a server cannot serve.
//!
//! Errors of single connections are none of these: they are logged at the level `DEBUG`, and end the connection.

use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;

/// Why a server cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is taken.
    #[error("{0} is in use by another program; stop it, or choose another port")]
    InUse(SocketAddr),
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, #[source] std::io::Error),
    /// The socket cannot be made.
    #[cfg(unix)]
    #[error("cannot listen on {path}: {error}", path = .0.display(), error = .1)]
    BindUnix(PathBuf, #[source] std::io::Error),
    /// The certificate or its key cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Tls(String),
    /// Serving broke off.
    #[error("the server broke off: {0}")]
    Serve(#[source] std::io::Error),
}
