//! The fast path under an application whose responses are in memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body_util::Full;
use isobar_server::{Application, Prepared, PreparedBody, RequestBody, RequestInfo, ServerOptions, Socket};

use crate::Running;

const LARGE: usize = 3_000_000;

/// `/small` and `/large` are in memory, `/sent` is sent by a system call of its own, all else is responded to.
#[derive(Clone, Default)]
struct Pages {
    prepared: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

struct Page {
    content: Bytes,
    is_sent: bool,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Bytes,
    is_sent: bool,
}

impl PreparedBody for Content {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn bytes(&self) -> Option<&[u8]> {
        (!self.is_sent).then_some(&self.bytes)
    }

    fn send(&self, socket: Socket<'_>, head: &[u8]) -> io::Result<usize> {
        // The server waits for the socket itself; this is the system call.
        let socket = socket2::SockRef::from(&socket);
        socket.send(if head.is_empty() { &self.bytes } else { head })
    }
}

impl Prepared for Page {
    type Body = Content;

    fn write_head(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", self.content.len()).as_bytes());
    }

    fn write_body(&self, output: &mut Vec<u8>) -> Option<Content> {
        if self.content.len() < 100 {
            output.extend_from_slice(&self.content);
            return None;
        }
        Some(Content { bytes: self.content.clone(), is_sent: self.is_sent })
    }

    fn ready_at(&self) -> Instant {
        Instant::now()
    }
}

/// Counts a connection while it is open.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Application for Pages {
    type Body = Full<Bytes>;
    type Prepared = Page;
    type Connection = Open;

    async fn respond(&self, request: Request<RequestBody>, _: RequestInfo) -> Response<Full<Bytes>> {
        let is_named = request.headers().contains_key("x-country");
        Response::new(Bytes::from(format!("{} {is_named}", request.uri().path())).into())
    }

    fn connected(&self) -> Open {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(Arc::clone(&self.open))
    }

    fn prepared(&self, request: &Request<()>) -> Option<Page> {
        let content = match request.uri().path() {
            "/small" => Bytes::from_static(b"small"),
            "/large" | "/sent" => vec![b'x'; LARGE].into(),
            _ => return None,
        };
        self.prepared.fetch_add(1, Ordering::SeqCst);
        Some(Page { content, is_sent: request.uri().path() == "/sent" })
    }

    fn proxy_header(&self) -> Option<&http::HeaderName> {
        static NAME: http::HeaderName = http::HeaderName::from_static("x-country");
        Some(&NAME)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_together_are_answered_in_order_on_both_paths() {
    let pages = Pages::default();
    let running = Running::start(pages.clone(), ServerOptions::default()).await;
    let request = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    let requests = ["/small", "/large", "/sent", "/small", "/other", "/small"].map(|path| request(path, "")).concat();
    let answer = running.send((requests + &request("/end", "Connection: close\r\n")).as_bytes()).await;
    let bodies: Vec<_> = answer.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
    let bodies: Vec<_> = bodies.iter().map(|answer| answer.split_once("\r\n\r\n").unwrap().1).collect();
    let large = "x".repeat(LARGE);
    assert!(bodies == ["small", &large, &large, "small", "/other false", "/small false", "/end false"]);
    assert_eq!(pages.prepared.load(Ordering::SeqCst), 4, "a connection that has left the fast path does not come back");
    running.stop().await;
    assert_eq!(pages.open.load(Ordering::SeqCst), 0, "the connection's value is dropped with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_is_removed_from_requests_that_do_not_come_from_one() {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Country: DE\r\nConnection: close\r\n\r\n";
    for (proxies, is_named) in [("", true), ("127.0.0.1", true), ("192.0.2.1", false)] {
        let options = ServerOptions::default().with_trusted_proxies(proxies.parse().unwrap());
        let running = Running::start(Pages::default(), options).await;
        assert!(running.send(request).await.ends_with(&format!("/ {is_named}")), "{proxies}");
        running.stop().await;
    }
}
