//! The networks that a browser may reach: it runs inside the application's own, and the users who give it URLs do not.
//!
//! | refused by [`check_url`] | why |
//! |---|---|
//! | `file:`, `ftp:`, `chrome:` and the like | they read this machine, or drive the browser |
//! | private, loopback, link-local, shared and reserved addresses | services that trust their network, metadata of clouds |
//! | IPv6 outside of 2000::/3, 6to4, Teredo | they lead to the above |
//! | `localhost`, `.local`, `.internal`, `home.arpa`, names without a dot | names of this network |
//! | hosts whose last label does not begin with a letter | browsers take `127.1` and `0x7f.1` for addresses |
//!
//! A public name may lead to a private address, and to another one the next time it is asked for. So the check by name is not
//! enough: an engine resolves the name once, checks the address, and connects to that one.

use std::net::IpAddr;

use super::{BrowserError, BrowserErrorKind};

/// Networks that a browser may reach.
///
/// ```
/// use isobar_objects::browser::{NetworkPolicy, check_url};
/// let local = "http://127.0.0.1:8787/";
/// assert!(check_url(local, NetworkPolicy::default()).is_err());
/// assert!(check_url(local, NetworkPolicy::Everything).is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkPolicy {
    /// The public internet alone. The default.
    #[default]
    Public,
    /// Everything, this machine too: for tests, and where every user is trusted.
    Everything,
}

/// Checks the URL of a page: refused are schemes other than `http`, `https`, `data`, `blob` and `about`, and names and addresses of
/// this machine and of private networks. Returns the host name where one is to be resolved: whether it leads to a private address
/// is for the engine to check.
///
/// # Errors
/// [`BrowserErrorKind::Forbidden`].
///
/// ```
/// use isobar_objects::browser::{NetworkPolicy, check_url};
///
/// assert!(check_url("https://example.com/", NetworkPolicy::Public).is_ok());
/// assert!(check_url("http://169.254.169.254/latest/meta-data", NetworkPolicy::Public).is_err());
/// assert!(check_url("file:///etc/passwd", NetworkPolicy::Everything).is_err());
/// ```
pub fn check_url(url: &str, network: NetworkPolicy) -> Result<Option<String>, BrowserError> {
    let forbidden = |why: &str| Err(BrowserError::new(BrowserErrorKind::Forbidden, format!("{url}: {why}")));
    let lower = url.to_ascii_lowercase();
    // What a page makes itself reaches nothing.
    if ["data:", "blob:", "about:"].iter().any(|scheme| lower.starts_with(scheme)) {
        return Ok(None);
    }
    let uri: http::Uri = match url.split('#').next().unwrap_or_default().parse() {
        Ok(uri) => uri,
        Err(_) => return forbidden("this is not a URL"),
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return forbidden("a browser goes to http and https only");
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() {
        return forbidden("the URL has no host");
    }
    if network == NetworkPolicy::Everything {
        return Ok(None);
    }
    match host.parse::<IpAddr>() {
        Ok(address) if !is_public(address) => return forbidden("this address is not public"),
        Ok(_) => return Ok(None),
        Err(_) => {}
    }
    if public_name(&host) { Ok(Some(host)) } else { forbidden("this name is not public") }
}

/// Whether a host is a public address, or a name as public ones are.
pub(super) fn public_name(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return is_public(address);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_local = ["localhost", "local", "internal", "home.arpa"]
        .iter()
        .any(|name| host == *name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')));
    // Browsers take 2130706433, 0x7f.1 and 127.1 for addresses: a public name ends with letters.
    let ends_with_letters =
        host.rsplit('.').next().is_some_and(|label| label.starts_with(|it: char| it.is_alphabetic()));
    !is_local && host.contains('.') && ends_with_letters
}

/// Whether an address is one of the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(address) => {
            if let Some(address) = address.to_ipv4_mapped() {
                return is_public(address.into());
            }
            let [first, second, ..] = address.segments();
            // 2000::/3 is what is given out; within it, 6to4, Teredo and documentation lead elsewhere or nowhere.
            (0x2000..0x4000).contains(&first)
                && first != 0x2002
                && !(first == 0x2001 && (second == 0 || second == 0xdb8))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        for url in [
            "https://example.com/",
            "http://93.184.216.34/a?b#c",
            "https://[2606:4700::1111]/",
            "data:text/html,hello",
            "about:blank",
        ] {
            assert!(check_url(url, NetworkPolicy::Public).is_ok(), "{url}");
        }
        for url in [
            "file:///etc/passwd",
            "ftp://example.com/",
            "chrome://settings",
            "http://localhost/",
            "http://a.localhost./",
            "http://127.0.0.1:8787/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://10.0.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fd00::1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://metadata.google.internal/",
            "http://router/",
            "http://printer.local/",
            "nonsense",
        ] {
            assert!(check_url(url, NetworkPolicy::Public).is_err(), "{url}");
        }
        assert!(check_url("http://127.0.0.1:8787/", NetworkPolicy::Everything).is_ok());
        assert!(check_url("file:///etc/passwd", NetworkPolicy::Everything).is_err());
    }
}
