//! Clients behind proxies: by headers, and by the PROXY protocol.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use isobar_analytics::memory::MemorySink;
use isobar_api::auth::ClientAddress;
use isobar_http_serve::App;
use isobar_http_serve::native::ServerOptions;
use isobar_site::{CacheOptions, Site, SiteOptions};
use isobar_storage::memory::MemoryStore;

use crate::hosts::send;
use crate::server::{Running, app_over, start};

fn app() -> App {
    let route = async |address: Option<Extension<ClientAddress>>, headers: http::HeaderMap| {
        let address =
            address.map_or_else(|| "none".to_owned(), |Extension(ClientAddress(address))| address.to_string());
        let host = headers["host"].to_str().unwrap_or_default();
        let left =
            headers.keys().filter(|name| name.as_str().contains("forwarded") || name.as_str().contains("-ip")).count();
        format!("{address} {host} {left}")
    };
    App::new().api(Router::new().route("/client", get(route))).hsts(Duration::from_secs(60))
}

async fn server(options: ServerOptions) -> Running {
    start(app().into_service(), options).await
}

/// The answer to a request by a socket in the file system.
#[cfg(unix)]
async fn by_socket(path: &std::path::Path, before: &[u8], lines: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    let request = format!("GET /api/client HTTP/1.1\r\nHost: inner\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(&[before, request.as_bytes()].concat()).await.unwrap();
    let mut answer = String::new();
    // One that is closed with unread bytes may be reset.
    drop(stream.read_to_string(&mut answer).await);
    answer
}

async fn client(running: &Running, before: &[u8], lines: &str) -> String {
    let request = format!("GET /api/client HTTP/1.1\r\nHost: inner\r\nConnection: close\r\n{lines}\r\n");
    send(running, &[before, request.as_bytes()].concat()).await
}

const SAID: &str =
    "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn only_headers_of_a_trusted_proxy_are_believed() {
    let trusting = server(ServerOptions::default().with_trusted_proxies("127.0.0.0/8".parse().unwrap())).await;
    let answer = client(&trusting, b"", SAID).await;
    assert!(answer.ends_with("203.0.113.9 shop.example 0"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age=60\r\n"), "the client came by https: {answer}");
    assert!(client(&trusting, b"", "CF-Connecting-IP: 2001:db8::9\r\n").await.ends_with("2001:db8::9 inner 0"));
    let forwarded = "Forwarded: for=\"[2001:db8::7]\";host=shop.example\r\n";
    assert!(client(&trusting, b"", forwarded).await.ends_with("2001:db8::7 shop.example 0"));

    for options in
        [ServerOptions::default(), ServerOptions::default().with_trusted_proxies("10.0.0.0/8".parse().unwrap())]
    {
        let running = server(options).await;
        let answer = client(&running, b"", SAID).await;
        assert!(answer.ends_with("127.0.0.1 inner 0") && !answer.contains("strict-transport"), "{answer}");
        assert!(client(&running, b"", "CF-Connecting-IP: 6.6.6.6\r\n").await.ends_with("127.0.0.1 inner 0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_its_own_strict_transport_security_has_no_second_one() {
    let store = MemoryStore::new();
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::STRICT_TRANSPORT_SECURITY, http::HeaderValue::from_static("max-age=7"));
    let site = Site::new(Arc::new(store.clone()), SiteOptions::default().with_page_headers(headers));
    let app = app_over(&store, &Arc::new(MemorySink::new())).await.site(site);
    let service = app.cache(CacheOptions::default()).hsts(Duration::from_secs(60)).into_service();
    let options = ServerOptions::default().with_trusted_proxies("127.0.0.0/8".parse().unwrap());
    let running = start(service, options).await;
    let request = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n";
    for _ in 0..2 {
        // The second time they are out of memory, and the first of the two could be sent by the fast path.
        let both = format!("{request}\r\n{request}Connection: close\r\n\r\n");
        let answers = send(&running, both.as_bytes()).await;
        assert_eq!(answers.matches("strict-transport-security: max-age=7\r\n").count(), 2, "{answers}");
        assert_eq!(answers.matches("strict-transport-security").count(), 2, "{answers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_takes_the_client_from_the_proxy_protocol() {
    let running = server(ServerOptions::default().with_proxy_protocol(true)).await;
    let mut version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    version_2.extend([203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
    let answer = client(&running, &version_2, "X-Forwarded-For: 6.6.6.6\r\n").await;
    assert!(answer.ends_with("203.0.113.9 inner 0"), "{answer}");
    let version_1 = b"PROXY TCP6 2001:db8::9 ::1 443 80\r\n";
    assert!(client(&running, version_1, "").await.ends_with("2001:db8::9 inner 0"));
    let itself = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert!(client(&running, itself, "").await.ends_with("127.0.0.1 inner 0"));
    assert_eq!(client(&running, b"", "").await, "", "without the header there is no answer");

    // Behind the TCP proxy one that speaks HTTP.
    let options = ServerOptions::default().with_proxy_protocol(true);
    let both = server(options.clone().with_trusted_proxies("127.0.0.1,203.0.113.9".parse().unwrap())).await;
    assert!(client(&both, &version_2, "X-Forwarded-For: 198.51.100.7\r\n").await.ends_with("198.51.100.7 inner 0"));
    let stranger = server(options.with_trusted_proxies("10.0.0.0/8".parse().unwrap())).await;
    assert_eq!(client(&stranger, &version_2, "").await, "", "an address outside of the trusted ones");
}

/// Headers of the PROXY protocol without an address: the proxy does not know its client, or speaks for itself.
const NAMELESS: [&[u8]; 4] = [
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN 203.0.113.9 10.0.0.1 4711 80\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0",
];

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_headers_behind_a_nameless_proxy_header_are_not_believed() {
    let options = ServerOptions::default().with_proxy_protocol(true).with_trusted_proxies("127.0.0.1".parse().unwrap());
    let running = server(options).await;
    for before in NAMELESS {
        for said in [SAID, "CF-Connecting-IP: 6.6.6.6\r\n", "Forwarded: for=6.6.6.6;proto=https;host=evil.example\r\n"]
        {
            let answer = client(&running, before, said).await;
            assert!(answer.ends_with("127.0.0.1 inner 0"), "{before:?}: {answer}");
            assert!(!answer.contains("strict-transport"), "{before:?}: {answer}");
        }
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_the_file_system_takes_the_proxy_protocol() {
    use isobar_http_serve::native::Server;
    let folder = tempfile::tempdir().unwrap();
    let options = ServerOptions::default().with_trusted_proxies("203.0.113.9".parse().unwrap());
    let mut ends = Vec::new();
    for (name, proxy_protocol) in [("plain", false), ("proxied", true)] {
        let options = options.clone().with_proxy_protocol(proxy_protocol);
        let server = Server::bind_unix(folder.path().join(name), options).await.unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        ends.push(end);
        tokio::spawn(server.serve(app().into_service(), async move { drop(ended.await) }));
    }
    let plain = folder.path().join("plain");
    let proxied = folder.path().join("proxied");
    // Programs of this machine are believed, where any proxy is trusted.
    let answer = by_socket(&plain, b"", "X-Forwarded-For: 198.51.100.8\r\n").await;
    assert!(answer.ends_with("198.51.100.8 inner 0"), "{answer}");
    let of = |address: [u8; 4]| {
        let mut head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        head.extend(address);
        head.extend([10, 0, 0, 1, 0x12, 0x67, 0, 80]);
        head
    };
    let answer = by_socket(&proxied, &of([198, 51, 100, 7]), SAID).await;
    assert!(answer.ends_with("198.51.100.7 inner 0"), "its client is not a trusted proxy: {answer}");
    let answer = by_socket(&proxied, &of([203, 0, 113, 9]), "X-Forwarded-For: 198.51.100.8\r\n").await;
    assert!(answer.ends_with("198.51.100.8 inner 0"), "{answer}");
    assert!(by_socket(&proxied, b"PROXY TCP6 2001:db8::9 ::1 443 80\r\n", "").await.ends_with("2001:db8::9 inner 0"));
    for before in NAMELESS {
        let answer = by_socket(&proxied, before, SAID).await;
        assert!(answer.ends_with("none inner 0") && !answer.contains("strict-transport"), "{before:?}: {answer}");
    }
    assert_eq!(by_socket(&proxied, b"", "").await, "", "without the header there is no answer");
}
