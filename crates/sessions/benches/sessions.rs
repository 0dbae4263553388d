//! Events on one object: `cargo bench -p isobar-sessions --all-features`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use isobar_sessions::conformance::Probe;
use isobar_sessions::local::{HostOptions, LocalHost};
use isobar_sessions::memory::MemoryHost;
use isobar_sessions::{Body, SessionNamespace, SessionNamespaceExt};

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let local = LocalHost::<Probe>::open(folder.path(), "Probe", &HostOptions::default(), || ()).unwrap();
    let memory = MemoryHost::<Probe>::new("Probe", || ()).unwrap();
    let hosts: [(&str, &dyn SessionNamespace); 2] = [("memory", &memory), ("local", &local)];
    for (name, host) in hosts {
        let id = host.id_from_name("bench");
        // SQLite does not write a value that is there already: each write brings another.
        let count = AtomicU64::new(0);
        let write = || format!(r#"[{{"op": "put", "key": "a", "value": {}}}]"#, count.fetch_add(1, Ordering::Relaxed));
        let read = || r#"[{"op": "get", "key": "a"}]"#.to_owned();
        let acts: [(&str, &dyn Fn() -> String); 2] = [("write, durable", &write), ("read", &read)];
        for (what, operations) in acts {
            criterion.bench_function(&format!("{name}/{what}"), |bencher| {
                bencher
                    .to_async(&runtime)
                    .iter(|| async { host.post(&id, "/act", Body::from(operations())).await.unwrap() });
            });
        }
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = bench }
criterion_main!(benches);
