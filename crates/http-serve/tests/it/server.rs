//! The server itself: what it answers at once, its protocols, its limits, its end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper_util::rt::TokioExecutor;
use isobar_analytics::memory::MemorySink;
use isobar_http_serve::native::{Server, ServerOptions};
use isobar_http_serve::{App, AppService, RequestEvent};
use isobar_site::{CacheOptions, Site, SiteOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::{Key, ObjectStoreExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const BIG: usize = 30_000_000;

async fn change_something(store: &MemoryStore) {
    store.write(&Key::new("other").unwrap(), "x").await.unwrap();
}

async fn app(dataset: &Arc<MemorySink>) -> App {
    app_over(&MemoryStore::new(), dataset).await
}

pub(crate) async fn app_over(store: &MemoryStore, dataset: &Arc<MemorySink>) -> App {
    store.write(&Key::new("index.html").unwrap(), "home").await.unwrap();
    store.write(&Key::new("big.bin").unwrap(), vec![1; BIG]).await.unwrap();
    let routes = Router::new()
        .route("/hello", get(async || "hello"))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
        .route("/thread", get(async || std::thread::current().name().unwrap_or_default().to_owned()))
        .route(
            "/never",
            get(async || {
                std::future::pending::<()>().await;
                "late"
            }),
        );
    let site = Site::new(Arc::new(store.clone()), SiteOptions::default());
    App::new().api(routes).site(site).observe(Arc::clone(dataset) as _)
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) done: JoinHandle<()>,
}

pub(crate) async fn start(service: impl Into<AppService>, options: ServerOptions) -> Running {
    let server = Server::bind_with("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let address = server.address().unwrap();
    let service = service.into();
    let (stop, stopped) = oneshot::channel::<()>();
    let done = tokio::spawn(async move { server.serve(service, async { drop(stopped.await) }).await.unwrap() });
    Running { address, stop, done }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> String {
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn ask(running: &Running, head: &str) -> String {
    exchange(TcpStream::connect(running.address).await.unwrap(), head).await
}

/// The lines of a head, less what is never the same.
fn headers(answer: &str) -> Vec<&str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let is_its_own = |line: &&str| !line.starts_with("x-request-id: ") && !line.starts_with("date: ");
    let mut lines: Vec<&str> = head.lines().filter(is_its_own).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_memory_equal_those_of_the_routes_and_are_observed() {
    let dataset = Arc::new(MemorySink::new());
    let store = MemoryStore::new();
    let app = app_over(&store, &dataset).await.cache(CacheOptions::default());
    let running = start(app.into_service(), ServerOptions::default()).await;
    let first = ask(&running, "GET / HTTP/1.1").await;
    let second = ask(&running, "GET / HTTP/1.1").await;
    assert!(first.ends_with("\r\n\r\nhome") && second.ends_with("\r\n\r\nhome"), "{first}\n{second}");
    assert_eq!(headers(&first), headers(&second));
    let etag = first.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    for head in
        [format!("GET / HTTP/1.1\r\nIf-None-Match: {etag}"), "HEAD / HTTP/1.1".into(), "GET /none HTTP/1.1".into()]
    {
        // The first one of each goes by the routes: nothing of it is in memory, or what is there is old.
        change_something(&store).await;
        let first = ask(&running, &head).await;
        let second = ask(&running, &head).await;
        assert_eq!(headers(&first), headers(&second), "{head}");
    }
    let told_before = 2 + 6;
    assert!(ask(&running, "GET / HTTP/1.1\r\nX-Request-Id: mine").await.contains("x-request-id: mine\r\n"));
    assert!(ask(&running, "GET /api/hello HTTP/1.1").await.ends_with("hello"));
    let events: Vec<RequestEvent> = dataset.points().iter().filter_map(RequestEvent::from_event).collect();
    let told: Vec<_> = events.iter().map(|event| (&*event.route, &*event.cache, event.bytes)).collect();
    assert_eq!(told[..2], [("site", "miss", 4.0), ("site", "hit", 4.0)]);
    assert_eq!(told[told_before], ("site", "revalidated", 4.0));
    assert_eq!((told[told_before + 1].0, told[told_before + 1].1), ("/api/hello", "none"));
    // Routes run beside what the application has started, not on the threads of the connections.
    assert!(!ask(&running, "GET /api/thread HTTP/1.1").await.contains("isobar-serve"));
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_served_and_a_socket_file_listened_on() {
    let dataset = Arc::new(MemorySink::new());
    let running = start(app(&dataset).await.into_service(), ServerOptions::default()).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (path, status, body) in [("/", 200, "home"), ("/api/hello", 200, "hello"), ("/none", 404, "not found\n")] {
        let request =
            http::Request::get(format!("http://x{path}")).body(http_body_util::Empty::<Bytes>::new()).unwrap();
        let (parts, got) = client.send_request(request).await.unwrap().into_parts();
        assert_eq!((parts.version, parts.status.as_u16()), (http::Version::HTTP_2, status));
        assert_eq!(got.collect().await.unwrap().to_bytes(), body);
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.sock");
    // One that a dead server has left; a file of somebody's is left alone.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = Server::bind_unix(&path, ServerOptions::default()).await.unwrap();
    assert_eq!(server.url(), format!("unix:{}", path.display()));
    assert!(Server::bind_unix(&path, ServerOptions::default()).await.is_err(), "it is in use");
    let (stop, stopped) = oneshot::channel::<()>();
    let service = app(&dataset).await.into_service();
    let serving = tokio::spawn(server.serve(service, async { drop(stopped.await) }));
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    assert!(exchange(stream, "GET / HTTP/1.1").await.ends_with("home"));
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(!path.exists());
    std::fs::write(&path, "mine").unwrap();
    assert!(Server::bind_unix(&path, ServerOptions::default()).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_came_before_the_shutdown_is_answered_by_a_socket_file() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dataset = Arc::new(MemorySink::new());
    let folder = tempfile::tempdir().unwrap();
    for number in 0..40 {
        let path = folder.path().join(format!("{number}.sock"));
        let server = Server::bind_unix(&path, ServerOptions::default()).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = app(&dataset).await.into_service();
        let serving = tokio::spawn(server.serve(service, async { drop(stopped.await) }));
        if number % 2 == 0 {
            // The server accepts already; otherwise it may still have to begin.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        stop.send(()).unwrap();
        let mut answer = String::new();
        drop(tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("home"), "{number}: {answer:?}");
        serving.await.unwrap().unwrap();
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_to_a_socket_file_does_not_delay_the_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("idle.sock");
    let server = Server::bind_unix(&path, ServerOptions::default()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let service = app(&Arc::new(MemorySink::new())).await.into_service();
    let serving = tokio::spawn(server.serve(service, async { drop(stopped.await) }));
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    // Until it is accepted.
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).unwrap();
    let served = tokio::time::timeout(Duration::from_secs(10), serving).await;
    served.expect("the shutdown waits for no client that has sent nothing").unwrap().unwrap();
    drop(stream);
}

/// A new certificate of this name, in PEM, and its key.
fn certify(folder: &Path, name: &str) -> String {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let pem = certified.cert.pem();
    std::fs::write(folder.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("certificate.pem"), &pem).unwrap();
    pem
}

/// Asks by TLS, trusting this certificate alone.
async fn ask_by_tls(address: SocketAddr, name: &str, pem: &str, protocols: &[&str]) -> Option<String> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let client = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = client.connect(name.to_owned().try_into().unwrap(), stream).await.ok()?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Some(exchange(stream, "GET / HTTP/1.1").await);
    }
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut http2, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("https://{name}/")).body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let (parts, body) = http2.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Some(format!("{:?} {} {}", parts.version, parts.status, String::from_utf8_lossy(&body)))
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_while_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Arc::new(MemorySink::new());
    let certificate = folder.path().join("certificate.pem");
    let key = folder.path().join("key.pem");
    let options = ServerOptions::default().with_tls(&certificate, &key);
    let missing = Server::bind_with("127.0.0.1:0".parse().unwrap(), options.clone()).await.unwrap_err().to_string();
    assert!(missing.contains("certificate.pem"), "{missing}");
    let first = certify(folder.path(), "one.example");
    let running = start(app(&dataset).await.into_service(), options).await;
    let answer = ask_by_tls(running.address, "one.example", &first, &[]).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("home"), "{answer}");
    for (protocols, told) in [(&["h2", "http/1.1"][..], "HTTP/2.0 200 OK home"), (&["http/1.1"], "HTTP/1.1 200 OK")] {
        let answer = ask_by_tls(running.address, "one.example", &first, protocols).await.unwrap();
        assert!(answer.starts_with(told), "{protocols:?}: {answer}");
    }
    std::fs::write(&certificate, "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(5200)).await;
    assert!(ask_by_tls(running.address, "one.example", &first, &[]).await.is_some(), "the old one stays");
    let second = certify(folder.path(), "two.example");
    tokio::time::sleep(Duration::from_millis(5200)).await;
    assert!(ask_by_tls(running.address, "two.example", &second, &[]).await.unwrap().ends_with("home"));
    assert!(ask_by_tls(running.address, "one.example", &first, &[]).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_and_long_heads_are_refused() {
    let dataset = Arc::new(MemorySink::new());
    let options = ServerOptions::default()
        .with_header_timeout(Duration::from_millis(300))
        .with_write_timeout(Duration::from_millis(300))
        .with_request_timeout(Duration::from_millis(300))
        .with_header_bytes(8 * 1024)
        .with_threads(1);
    let running = start(app(&dataset).await.into_service(), options).await;
    // Nothing at all.
    let begun = Instant::now();
    let mut rest = Vec::new();
    drop(TcpStream::connect(running.address).await.unwrap().read_to_end(&mut rest).await);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // Half of what HTTP/2 begins with.
    let mut half = TcpStream::connect(running.address).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let begun = Instant::now();
    drop(half.read_to_end(&mut rest).await);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // A head that never ends.
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let begun = Instant::now();
    let mut rest = Vec::new();
    drop(slow.read_to_end(&mut rest).await);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // A head that is too long: a refusal, or, to who is sending still, the end of the connection.
    let long = ask(&running, &format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(20_000))).await;
    assert!(long.starts_with("HTTP/1.1 431") || long.is_empty(), "{long}");
    assert!(ask(&running, &format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(7_000))).await.ends_with("home"));
    // A route that never answers.
    let late = ask(&running, "GET /api/never HTTP/1.1").await;
    assert!(late.starts_with("HTTP/1.1 503") && late.contains("problem+json"), "{late}");
    // A client that takes nothing of its answer: what it could have taken ends early.
    let mut greedy = TcpStream::connect(running.address).await.unwrap();
    greedy.write_all(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut taken = Vec::new();
    drop(greedy.read_to_end(&mut taken).await);
    assert!(taken.len() < BIG, "{} bytes were waited for", taken.len());
    // Others have not noticed.
    assert!(ask(&running, "GET / HTTP/1.1").await.ends_with("home"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_the_whole_answer_and_a_stalled_one_is_closed() {
    const LARGE: usize = 12_000_000;
    let dataset = Arc::new(MemorySink::new());
    let store = MemoryStore::new();
    store.write(&Key::new("large.bin").unwrap(), vec![3; LARGE]).await.unwrap();
    let app = app_over(&store, &dataset).await.cache(CacheOptions::default());
    let options = ServerOptions::default().with_write_timeout(Duration::from_millis(400)).with_threads(1);
    let running = start(app.into_service(), options).await;
    for round in 0..3 {
        // The system takes little for it.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1024 * 1024).unwrap();
        let mut stream = socket.connect(running.address).await.unwrap();
        stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
        let mut taken = 0;
        let mut buffer = vec![0; 1_000_000];
        // The first one goes by the routes, the others by what is in memory.
        while taken < LARGE {
            match tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await.unwrap() {
                Ok(0) | Err(_) => break,
                Ok(count) => taken += count,
            }
            if round < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            } else if taken > 100_000 {
                tokio::time::sleep(Duration::from_millis(1500)).await;
            }
        }
        assert_eq!(taken >= LARGE, round < 2, "round {round}: {taken} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_refused_and_idle_ones_are_many() {
    let dataset = Arc::new(MemorySink::new());
    let service = app(&dataset).await.into_service();
    let running = start(service, ServerOptions::default().with_connections(2).with_threads(2)).await;
    // One after the other, whichever thread has it: none sits on a place that it does not need.
    for _ in 0..20 {
        assert!(ask(&running, "GET / HTTP/1.1").await.ends_with("home"));
    }
    let mut both = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /api/hello HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();
        both.push(stream);
    }
    let third = ask(&running, "GET / HTTP/1.1").await;
    assert!(
        third.starts_with("HTTP/1.1 503 ") && third.contains("\r\nretry-after: 1\r\n"),
        "two are all there are: {third}"
    );
    drop(both);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(ask(&running, "GET / HTTP/1.1").await.ends_with("home"));

    let running = start(app(&dataset).await.into_service(), ServerOptions::default()).await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(running.address).await.unwrap());
    }
    assert!(ask(&running, "GET / HTTP/1.1").await.ends_with("home"));
    // They do not hold the end up: none of them has a request under way.
    let begun = Instant::now();
    running.stop.send(()).unwrap();
    running.done.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(TcpStream::connect(running.address).await.is_err());
}
