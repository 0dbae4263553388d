//! Requests, as many at once as asked, until the time is over.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, PutOptions, PutPayload};

/// Number of rows of the table that is queried.
const ROWS: u64 = 1000;

/// Runs requests for this time, or until there were this many, and prints the row.
async fn drive<F, R>(at_once: usize, seconds: f64, most: u64, request: F)
where
    F: Fn(u64) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let time = Duration::from_secs_f64(seconds);
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let next = Arc::clone(&next);
        let request = request.clone();
        tasks.push(tokio::spawn(async move {
            let mut took = Vec::new();
            while start.elapsed() < time {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= most {
                    break;
                }
                let begun = Instant::now();
                request(number).await;
                took.push(begun.elapsed());
            }
            took
        }));
    }
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("each request succeeds"));
    }
    let rate = took.len() as f64 / start.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e6;
    println!("row\t{}\t{rate:.2}\t{:.1}\t{:.1}", took.len(), at(0.5), at(0.99));
}

/// Bytes that do not compress.
fn random(count: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        bytes.extend(next());
    }
    bytes.truncate(count);
    bytes.into()
}

fn filled(bytes: usize, number: u64) -> Path {
    Path::from(format!("get-{bytes}/{number}"))
}

pub(crate) async fn fill(store: AmazonS3, bytes: usize, count: u64) {
    let body = random(bytes);
    for number in 0..count {
        let payload = PutPayload::from(body.clone());
        let put = store.put_opts(&filled(bytes, number), payload, PutOptions::default()).await;
        put.expect("the object is stored");
    }
}

pub(crate) async fn put(store: AmazonS3, bytes: usize, at_once: usize, seconds: f64, most: u64, prefix: &str) {
    let body = random(bytes);
    let store = Arc::new(store);
    let prefix: Arc<str> = prefix.into();
    drive(at_once, seconds, most, move |number| {
        let store = Arc::clone(&store);
        let path = Path::from(format!("{prefix}/{number}"));
        let payload = PutPayload::from(body.clone());
        async move {
            let put = store.put_opts(&path, payload, PutOptions::default()).await;
            put.expect("the object is stored");
        }
    })
    .await;
}

pub(crate) async fn get(store: AmazonS3, bytes: usize, at_once: usize, seconds: f64, count: u64) {
    let store = Arc::new(store);
    drive(at_once, seconds, u64::MAX, move |number| {
        let store = Arc::clone(&store);
        // Neighbours in time are not neighbours in the store.
        let path = filled(bytes, number.wrapping_mul(7919) % count);
        async move {
            let got = store.get_opts(&path, GetOptions::default()).await.expect("the object is there");
            let mut stream = got.into_stream();
            let mut length = 0;
            while let Some(part) = stream.try_next().await.expect("the body is whole") {
                length += part.len();
            }
            assert_eq!(length, bytes, "bytes of {path}");
        }
    })
    .await;
}

pub(crate) async fn query(url: &str, token: &str, body: &str, expected: &str, at_once: usize, seconds: f64) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client is made");
    let url: Arc<str> = url.into();
    let authorization: Arc<str> = format!("Bearer {token}").into();
    let body: Arc<str> = body.into();
    let expected: Arc<str> = expected.into();
    drive(at_once, seconds, u64::MAX, move |number| {
        let id = (number.wrapping_mul(7919) % ROWS + 1).to_string();
        let expected = expected.replace("{}", &id);
        let request = client
            .post(&*url)
            .header("authorization", &*authorization)
            .header("content-type", "application/json")
            .body(body.replace("{}", &id));
        async move {
            let response = request.send().await.expect("the server answers");
            let status = response.status();
            let answer = response.bytes().await.expect("the answer is whole");
            let answer = String::from_utf8_lossy(&answer);
            assert!(status.is_success() && answer.contains(&expected), "{status}, without {expected}: {answer}");
        }
    })
    .await;
}
