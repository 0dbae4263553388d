//! The load of `cargo xtask bench s3` and `bench rest`, one measurement a run, and the server `s3s-fs` beside the door.
//!
//! ```text
//! serve FOLDER PORT ID SECRET             s3s-fs over the folder, each put synced
//! fill BYTES COUNT                        puts the objects that `get` reads
//! put BYTES AT_ONCE SECONDS MOST PREFIX   puts objects of new keys, at most MOST
//! get BYTES AT_ONCE SECONDS COUNT         gets the objects of `fill`
//! large MIB                               streams one object to the server and back, and compares it
//! query URL TOKEN BODY EXPECTED AT_ONCE SECONDS   posts the body; `{}` in it and in the expected text is a number
//! ```
//!
//! The environment names the server of S3: `S3_ENDPOINT`, `S3_BUCKET`, `S3_ID`, `S3_SECRET`. A measurement prints a line:
//! `row`, requests, requests per second, median and 99th percentile of the latency in microseconds. It runs on one thread, so that
//! the server has a processor of its own where there are two.

mod large;
mod load;
mod serve;

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ClientOptions, RetryConfig};

/// Returns the bucket that the environment names. Requests are signed with their payload and are not repeated.
fn store() -> AmazonS3 {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("the environment has no {name}"));
    AmazonS3Builder::new()
        .with_endpoint(variable("S3_ENDPOINT"))
        .with_bucket_name(variable("S3_BUCKET"))
        .with_access_key_id(variable("S3_ID"))
        .with_secret_access_key(variable("S3_SECRET"))
        .with_region("auto")
        .with_allow_http(true)
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_client_options(ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_secs(600)))
        .build()
        .expect("the environment describes a bucket")
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["serve", folder, port, id, secret] = arguments[..] {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        return runtime.block_on(serve::run(folder, number(port), id, secret));
    }
    rustls::crypto::ring::default_provider().install_default().expect("this is the first provider");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        match arguments[..] {
            ["fill", bytes, count] => load::fill(store(), number(bytes), number(count)).await,
            ["put", bytes, at_once, seconds, most, prefix] => {
                load::put(store(), number(bytes), number(at_once), number(seconds), number(most), prefix).await;
            }
            ["get", bytes, at_once, seconds, count] => {
                load::get(store(), number(bytes), number(at_once), number(seconds), number(count)).await;
            }
            ["large", mebibytes] => large::run(store(), number(mebibytes)).await,
            ["query", url, token, body, expected, at_once, seconds] => {
                load::query(url, token, body, expected, number(at_once), number(seconds)).await;
            }
            _ => panic!("unknown arguments: {arguments:?}"),
        }
    });
}
