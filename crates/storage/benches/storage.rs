//! The local store and the fake, object by object: `cargo bench -p isobar-storage --all-features`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use isobar_storage::local::LocalStore;
use isobar_storage::memory::MemoryStore;
use isobar_storage::{Key, ListOptions, ObjectStore, ObjectStoreExt};

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let local = runtime.block_on(LocalStore::open(folder.path())).unwrap();
    let stores: [(&str, &dyn ObjectStore); 2] = [("memory", &MemoryStore::new()), ("local", &local)];
    for (name, store) in stores {
        let key = |number: usize| Key::new(format!("bench/{number:06}")).unwrap();
        let mut number = 0;
        criterion.bench_function(&format!("{name}/put 4 KiB"), |bencher| {
            let next = || {
                number += 1;
                key(number)
            };
            bencher.to_async(&runtime).iter_batched(
                next,
                |key| async move { store.write(&key, vec![1; 4096]).await.unwrap() },
                BatchSize::SmallInput,
            );
        });
        runtime.block_on(async {
            for number in 0..1000 {
                store.write(&key(number), vec![1; 4096]).await.unwrap();
            }
            store.write(&Key::new("large").unwrap(), vec![1; 1 << 20]).await.unwrap();
        });
        let small = key(7);
        let large = Key::new("large").unwrap();
        criterion.bench_function(&format!("{name}/get 4 KiB"), |bencher| {
            bencher.to_async(&runtime).iter(|| async { store.read(&small).await.unwrap() });
        });
        criterion.bench_function(&format!("{name}/get 1 MiB"), |bencher| {
            bencher.to_async(&runtime).iter(|| async { store.read(&large).await.unwrap() });
        });
        criterion.bench_function(&format!("{name}/list 1000"), |bencher| {
            bencher
                .to_async(&runtime)
                .iter(|| async { store.list(ListOptions::default().with_prefix("bench/")).await.unwrap() });
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = bench }
criterion_main!(benches);
