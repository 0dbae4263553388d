//! The host of a request (RFC 9112 3.2, RFC 9113 8.3.1).
//!
//! A request that names two hosts, or an invalid one, or none where it must, is refused before anything acts on it: a cache or a
//! proxy in front may have believed the other one. The authority of an absolute target and of HTTP/2 becomes the header `Host`,
//! so that an application looks in one place.

use http::uri::Authority;
use http::{HeaderValue, Request, Version, header};

/// Checks that a request names one valid host, where its version wants one, and leaves it in the `Host` header: of a request
/// in absolute form, or of HTTP/2, the authority of its target.
///
/// | version | `Host` | authority | outcome |
/// |---|---|---|---|
/// | any | several, or an invalid one | any | refused |
/// | 1.1 | none | any | refused |
/// | 1.1 | one | another one | the authority counts (RFC 9112 3.2.2) |
/// | 2 | none | none | refused |
/// | 2 | one | another one | refused (RFC 9113 8.3.1) |
/// | 1.0 | none | none | taken, without a host |
///
/// # Errors
/// The reason why the host is invalid, for a 400.
pub(crate) fn check<B>(request: &mut Request<B>) -> Result<(), &'static str> {
    let hosts = request.headers().get_all(header::HOST).iter();
    let [first, second] = {
        let mut hosts = hosts;
        [hosts.next(), hosts.next()]
    };
    if second.is_some() {
        return Err("there is more than one Host header");
    }
    if first.is_some_and(|host| !is_valid(host.as_bytes())) {
        return Err("the Host header is not a host with an optional port");
    }
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| !is_valid(authority.as_str().as_bytes())) {
        return Err("the target does not name a host with an optional port");
    }
    let is_http2 = request.version() >= Version::HTTP_2;
    match (first, authority) {
        (None, None) if request.version() == Version::HTTP_11 || is_http2 => Err("there is no Host header"),
        (None, Some(_)) if request.version() == Version::HTTP_11 => Err("there is no Host header"),
        (Some(host), Some(authority)) if is_http2 && !host.as_bytes().eq_ignore_ascii_case(as_bytes(authority)) => {
            Err("the Host header and the authority differ")
        }
        (_, Some(authority)) => {
            // The target's wins (RFC 9112 3.2.2). What is valid is visible ASCII, so it makes a header.
            if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
                request.headers_mut().insert(header::HOST, host);
            }
            Ok(())
        }
        (_, None) => Ok(()),
    }
}

fn as_bytes(authority: &Authority) -> &[u8] {
    authority.as_str().as_bytes()
}

/// Whether this is a host that `http` and `https` know, with or without a port: a name, an IPv4 address, or an IPv6 address
/// in brackets. User information is not part of one, and an empty host is invalid (RFC 9110 4.2.1).
pub(crate) fn is_valid(host: &[u8]) -> bool {
    let (name, port) = match host.first() {
        Some(b'[') => {
            let Some(end) = host.iter().position(|byte| *byte == b']') else { return false };
            let is_address =
                std::str::from_utf8(&host[1..end]).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
            if !is_address {
                return false;
            }
            (&host[..=end], &host[end + 1..])
        }
        _ => host.split_at(host.iter().position(|byte| *byte == b':').unwrap_or(host.len())),
    };
    let is_named = match name {
        [] => false,
        [b'[', ..] => true,
        name => is_registered_name(name),
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_named && is_port
}

/// `reg-name` of RFC 3986 3.2.2: unreserved, sub-delims, and `%` with two digits.
fn is_registered_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        let is_fine = match byte {
            b'%' => [bytes.next(), bytes.next()].iter().all(|digit| digit.is_some_and(u8::is_ascii_hexdigit)),
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte),
        };
        if !is_fine {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses_with_ports() {
        for valid in
            ["x", "example.com", "example.com:8080", "127.0.0.1:1", "[::1]", "[::1]:8787", "a_b.example", "x:", "%41"]
        {
            assert!(is_valid(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            "",
            ":80",
            "a b",
            "a/b",
            "user@host",
            "a:b",
            "a:123456",
            "[::1",
            "[x]",
            "[::1]x",
            "a,b c",
            "ex\u{e4}mple",
            "%4",
            "a?b",
            "a#b",
            "a\\b",
            "a:80:80",
            "\"a\"",
            "<a>",
        ] {
            assert!(!is_valid(invalid.as_bytes()), "{invalid}");
        }
    }
}
