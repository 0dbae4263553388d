//! How much memory a large object takes on its way in and out: a process of its own, whose peak is looked at.
//!
//! `ISOBAR_LARGE_MIB` says how large it is: 256 when not given; 5120 is a multipart upload.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic")]

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use isobar_storage::local::LocalStore;
use isobar_storage::{Body, GetOptions, Key, MultipartOptions, ObjectStore, ObjectStoreExt};

const CHUNK: usize = 64 * 1024;
/// Bytes that the process may have had resident at its peak.
const MOST: u64 = 64 << 20;

/// The chunk of this number: no two follow each other that are alike.
fn chunk(number: u64) -> Bytes {
    let mut chunk = vec![number as u8; CHUNK];
    chunk[..8].copy_from_slice(&number.to_le_bytes());
    chunk.into()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_passes_through_little_memory() {
    let mib: u64 = std::env::var("ISOBAR_LARGE_MIB").map_or(256, |mib| mib.parse().unwrap());
    let size = mib << 20;
    let chunks = (mib << 20) / CHUNK as u64;
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).await.unwrap();
    let key = Key::new("large.bin").unwrap();
    let body = Body::from_stream(size, stream::iter(0..chunks).map(|number| Ok(chunk(number))));
    let meta = store.upload(&key, body, MultipartOptions::default()).await.unwrap();
    assert_eq!(meta.size, size);
    let (_, body) = store.get(&key, GetOptions::default()).await.unwrap().into_object().unwrap();
    let mut seen = 0u64;
    let mut chunks = body.into_stream();
    while let Some(read) = chunks.try_next().await.unwrap() {
        for piece in read.chunks(CHUNK) {
            assert_eq!(piece[..8], (seen / CHUNK as u64).to_le_bytes(), "at {seen}");
            seen += piece.len() as u64;
        }
    }
    assert_eq!(seen, size);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
    println!("{mib} MiB in and out, {} MiB resident at the peak", peak >> 20);
    assert!(peak < MOST, "{peak} bytes were resident");
}
