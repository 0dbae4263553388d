//! `isobar analytics tail`.
//!
//! There is no channel from a server to this command: it reads the dataset's files again and again, a
//! few times each second, and prints what it has not printed yet. So it works with any number of
//! servers, and without one, and costs them nothing.
//!
//! A point carries the time of its writing, and becomes durable, and with it readable, a little later;
//! points of several processes become so in any order. Each look therefore goes back [`LATE`], and
//! [`Seen`] sorts out what was printed. A point that took longer is missed; it is in the dataset all
//! the same.
//!
//! The command ends by Ctrl-C, by `--limit`, or when the reader of its output has gone.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta, Utc};
use clap::Args;
use futures_util::TryStreamExt;
use isobar_analytics::{Damage, Event, EventSink, ScanOptions};
use serde_json::{Value, json};

use super::{Dataset, warn_of};
use crate::place::Place;
use crate::{Outcome, say};

/// Interval between two reads.
const INTERVAL: Duration = Duration::from_millis(250);
/// Time for which a point may take to become durable after it was written, and still be printed.
const LATE: TimeDelta = TimeDelta::seconds(10);

#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    dataset: Dataset,
    /// Also print the points of the last SECONDS seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    since: u32,
    /// Stop after this many points
    #[arg(long, short = 'n', value_name = "POINTS")]
    limit: Option<usize>,
}

impl Tail {
    pub(super) async fn run(self, place: &Place) -> Outcome {
        let sink = self.dataset.open(place).await?;
        let begin = Utc::now() - TimeDelta::seconds(self.since.into());
        let mut seen = Seen::default();
        let mut left = self.limit;
        loop {
            let from = begin.max(Utc::now() - LATE);
            seen.begin_look(from.timestamp_millis());
            let mut batches =
                sink.read(ScanOptions::default().with_from(if seen.is_first { begin } else { from })).await?;
            // Later looks meet the same damage again.
            let mut damage = Damage::default();
            'look: while let Some(batch) = batches.try_next().await? {
                damage.merge(batch.damage);
                for event in batch.events {
                    let line = line(&event);
                    if !seen.is_new(event.timestamp.timestamp_millis(), &line) {
                        continue;
                    }
                    say!("{line}");
                    left = left.map(|left| left.saturating_sub(1));
                    if left == Some(0) {
                        break 'look;
                    }
                }
            }
            if seen.is_first {
                warn_of(&damage);
            }
            if left == Some(0) {
                return Ok(());
            }
            seen.is_first = false;
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// The points that were printed, by time and text; equal ones by their number.
///
/// Points have no ids: two equal ones, to the millisecond, are told apart by counting how many of them
/// a look has met. Memory is bounded by the points of the last [`LATE`].
#[derive(Debug)]
struct Seen {
    is_first: bool,
    printed: BTreeMap<i64, BTreeMap<String, usize>>,
    /// How many of each were met in this read.
    met: BTreeMap<(i64, String), usize>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { is_first: true, printed: BTreeMap::new(), met: BTreeMap::new() }
    }
}

impl Seen {
    /// Forgets what is older than this time, in milliseconds, and will not be met again.
    fn begin_look(&mut self, from: i64) {
        self.printed = self.printed.split_off(&from);
        self.met.clear();
    }

    /// Whether this is one more of its kind than was printed; then it counts as printed.
    fn is_new(&mut self, time: i64, line: &str) -> bool {
        let met = self.met.entry((time, line.to_owned())).or_default();
        *met += 1;
        let printed = self.printed.entry(time).or_default().entry(line.to_owned()).or_default();
        if *met <= *printed {
            return false;
        }
        *printed += 1;
        true
    }
}

/// The point as one line of JSON, without the columns that are not set.
fn line(event: &Event) -> String {
    let mut columns = serde_json::Map::new();
    columns.insert("timestamp".to_owned(), json!(event.timestamp.to_rfc3339_opts(SecondsFormat::Millis, true)));
    if event.sample_interval != 1 {
        columns.insert("_sample_interval".to_owned(), json!(event.sample_interval));
    }
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes));
    columns.insert("index1".to_owned(), text(event.index()));
    for number in (1..=event.point.blobs.len()).filter(|number| !event.blob(*number).is_empty()) {
        columns.insert(format!("blob{number}"), text(event.blob(number)));
    }
    for number in (1..=event.point.doubles.len()).filter(|number| event.double(*number) != 0.0) {
        columns.insert(format!("double{number}"), json!(event.double(number)));
    }
    Value::from(columns).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn point_is_new_as_often_as_it_was_written() {
        let mut seen = Seen::default();
        let mut look = |points: &[(i64, &str)]| {
            seen.begin_look(0);
            points.iter().map(|(time, line)| seen.is_new(*time, line)).collect::<Vec<_>>()
        };
        assert_eq!(look(&[(1, "a"), (1, "a"), (2, "b")]), [true, true, true]);
        assert_eq!(look(&[(1, "a"), (1, "a"), (1, "a"), (2, "b"), (2, "a")]), [false, false, true, false, true]);
        seen.begin_look(2);
        assert!(seen.is_new(1, "a") && !seen.is_new(2, "b"));
    }
}
