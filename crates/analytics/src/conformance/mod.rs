//! The conformance kit: the cases that every backend of [`EventSink`] must pass. Write-only sinks skip cases that read.
//!
//! | group | the rule |
//! |---|---|
//! | writing | a flush makes every point durable; what is read back is what was written, unset values as empty; bounds and batches |
//! | limits | a point at a limit is taken; one beyond it is dropped as a whole, counted as invalid, and named in Cloudflare's words |
//! | closing | closing flushes, and closing twice is not an error; then points are dropped and counted, and `flush` and `health` fail as closed |
//!
//! Promises of a single backend (durability over a crash, several processes, damage) have tests of their own beside it.

use std::sync::Arc;

use isobar_testkit::{Case, Failure, Report, cases, ensure, ensure_eq};

use crate::{DataPoint, ErrorKind, Event, EventSink, EventSinkExt, ScanOptions};

/// The sink under test: a new, empty one for each case.
pub type Subject = Arc<dyn EventSink>;

/// Runs the whole kit, each case on the sink that `subject` yields; `reads` says whether it can [read](EventSink::read).
/// `ISOBAR_CASE` chooses cases by `group/name`.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use isobar_analytics::conformance::{self, Subject};
/// use isobar_analytics::memory::MemorySink;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// conformance::run(async || Arc::new(MemorySink::new()) as Subject, true).await.assert_green();
/// # }
/// ```
///
/// Cases that are skipped are in the report as skipped, and do not make it red.
pub async fn run<F: AsyncFnMut() -> Subject>(subject: F, reads: bool) -> Report {
    isobar_testkit::run(&cases(), subject, |name| name == "scan" && reads).await
}

/// Every case, by group.
///
/// For runners of their own, inside Workers, say.
#[must_use]
pub fn cases() -> Vec<Case<Subject>> {
    cases! {
        "writing" => {
            what_is_flushed_is_stored,
            what_is_written_is_read_back if "scan",
            events_come_oldest_first_with_their_time if "scan",
            scans_have_bounds if "scan",
            unset_fields_read_as_empty if "scan",
            events_are_read_in_bounded_batches if "scan",
        }
        "limits" => {
            points_at_the_limits_are_taken,
            points_over_a_limit_are_dropped_and_counted,
        }
        "closing" => {
            a_closed_sink_drops_and_counts,
            a_sink_is_ready_until_it_is_closed,
        }
    }
}

type Outcome = Result<(), Failure>;

fn point(name: &str) -> DataPoint {
    DataPoint::new().with_index("index").with_blob(name.to_owned()).with_double(1.5)
}

async fn written(sink: &Subject) -> Result<Vec<Event>, Failure> {
    sink.flush().await?;
    Ok(sink.scan(ScanOptions::default()).await?.events)
}

async fn what_is_flushed_is_stored(sink: Subject) -> Outcome {
    (0..100).for_each(|number| sink.write(point(&number.to_string())));
    sink.flush().await?;
    let stats = sink.stats();
    ensure_eq!((stats.written, stats.stored, stats.invalid, stats.dropped), (100, 100, 0, 0));
    sink.flush().await?;
    Ok(())
}

async fn what_is_written_is_read_back(sink: Subject) -> Outcome {
    let points = [
        point("a"),
        DataPoint::new(),
        DataPoint {
            indexes: vec![vec![0u8, 255].into()],
            blobs: vec!["".into(), "é".into()],
            doubles: vec![-0.5, f64::MAX],
        },
    ];
    points.iter().for_each(|point| sink.write(point.clone()));
    let read: Vec<_> = written(&sink).await?.into_iter().map(|event| event.point).collect();
    ensure_eq!(read, points);
    Ok(())
}

async fn events_come_oldest_first_with_their_time(sink: Subject) -> Outcome {
    let before = chrono::Utc::now() - chrono::Duration::milliseconds(1);
    (0..50).for_each(|number| sink.write(point(&number.to_string())));
    let events = written(&sink).await?;
    ensure_eq!(
        events.iter().map(|event| event.blob(1)).collect::<Vec<_>>(),
        (0..50).map(|number| number.to_string().into_bytes()).collect::<Vec<_>>()
    );
    ensure!(events.iter().all(|event| before <= event.timestamp && event.timestamp <= chrono::Utc::now()));
    Ok(())
}

