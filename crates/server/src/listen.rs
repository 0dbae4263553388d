//! Listeners: one for each thread on the same address, or a socket in the file system.
//!
//! Each thread has a listener of its own on the same address (`SO_REUSEPORT`), and the system spreads connections over them: no
//! thread waits for another to accept. Whether the address is free is found out by a listener without that option first, as
//! another server with the option would not be noticed.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::ServerError;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A bound listener that no runtime has yet.
pub(crate) enum BoundListener {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

/// Where a server listens, before it does so on every thread.
#[derive(Debug)]
pub(crate) enum Listeners {
    Tcp(Vec<std::net::TcpListener>),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// The file of a socket; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

impl Listeners {
    /// Binds `count` listeners to an address; the system spreads connections over them. Port 0 is resolved by the first of them, so that all
    /// have the same. Between the one that looks and those that share there is a moment in which another program can take the port: then
    /// binding fails, unless that program shares it as well.
    pub(crate) fn tcp(address: SocketAddr, count: usize) -> Result<(Self, SocketAddr), ServerError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => ServerError::InUse(address),
            _ => ServerError::Bind(address, error),
        };
        // Alone at first: to one that shares its address, another program that does the same would be welcome.
        let alone = listener(address, false).map_err(failed)?;
        let bound = alone.local_addr().map_err(failed)?;
        if count == 1 || !cfg!(all(unix, not(any(target_os = "solaris", target_os = "illumos")))) {
            return Ok((Self::Tcp(vec![alone]), bound));
        }
        drop(alone);
        let listeners: io::Result<Vec<_>> = (0..count).map(|_| listener(bound, true)).collect();
        Ok((Self::Tcp(listeners.map_err(failed)?), bound))
    }

    /// Returns the listener of each thread, and the file that is to stay as long as they do.
    pub(crate) fn bound(self) -> (Vec<BoundListener>, Option<SocketFile>) {
        match self {
            Self::Tcp(listeners) => (listeners.into_iter().map(BoundListener::Tcp).collect(), None),
            #[cfg(unix)]
            Self::Unix(listener, file) => (vec![BoundListener::Unix(listener)], Some(file)),
        }
    }

    /// Where clients find it, after the scheme.
    #[cfg(unix)]
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, SocketFile(path)) => Some(path),
        }
    }

    /// Binds a socket in the file system. One whose server has ended is replaced.
    #[cfg(unix)]
    pub(crate) fn unix(path: &Path) -> Result<Self, ServerError> {
        use std::os::unix::net::{UnixListener, UnixStream};
        let failed = |error| ServerError::BindUnix(path.to_owned(), error);
        let is_left_over = |error: &io::Error| {
            error.kind() == io::ErrorKind::AddrInUse
                && std::os::unix::fs::FileTypeExt::is_socket(&match std::fs::symlink_metadata(path) {
                    Ok(meta) => meta.file_type(),
                    Err(_) => return false,
                })
                && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        let listener = match UnixListener::bind(path) {
            Err(error) if is_left_over(&error) => {
                std::fs::remove_file(path).map_err(failed)?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        let listener = listener.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self::Unix(listener, SocketFile(path.to_owned())))
    }
}

fn listener(address: SocketAddr, is_shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A connection of a server that has just ended must not keep a new one from its address.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(is_shared)?;
    #[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
    let _ = is_shared;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
