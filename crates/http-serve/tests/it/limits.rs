//! Tests of the limits for hostile clients: connections, time for a body, memory for bodies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use isobar_http_serve::App;
use isobar_http_serve::native::{DescriptorLimit, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Running, ask, start};

async fn echo(options: ServerOptions) -> Running {
    let routes = Router::new().route("/echo", post(async |body: axum::body::Bytes| body.len().to_string()));
    start(App::new().api(routes).body_limit(1_000_000).into_service(), options).await
}

async fn begin(running: &Running, length: usize, part: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!("POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(part).await.unwrap();
    stream
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let count = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await.unwrap().unwrap_or(0);
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_pauses_or_drips_is_given_up_with_408() {
    let options = ServerOptions::default().with_body_timeout(Duration::from_millis(400)).with_body_rate(10_000);
    let running = echo(options).await;
    let begun = Instant::now();
    let mut silent = begin(&running, 100, b"half").await;
    let told = answer(&mut silent).await;
    assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("problem+json"), "{told}");
    assert!(told.contains("connection: close\r\n") && begun.elapsed() < Duration::from_secs(5), "{told}");
    // A byte now and then is not enough.
    let mut slow = begin(&running, 1000, b"").await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) && slow.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // One that is slow, and fast enough.
    let mut fine = begin(&running, 20_000, b"").await;
    for _ in 0..10 {
        fine.write_all(&[b'x'; 2000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(answer(&mut fine).await.ends_with("20000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_memory_for_all_are_answered_with_503_and_others_go_on() {
    let running = echo(ServerOptions::default().with_body_memory(1_500_000)).await;
    let mut held = begin(&running, 900_001, &vec![b'x'; 900_000]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut refused = begin(&running, 900_000, &vec![b'x'; 900_000]).await;
    let told = answer(&mut refused).await;
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("retry-after: 1\r\n"), "{told}");
    let mut small = begin(&running, 5, b"small").await;
    assert!(answer(&mut small).await.ends_with("5"));
    held.write_all(b"x").await.unwrap();
    assert!(answer(&mut held).await.ends_with("900001"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut after = begin(&running, 900_000, &vec![b'x'; 900_000]).await;
    assert!(answer(&mut after).await.ends_with("900000"), "the memory is free again");
    // Too long in any case.
    let mut long = begin(&running, 1_000_001, &vec![b'x'; 1_000_001]).await;
    assert!(answer(&mut long).await.starts_with("HTTP/1.1 413 "));
}

/// A connection from another address of this machine.
async fn from_elsewhere(running: &Running, request: &[u8]) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(running.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_take_the_memory_for_all_bodies() {
    let options = ServerOptions::default().with_body_memory(5_000_000).with_body_memory_per_address(1_500_000);
    let running = echo(options).await;
    let mut held = begin(&running, 900_001, &vec![b'x'; 900_000]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut refused = begin(&running, 900_000, &vec![b'x'; 900_000]).await;
    let told = answer(&mut refused).await;
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("retry-after: 1\r\n"), "{told}");
    assert!(told.contains("from your address"), "{told}");
    let head = b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n";
    let mut other = from_elsewhere(&running, &[&head[..], &vec![b'x'; 900_000]].concat()).await;
    assert!(answer(&mut other).await.ends_with("900000"));
    held.write_all(b"x").await.unwrap();
    assert!(answer(&mut held).await.ends_with("900001"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_a_handler_holds_of_a_streamed_body_are_charged() {
    use axum::extract::Request;
    use isobar_api::BodyMemory;
    use isobar_http_serve::Problem;
    let gather = async |request: Request| {
        let memory = request.extensions().get::<BodyMemory>().cloned().expect("the server counts bodies");
        let mut body = request.into_body().into_data_stream();
        let mut bytes = 0;
        while let Some(Ok(chunk)) = futures_util::StreamExt::next(&mut body).await {
            bytes += chunk.len();
            memory.hold(bytes)?;
        }
        Ok::<_, Problem>(bytes.to_string())
    };
    let routes = Router::new().route("/echo", post(gather));
    let app = App::new().api(routes).body_limit(1_000).into_service();
    let running =
        start(app, ServerOptions::default().with_body_memory(1_500_000).with_body_memory_per_address(1_500_000)).await;
    let mut held = begin(&running, 900_001, &vec![b'x'; 900_000]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut refused = begin(&running, 900_000, &vec![b'x'; 900_000]).await;
    let told = answer(&mut refused).await;
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("retry-after: 1\r\n"), "{told}");
    held.write_all(b"x").await.unwrap();
    assert!(answer(&mut held).await.ends_with("900001"));
    let mut after = begin(&running, 900_000, &vec![b'x'; 900_000]).await;
    assert!(answer(&mut after).await.ends_with("900000"), "the memory is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_take_every_connection() {
    let options = ServerOptions::default().with_connections(20).with_connections_per_address(5);
    let running = echo(options).await;
    let mut idle = Vec::new();
    for _ in 0..5 {
        idle.push(TcpStream::connect(running.address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(ask(&running, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 503 "));
    let mut other = from_elsewhere(&running, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer(&mut other).await.starts_with("HTTP/1.1 200 "));
    drop(idle);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(ask(&running, "GET /healthz HTTP/1.1").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_open_files_is_raised_and_divided() {
    let limit = DescriptorLimit::raise();
    assert_eq!(DescriptorLimit::raise(), limit, "it stays raised");
    assert!(limit.files >= 1024);
    let small = DescriptorLimit::default();
    assert_eq!((small.connections(), small.session_objects()), (513, 85));
    assert!(small.connections() + 3 * small.session_objects() < 1024 - 200, "a reserve for files");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_checks_run_once_a_second_and_recover() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let is_well = Arc::new(AtomicBool::new(true));
    let looked = Arc::new(AtomicUsize::new(0));
    let well = Arc::clone(&is_well);
    let count = Arc::clone(&looked);
    let check = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        let outcome = if well.load(Ordering::Relaxed) { Ok(()) } else { Err("it is full".to_owned()) };
        Box::pin(async move { outcome }) as futures_util::future::BoxFuture<'static, _>
    });
    let hangs = Arc::new(AtomicBool::new(false));
    let hang = Arc::clone(&hangs);
    let other = Arc::new(move || {
        let hangs = hang.load(Ordering::Relaxed);
        Box::pin(async move { if hangs { std::future::pending().await } else { Ok(()) } })
            as futures_util::future::BoxFuture<'static, _>
    });
    let app = App::new().ready_when("disk", check).ready_when("other", other);
    let running = start(app.into_service(), ServerOptions::default()).await;
    let ready = async || ask(&running, "GET /readyz HTTP/1.1").await;
    for _ in 0..20 {
        assert!(ready().await.ends_with("ready\n"));
    }
    assert!(looked.load(Ordering::Relaxed) <= 2, "{looked:?}");
    is_well.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let told = ready().await;
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("not ready: disk\""), "{told}");
    is_well.store(true, Ordering::Relaxed);
    hangs.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(ready().await.contains("not ready: other\""));
    hangs.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(ready().await.ends_with("ready\n"));
}
