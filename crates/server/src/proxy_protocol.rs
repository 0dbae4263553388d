//! The PROXY protocol, versions 1 and 2: the client's address, which a proxy sends before the client's first byte.
//!
//! Specification: `proxy-protocol.txt` of HAProxy, sections 2.1 and 2.2.
//!
//! | | version 1 | version 2 |
//! |---|---|---|
//! | begins with | `PROXY ` | `\r\n\r\n\0\r\nQUIT\n` |
//! | form | a line of text, 107 bytes at most | a head of 16 bytes, addresses, extensions |
//! | without an address | `UNKNOWN` | command `LOCAL`; family `UNSPEC` or `UNIX` |
//!
//! A line is read byte by byte and a head by its length, so that no byte of the client's is taken: TLS or HTTP begins right behind.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of the longest line of version 1, its end included.
const LINE: usize = 107;
/// Bytes of addresses and extensions of version 2 that are taken at most; none that is known has more.
const EXTENSIONS: usize = 4096;

/// Reads the header at the beginning of a connection and nothing behind it. Returns the client's address; `None` where the proxy
/// does not know it (`UNKNOWN`), or speaks for itself, as in a health check (`LOCAL`): then the connection's own addresses are used.
///
/// # Errors
/// Where the header is missing or invalid.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await?;
    if begin == SIGNATURE {
        return version_2(stream).await;
    }
    if begin.starts_with(b"PROXY ") {
        return version_1(stream, &begin).await;
    }
    Err(invalid("the connection does not begin with a PROXY header"))
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version_and_command, family, length @ ..] = head;
    let length = usize::from(u16::from_be_bytes(length));
    if version_and_command >> 4 != 2 || length > EXTENSIONS {
        return Err(invalid("the PROXY header is of another version, or too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    let too_short = || invalid("the addresses of the PROXY header are too short");
    match (version_and_command & 0xF, family >> 4) {
        // LOCAL: the proxy speaks for itself. UNSPEC and UNIX have no address that means something here.
        (0, _) | (1, 0 | 3) => Ok(None),
        (1, 1) => {
            let [a, b, c, d, _, _, _, _, high, low, ..] = rest[..] else { return Err(too_short()) };
            Ok(Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))))
        }
        (1, 2) => {
            let address: [u8; 16] = rest.get(..16).and_then(|bytes| bytes.try_into().ok()).ok_or_else(too_short)?;
            let Some([high, low]) = rest.get(32..34) else { return Err(too_short()) };
            let address = IpAddr::V6(Ipv6Addr::from(address)).to_canonical();
            Ok(Some(SocketAddr::new(address, u16::from_be_bytes([*high, *low]))))
        }
        _ => Err(invalid("the PROXY header has an unknown command or family")),
    }
}

/// A line of text, read byte by byte: what follows it is the client's.
async fn version_1(stream: &mut (impl AsyncRead + Unpin), begin: &[u8]) -> io::Result<Option<SocketAddr>> {
    let mut line = begin.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE {
            return Err(invalid("the PROXY line is too long"));
        }
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).map_err(|_| invalid("the PROXY line is not text"))?;
    let words: Vec<&str> = line.trim_end_matches("\r\n").split(' ').collect();
    let (address, port) = match words[..] {
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        ["PROXY", "TCP4" | "TCP6", address, _, port, _] => (address, port),
        _ => return Err(invalid("the PROXY line is not complete")),
    };
    let address: IpAddr = address.parse().map_err(|_| invalid("the PROXY line has an invalid address"))?;
    if address.is_ipv4() != (words[1] == "TCP4") {
        return Err(invalid("the PROXY line has an address of another family"));
    }
    let port = port.parse().map_err(|_| invalid("the PROXY line has an invalid port"))?;
    Ok(Some(SocketAddr::new(address.to_canonical(), port)))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parsed(bytes: &[u8]) -> Result<(Option<String>, usize), String> {
        let mut rest = bytes;
        let address = read(&mut rest).await.map_err(|error| error.to_string())?;
        Ok((address.map(|address| address.to_string()), rest.len()))
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[tokio::test]
    async fn both_versions_of_the_proxy_header_are_read_to_their_end() {
        let v4 = [203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&443_u16.to_be_bytes());
        let extended = [&v4[..], &[0x04, 0, 2, 1, 2]].concat();
        for (head, address) in [
            (version_2(1, 0x11, &v4), Some("203.0.113.9:4711")),
            (version_2(1, 0x11, &extended), Some("203.0.113.9:4711")),
            (version_2(1, 0x21, &v6), Some("[2001:db8::9]:443")),
            (version_2(0, 0x11, &v4), None),
            (version_2(1, 0, &[]), None),
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n".to_vec(), Some("203.0.113.9:4711")),
            (b"PROXY TCP6 2001:db8::9 ::1 443 80\r\n".to_vec(), Some("[2001:db8::9]:443")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
        ] {
            let bytes = [&head[..], b"GET / HTTP/1.1"].concat();
            assert_eq!(parsed(&bytes).await, Ok((address.map(str::to_owned), 14)), "{head:?}");
        }
    }

    #[tokio::test]
    async fn invalid_proxy_headers_are_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            version_2(1, 0x11, &[1, 2, 3]),
            version_2(1, 0x21, &[0; 20]),
            version_2(2, 0x11, &[0; 12]),
            version_2(1, 0x41, &[0; 12]),
            b"PROXY TCP4 2001:db8::9 ::1 443 80\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.1 99999 80\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            b"PROXY TCP4 203.0.113.9".to_vec(),
        ] {
            assert!(parsed(&bytes).await.is_err(), "{bytes:?}");
        }
    }
}
