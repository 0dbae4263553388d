//! The conformance kit on every backend, and what is particular to one.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod damage;
mod directory;
mod errors;
mod faults;
mod former;
mod fsck;
mod layers;
mod local;
mod object_store;
mod operations;
mod packs;
mod processes;
mod rebuild;
mod removal;
mod rules;
mod streams;
mod sync;
mod walk;

use std::sync::Arc;

use isobar_storage::conformance;
use isobar_storage::local::LocalStore;
use isobar_storage::memory::MemoryStore;
use isobar_storage::mock::MockStore;

#[tokio::test]
async fn memory_conforms() {
    conformance::run(async || Arc::new(MemoryStore::new()) as _).await.assert_green();
}

#[tokio::test]
async fn local_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    conformance::run(async || Arc::new(store.clone()) as _).await.assert_green();
}

#[tokio::test]
async fn random_sequences_end_alike_in_memory_and_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let local: conformance::Subject = Arc::new(LocalStore::open(folder.path()).await.unwrap());
    let memory: conformance::Subject = Arc::new(MemoryStore::new());
    for seed in 0..40 {
        let told = [&local, &memory].map(|store| conformance::transcript(store, seed, 300));
        let [local, memory] = futures_util::future::join_all(told).await.try_into().unwrap();
        let local = local.unwrap();
        let memory = memory.unwrap();
        local.iter().zip(&memory).enumerate().for_each(|(step, (local, memory))| {
            assert_eq!(local, memory, "seed {seed}, step {step}");
        });
    }
}

#[tokio::test]
async fn a_mock_without_a_script_conforms() {
    conformance::run(async || Arc::new(MockStore::new(MemoryStore::new())) as _).await.assert_green();
}

#[tokio::test]
async fn a_store_behind_arcs_and_boxes_conforms() {
    conformance::run(async || Arc::new(Box::new(Arc::new(MemoryStore::new()))) as _).await.assert_green();
}
