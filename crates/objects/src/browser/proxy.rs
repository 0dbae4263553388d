//! The only way out of our chromium: a proxy on this machine that lets nothing through but what is public.
//!
//! A page has more ways to ask than its driver sees - frames of other sites, workers, WebSockets, windows it opens - and a name
//! may lead elsewhere when it is looked up again. Here everything comes by, is resolved once, and goes to that address.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::guard::{is_public, public_name};
use super::{BrowserError, BrowserErrorKind, NetworkPolicy};

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(15);

/// A running proxy; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts a proxy on a port of this machine that the system chooses.
    pub(super) async fn start(network: NetworkPolicy) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((client, _)) => drop(tokio::spawn(serve(client, network))),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await, // out of descriptors, for the moment
                }
            }
        });
        Ok(Self { address, task })
    }
}

/// Serves one connection: a tunnel, or a request that is forwarded.
async fn serve(mut client: TcpStream, network: NetworkPolicy) {
    let Ok(Some(head)) = tokio::time::timeout(PATIENCE, read_head(&mut client)).await else { return };
    let Some(asked) = Asked::of(&head) else {
        return refuse(&mut client, "400 Bad Request").await;
    };
    let Ok(address) = resolve(&asked.host, asked.port, network).await else {
        return refuse(&mut client, "403 Forbidden").await;
    };
    let Ok(Ok(mut server)) = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await else {
        return refuse(&mut client, "502 Bad Gateway").await;
    };
    let told = match &asked.forwarded {
        None => client.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await,
        Some(forwarded) => server.write_all(forwarded).await,
    };
    if told.is_ok() {
        // It ends when either side does; what that is, the browser says.
        drop(copy_bidirectional(&mut client, &mut server).await);
    }
}

/// The target of a proxied request, from its head.
struct Asked {
    host: String,
    port: u16,
    /// The head as it goes to the server; `None` for a tunnel.
    forwarded: Option<Vec<u8>>,
}

impl Asked {
    /// `head` is up to its empty line, and what has come after it.
    fn of(head: &[u8]) -> Option<Self> {
        let end = head.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text = std::str::from_utf8(&head[..end]).ok()?;
        let (line, headers) = text.split_once("\r\n").unwrap_or((text, ""));
        let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        if method == "CONNECT" {
            let authority: http::uri::Authority = target.parse().ok()?;
            return Some(Self { host: authority.host().to_owned(), port: authority.port_u16()?, forwarded: None });
        }
        let uri: http::Uri = target.parse().ok()?;
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        // One request a connection: the next may be for somewhere else.
        let kept = headers.split("\r\n").filter(|header| {
            let name = header.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
            !header.is_empty()
                && !["connection", "keep-alive", "proxy-connection", "proxy-authorization"].contains(&name.as_str())
        });
        let is_upgrade = headers.to_ascii_lowercase().contains("\r\nupgrade:");
        let connection = if is_upgrade { "Upgrade" } else { "close" };
        let mut forwarded = format!("{method} {path} {version}\r\n");
        kept.for_each(|header| forwarded.push_str(&format!("{header}\r\n")));
        forwarded.push_str(&format!("Connection: {connection}\r\n\r\n"));
        let mut forwarded = forwarded.into_bytes();
        forwarded.extend_from_slice(&head[end + 4..]);
        Some(Self { host: uri.host()?.to_owned(), port: uri.port_u16().unwrap_or(80), forwarded: Some(forwarded) })
    }
}

/// An address of a host, if all that its name leads to may be reached.
pub(super) async fn resolve(host: &str, port: u16, network: NetworkPolicy) -> Result<SocketAddr, BrowserError> {
    let host = host.trim_matches(['[', ']']);
    let forbidden = || BrowserError::new(BrowserErrorKind::Forbidden, format!("{host} is not public"));
    if network == NetworkPolicy::Public && !public_name(host) {
        return Err(forbidden());
    }
    let unknown = |error: std::io::Error| BrowserError::new(BrowserErrorKind::Page, format!("{host}: {error}"));
    let late = |_| unknown(std::io::ErrorKind::TimedOut.into());
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await.map_err(late)?;
    let found: Vec<SocketAddr> = found.map_err(unknown)?.collect();
    if network == NetworkPolicy::Public && !found.iter().all(|address| is_public(address.ip())) {
        return Err(forbidden());
    }
    found.first().copied().ok_or_else(forbidden)
}

/// Reads the head of a request, up to its empty line, and what has come after it. `None` when it is too long or breaks off.
async fn read_head(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while head.len() < HEAD_BYTES {
        let count = client.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        head.extend_from_slice(&buffer[..count]);
        if head.windows(4).any(|four| four == b"\r\n\r\n") {
            return Some(head);
        }
    }
    None
}

/// Answers with a status alone, and closes.
async fn refuse(client: &mut TcpStream, status: &str) {
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    drop(client.write_all(answer.as_bytes()).await); // the client may have gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_where_they_say_once() {
        let asked = |head: &str| Asked::of(head.as_bytes()).map(|it| (it.host, it.port, it.forwarded));
        assert_eq!(
            asked("CONNECT example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
            Some(("example.com".into(), 443, None))
        );
        let (host, port, forwarded) = asked(
            "POST http://example.com:81/a?b HTTP/1.1\r\nHost: example.com:81\r\nProxy-Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        )
        .expect("a request");
        assert_eq!((host.as_str(), port), ("example.com", 81));
        let forwarded = String::from_utf8(forwarded.expect("it goes on")).expect("it is text");
        assert_eq!(
            forwarded,
            "POST /a?b HTTP/1.1\r\nHost: example.com:81\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
        );
        for wrong in [
            "",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "CONNECT example.com HTTP/1.1\r\n\r\n",
            "GET http://a b HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn nothing_that_is_not_public_is_reached() {
        let inside = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = inside.local_addr().expect("an address").port();
        let proxy = Proxy::start(NetworkPolicy::Public).await.expect("a port");
        for target in [
            format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n"),
            format!("CONNECT localhost:{port} HTTP/1.1\r\n\r\n"),
            format!("CONNECT [::1]:{port} HTTP/1.1\r\n\r\n"),
            format!("GET http://127.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("GET http://2130706433:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        ] {
            let mut client = TcpStream::connect(proxy.address).await.expect("the proxy listens");
            client.write_all(target.as_bytes()).await.expect("it reads");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("it answers");
            assert!(answer.starts_with("HTTP/1.1 403"), "{target}: {answer}");
        }
        let open = Proxy::start(NetworkPolicy::Everything).await.expect("a port");
        let mut client = TcpStream::connect(open.address).await.expect("the proxy listens");
        client.write_all(format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n").as_bytes()).await.expect("it reads");
        let (mut server, _) = inside.accept().await.expect("it goes through");
        client.write_all(b"hello").await.expect("it goes through");
        let mut heard = [0; 5];
        server.read_exact(&mut heard).await.expect("it goes through");
        assert_eq!(&heard, b"hello");
    }
}
