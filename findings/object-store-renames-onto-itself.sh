#!/usr/bin/env bash
# object_store 0.14.2: rename(a, a) deletes the object in InMemory, and answers Ok; rename_if_not_exists(a, a) is AlreadyExists and
# keeps it, and LocalFileSystem's rename(a, a) keeps it. The trait's own rename is a copy and then a delete, which any store without
# a rename of its own has; nothing compares the two paths. Jobs that "move" a key computed from itself (a normalised name, an
# unchanged partition) lose the object on one backend and pass their tests on another.
# Seen: a program with object_store alone. Compare the paths before a rename.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src files
cat >Cargo.toml <<'TOML'
[package]
name = "rename"
version = "0.0.0"
edition = "2021"
[dependencies]
object_store = { version = "=0.14.2", default-features = false, features = ["fs"] }
tokio = { version = "1", features = ["macros", "rt"] }
TOML
cat >src/main.rs <<'RUST'
use object_store::{local::LocalFileSystem, memory::InMemory, path::Path, ObjectStore, ObjectStoreExt};

async fn outcome(store: &dyn ObjectStore) -> String {
    let a = Path::from("a");
    store.put(&a, "one".into()).await.unwrap();
    let unless = store.rename_if_not_exists(&a, &a).await.is_ok();
    let before = store.head(&a).await.is_ok();
    let renamed = store.rename(&a, &a).await.is_ok();
    format!("rename_if_not_exists ok {unless}, there {before}; rename ok {renamed}, there {}", store.head(&a).await.is_ok())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("memory: {}", outcome(&InMemory::new()).await);
    println!("files: {}", outcome(&LocalFileSystem::new_with_prefix("files").unwrap()).await);
}
RUST
cargo run --quiet | tee seen
cat >expected <<'TEXT'
memory: rename_if_not_exists ok false, there true; rename ok true, there false
files: rename_if_not_exists ok false, there true; rename ok true, there true
TEXT
diff expected seen || { echo "changed: the outcomes are not those seen"; exit 1; }
echo "as seen"
