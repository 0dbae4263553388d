//! One large object, streamed to the server in parts and back in one piece.

use std::time::Instant;

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{ObjectStoreExt, WriteMultipart};

const MEBIBYTE: usize = 1 << 20;
/// Size of a part in bytes. 10,000 parts are the most.
const PART: usize = 16 << 20;
/// Parts in flight.
const AT_ONCE: usize = 4;

/// A mebibyte of the object: its number, and bytes that are the same in each.
struct Block(Vec<u8>);

impl Block {
    fn new() -> Self {
        Self((0..MEBIBYTE).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect())
    }

    fn numbered(&mut self, number: u64) -> &[u8] {
        self.0[..8].copy_from_slice(&number.to_le_bytes());
        &self.0
    }
}

pub(crate) async fn run(store: AmazonS3, mebibytes: u64) {
    let path = Path::from("large/object");
    let mut block = Block::new();
    let start = Instant::now();
    let upload = store.put_multipart(&path).await.expect("an upload begins");
    let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
    for number in 0..mebibytes {
        upload.wait_for_capacity(AT_ONCE - 1).await.expect("the parts are stored");
        upload.write(block.numbered(number));
    }
    upload.finish().await.expect("the upload is completed");
    let uploaded = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let mut stream = store.get(&path).await.expect("the object is there").into_stream();
    let mut at = 0u64;
    while let Some(part) = stream.try_next().await.expect("the body is whole") {
        let mut rest = &part[..];
        while !rest.is_empty() {
            let from = (at % MEBIBYTE as u64) as usize;
            let length = rest.len().min(MEBIBYTE - from);
            let expected = &block.numbered(at / MEBIBYTE as u64)[from..from + length];
            assert!(rest[..length] == *expected, "the object differs behind byte {at}");
            rest = &rest[length..];
            at += length as u64;
        }
    }
    assert_eq!(at, mebibytes * MEBIBYTE as u64, "bytes of the object");
    println!("large\t{uploaded:.2}\t{:.2}", start.elapsed().as_secs_f64());
    store.delete(&path).await.expect("the object is removed");
}