async fn scans_have_bounds(sink: Subject) -> Outcome {
    (0..5).for_each(|number| sink.write(point(&number.to_string())));
    sink.flush().await?;
    let newest = sink.scan(ScanOptions::default().with_limit(2)).await?.events;
    ensure_eq!(newest.iter().map(|event| event.blob(1)).collect::<Vec<_>>(), [b"3", b"4"]);
    let now = chrono::Utc::now() + chrono::Duration::seconds(1);
    ensure_eq!(sink.scan(ScanOptions::default().with_from(now)).await?.events, []);
    ensure_eq!(sink.scan(ScanOptions::default().with_until(now)).await?.events.len(), 5);
    Ok(())
}

async fn events_are_read_in_bounded_batches(sink: Subject) -> Outcome {
    use futures_util::TryStreamExt;
    (0..3000).for_each(|number| sink.write(point(&number.to_string())));
    sink.flush().await?;
    let mut batches = sink.read(ScanOptions::default().with_limit(2500)).await?;
    let mut read = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        ensure!(batch.damage.is_none());
        read.extend(batch.events.into_iter().map(|event| event.blob(1).to_vec()));
    }
    ensure_eq!(read, (500..3000).map(|number| number.to_string().into_bytes()).collect::<Vec<_>>());
    Ok(())
}

async fn unset_fields_read_as_empty(sink: Subject) -> Outcome {
    sink.write(DataPoint::new());
    let events = written(&sink).await?;
    ensure_eq!((events[0].index(), events[0].blob(20), events[0].double(20)), (&b""[..], &b""[..], 0.0));
    Ok(())
}

async fn points_at_the_limits_are_taken(sink: Subject) -> Outcome {
    sink.write(DataPoint::new().with_index("i".repeat(96)));
    sink.write(DataPoint { blobs: vec!["b".into(); 20], doubles: vec![1.0; 20], ..DataPoint::new() });
    sink.flush().await?;
    ensure_eq!((sink.stats().written, sink.stats().invalid), (2, 0));
    Ok(())
}

async fn points_over_a_limit_are_dropped_and_counted(sink: Subject) -> Outcome {
    let over = [
        (
            DataPoint { blobs: vec!["b".into(); 21], ..DataPoint::new() },
            "writeDataPoint(): Maximum of 20 blobs supported.",
        ),
        (
            DataPoint { doubles: vec![1.0; 21], ..DataPoint::new() },
            "writeDataPoint(): Maximum of 20 doubles supported.",
        ),
        (DataPoint::new().with_index("a").with_index("b"), "writeDataPoint(): Maximum of 1 indexes supported."),
        (DataPoint::new().with_index("i".repeat(97)), "writeDataPoint(): Maximum of 96 bytes in an index supported."),
        (
            DataPoint::new().with_blob("b".repeat(16 * 1024 + 1)),
            "writeDataPoint(): Maximum of 16384 bytes of blobs supported.",
        ),
    ];
    for (point, text) in &over {
        ensure_eq!(point.problem().map(|problem| problem.to_string()).as_deref(), Some(*text));
        sink.write(point.clone());
    }
    sink.flush().await?;
    ensure_eq!((sink.stats().written, sink.stats().invalid), (0, 5));
    Ok(())
}

async fn a_closed_sink_drops_and_counts(sink: Subject) -> Outcome {
    sink.write(point("a"));
    sink.close().await?;
    sink.close().await?;
    sink.write(point("b"));
    ensure_eq!((sink.stats().stored, sink.stats().dropped), (1, 1));
    ensure_eq!(sink.flush().await.map_err(|error| error.kind()), Err(ErrorKind::Closed));
    Ok(())
}

async fn a_sink_is_ready_until_it_is_closed(sink: Subject) -> Outcome {
    sink.health().await?;
    sink.write(point("a"));
    sink.health().await?;
    sink.close().await?;
    ensure_eq!(sink.health().await.map_err(|error| error.kind()), Err(ErrorKind::Closed));
    Ok(())
}
