//! Trusted proxies in front of the server, and their headers about clients.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::host;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
/// Everything that a proxy may say of its client; a client that says so itself is not believed.
const SAID: [HeaderName; 9] = [
    header::FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("true-client-ip"),
    CF_CONNECTING_IP,
    HeaderName::from_static("cf-connecting-ipv6"),
];

/// The addresses of proxies that are believed. Default: none.
///
/// A request that comes from one of them is taken for its client's: the address is that of the rightmost hop in `Forwarded`
/// (RFC 7239) or `X-Forwarded-For` that is not a trusted proxy, or the one in `CF-Connecting-IP`. Where several of these
/// headers are there and do not agree, one of them was the client's own, and the address stays the proxy's: a proxy must set,
/// append to or remove each header that it passes on. Scheme and host come from the same hop of `Forwarded`, or from
/// `X-Forwarded-Proto` and `X-Forwarded-Host`. A listener in the file system is reached by programs of this machine alone, so
/// where any proxy is trusted its peers are, too. On a listener with the PROXY protocol these headers are believed where the
/// address in the PROXY header is a trusted proxy's; a connection whose PROXY header has no address (`UNKNOWN`, `LOCAL`) is
/// never believed, because its client is not known.
///
/// These headers are removed from every request before a route sees it.
///
/// ```
/// use isobar_server::TrustedProxies;
/// let proxies: TrustedProxies = "10.0.0.0/8, 2001:db8::/32, 192.0.2.7".parse()?;
/// assert!(proxies.contains("10.1.2.3".parse()?) && !proxies.contains("192.0.2.8".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Range>);

/// A range of addresses; those of IPv4 as IPv6 maps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    network: u128,
    mask: u128,
}

/// An invalid range of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeError(String);

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid range {:?}: use an address or CIDR notation, 10.0.0.0/8 or 2001:db8::/32", self.0)
    }
}

impl std::error::Error for RangeError {}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let invalid = || RangeError(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let (bits, longest, shift) = match address {
            IpAddr::V4(address) => (address.to_ipv6_mapped().to_bits(), 32, 96),
            IpAddr::V6(address) => (address.to_bits(), 128, 0),
        };
        let prefix = match prefix {
            None => longest,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(invalid)?
            }
            Some(_) => return Err(invalid()),
        };
        let mask = u128::MAX.checked_shl(128 - (prefix + shift)).unwrap_or(0);
        Ok(Self { network: bits & mask, mask })
    }
}

impl FromStr for TrustedProxies {
    type Err = RangeError;

    /// Ranges with commas or spaces between them.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let ranges = text.split([',', ' ']).filter(|range| !range.is_empty());
        ranges.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl TrustedProxies {
    /// Adds the ranges of others.
    ///
    /// ```
    /// use isobar_server::TrustedProxies;
    ///
    /// let balancers: TrustedProxies = "10.0.0.0/8".parse()?;
    /// let proxies = balancers.and("2001:db8::/32".parse()?);
    /// assert!(proxies.contains("10.1.2.3".parse()?) && proxies.contains("2001:db8::1".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether no proxy is trusted.
    ///
    /// ```
    /// use isobar_server::TrustedProxies;
    ///
    /// assert!(TrustedProxies::default().is_empty());
    /// assert!(" , ".parse::<TrustedProxies>()?.is_empty());
    /// # Ok::<(), isobar_server::RangeError>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is the address of a trusted proxy. An IPv4 address that IPv6 has mapped is the same address.
    ///
    /// ```
    /// use isobar_server::TrustedProxies;
    ///
    /// let proxies: TrustedProxies = "192.0.2.0/24".parse()?;
    /// assert!(proxies.contains("::ffff:192.0.2.7".parse()?));
    /// assert!("192.0.2.0/33".parse::<TrustedProxies>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        self.0.iter().any(|range| bits & range.mask == range.network)
    }

    /// Whether this address, the one at the other end of a connection, is a trusted proxy's; a connection without an address came
    /// by a socket in the file system.
    pub(crate) fn trusts(&self, address: Option<IpAddr>) -> bool {
        !self.is_empty() && address.is_none_or(|address| self.contains(address))
    }

    /// Returns the client of a request that this peer has sent. The peer's statements about it are removed from the headers;
    /// a host is put into `Host`.
    pub(crate) fn client(&self, peer: Peer, headers: &mut HeaderMap) -> Client {
        let Peer { address, is_tls, is_trusted } = peer;
        let mut client = Client { address, is_https: is_tls };
        if is_trusted {
            let said = self.said(headers);
            client.address = said.address.or(address);
            client.is_https = said.scheme.map_or(is_tls, |scheme| scheme == Scheme::HTTPS);
            if let Some(host) = said.host {
                headers.insert(header::HOST, host);
            }
        }
        for name in SAID {
            headers.remove(name);
        }
        client
    }

