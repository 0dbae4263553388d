//! R2's semantics in a folder: conditional writes, metadata, ranges, listings.
#![allow(clippy::print_stdout, reason = "an example speaks")]

use isobar_storage::local::LocalStore;
use isobar_storage::{Conditions, GetOptions, Key, ListOptions, ObjectStore, ObjectStoreExt, PutOptions, Range};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "embed-storage-data".to_owned());
    let bucket = LocalStore::open(&folder).await?;
    let key = Key::new("notes/today.md")?;

    let meta = bucket.write(&key, "# Today\n").await?;
    println!("stored {} ({}), etag {}", meta.key, meta.http.content_type.unwrap_or_default(), meta.etag);

    // Compare-and-swap: the write succeeds only if the object has not changed since it was read.
    let only_if = PutOptions::default().with_conditions(Conditions::if_etag(meta.etag.clone())?);
    println!("first swap:  {}", bucket.write_with(&key, "# Tomorrow\n", only_if.clone()).await?.stored().is_some());
    println!("second swap: {}", bucket.write_with(&key, "# Too late\n", only_if).await?.stored().is_some());

    let range = GetOptions::default().with_range(Range::From { offset: 2, length: Some(8) });
    if let Some((_, body)) = bucket.get(&key, range).await?.into_object() {
        println!("bytes 2-9:   {}", String::from_utf8_lossy(&body.bytes().await?));
    }
    let page = bucket.list(ListOptions::default().with_delimiter("/")).await?;
    println!("folders:     {:?}", page.prefixes);
    Ok(())
}
