//! The stack around a handler, without the network: `cargo bench -p isobar-http-serve --all-features`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use isobar_analytics::memory::MemorySink;
use isobar_http_serve::App;
use tower::ServiceExt;

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = || Router::new().route("/hello", get(async || "hello"));
    let bare = Router::new().nest("/api", api());
    let stack = App::new().api(api()).observe(Arc::new(MemorySink::new())).into_router();
    for (name, router) in [("axum alone", bare), ("the stack", stack)] {
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let request = Request::get("/api/hello").body(Body::empty()).unwrap();
                router.clone().oneshot(request).await.unwrap()
            });
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
