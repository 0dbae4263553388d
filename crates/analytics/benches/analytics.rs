//! Writing points: `cargo bench -p isobar-analytics --all-features`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use criterion::{Criterion, criterion_group, criterion_main};
use isobar_analytics::local::LocalSink;
use isobar_analytics::memory::MemorySink;
use isobar_analytics::{DataPoint, EventSink};

fn point() -> DataPoint {
    DataPoint::new().with_index("route").with_blob("GET").with_blob("200").with_double(1.5).with_double(4096.0)
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let local = LocalSink::open(folder.path()).unwrap();
    criterion.bench_function("local/write", |bencher| bencher.iter(|| local.write(point())));
    criterion.bench_function("local/write 100 and flush, durable", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            (0..100).for_each(|_| local.write(point()));
            local.flush().await.unwrap();
        });
    });
    let memory = MemorySink::new();
    criterion.bench_function("memory/write", |bencher| bencher.iter(|| memory.write(point())));
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = bench }
criterion_main!(benches);
