//! The client of a request, as the server knows it.

use std::net::IpAddr;

/// The client of a request. The server that runs a door puts it among the request's extensions. Default: an unknown client by `http`.
///
/// ```
/// use isobar_gateway::ClientInfo;
///
/// let client = ClientInfo::new(Some([127, 0, 0, 1].into()), true);
/// assert!(client.is_https);
/// ```
///
/// A door trusts it: whoever runs the door decides which proxies may say who their client is. Failed
/// attempts are limited by the address; `is_https` decides how URLs begin that the door gives out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// Address: that of the connection, or the one that a trusted proxy reports. `None` where it is not known.
    pub address: Option<IpAddr>,
    /// Whether the client came by `https`, to the server itself or to a trusted proxy.
    pub is_https: bool,
}

impl ClientInfo {
    /// Returns the client of this address.
    #[must_use]
    pub fn new(address: Option<IpAddr>, is_https: bool) -> Self {
        Self { address, is_https }
    }
}
