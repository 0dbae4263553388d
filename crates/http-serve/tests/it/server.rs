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

async fn app_over(store: &MemoryStore, dataset: &Arc<MemorySink>) -> App {
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

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

async fn start(service: impl Into<AppService>, options: ServerOptions) -> Running {
    let server = Server::bind_with("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let (address, service, (stop, stopped)) = (server.address().unwrap(), service.into(), oneshot::channel::<()>());
    let done = tokio::spawn(async move { server.serve(service, async { drop(stopped.await) }).await.unwrap() });
    Running { address, stop, done }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str) -> String {
    stream.write_all(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(running: &Running, head: &str) -> String {
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
async fn what_is_in_memory_is_answered_as_the_routes_would_and_told_as_well() {
    let (dataset, store) = (Arc::new(MemorySink::new()), MemoryStore::new());
    let app = app_over(&store, &dataset).await.cache(CacheOptions::default());
    let running = start(app.into_service(), ServerOptions::default()).await;
    let (first, second) = (ask(&running, "GET / HTTP/1.1").await, ask(&running, "GET / HTTP/1.1").await);
    assert!(first.ends_with("\r\n\r\nhome") && second.ends_with("\r\n\r\nhome"), "{first}\n{second}");
    assert_eq!(headers(&first), headers(&second));
    let etag = first.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    for head in
        [format!("GET / HTTP/1.1\r\nIf-None-Match: {etag}"), "HEAD / HTTP/1.1".into(), "GET /none HTTP/1.1".into()]
    {
        // The first one of each goes by the routes: nothing of it is in memory, or what is there is old.
        change_something(&store).await;
        let (first, second) = (ask(&running, &head).await, ask(&running, &head).await);
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
async fn it_speaks_http_2_and_listens_in_the_file_system() {
    let dataset = Arc::new(MemorySink::new());
    let running = start(app(&dataset).await.into_service(), ServerOptions::default()).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (path, status, body) in
        [("/", 200, "home"), ("/api/hello", 200, "hello"), ("/none", 404, "there is nothing here\n")]
    {
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
    let (folder, dataset) = (tempfile::tempdir().unwrap(), Arc::new(MemorySink::new()));
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
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
async fn slow_and_greedy_clients_are_given_up() {
    let dataset = Arc::new(MemorySink::new());
    let options = ServerOptions::default()
        .with_header_timeout(Duration::from_millis(300))
        .with_write_timeout(Duration::from_millis(300))
        .with_request_timeout(Duration::from_millis(300))
        .with_header_bytes(8 * 1024)
        .with_threads(1);
    let running = start(app(&dataset).await.into_service(), options).await;
    // Nothing at all.
    let (begun, mut rest) = (Instant::now(), Vec::new());
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
    let (begun, mut rest) = (Instant::now(), Vec::new());
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
async fn who_takes_an_answer_slowly_gets_all_of_it_and_who_stops_does_not() {
    const LARGE: usize = 12_000_000;
    let (dataset, store) = (Arc::new(MemorySink::new()), MemoryStore::new());
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
        let (mut taken, mut buffer) = (0, vec![0; 1_000_000]);
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
async fn connections_beyond_the_limit_wait_and_idle_ones_are_many() {
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
    let third = tokio::time::timeout(Duration::from_millis(300), ask(&running, "GET / HTTP/1.1")).await;
    assert!(third.is_err(), "two are all there are");
    drop(both);
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

#[tokio::test(flavor = "multi_thread")]
async fn events_are_drawn_and_say_how_many_they_stand_for_and_where_the_client_is() {
    let (dataset, store) = (Arc::new(MemorySink::new()), MemoryStore::new());
    let app = app_over(&store, &dataset).await.cache(CacheOptions::default());
    let app = app.sample(4).country(http::HeaderName::from_static("cf-ipcountry"));
    let running = start(app.into_service(), ServerOptions::default()).await;
    for number in 0..400 {
        let path = if number % 2 == 0 { "/" } else { "/api/hello" };
        ask(&running, &format!("GET {path} HTTP/1.1\r\nCF-IPCountry: de")).await;
    }
    ask(&running, "GET /api/panic HTTP/1.1\r\nCF-IPCountry: XX").await;
    let events: Vec<RequestEvent> = dataset.points().iter().filter_map(RequestEvent::from_event).collect();
    let (failed, answered): (Vec<_>, Vec<_>) = events.iter().partition(|event| event.status == 500);
    assert_eq!((failed.len(), failed[0].weight, &*failed[0].country), (1, 1.0, ""), "what fails is always written");
    assert!((50..=150).contains(&answered.len()), "{} of 400", answered.len());
    assert!(answered.iter().all(|event| event.weight == 4.0 && event.country == "DE"), "{answered:?}");
    let stats = isobar_http_serve::stats(
        &*dataset,
        chrono::Utc::now() - chrono::TimeDelta::hours(1),
        chrono::Utc::now() + chrono::TimeDelta::hours(1),
        None,
    );
    let stats = stats.await.unwrap();
    assert_eq!(stats.requests.count, 4 * answered.len() as u64 + 1);
    assert_eq!(stats.requests.errors, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_for_prometheus_are_counted_and_served_apart() {
    let (dataset, store) = (Arc::new(MemorySink::new()), MemoryStore::new());
    let metrics = isobar_http_serve::Metrics::new();
    let app = app_over(&store, &dataset).await.cache(CacheOptions::default()).metrics(metrics.clone());
    let running = start(app.into_service(), ServerOptions::default()).await;
    for head in ["GET / HTTP/1.1", "GET / HTTP/1.1", "GET /api/hello HTTP/1.1", "BREW / HTTP/1.1"] {
        ask(&running, head).await;
    }
    let held = TcpStream::connect(running.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let apart = start(metrics.router(), ServerOptions::default()).await;
    let text = ask(&apart, "GET /metrics HTTP/1.1").await;
    assert!(text.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{text}");
    for line in [
        "http_requests_total{route=\"site\",method=\"GET\",status=\"200\",cache=\"hit\"} 1\n",
        "http_requests_total{route=\"site\",method=\"GET\",status=\"200\",cache=\"miss\"} 1\n",
        "http_requests_total{route=\"/api/hello\",method=\"GET\",status=\"200\",cache=\"none\"} 1\n",
        "http_requests_total{route=\"site\",method=\"other\",status=\"405\",cache=\"none\"} 1\n",
        "http_request_duration_seconds_count{route=\"site\"} 3\n",
        "http_response_bytes_total{route=\"/api/hello\"} 5\n",
        "http_connections 1\n",
        "site_cache_entries 1\n",
        "analytics_events_written_total 4\n",
        "# EOF\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    drop(held);
    assert!(ask(&running, "GET /metrics HTTP/1.1").await.starts_with("HTTP/1.1 404"), "not for the world");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_is_noted() {
    let (dataset, store) = (Arc::new(MemorySink::new()), MemoryStore::new());
    let app = app_over(&store, &dataset).await;
    let options = ServerOptions::default().with_request_timeout(Duration::from_millis(50));
    let running = start(app.into_service(), options).await;
    assert!(ask(&running, "GET /api/never HTTP/1.1").await.starts_with("HTTP/1.1 503"));
    let events: Vec<RequestEvent> = dataset.points().iter().filter_map(RequestEvent::from_event).collect();
    let told: Vec<_> = events.iter().map(|event| (&*event.route, event.status)).collect();
    assert_eq!(told, [("/api/never", 499)]);
}

/// What differs between two answers to the same: the id, unless the client gave it, and the second.
fn same_each_time(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer).replace("HTTP/1.0 ", "HTTP/1.1 as 1.0: ");
    let is_its_own = |line: &&str| !line.starts_with("x-request-id: ") || line.ends_with("mine");
    // Which header comes first is nobody's business.
    let answers = text.split("HTTP/1.1 ").map(|answer| {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let mut lines: Vec<String> = head.lines().filter(is_its_own).map(|line| line.to_lowercase()).collect();
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

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_fast_lane_answers_as_hyper_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    let service = async || {
        let dataset = Arc::new(MemorySink::new());
        store.write(&Key::new("page.html").unwrap(), "a page").await.unwrap();
        store.write(&Key::new("longer.txt").unwrap(), "some text\n".repeat(4000)).await.unwrap();
        store.write(&Key::new("404.html").unwrap(), "no such page").await.unwrap();
        app_over(&store, &dataset).await.cache(CacheOptions::default()).into_service()
    };
    // A socket in the file system has no lane.
    let (tcp, path) = (start(service().await, ServerOptions::default()).await, folder.path().join("socket"));
    let server = Server::bind_unix(&path, ServerOptions::default()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let hyper = service().await;
    let done = tokio::spawn(async move { server.serve(hyper, async { drop(stopped.await) }).await.unwrap() });
    let etag = ask(&tcp, "GET /page HTTP/1.1").await;
    let etag = etag.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();

    let host = "Host: x\r\n";
    let not_modified = format!("GET /page HTTP/1.1\r\n{host}If-None-Match: {etag}\r\n\r\n");
    let requests: Vec<String> = [
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
    .into();
    let together: Vec<&String> = requests.iter().filter(|request| request.len() < 20_000).collect();
    let (mut seed, mut alike, mut lanes) = (17_u64, 0, 0);
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
        // Then it is over: who closes is the server.
        let bytes = [&*bytes, format!("GET /page HTTP/1.1\r\n{host}Connection: close\r\n\r\n").as_bytes()].concat();
        let pieces = if round % 3 == 0 { 1 } else { 1 + random(5) };
        let laned = sent_in_pieces(TcpStream::connect(tcp.address).await.unwrap(), &bytes, pieces).await;
        let hypers = sent_in_pieces(tokio::net::UnixStream::connect(&path).await.unwrap(), &bytes, pieces).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
        assert_eq!(same_each_time(&laned), same_each_time(&hypers), "round {round}, {pieces} pieces: {shown}");
        alike += usize::from(!laned.is_empty());
        // In the lane's own answers the length comes before the id; in hyper's that is seldom so.
        let by_the_lane = |answers: &[u8]| {
            let text = String::from_utf8_lossy(answers).into_owned();
            let is_so = |answer: &&str| {
                answer
                    .find("content-length: ")
                    .zip(answer.find("x-request-id: "))
                    .is_some_and(|(length, id)| length < id)
            };
            text.split("HTTP/1.1 ").filter(is_so).count()
        };
        lanes += by_the_lane(&laned).saturating_sub(by_the_lane(&hypers));
    }
    assert!(alike > 300 && lanes > 100, "{alike} answers, {lanes} by the lane");
    drop(stop);
    done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_before_the_end_is_answered() {
    let (dataset, store) = (Arc::new(MemorySink::new()), MemoryStore::new());
    store.write(&Key::new("large.bin").unwrap(), vec![3; 12_000_000]).await.unwrap();
    let app = app_over(&store, &dataset).await.cache(CacheOptions::default());
    let running = start(app.into_service(), ServerOptions::default().with_threads(1)).await;
    ask(&running, "GET / HTTP/1.1").await;
    ask(&running, "GET /large.bin HTTP/1.1").await;
    // Behind a body that takes its time there is more: for the lane, and for the routes.
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