    /// Returns the client as trusted proxies report it.
    fn said(&self, headers: &HeaderMap) -> Said {
        let hops = [self.by_forwarded(headers), self.by_x_forwarded(headers), by_cloudflare(headers)];
        let mut addresses = hops.iter().flatten().filter_map(|said| said.address);
        let address = addresses.next();
        if addresses.any(|other| Some(other) != address) {
            tracing::warn!(
                "a proxy passes on headers of its client's address that contradict each other; none is believed"
            );
            return Said::default();
        }
        let mut told = Said::default();
        for said in hops.into_iter().flatten() {
            told.address = told.address.or(said.address);
            told.scheme = told.scheme.or(said.scheme);
            told.host = told.host.or(said.host);
        }
        told
    }

    /// How many hops from the right the client is, among addresses from the right; the last where all are trusted. A hop that
    /// is not an address hides what is before it: then the one after it.
    fn client_hop(&self, addresses: impl Iterator<Item = Option<IpAddr>>) -> Option<(usize, IpAddr)> {
        let mut found = None;
        for (index, address) in addresses.enumerate() {
            let Some(address) = address else { break };
            found = Some((index, address));
            if !self.contains(address) {
                break;
            }
        }
        found
    }

    fn by_forwarded(&self, headers: &HeaderMap) -> Option<Said> {
        let text = joined(headers, &header::FORWARDED)?;
        let elements = split(&text, ',');
        let parameter = |element: &str, name: &str| {
            let parameters = split(element, ';');
            let mut pairs = parameters.iter().filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| unquoted(value.trim()))
        };
        let addresses = elements.iter().rev().map(|element| address(&parameter(element, "for")?));
        let (hop, address) = self.client_hop(addresses).map_or((0, None), |(hop, address)| (hop, Some(address)));
        let element = elements.get(elements.len().checked_sub(hop + 1)?)?;
        Some(Said {
            address,
            scheme: parameter(element, "proto").and_then(|scheme| scheme_of(&scheme)),
            host: parameter(element, "host").and_then(|host| host_of(&host)),
        })
    }

    fn by_x_forwarded(&self, headers: &HeaderMap) -> Option<Said> {
        let addresses = joined(headers, &X_FORWARDED_FOR);
        let addresses = addresses.iter().flat_map(|text| text.rsplit(',')).map(|text| address(text.trim()));
        let (hop, address) = self.client_hop(addresses).map_or((0, None), |(hop, address)| (hop, Some(address)));
        // Of one value for several hops it is the outermost proxy's that is passed on.
        let of_hop = |name: &HeaderName| {
            let text = joined(headers, name)?;
            let values: Vec<&str> = text.rsplit(',').map(str::trim).collect();
            values.get(hop.min(values.len() - 1)).map(|value| (*value).to_owned())
        };
        Some(Said {
            address,
            scheme: of_hop(&X_FORWARDED_PROTO).and_then(|scheme| scheme_of(&scheme)),
            host: of_hop(&X_FORWARDED_HOST).and_then(|host| host_of(&host)),
        })
    }
}

/// Whether a trusted proxy says that its client came by `https`, in a header that has one value: what the fast path looks at.
pub(crate) fn says_https(headers: &HeaderMap) -> bool {
    headers.get(X_FORWARDED_PROTO).is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// Whether a trusted proxy says more than the fast path knows: a header with parameters, or, where that matters, a host.
pub(crate) fn is_elaborate(headers: &HeaderMap, by_host: bool) -> bool {
    headers.contains_key(header::FORWARDED) || by_host && headers.contains_key(X_FORWARDED_HOST)
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Its address, or the one in its PROXY header; `None` by a socket in the file system.
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_tls: bool,
    /// Whether headers of its requests that name another client are believed.
    pub(crate) is_trusted: bool,
}

/// The client of a request, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_https: bool,
}

/// The client as a proxy reports it.
#[derive(Debug, Default)]
struct Said {
    address: Option<IpAddr>,
    scheme: Option<Scheme>,
    host: Option<HeaderValue>,
}

fn by_cloudflare(headers: &HeaderMap) -> Option<Said> {
    let text = joined(headers, &CF_CONNECTING_IP)?;
    Some(Said { address: address(text.trim()), ..Said::default() })
}

