//! S3 over a bucket in a folder, served by axum.
//!
//! ```sh
//! cargo run --package isobar-gateway --example s3 --features s3 -- ./bucket
//! AWS_ACCESS_KEY_ID=example AWS_SECRET_ACCESS_KEY=example-secret aws --endpoint-url http://127.0.0.1:9000 s3 ls
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks to its user")]

use std::sync::Arc;

use isobar_gateway::catalog::FixedBuckets;
use isobar_gateway::keys::{AccessKey, BucketScope, StaticKeys};
use isobar_gateway::s3::S3Door;
use isobar_storage::local::LocalStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: s3 FOLDER [ADDRESS]")?;
    let address = std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let store = LocalStore::open(folder).await?;
    let buckets = FixedBuckets::new().with_bucket("bucket", Arc::new(store));
    let keys = StaticKeys::new([AccessKey::new("example", "example-secret", BucketScope::read_write())]);
    let door = S3Door::new(Arc::new(buckets), Arc::new(keys));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("S3 on http://{}", listener.local_addr()?);
    axum::serve(listener, axum::Router::new().fallback_service(door)).await?;
    Ok(())
}
