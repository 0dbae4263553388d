//! A service of tower's under the server: what it is told, and what the server refuses itself.

use std::time::Duration;

use axum::Extension;
use axum::routing::{get, post};
use isobar_server::{FromTower, RequestInfo, ServerOptions};

use crate::Running;

fn router() -> axum::Router {
    let info = |Extension(info): Extension<RequestInfo>| async move {
        format!("{} {}", info.address.expect("a connection over TCP has an address"), info.is_https)
    };
    axum::Router::new()
        .route("/", get(info))
        .route("/echo", post(|body: String| async move { body }))
        .route("/never", get(std::future::pending::<()>))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tower_service_gets_the_client_that_a_trusted_proxy_reports() {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    let direct = Running::start(FromTower::new(router()), ServerOptions::default()).await;
    assert!(direct.send(request).await.ends_with("\r\n\r\n127.0.0.1 false"));
    direct.stop().await;
    let options = ServerOptions::default().with_trusted_proxies("127.0.0.1".parse().unwrap());
    let proxied = Running::start(FromTower::new(router()), options).await;
    assert!(proxied.send(request).await.ends_with("\r\n\r\n203.0.113.9 true"));
    proxied.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_host_is_answered_400_and_closes_the_connection() {
    let running = Running::start(FromTower::new(router()), ServerOptions::default()).await;
    let answer = running.send(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nthere is no Host header\n"), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_response_is_answered_503_with_the_id_of_the_request() {
    let options = ServerOptions::default().with_request_timeout(Duration::from_millis(100));
    let running = Running::start(FromTower::new(router()), options).await;
    let request = b"GET /never HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n";
    let answer = running.send(request).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("x-request-id: mine\r\n") && answer.contains("retry-after: 1\r\n"), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_too_slowly_is_answered_408() {
    let options = ServerOptions::default().with_body_timeout(Duration::from_millis(100));
    let running = Running::start(FromTower::new(router()), options).await;
    let answer = running.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab").await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nthe body came too slowly; send it again\n"), "{answer}");
    running.stop().await;
}
