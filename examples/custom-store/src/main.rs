//! A store of one's own, and the kit that judges it. `cargo run -p custom-store`.
#![allow(clippy::print_stdout, reason = "an example speaks")]

mod sharded;

use std::sync::Arc;

use isobar_storage::conformance::{self, Subject};
use isobar_storage::memory::MemoryStore;

use crate::sharded::ShardedStore;

/// The store under test: over three buckets in memory.
fn store() -> isobar_storage::Result<Subject> {
    Ok(Arc::new(ShardedStore::new((0..3).map(|_| MemoryStore::new()).collect())?))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Every case of the kit, on one store: cases keep to keys of their own.
    let sharded = store()?;
    let report = conformance::run(async || Arc::clone(&sharded)).await;
    println!("{report}");
    report.assert_green();

    // Random operations, and what comes of each in words: two stores with the same words behave the same.
    for seed in 0..20 {
        let sharded: Subject = store()?;
        let single: Subject = Arc::new(MemoryStore::new());
        let failed = |conformance::Failure(why)| why;
        let sharded = conformance::transcript(&sharded, seed, 200).await.map_err(failed)?;
        let single = conformance::transcript(&single, seed, 200).await.map_err(failed)?;
        for (step, (sharded, single)) in sharded.iter().zip(&single).enumerate() {
            assert_eq!(sharded, single, "seed {seed}, step {step}");
        }
    }
    println!("20 random sequences end as on a single store");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_store_conforms() {
        super::main().expect("every step holds");
    }
}
