//! Observation of requests: events, Prometheus metrics.

use std::sync::Arc;
use std::time::Duration;

use isobar_analytics::memory::MemorySink;
use isobar_analytics::query::{Analytics, MemoryDatasets};
use isobar_http_serve::native::ServerOptions;
use isobar_http_serve::{DatasetQueries, RequestEvent};
use isobar_site::CacheOptions;
use isobar_storage::memory::MemoryStore;
use tokio::net::TcpStream;

use crate::server::{app_over, ask, start};

#[tokio::test(flavor = "multi_thread")]
async fn sampled_events_have_weight_and_country() {
    let dataset = Arc::new(MemorySink::new());
    let store = MemoryStore::new();
    let app = app_over(&store, &dataset).await.cache(CacheOptions::default());
    let app = app.sample_rate(4).country_header(http::HeaderName::from_static("cf-ipcountry"));
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
    let source = MemoryDatasets::new().with_dataset("web", MemorySink::clone(&dataset));
    let queries = DatasetQueries::new(Analytics::new(source), "web");
    let stats = isobar_http_serve::stats(
        &*dataset,
        &queries,
        chrono::Utc::now() - chrono::TimeDelta::hours(1),
        chrono::Utc::now() + chrono::TimeDelta::hours(1),
        None,
    );
    let stats = stats.await.unwrap();
    assert_eq!(stats.requests.count, 4 * answered.len() as u64 + 1);
    assert_eq!(stats.requests.errors, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_metrics_are_served_by_a_server_of_their_own() {
    let dataset = Arc::new(MemorySink::new());
    let store = MemoryStore::new();
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
        "analytics_events_sampled_out_total 0\n",
        "# EOF\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    drop(held);
    assert!(ask(&running, "GET /metrics HTTP/1.1").await.starts_with("HTTP/1.1 404"), "not for the world");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_given_up_is_noted() {
    let dataset = Arc::new(MemorySink::new());
    let store = MemoryStore::new();
    let app = app_over(&store, &dataset).await;
    let options = ServerOptions::default().with_request_timeout(Duration::from_millis(50));
    let running = start(app.into_service(), options).await;
    assert!(ask(&running, "GET /api/never HTTP/1.1").await.starts_with("HTTP/1.1 503"));
    let events: Vec<RequestEvent> = dataset.points().iter().filter_map(RequestEvent::from_event).collect();
    let told: Vec<_> = events.iter().map(|event| (&*event.route, event.status)).collect();
    assert_eq!(told, [("/api/never", 499)]);
}
