use std::sync::Arc;

use isobar_analytics::layers::FanOut;
use isobar_analytics::local::LocalSink;
use isobar_analytics::memory::MemorySink;
use isobar_analytics::mock::{MockSink, Operation};
use isobar_analytics::{
    DataPoint, Error, ErrorKind, EventSink, EventSinkExt, PointRef, ScanOptions, SinkStats, conformance,
};

use crate::point;

fn counts(stats: SinkStats) -> [u64; 4] {
    [stats.written, stats.stored, stats.invalid, stats.dropped]
}

#[tokio::test]
async fn fan_out_conforms() {
    let folders = tempfile::tempdir().unwrap();
    let mut count = 0;
    let sink = async || {
        count += 1;
        let local = LocalSink::open(folders.path().join(count.to_string())).unwrap();
        Arc::new(FanOut::new("memory", MemorySink::new()).with_sink("local", local)) as _
    };
    conformance::run(sink, true).await.assert_green();
}

#[tokio::test]
async fn each_sink_has_every_point_however_it_is_written() {
    let sinks = [MemorySink::new(), MemorySink::new(), MemorySink::new()];
    let [a, b, c] = sinks.clone();
    let sink = FanOut::new("a", a).with_sink("b", b).with_sink("c", c);
    sink.write(point(1));
    sink.write_ref(&PointRef::new(Some(b"2"), &[], &[2.0]));
    sink.write(DataPoint::new().with_index("a").with_index("b"));
    for each in sinks {
        let points: Vec<_> = each.points().into_iter().map(|event| event.point).collect();
        assert_eq!(points, [point(1), point(2)]);
        assert_eq!(counts(each.stats()), [2, 2, 1, 0]);
    }
    assert_eq!(counts(sink.stats()), [2, 2, 1, 0]);
}

#[tokio::test]
async fn all_are_tried_before_the_first_error_is_returned() {
    let sinks = [(); 3].map(|()| MockSink::new(MemorySink::new()));
    let [good, full, gone] = sinks.clone();
    let sink = FanOut::new("good", good).with_sink("full", full).with_sink("gone", gone);
    for operation in [Operation::Flush, Operation::Health, Operation::Close] {
        let name: &str = operation.into();
        sinks[1].script().fail_next(operation, Error::new(ErrorKind::StorageFull, "the disk is full"));
        sinks[2].script().fail_next(operation, Error::new(ErrorKind::Unavailable, "no answer"));
        let error = match operation {
            Operation::Flush => sink.flush().await,
            Operation::Health => sink.health().await,
            _ => sink.close().await,
        }
        .unwrap_err();
        assert_eq!(error.to_string(), format!("{name}: sink full: the disk is full"));
        assert_eq!((error.kind(), error.operation()), (ErrorKind::StorageFull, name));
        assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<Error>()), "{error:?}");
        let tried = sinks.each_ref().map(|sink| sink.script().count(operation));
        assert_eq!(tried, [1, 1, 1], "{name}");
    }
    let open = sinks.each_ref().map(|sink| sink.stats());
    sink.write(point(1));
    let dropped = |at: usize| sinks[at].stats().dropped - open[at].dropped;
    assert_eq!([dropped(0), dropped(1), dropped(2)], [1, 0, 0], "the one whose close did not fail is closed");
}

#[tokio::test]
async fn drops_of_each_sink_are_counted_by_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("dataset");
    let local = LocalSink::open(&dataset).unwrap();
    std::fs::remove_dir(&dataset).unwrap();
    let closed = MemorySink::new();
    closed.close().await.unwrap();
    let memory = MemorySink::new();
    let sink = FanOut::new("local", local).with_sink("closed", closed).with_sink("memory", memory.clone());
    (0..3).for_each(|number| sink.write(point(number)));
    assert_eq!(memory.points().len(), 3);
    let error = sink.flush().await.unwrap_err();
    assert!(error.to_string().starts_with("flush: sink local: "), "{error}");

    let by_sink: Vec<_> = sink.stats_by_sink().collect();
    let [("local", local), ("closed", closed), ("memory", memory)] = by_sink[..] else { panic!("{by_sink:?}") };
    assert_eq!((counts(local), local.drops.failed), ([3, 0, 0, 3], 3));
    assert_eq!((counts(closed), closed.drops.closed), ([0, 0, 0, 3], 3));
    assert_eq!(counts(memory), [3, 3, 0, 0]);
    let all = sink.stats();
    assert_eq!((counts(all), all.drops.failed, all.drops.closed), ([0, 0, 0, 6], 3, 3), "no point is in all of them");
}

#[tokio::test]
async fn first_sink_that_can_be_read_is_read() {
    let sinks = [MockSink::new(MemorySink::new()), MockSink::new(MemorySink::new())];
    let [one, two] = sinks.clone();
    let sink = FanOut::new("one", one).with_sink("two", two);
    sink.write(point(7));
    let unsupported = || Error::new(ErrorKind::Unsupported, "this sink is write-only");
    sinks[0].script().fail_next(Operation::Read, unsupported());
    assert_eq!(sink.scan(ScanOptions::default()).await.unwrap().events[0].double(1), 7.0);

    sinks[0].script().fail_next(Operation::Read, unsupported());
    sinks[1].script().fail_next(Operation::Read, unsupported());
    let error = sink.scan(ScanOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "read: all of these sinks are write-only");
    assert_eq!(error.kind(), ErrorKind::Unsupported);

    sinks[0].script().fail_next(Operation::Read, Error::new(ErrorKind::Corrupt, "no manifest"));
    let error = sink.scan(ScanOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "read: sink one: no manifest", "no other sink stands in for a damaged one");
}
