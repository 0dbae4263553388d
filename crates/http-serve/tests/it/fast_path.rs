//! The fast path beside hyper: the same answers to the same bytes, and nothing lost at the end.

use std::sync::Arc;
use std::time::Duration;

use isobar_analytics::memory::MemorySink;
use isobar_http_serve::native::{Server, ServerOptions};
use isobar_site::CacheOptions;
use isobar_storage::memory::MemoryStore;
use isobar_storage::{Key, ObjectStoreExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::server::{app_over, ask, start};

/// An answer without the parts that differ each time: the id, unless the client gave it, and the second.
fn same_each_time(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer).replace("HTTP/1.0 ", "HTTP/1.1 as 1.0: ");
    let is_same = |line: &&str| !line.starts_with("x-request-id: ") || line.ends_with("mine");
    // The order of headers means nothing.
    let answers = text.split("HTTP/1.1 ").map(|answer| {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let mut lines: Vec<String> = head.lines().filter(is_same).map(|line| line.to_lowercase()).collect();
        lines.retain(|line| !line.starts_with("date: "));
        lines.sort_unstable();
        format!("{lines:?}{body}")
    });
    answers.collect::<Vec<_>>().join("\n")
}

async fn sent_in_pieces(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8], pieces: usize) -> Vec<u8> {
    for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
        // The server may have closed before all was sent.
        if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
            break;
        }
        if pieces > 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let mut answer = Vec::new();
    drop(tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await);
    answer
}

/// A header that every request has.
const HOST: &str = "Host: x\r\n";

/// Requests of all kinds: for the fast path, for hyper, and invalid ones.
fn requests(etag: &str) -> Vec<String> {
    let host = HOST;
    let not_modified = format!("GET /page HTTP/1.1\r\n{host}If-None-Match: {etag}\r\n\r\n");
    [
        format!("GET / HTTP/1.1\r\n{host}\r\n"),
        format!("GET /page HTTP/1.1\r\n{host}Accept: text/html\r\nCookie: a=b\r\nX-Request-Id: mine\r\n\r\n"),
        format!("HEAD /longer.txt HTTP/1.1\r\n{host}Accept-Encoding: br\r\n\r\n"),
        "GET /longer.txt HTTP/1.1\r\nhost: x\r\nConnection: Keep-Alive\r\n\r\n".to_owned(),
        format!("GET /longer.txt HTTP/1.1\r\n{host}Range: bytes=5-9\r\n\r\n"),
        format!("GET /longer.txt HTTP/1.1\r\n{host}Range: bytes=99999999-\r\n\r\n"),
        format!("GET /page HTTP/1.1\r\n{host}If-Match: \"x\"\r\n\r\n"),
        format!("GET /none HTTP/1.1\r\n{host}\r\n"),
        format!("GET /page.html?x=1 HTTP/1.1\r\n{host}\r\n"),
        format!("GET /page?x=1 HTTP/1.1\r\n{host}\r\n"),
        format!("GET /api/hello HTTP/1.1\r\n{host}\r\n"),
        format!("GET /healthz HTTP/1.1\r\n{host}\r\n"),
        format!("POST / HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nabc"),
        format!("GET / HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nGET /"),
        format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
        format!("GET / HTTP/1.0\r\n{host}\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\n{host}{host}\r\n"),
        format!("GET http://x/page HTTP/1.1\r\n{host}\r\n"),
        format!("GET /a b HTTP/1.1\r\n{host}\r\n"),
        format!("GET /%zz HTTP/1.1\r\n{host}\r\n"),
        format!("GET / HTTP/1.1\r\n{host}Bad Name: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}Folded: a\r\n b\r\n\r\n"),
        format!("GET / HTTP/1.1\n{}\n", host.replace('\r', "")),
        format!("\r\nGET / HTTP/1.1\r\n{host}\r\n"),
        format!("GET / HTTP/1.1\r\n{host}X-Long: {}\r\n\r\n", "x".repeat(30_000)),
        format!("GET / HTTP/1.1\r\n{host}X-Longer: {}\r\n\r\n", "x".repeat(100_000)),
        format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(80)),
        "\u{0}\u{1}nonsense".to_owned(),
        "GET".to_owned(),
        not_modified,
    ]
    .into()
}

