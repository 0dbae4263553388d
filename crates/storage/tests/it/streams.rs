//! Bodies out of streams whose errors are not this crate's.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use isobar_storage::memory::MemoryStore;
use isobar_storage::{Body, Error, ErrorKind, Key, MultipartOptions, ObjectStore, ObjectStoreExt};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// The chunks of a network's body: `hello, world`, or what came of it before the connection broke.
fn chunks(breaks: bool) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let end = if breaks { Err(io::Error::other("connection reset")) } else { Ok("world".into()) };
    stream::iter([Ok("hello, ".into()), end])
}

fn assert_names_its_cause(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Body, "{error}");
    assert!(error.to_string().contains("connection reset"), "{error}");
    let source = std::error::Error::source(error).expect("the stream's error is the source");
    assert!(source.downcast_ref::<io::Error>().is_some(), "{source:?}");
}

#[tokio::test]
async fn a_body_takes_a_stream_with_any_error() {
    let store = MemoryStore::new();
    store.write(&key("a.txt"), Body::wrap_stream(12, chunks(false))).await.unwrap();
    assert_eq!(store.read(&key("a.txt")).await.unwrap().unwrap().1, "hello, world");
    assert_names_its_cause(&store.write(&key("b.txt"), Body::wrap_stream(12, chunks(true))).await.unwrap_err());
    assert!(store.head(&key("b.txt")).await.unwrap().is_none());
}

#[tokio::test]
async fn write_stream_takes_a_stream_with_any_error() {
    let store = MemoryStore::new();
    let options = MultipartOptions::default;
    let meta = store.write_stream(&key("a.txt"), chunks(false), options()).await.unwrap();
    assert_eq!((meta.size, meta.http.content_type.as_deref()), (12, Some("text/plain; charset=utf-8")));
    assert_names_its_cause(&store.write_stream(&key("b.txt"), chunks(true), options()).await.unwrap_err());
    assert!(store.head(&key("b.txt")).await.unwrap().is_none());
}

#[tokio::test]
async fn an_error_of_this_crate_stays_as_it_is_in_a_wrapped_stream() {
    let own = || stream::iter([Err::<Bytes, _>(Error::new(ErrorKind::Unavailable, "the other store is busy"))]);
    let error = Body::wrap_stream(1, own()).bytes().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "the other store is busy"));
}
