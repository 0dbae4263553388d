//! Answers of a site in memory: `cargo bench -p isobar-site`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use isobar_site::{Site, SiteOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::{Key, ObjectStoreExt};

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = MemoryStore::new();
    runtime.block_on(store.write(&Key::new("app.js").unwrap(), vec![b'x'; 16 * 1024])).unwrap();
    let site = Site::new(Arc::new(store), SiteOptions::default());
    for (name, header, value) in
        [("200", "accept", "*/*"), ("304", "if-none-match", "*"), ("206", "range", "bytes=100-199")]
    {
        let request = Request::get("/app.js").header(header, value).body(()).unwrap();
        criterion.bench_function(&format!("16 KiB/{name}"), |bencher| {
            bencher
                .to_async(&runtime)
                .iter(|| async { assert_eq!(site.respond(&request).await.status().as_str(), name) });
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