/// How many of these answers are the fast path's own: in them the length comes before the id; in hyper's that is seldom so.
fn fast_answers(answers: &[u8]) -> usize {
    let text = String::from_utf8_lossy(answers).into_owned();
    let is_fast = |answer: &&str| {
        let positions = answer.find("content-length: ").zip(answer.find("x-request-id: "));
        positions.is_some_and(|(length, id)| length < id)
    };
    text.split("HTTP/1.1 ").filter(is_fast).count()
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn fast_path_answers_as_hyper_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    let service = async || {
        let dataset = Arc::new(MemorySink::new());
        store.write(&Key::new("page.html").unwrap(), "a page").await.unwrap();
        store.write(&Key::new("longer.txt").unwrap(), "some text\n".repeat(4000)).await.unwrap();
        store.write(&Key::new("404.html").unwrap(), "no such page").await.unwrap();
        app_over(&store, &dataset).await.cache(CacheOptions::default()).into_service()
    };
    // A socket in the file system has no fast path.
    let tcp = start(service().await, ServerOptions::default()).await;
    let path = folder.path().join("socket");
    let server = Server::bind_unix(&path, ServerOptions::default()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let hyper = service().await;
    let done = tokio::spawn(async move { server.serve(hyper, async { drop(stopped.await) }).await.unwrap() });
    let etag = ask(&tcp, "GET /page HTTP/1.1").await;
    let etag = etag.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();

    let requests = requests(&etag);
    let together: Vec<&String> = requests.iter().filter(|request| request.len() < 20_000).collect();
    let mut seed = 17_u64;
    let mut alike = 0;
    let mut fast = 0;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for round in 0..400 {
        // Each alone at first, then several that come together or in pieces.
        let bytes: Vec<u8> = match requests.get(round) {
            Some(request) => request.clone().into_bytes(),
            // Not those that are too long: what else is in hyper's buffer counts for that, too.
            None => (0..1 + random(4)).flat_map(|_| together[random(together.len())].clone().into_bytes()).collect(),
        };
        // The server closes then.
        let bytes = [&*bytes, format!("GET /page HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n").as_bytes()].concat();
        let pieces = if round % 3 == 0 { 1 } else { 1 + random(5) };
        let by_fast_path = sent_in_pieces(TcpStream::connect(tcp.address).await.unwrap(), &bytes, pieces).await;
        let by_hyper = sent_in_pieces(tokio::net::UnixStream::connect(&path).await.unwrap(), &bytes, pieces).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
        assert_eq!(same_each_time(&by_fast_path), same_each_time(&by_hyper), "round {round}, {pieces} pieces: {shown}");
        alike += usize::from(!by_fast_path.is_empty());
        fast += fast_answers(&by_fast_path).saturating_sub(fast_answers(&by_hyper));
    }
    assert!(alike > 300 && fast > 100, "{alike} answers, {fast} by the fast path");
    drop(stop);
    done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_received_before_the_shutdown_are_answered() {
    let dataset = Arc::new(MemorySink::new());
    let store = MemoryStore::new();
    store.write(&Key::new("large.bin").unwrap(), vec![3; 12_000_000]).await.unwrap();
    let app = app_over(&store, &dataset).await.cache(CacheOptions::default());
    let running = start(app.into_service(), ServerOptions::default().with_threads(1)).await;
    ask(&running, "GET / HTTP/1.1").await;
    ask(&running, "GET /large.bin HTTP/1.1").await;
    // Behind a body that takes its time there is more: for the fast path, and for the routes.
    let mut both = Vec::new();
    for last in ["/", "/api/hello"] {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1024 * 1024).unwrap();
        let mut stream = socket.connect(running.address).await.unwrap();
        for path in ["/large.bin", last] {
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        }
        both.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for (mut stream, end) in both.into_iter().zip(["home", "hello"]) {
        let mut taken = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut taken)).await.unwrap().unwrap();
        let shown = String::from_utf8_lossy(&taken[taken.len().saturating_sub(600)..]).into_owned();
        assert!(taken.len() > 12_000_000 && shown.ends_with(end) && shown.contains("connection: close"), "{shown}");
    }
    tokio::time::timeout(Duration::from_secs(10), running.done).await.unwrap().unwrap();
}
