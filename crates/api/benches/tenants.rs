//! One tenant's load, and what another notices of it: `cargo bench -p isobar-api --bench tenants`.
//!
//! Both list 50 rows out of 100,000. First the quiet tenant alone, then beside 32 requests of the busy tenant's that are always
//! under way; in rounds, one after the other, so that what else the machine does meets both alike.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and speaks")]

mod tickets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;

const ROUNDS: usize = 5;
const SAMPLES: usize = 1500;
const BUSY: usize = 32;

async fn list(router: &Router, tenant: &str) {
    tickets::get(router, tenant, "/tickets").await;
}

/// The quiet tenant's times, in order: a request, a pause, the next.
async fn measure(router: &Router) -> Vec<Duration> {
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let start = Instant::now();
        list(router, "tenant-1").await;
        times.push(start.elapsed());
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    times
}

fn at(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() as f64 * part) as usize).min(times.len() - 1)]
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let router = tickets::router(folder.path()).await;
        measure(&router).await; // everything is warm
        let mut alone = Vec::new();
        let mut beside = Vec::new();
        let done = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let mut loaded = Duration::ZERO;
        for _ in 0..ROUNDS {
            alone.extend(measure(&router).await);
            let over = Arc::new(AtomicBool::new(false));
            let busy: Vec<_> = (0..BUSY)
                .map(|_| {
                    let router = router.clone();
                    let over = Arc::clone(&over);
                    let done = Arc::clone(&done);
                    tokio::spawn(async move {
                        while !over.load(Ordering::Relaxed) {
                            list(&router, "tenant-0").await;
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let start = Instant::now();
            beside.extend(measure(&router).await);
            loaded += start.elapsed();
            over.store(true, Ordering::Relaxed);
            for task in busy {
                task.await.unwrap();
            }
        }
        let p = |times: &mut Vec<Duration>, part| at(times, part).as_secs_f64() * 1000.0;
        let alone50 = p(&mut alone, 0.5);
        let alone99 = p(&mut alone, 0.99);
        let beside50 = p(&mut beside, 0.5);
        let beside99 = p(&mut beside, 0.99);
        println!("alone:  p50 {alone50:.2} ms, p99 {alone99:.2} ms");
        println!(
            "beside {BUSY} requests of another tenant's ({:.0} a second): p50 {beside50:.2} ms, p99 {beside99:.2} ms",
            done.load(Ordering::Relaxed) as f64 / loaded.as_secs_f64()
        );
        println!("p99 beside / p99 alone: {:.2} (in {:.0} s)", beside99 / alone99, started.elapsed().as_secs_f64());
    });
}