/// The lines of a header as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// The parts between separators that do not stand in quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (at, char) in text.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            char if char == separator && !is_quoted => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(value) => value.replace('\\', ""),
        None => value.to_owned(),
    }
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok();
    let address: IpAddr = text.parse::<SocketAddr>().ok().map(|address| address.ip()).or_else(bare)?;
    Some(address.to_canonical())
}

fn scheme_of(text: &str) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_str() {
        "https" => Some(Scheme::HTTPS),
        "http" => Some(Scheme::HTTP),
        _ => None,
    }
}

fn host_of(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok().filter(|host| host::is_valid(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[(&str, &str)]) -> (String, bool, String) {
        let proxies: TrustedProxies = "10.0.0.0/8,2001:db8:1::/48".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("inner"));
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let address = Some(peer.parse().unwrap());
        let peer = Peer { address, is_tls: false, is_trusted: proxies.trusts(address) };
        let client = proxies.client(peer, &mut headers);
        assert_eq!(headers.len(), 1, "nothing is left of what was said: {headers:?}");
        (client.address.unwrap().to_string(), client.is_https, headers["host"].to_str().unwrap().to_owned())
    }

    #[test]
    fn ranges_are_read_and_matched() {
        let proxies: TrustedProxies = "10.1.2.3/8 ::1,192.0.2.0/31".parse().unwrap();
        for (address, is_in) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("::ffff:10.0.0.1", true),
            ("::1", true),
            ("::2", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
        ] {
            assert_eq!(proxies.contains(address.parse().unwrap()), is_in, "{address}");
        }
        let all: TrustedProxies = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("1.2.3.4".parse().unwrap()) && !all.contains("2001:db8::1".parse().unwrap()));
        for invalid in ["10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "example.com", "10.0.0.0/-1"] {
            assert!(invalid.parse::<TrustedProxies>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn a_client_is_the_rightmost_hop_that_is_not_trusted() {
        let of = |lines: &[(&str, &str)]| client("10.0.0.1", lines).0;
        assert_eq!(of(&[("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.7")]), "203.0.113.9");
        assert_eq!(of(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9:4711")]), "203.0.113.9");
        assert_eq!(of(&[("x-forwarded-for", "10.0.0.9, 10.0.0.8")]), "10.0.0.9", "all are trusted");
        assert_eq!(of(&[("x-forwarded-for", "6.6.6.6, unknown, 10.0.0.7")]), "10.0.0.7", "what is before is hidden");
        assert_eq!(of(&[("x-forwarded-for", "nonsense")]), "10.0.0.1");
        assert_eq!(
            of(&[("forwarded", "for=6.6.6.6, for=\"[2001:db8::9]:80\";proto=https, for=10.0.0.7")]),
            "2001:db8::9"
        );
        assert_eq!(of(&[("forwarded", "by=x;For=\"203.0.113.9\"")]), "203.0.113.9");
        assert_eq!(of(&[("forwarded", "for=\"6.6.6.6, for=7.7.7.7\", for=_hidden")]), "10.0.0.1");
        assert_eq!(of(&[("cf-connecting-ip", "2001:db8::9")]), "2001:db8::9");
        assert_eq!(of(&[("cf-connecting-ip", "203.0.113.9"), ("x-forwarded-for", "203.0.113.9")]), "203.0.113.9");
        // One of them is the client's own.
        assert_eq!(of(&[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "203.0.113.9")]), "10.0.0.1");
    }

    #[test]
    fn scheme_and_host_are_those_of_the_clients_hop() {
        let forwarded =
            [("forwarded", "for=203.0.113.9;proto=https;host=\"shop.example:8443\", for=10.0.0.7;proto=http")];
        assert_eq!(client("10.0.0.1", &forwarded), ("203.0.113.9".into(), true, "shop.example:8443".into()));
        let x = [
            ("x-forwarded-for", "203.0.113.9, 10.0.0.7"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "shop.example"),
        ];
        assert_eq!(client("2001:db8:1::5", &x), ("203.0.113.9".into(), true, "shop.example".into()));
        let odd = [("x-forwarded-proto", "gopher"), ("x-forwarded-host", "user@shop.example")];
        assert_eq!(client("10.0.0.1", &odd), ("10.0.0.1".into(), false, "inner".into()));
    }

    #[test]
    fn headers_of_an_untrusted_peer_are_ignored_and_removed() {
        let said = [
            ("forwarded", "for=6.6.6.6;proto=https;host=evil.example"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("cf-connecting-ip", "6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ];
        assert_eq!(client("203.0.113.9", &said), ("203.0.113.9".into(), false, "inner".into()));
    }
}
