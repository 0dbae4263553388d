//! `#[derive(Event)]`: names, positions, and what reads back.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use isobar_analytics::local::LocalSink;
use isobar_analytics::memory::MemorySink;
use isobar_analytics::mock::MockSink;
use isobar_analytics::{BlobField, Event, EventSink, EventSinkExt, Position, ScanOptions, Schema, TypedEvent};

/// A request, by the committed schema; `method` is not written any more, and `country` not yet.
#[derive(Event)]
#[event(schema = "tests/schemas/requests.json")]
struct Request<'a> {
    tenant: &'a str,
    #[event(name = "route")]
    path: Cow<'a, str>,
    #[event(blob = 4)]
    status: Option<u16>,
    ms: Duration,
    bytes: u64,
    #[event(skip)]
    #[allow(dead_code, reason = "shows that it is not written")]
    secret: &'a str,
}

fn request<'a>(tenant: &'a str, path: &'a str) -> Request<'a> {
    Request {
        tenant,
        path: path.into(),
        status: Some(404),
        ms: Duration::from_micros(2500),
        bytes: 9,
        secret: "secret",
    }
}

#[test]
fn schema_is_the_committed_file() {
    let file = include_str!("../schemas/requests.json");
    let schema: Schema = serde_json::from_str(file).unwrap();
    assert_eq!(Request::schema(), &schema);
    schema.check().unwrap();
    assert_eq!(schema.position("country"), Some(Position::Blob(5)));
}

#[tokio::test]
async fn typed_events_read_back_by_position_from_every_sink() {
    let folder = tempfile::tempdir().unwrap();
    let sinks: [Arc<dyn EventSink>; 3] = [
        Arc::new(MemorySink::new()),
        Arc::new(LocalSink::open(folder.path()).unwrap()),
        Arc::new(MockSink::new(MemorySink::new())),
    ];
    for sink in sinks {
        sink.write_event(&request("acme", "/a"));
        sink.write_event(&Request { status: None, ..request("acme", "/b") });
        sink.flush().await.unwrap();
        let events = sink.scan(ScanOptions::default()).await.unwrap().events;
        let [first, second] = &events[..] else { panic!("{events:?}") };
        assert_eq!(first.index(), b"acme");
        assert_eq!(first.point.blobs, ["", "/a", "", "404"].map(bytes::Bytes::from));
        assert_eq!(first.point.doubles, [2.5, 9.0]);
        assert_eq!((second.blob(2), second.blob(4)), (&b"/b"[..], &b""[..]));
    }
}

#[tokio::test]
async fn typed_events_over_a_limit_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let sink = LocalSink::open(folder.path()).unwrap();
    sink.write_event(&request(&"x".repeat(97), "/"));
    sink.write_event(&request("acme", &"x".repeat(16 * 1024)));
    sink.write_event(&request("acme", "/"));
    sink.close().await.unwrap();
    sink.write_event(&request("acme", "/late"));
    let stats = sink.stats();
    assert_eq!((stats.invalid, stats.stored, stats.drops.closed, stats.dropped), (2, 1, 1, 1));
}

/// A struct of another generation of the same dataset.
#[derive(Event)]
#[event(dataset = "requests")]
struct Generic<T: isobar_analytics::BlobField> {
    #[event(blob = 2, name = "route")]
    value: T,
}

#[test]
fn struct_without_a_file_has_its_positions_from_its_attributes() {
    let schema = Generic::<String>::schema();
    assert_eq!((schema.dataset.as_str(), schema.position("route")), ("requests", Some(Position::Blob(2))));
    assert_eq!(Generic { value: "/a" }.with_point(|point| point.to_point()).blobs, ["", "/a"].map(bytes::Bytes::from));
    Request::schema().check_succeeds(schema).unwrap();
}

/// A parameter may have any name.
#[derive(Event)]
struct Tagged<R: BlobField> {
    #[event(blob = 1)]
    tag: R,
}

#[test]
fn generic_event_is_written() {
    let sink = MemorySink::new();
    sink.write_event(&Tagged { tag: 7_u8 });
    sink.write_event(&Tagged { tag: "seven" });
    let tags: Vec<_> = sink.points().iter().map(|event| event.blob(1).to_vec()).collect();
    assert_eq!(tags, [&b"7"[..], b"seven"]);
}
