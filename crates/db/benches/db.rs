//! Queries through the trait: `cargo bench -p isobar-db --all-features`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic")]

use criterion::{Criterion, criterion_group, criterion_main};
use isobar_db::{Database, Queryable, QueryableExt, SqliteDatabase, Statement};

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let memory = runtime.block_on(SqliteDatabase::memory()).unwrap();
    let local = runtime.block_on(SqliteDatabase::open(folder.path().join("bench.sqlite"))).unwrap();
    for (name, db) in [("memory", &memory), ("local", &local)] {
        runtime.block_on(async {
            db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL)").await.unwrap();
            let insert =
                |number: i64| Statement::new("INSERT INTO t VALUES (?, ?)").bind(number).bind(format!("name {number}"));
            db.batch((0..1000).map(insert).collect()).await.unwrap();
        });
        criterion.bench_function(&format!("{name}/first by key"), |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                db.prepare("SELECT id, name FROM t WHERE id = ?").bind(7).first::<(i64, String)>().await.unwrap()
            });
        });
        criterion.bench_function(&format!("{name}/all 1000 rows"), |bencher| {
            bencher
                .to_async(&runtime)
                .iter(|| async { db.prepare("SELECT id, name FROM t").all::<(i64, String)>().await.unwrap() });
        });
        criterion.bench_function(&format!("{name}/update one, durable"), |bencher| {
            bencher
                .to_async(&runtime)
                .iter(|| async { db.prepare("UPDATE t SET name = ? WHERE id = 7").bind("x").run().await.unwrap() });
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = bench }
criterion_main!(benches);
