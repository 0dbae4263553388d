//! Reading a configuration: `cargo bench -p isobar-cloudflare`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use criterion::{Criterion, criterion_group, criterion_main};
use isobar_cloudflare::wrangler::{Config, Format};

const CONFIG: &str = "name = \"a\"\n[[r2_buckets]]\nbinding = \"A\"\nbucket_name = \"a\"\n[[d1_databases]]\nbinding = \"DB\"\n[vars]\nX = \"1\"\n";

fn bench(criterion: &mut Criterion) {
    criterion.bench_function("toml", |bencher| bencher.iter(|| Config::parse(CONFIG, Format::Toml, None).unwrap()));
}

criterion_group!(benches, bench);
criterion_main!(benches);
