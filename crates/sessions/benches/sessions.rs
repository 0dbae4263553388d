//! Events on one object: `cargo bench -p isobar-sessions --all-features`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

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
        for (what, operations) in [
            ("read", r#"[{"op": "get", "key": "a"}]"#),
            ("write, durable", r#"[{"op": "put", "key": "a", "value": 1}]"#),
        ] {
            criterion.bench_function(&format!("{name}/{what}"), |bencher| {
                bencher
                    .to_async(&runtime)
                    .iter(|| async { host.post(&id, "/act", Body::from(operations)).await.unwrap() });
            });
        }
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = bench }
criterion_main!(benches);
