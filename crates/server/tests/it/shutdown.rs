//! The end of connections when the server is stopped.

use std::time::Duration;

use axum::routing::get;
use isobar_server::{FromTower, ServerOptions};
use tokio::net::TcpStream;

use crate::Running;

fn application() -> FromTower<axum::Router> {
    FromTower::new(axum::Router::new().route("/", get(async || "hello")))
}

/// Time in which the server has accepted a connection, or has learnt that it is to stop.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_its_proxy_header_does_not_delay_the_shutdown() {
    let running = Running::start(application(), ServerOptions::default().with_proxy_protocol(true)).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    a_moment().await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), running.stop()).await;
    stopped.expect("the shutdown waits for no header");
    drop(stream);
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsConnector, client::TlsStream};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    /// Types of HTTP/2's frames (RFC 9113 6).
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const ACK: u8 = 1;

    /// A server with a certificate of its own, and the client that trusts it.
    async fn start(protocol: &str) -> (Running, TlsConnector) {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = folder.path().join("key.pem");
        let certificate = folder.path().join("certificate.pem");
        std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        std::fs::write(&certificate, certified.cert.pem()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certified.cert.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider);
        let client = client.with_safe_default_protocol_versions().unwrap();
        let mut client = client.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let options = ServerOptions::default().with_tls(certificate, key);
        (Running::start(application(), options).await, TlsConnector::from(Arc::new(client)))
    }

    async fn handshake(client: &TlsConnector, stream: TcpStream) -> TlsStream<TcpStream> {
        client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    /// Reads until the server ends the connection; rustls takes an end without `close_notify` for an error.
    async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
        let mut rest = String::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut rest));
        read.await.expect("the server ends the connection").expect("it ends by close_notify");
        rest
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_right_after_the_shutdown_is_answered_on_a_connection_from_before() {
        let (running, client) = start("http/1.1").await;
        let unshaken = TcpStream::connect(running.address).await.unwrap();
        let mut shaken = handshake(&client, TcpStream::connect(running.address).await.unwrap()).await;
        a_moment().await;
        running.stop.send(()).unwrap();
        a_moment().await;
        let mut late = handshake(&client, unshaken).await;
        for stream in [&mut shaken, &mut late] {
            stream.write_all(REQUEST).await.unwrap();
            let answer = rest(stream).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
        }
        running.done.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_silent_connection_ends_by_close_notify_and_hardly_delays_the_shutdown() {
        let (running, client) = start("http/1.1").await;
        let mut silent = handshake(&client, TcpStream::connect(running.address).await.unwrap()).await;
        let unshaken = TcpStream::connect(running.address).await.unwrap();
        a_moment().await;
        let stopped = tokio::time::timeout(Duration::from_secs(5), running.stop()).await;
        stopped.expect("the shutdown waits a second for those that say nothing");
        assert_eq!(rest(&mut silent).await, "");
        drop(unshaken);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn http_2_right_after_the_shutdown_is_answered_and_told_to_go_away() {
        let (running, client) = start("h2").await;
        let stream = TcpStream::connect(running.address).await.unwrap();
        a_moment().await;
        running.stop.send(()).unwrap();
        a_moment().await;
        let mut stream = handshake(&client, stream).await;
        let settings = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
        // GET / of localhost, the whole request, on stream 1 (RFC 7541).
        let head = [&[0x82, 0x84, 0x87, 0x41, 9][..], b"localhost"].concat();
        let frame = [&[0, 0, head.len() as u8, HEADERS, 0x05, 0, 0, 0, 1][..], &head].concat();
        stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &frame].concat()).await.unwrap();
        let mut kinds = Vec::new();
        let mut body = Vec::new();
        let mut head = [0; 9];
        while tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut head)).await.unwrap().is_ok() {
            let [0, high, low, kind, flags, ..] = head else { panic!("no frame is that long: {head:?}") };
            let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
            stream.read_exact(&mut payload).await.unwrap();
            kinds.push(kind);
            match kind {
                DATA => body.extend(payload),
                SETTINGS | PING if flags & ACK == 0 => {
                    let payload = if kind == PING { payload } else { Vec::new() };
                    let head = [0, 0, payload.len() as u8, kind, ACK, 0, 0, 0, 0];
                    stream.write_all(&[&head[..], &payload].concat()).await.unwrap();
                }
                _ => {}
            }
        }
        assert!(kinds.contains(&GOAWAY) && kinds.contains(&HEADERS), "{kinds:?}");
        assert_eq!(body, b"hello");
        running.done.await.unwrap();
    }
}
