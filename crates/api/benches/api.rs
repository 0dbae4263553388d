//! A page of 50 rows out of 100,000, through the router: `cargo bench -p isobar-api`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

mod tickets;

use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let router = runtime.block_on(tickets::router(folder.path()));
    for (name, path) in [
        ("first page", "/tickets"),
        ("filtered", "/tickets?status=open"),
        ("one row", "/tickets?limit=1"),
        ("a row by id", "/tickets/00050000"),
    ] {
        criterion.bench_function(&format!("100k rows/{name}"), |bencher| {
            bencher.to_async(&runtime).iter(|| tickets::get(&router, "tenant-0", path));
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(30); targets = bench }
criterion_main!(benches);
