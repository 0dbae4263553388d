use std::sync::Arc;

use isobar_analytics::layers::{DailyHash, DailyHashOptions, FanOut, Scrubbed};
use isobar_analytics::memory::MemorySink;
use isobar_analytics::{DataPoint, ErrorKind, EventSink, PointRef, Position, Schema, conformance};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The blobs of one point each, as a sink behind this layer has them.
fn scrub(layer: impl Fn(MemorySink) -> Scrubbed<MemorySink>, values: &[&str]) -> (Vec<String>, u64) {
    let memory = MemorySink::new();
    let sink = layer(memory.clone());
    values.iter().for_each(|value| sink.write(DataPoint::new().with_blob((*value).to_owned())));
    (memory.points().iter().map(|event| text(event.blob(1)).to_owned()).collect(), sink.emptied())
}

#[tokio::test]
async fn scrubbed_sink_conforms() {
    let sink = async || Arc::new(Scrubbed::new(MemorySink::new()).with_change(|_| {})) as _;
    conformance::run(sink, true).await.assert_green();
}

#[test]
fn addresses_are_truncated_however_they_are_written() {
    let truncated = [
        ("203.0.113.7", "203.0.113.0"),
        ("203.0.113.7:8080", "203.0.113.0"),
        (" 203.0.113.7 ", "203.0.113.0"),
        ("255.255.255.255", "255.255.255.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("2001:DB8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:ffff::"),
        ("[2001:db8:1:2::3]:443", "2001:db8:1::"),
        ("[2001:db8:1:2::3]", "2001:db8:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:203.0.113.7", "203.0.113.0"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.0"),
        ("::1", "::"),
        ("64:ff9b::203.0.113.7", "64:ff9b::"),
        ("2002:cb00:7107::1", "2002:cb00:7100::"),
        ("", ""),
    ];
    let layer = |sink: MemorySink| Scrubbed::new(sink).with_truncated_ip(Position::Blob(1)).unwrap();
    let (stored, emptied) = scrub(layer, &truncated.map(|(value, _)| value));
    assert_eq!(stored, truncated.map(|(_, expected)| expected));
    assert_eq!(emptied, 0);
}

#[test]
fn texts_without_an_address_are_emptied_and_counted() {
    let layer = |sink: MemorySink| Scrubbed::new(sink).with_truncated_ip(Position::Blob(1)).unwrap();
    let others = [
        "203.0.113.7, 198.51.100.1",
        "203.0.113",
        "203.0.113.7.9",
        "localhost",
        "for=203.0.113.7",
        "0x7f.1",
        "12345::",
    ];
    let (stored, emptied) = scrub(layer, &others);
    assert_eq!(stored, others.map(|_| ""));
    assert_eq!(emptied, others.len() as u64);

    let memory = MemorySink::new();
    layer(memory.clone()).write(DataPoint::new().with_blob(vec![203, 0, 113, 7]));
    assert_eq!(memory.points()[0].blob(1), b"", "an address is a text");
}

#[test]
fn queries_and_fragments_of_urls_are_removed() {
    let urls = [
        ("/reset?token=abc", "/reset"),
        ("https://example.com/a/b?x=1&y=2#top", "https://example.com/a/b"),
        ("/page#access_token=abc", "/page"),
        ("/a%3Fb", "/a%3Fb"),
        ("?q=1", ""),
        ("/plain", "/plain"),
        ("", ""),
    ];
    let layer = |sink: MemorySink| Scrubbed::new(sink).with_query_removed(Position::Blob(1)).unwrap();
    let (stored, emptied) = scrub(layer, &urls.map(|(url, _)| url));
    assert_eq!(stored, urls.map(|(_, expected)| expected));
    assert_eq!(emptied, 0);
}

#[test]
fn hashes_of_columns_are_those_of_the_hash() {
    let hash = DailyHash::new(DailyHashOptions::default()).unwrap();
    let memory = MemorySink::new();
    let sink = Scrubbed::new(memory.clone())
        .with_hash(Position::Index, hash.clone())
        .and_then(|sink| sink.with_hash(Position::Blob(2), hash.clone()))
        .unwrap();
    sink.write(DataPoint::new().with_index("visitor").with_blob("/home").with_blob("visitor").with_double(1.5));
    sink.write_ref(&PointRef::new(Some(b"visitor"), &[b"/about"], &[2.5]));
    let points = memory.points();
    let expected = hash.hash(b"visitor").unwrap();
    assert_eq!((text(points[0].index()), text(points[0].blob(2))), (&*expected, &*expected));
    assert_eq!((text(points[0].blob(1)), points[0].double(1)), ("/home", 1.5), "other columns stay");
    assert_eq!((text(points[1].index()), text(points[1].blob(1))), (&*expected, "/about"));
    assert_eq!(points[1].point.blobs.len(), 1, "a blob that is not set stays so");
}

#[test]
fn rules_are_applied_in_their_order() {
    let hash = DailyHash::new(DailyHashOptions::default()).unwrap();
    let memory = MemorySink::new();
    let sink = Scrubbed::new(memory.clone())
        .with_change(|point| point.blobs.swap(0, 1))
        .with_truncated_ip(Position::Blob(1))
        .and_then(|sink| sink.with_hash(Position::Blob(1), hash.clone()))
        .unwrap()
        .with_change(|point| point.doubles.push(point.blobs[0].len() as f64));
    sink.write(DataPoint::new().with_blob("a").with_blob("203.0.113.7"));
    let points = memory.points();
    assert_eq!(text(points[0].blob(1)), hash.hash(b"203.0.113.0").unwrap());
    assert_eq!((text(points[0].blob(2)), points[0].double(1)), ("a", 32.0));
}

#[test]
fn rules_of_columns_without_a_text_are_refused() {
    for position in [Position::Double(1), Position::Blob(0), Position::Blob(21)] {
        let error = Scrubbed::new(MemorySink::new()).with_query_removed(position).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Schema, "scrub"));
        assert!(error.message().starts_with(&format!("{position} has no text")), "{error}");
    }
    let error = Schema::new("visits").with_blobs(["url"]).require("ip").unwrap_err();
    assert_eq!(error.to_string(), "schema: dataset visits has no column ip");
}

#[test]
fn behind_a_fan_out_it_changes_the_points_of_one_sink() {
    let own = MemorySink::new();
    let shared = MemorySink::new();
    let scrubbed = Scrubbed::new(shared.clone()).with_truncated_ip(Position::Blob(1)).unwrap();
    let sink = FanOut::new("own", own.clone()).with_sink("shared", scrubbed);
    sink.write(DataPoint::new().with_blob("203.0.113.7"));
    sink.write_ref(&PointRef::new(None, &[b"203.0.113.9"], &[]));
    let blobs =
        |sink: &MemorySink| sink.points().iter().map(|event| text(event.blob(1)).to_owned()).collect::<Vec<_>>();
    assert_eq!(blobs(&own), ["203.0.113.7", "203.0.113.9"]);
    assert_eq!(blobs(&shared), ["203.0.113.0", "203.0.113.0"]);
}
