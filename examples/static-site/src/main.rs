//! A static site served from a bucket, in a few lines.
//!
//! `cargo run -p static-site` serves it on http://127.0.0.1:8788; `cargo run -p static-site -- check` sends one request and exits.
#![allow(clippy::print_stdout, reason = "an example speaks")]

use std::sync::Arc;

use isobar_site::{Site, SiteOptions};
use isobar_storage::memory::MemoryStore;
use isobar_storage::{Key, ObjectStoreExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bucket = MemoryStore::new();
    bucket.write(&Key::new("static/index.html")?, "<h1>Hello from a bucket</h1>").await?;
    bucket.write(&Key::new("static/404.html")?, "<h1>Nothing here</h1>").await?;
    let site = Site::new(Arc::new(bucket), SiteOptions::default().with_prefix("static/"));
    if std::env::args().any(|argument| argument == "check") {
        for path in ["/", "/none"] {
            let answer = site.respond(&axum::http::Request::get(path).body(())?).await;
            println!("{path} {}", answer.status());
        }
        return Ok(());
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8788").await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, axum::Router::new().fallback_service(site)).await?)
}
