//! State that the threads of a server share.
//!
//! One `Arc` of it is in every thread and every connection; when the last one is dropped, the application is. So a thread that only lingers
//! for WebSockets gives its own back first.

use std::net::IpAddr;
use std::sync::Arc;

use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use tokio::runtime::Handle;

use crate::body::Budget;
use crate::options::ServerOptions;
use crate::places::Places;
use crate::proxy::Peer;
use crate::stream::Patience;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// State that the threads of a server share.
pub(crate) struct Shared<A> {
    pub(crate) application: A,
    pub(crate) options: ServerOptions,
    pub(crate) http: auto::Builder<TokioExecutor>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    /// The runtime that serves: there the application responds, beside what it has started itself.
    pub(crate) routes: Handle,
    pub(crate) places: Arc<Places>,
    pub(crate) budget: Arc<Budget>,
}

impl<A> Shared<A> {
    pub(crate) fn patience(&self) -> Patience {
        Patience { opening: self.options.header_timeout, writing: self.options.write_timeout }
    }

    /// Whether connections speak TLS.
    pub(crate) fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Returns the peer of a connection with a PROXY header. Without an address in it the client is not known: headers of its requests
    /// are not believed, even if the proxy is trusted, and its address is the connection's own.
    pub(crate) fn announced_peer(&self, client: Option<IpAddr>, own: Option<IpAddr>) -> Peer {
        let is_trusted = client.is_some() && self.options.trusted_proxies.trusts(client);
        Peer { address: client.or(own), is_tls: self.is_tls(), is_trusted }
    }
}
