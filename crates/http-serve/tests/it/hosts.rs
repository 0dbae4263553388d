//! The host of a request, and the headers that every answer has.

use std::sync::Arc;
use std::time::Duration;

use isobar_analytics::memory::MemorySink;
use isobar_http_serve::SecurityHeaders;
use isobar_http_serve::native::ServerOptions;
use isobar_site::{CacheOptions, Site, SiteOptions};
use isobar_storage::memory::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Running, app_over, start};

/// Sends these bytes as they are, and reads until the end or a pause.
pub(crate) async fn send(running: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    drop(tokio::time::timeout(Duration::from_millis(700), stream.read_to_end(&mut answer)).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_one_valid_host_is_refused() {
    let dataset = Arc::new(MemorySink::new());
    let store = MemoryStore::new();
    let app = app_over(&store, &dataset).await.cache(CacheOptions::default());
    let running = start(app.into_service(), ServerOptions::default()).await;
    for path in ["/", "/", "/api/hello"] {
        // What is in memory is the fast path's, the rest hyper's.
        let status = async |head: String| {
            let answer = send(&running, format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await;
            answer.get(9..12).unwrap_or_default().to_owned()
        };
        for lines in [
            "",
            "\r\nHost: a\r\nHost: b",
            "\r\nHost: a\r\nHost: a",
            "\r\nHost: ",
            "\r\nHost: a b",
            "\r\nHost: a/b",
            "\r\nHost: user@a",
            "\r\nHost: a:b",
            "\r\nHost: a,b?",
            "\r\nHost: [::1",
            "\r\nHost: ex\u{e4}mple",
        ] {
            assert_eq!(status(format!("GET {path} HTTP/1.1{lines}")).await, "400", "{path} {lines:?}");
        }
        for lines in ["\r\nHost: a", "\r\nhost: a.example:8080", "\r\nHost: [::1]:80", "\r\nHost: 127.0.0.1"] {
            assert_eq!(status(format!("GET {path} HTTP/1.1{lines}")).await, "200", "{path} {lines:?}");
        }
        assert_eq!(status(format!("GET {path} HTTP/1.0")).await, "200", "HTTP/1.0 may lack it");
        assert_eq!(status(format!("GET {path} HTTP/1.0\r\nHost: a\r\nHost: b")).await, "400");
        assert_eq!(status(format!("GET http://a.example{path} HTTP/1.1\r\nHost: other")).await, "200");
        assert_eq!(status(format!("GET http://a.example{path} HTTP/1.1")).await, "400", "absolute form has one, too");
        assert_eq!(status(format!("GET http://user@a.example{path} HTTP/1.1\r\nHost: a")).await, "400");
    }
    // In a connection that the fast path has begun.
    let answers =
        send(&running, b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "400"], "nothing behind it is read: {answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_decides_the_host_that_a_route_sees() {
    let routes = axum::Router::new().route(
        "/host",
        axum::routing::get(async |headers: http::HeaderMap| headers["host"].to_str().unwrap_or_default().to_owned()),
    );
    let running = start(isobar_http_serve::App::new().api(routes).into_service(), ServerOptions::default()).await;
    let request = b"GET http://target.example/api/host HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n";
    assert!(send(&running, request).await.ends_with("\r\n\r\ntarget.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_answers_have_the_headers_that_keep_browsers_safe() {
    let dataset = Arc::new(MemorySink::new());
    let store = MemoryStore::new();
    let options = SiteOptions::default().with_page_headers(SecurityHeaders::default().page_headers());
    let app = app_over(&store, &dataset).await.site(Site::new(Arc::new(store.clone()), options));
    let app = app.cache(CacheOptions::default()).hsts(Duration::from_secs(60));
    let running = start(app.into_service(), ServerOptions::default()).await;
    for _ in 0..2 {
        // The second is out of memory.
        let page = crate::server::ask(&running, "GET / HTTP/1.1").await;
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "permissions-policy: camera=(self)",
            "cross-origin-opener-policy: same-origin\r\n",
            "x-content-type-options: nosniff\r\n",
            "x-frame-options: SAMEORIGIN\r\n",
        ] {
            assert!(page.contains(header), "{header}: {page}");
        }
        let file = crate::server::ask(&running, "HEAD /big.bin HTTP/1.1").await;
        assert!(file.contains("nosniff") && !file.contains("content-security-policy"), "{file}");
    }
    for path in ["/api/hello", "/api/none", "/healthz", "/readyz", "/api/panic"] {
        let answer = crate::server::ask(&running, &format!("GET {path} HTTP/1.1")).await;
        assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{path}: {answer}");
        // Plain HTTP must not be told (RFC 6797 7.2).
        assert!(!answer.contains("strict-transport-security"), "{path}: {answer}");
    }
    let unknown = crate::server::ask(&running, "GET /api HTTP/1.1").await;
    assert!(unknown.contains("\"there is no such API\""), "{unknown}");
}
