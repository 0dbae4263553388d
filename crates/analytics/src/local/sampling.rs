//! Equitable sampling: of an index with many points in a period some are kept, and stand for the others.
//!
//! The points of an index are numbered within the period. The first ones are all kept. Of those behind, one of each `k` in a row is, at a
//! random place, and has the interval `k`: each point is kept with the probability `1/k`, so that the sum of the intervals is an unbiased
//! estimate of any group of points. Of all points of the index it is wrong by less than the last `k`, and by less than 1.5 times that where
//! `points` is odd, as the last row of each level is half of one then. `k` depends on the number of a point alone, never on what was kept: it
//! is 2 until there are twice as many points, then 4, and so on.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use isobar_base::random;
use isobar_base::sync::IgnorePoison;

use crate::{Error, ErrorKind, Result};

/// Counters that are shared by the indexes beyond the most that are told apart.
const SHARED: usize = 256;
/// Greatest interval: 2 to the power of this.
const GREATEST_LEVEL: u32 = 31;

/// Sampling on write, as Analytics Engine does it: of each value of the index about as many points are stored, and each stored one says for
/// how many it stands (`_sample_interval`).
///
/// Within a period the first `points` of an index are all stored. Of further ones one of 2 is, of those beyond twice as many one of 4,
/// and so on: for each doubling half of `points` more. Queries weigh rows as those of Analytics Engine do: `SUM(_sample_interval)` in place
/// of `count()`, `SUM(_sample_interval * double1)` in place of `SUM(double1)`; these are unbiased estimates, and exact for an index with
/// few points. The points that are left out are counted in [`SinkStats::sampled_out`](crate::SinkStats::sampled_out), where each point
/// counts once: one that is dropped is one drop, for however many it stands.
///
/// Each sink numbers the points that are written to it, in memory: one that is opened again in a period begins anew, and several sinks of one
/// folder store as many points each. The estimates are as good.
///
/// Versions before this option read stored points with an interval as damaged.
///
/// ```
/// # #[cfg(feature = "query")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use isobar_analytics::local::{LocalOptions, LocalSink, Sampling};
/// use isobar_analytics::query::{Analytics, LocalDatasets, Query};
/// use isobar_analytics::{DataPoint, EventSink};
///
/// # let folder = tempfile::tempdir()?;
/// let sampling = Sampling::new(100, Duration::from_secs(24 * 60 * 60));
/// # let sampling = sampling.with_seed(1);
/// let options = LocalOptions::default().with_sampling(Some(sampling));
/// # let noon: chrono::DateTime<chrono::Utc> = "2026-11-29T12:00:00Z".parse()?;
/// # let options = options.with_clock(move || noon);
/// let sink = LocalSink::open_with(folder.path().join("visits"), options)?;
/// (0..10_000).for_each(|_| sink.write(DataPoint::new().with_index("busy")));
/// (0..7).for_each(|_| sink.write(DataPoint::new().with_index("quiet")));
/// sink.flush().await?;
/// assert_eq!(sink.stats().written + sink.stats().sampled_out, 10_007);
///
/// let analytics = Analytics::new(LocalDatasets::open(folder.path()));
/// let sql = "SELECT index1, count(), SUM(_sample_interval) FROM visits GROUP BY index1 ORDER BY index1";
/// let answer = analytics.run(&Query::new(sql))?;
/// let rows = |row: usize| answer.text(row, 1).parse::<u64>();
/// let points = |row: usize| answer.text(row, 2).parse::<u64>();
/// assert!(rows(0)? < 500 && points(0)?.abs_diff(10_000) < 128);
/// assert_eq!((rows(1)?, points(1)?), (7, 7));
/// # Ok(()) }
/// # #[cfg(not(feature = "query"))] fn main() {}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sampling {
    /// Points of an index that are all stored, in each period; at least 1.
    pub points: u32,
    /// Length of a period, which is aligned to the clock; at least 1 ms.
    pub period: Duration,
    /// Most values of the index that are told apart in a period, of about 50 bytes each; further ones share 256 counters, and are sampled
    /// together. From 1 to 1,048,576. Default: 16,384.
    pub indexes: usize,
    seed: Option<u64>,
}

impl Sampling {
    /// Stores this many points of an index in each period, and samples those beyond.
    #[must_use]
    pub fn new(points: u32, period: Duration) -> Self {
        Self { points, period, indexes: 16_384, seed: None }
    }

    /// Sets the most values of the index that are told apart in a period.
    #[must_use]
    pub fn with_indexes(mut self, indexes: usize) -> Self {
        self.indexes = indexes;
        self
    }

    /// Sets the seed of the choice, for tests and simulations. Default: the system's randomness.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

/// Decides which points are kept.
pub(super) struct Sampler {
    points: u64,
    /// In milliseconds.
    period: i64,
    /// Most indexes that are told apart.
    most: usize,
    seed: u64,
    state: Mutex<State>,
}

struct State {
    /// Number of the current period.
    period: i64,
    random: Random,
    /// By the hash of the index.
    indexes: HashMap<u64, Count>,
    shared: Vec<Count>,
}

/// The points of an index in the current period.
#[derive(Clone, Copy, Default)]
struct Count {
    seen: u64,
    /// Place of the point that is kept, among those in a row of which one is.
    kept: u64,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, period, most, .. } = self;
        let mut sampler = f.debug_struct("Sampler");
        sampler.field("points", points).field("period", period).field("most", most).finish_non_exhaustive()
    }
}

impl Sampler {
    /// # Errors
    /// [`ErrorKind::Internal`] where no seed is given and the system has no randomness.
    pub(super) fn new(sampling: &Sampling) -> Result<Self> {
        let seed = match sampling.seed {
            Some(seed) => seed,
            None => {
                u64::from_le_bytes(random::bytes().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?)
            }
        };
        let most = sampling.indexes.clamp(1, 1 << 20);
        let state = State {
            period: i64::MIN,
            random: Random(seed),
            // All that is ever needed, so that no write allocates.
            indexes: HashMap::with_capacity(most),
            shared: vec![Count::default(); SHARED],
        };
        let period = i64::try_from(sampling.period.as_millis()).unwrap_or(i64::MAX).max(1);
        Ok(Self { points: u64::from(sampling.points.max(1)), period, most, seed, state: Mutex::new(state) })
    }

    /// Returns how many points the next one of this index stands for; `None` where it is left out.
    pub(super) fn next(&self, milliseconds: i64, index: &[u8]) -> Option<u32> {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(index);
        let key = hasher.finish();
        // Counts, each changed in one step.
        let mut state = self.state.lock().ignore_poison();
        let period = milliseconds.div_euclid(self.period);
        if state.period != period {
            state.begin(period);
        }
        let State { random, indexes, shared, .. } = &mut *state;
        let is_told_apart = indexes.len() < self.most || indexes.contains_key(&key);
        let count = if is_told_apart { indexes.entry(key).or_default() } else { &mut shared[key as usize % SHARED] };
        count.next(self.points, random)
    }
}

impl State {
    fn begin(&mut self, period: i64) {
        self.period = period;
        self.indexes.clear();
        self.shared.fill(Count::default());
    }
}

impl Count {
    fn next(&mut self, points: u64, random: &mut Random) -> Option<u32> {
        let number = self.seen;
        self.seen += 1;
        if number < points {
            return Some(1);
        }
        // The level is that of the first `points << level` points; one that is not full at its end is begun again at the next level.
        let level = ((number / points).ilog2() + 1).min(GREATEST_LEVEL);
        let place = (number - (points << (level - 1))) & ((1 << level) - 1);
        if place == 0 {
            self.kept = random.draw() >> (u64::BITS - level);
        }
        (place == self.kept).then_some(1 << level)
    }
}

/// SplitMix64: a small generator that passes the usual tests.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(&sampling).unwrap()
    }

    /// The intervals of those of `count` points of one index that are kept, with their numbers.
    fn kept(points: u32, count: u64, seed: u64) -> Vec<(u64, u32)> {
        let sampler = sampler(Sampling::new(points, PERIOD).with_seed(seed));
        (0..count).filter_map(|number| sampler.next(0, b"a").map(|interval| (number, interval))).collect()
    }

    #[test]
    fn sum_of_intervals_is_wrong_by_less_than_the_last_interval() {
        for seed in 0..20 {
            for (points, count) in [
                (1, 1),
                (1, 5),
                (2, 1000),
                (3, 1000),
                (7, 896),
                (10, 9),
                (10, 10),
                (10, 11),
                (100, 12_345),
                (64, 1 << 18),
            ] {
                let kept = kept(points, count, seed);
                let sum: u64 = kept.iter().map(|(_, interval)| u64::from(*interval)).sum();
                let level = count.div_ceil(u64::from(points)).max(1).next_power_of_two();
                // Of an odd number of points the last row of each level is not full.
                let bound = if points % 2 == 1 { level + level / 2 } else { level };
                assert!(sum.abs_diff(count) < bound, "{points} {count} {seed}: {sum}");
                if count <= u64::from(points) {
                    assert_eq!(sum, count);
                }
            }
        }
    }

    /// The mean of 4,000 seeds, each a fair estimate, is within five standard deviations: the seeds are always the same.
    #[test]
    fn estimates_of_groups_of_points_are_unbiased() {
        const SEEDS: u64 = 4_000;
        let count = 1_007;
        for (divisor, rest) in [(1, 0), (2, 1), (3, 2), (64, 63)] {
            let is_of_group = |number: u64| number % divisor == rest;
            let truth = (0..count).filter(|number| is_of_group(*number)).count() as f64;
            let estimates: Vec<f64> = (0..SEEDS)
                .map(|seed| {
                    let of_group = kept(20, count, seed).into_iter().filter(|(number, _)| is_of_group(*number));
                    of_group.map(|(_, interval)| f64::from(interval)).sum()
                })
                .collect();
            let mean = estimates.iter().sum::<f64>() / SEEDS as f64;
            let variance = estimates.iter().map(|estimate| (estimate - mean).powi(2)).sum::<f64>() / SEEDS as f64;
            let deviation = (variance / SEEDS as f64).sqrt();
            assert!((mean - truth).abs() <= 5.0 * deviation + 1e-9, "{divisor}: {mean} for {truth}, ±{deviation}");
        }
    }

    #[test]
    fn indexes_have_about_as_many_points_however_many_they_had() {
        let sampler = sampler(Sampling::new(100, PERIOD).with_seed(7));
        let stored = |index: &[u8], count: u64| (0..count).filter(|_| sampler.next(0, index).is_some()).count();
        assert_eq!(stored(b"quiet", 60), 60);
        assert_eq!(stored(b"at the limit", 100), 100);
        // 100 and 50 for each of ten doublings.
        assert_eq!(stored(b"busy", 100 << 10), 600);
        assert_eq!(stored(b"quiet", 40), 40, "a busy index takes nothing from a quiet one");
    }

    #[test]
    fn period_that_is_over_is_forgotten() {
        let sampler = sampler(Sampling::new(2, PERIOD).with_seed(7));
        let intervals = |milliseconds: i64| [(); 2].map(|()| sampler.next(milliseconds, b"a"));
        for milliseconds in [-1, 0, 60_000, 3_600_000, 0] {
            assert_eq!(intervals(milliseconds), [Some(1); 2], "{milliseconds}");
        }
        assert!(intervals(59_999).iter().flatten().all(|interval| *interval == 2), "the same period");
    }

    #[test]
    fn indexes_beyond_the_most_share_counters_and_stay_unbiased() {
        let sampler = sampler(Sampling::new(10, PERIOD).with_indexes(1_000).with_seed(7));
        let capacity = sampler.state.lock().unwrap().indexes.capacity();
        let mut sum = 0;
        for round in 0..5_u64 {
            for index in 0..50_000_u64 {
                let interval = sampler.next(0, &index.to_le_bytes());
                assert!(index >= 1_000 || interval == Some(1), "those that came first are told apart: {round}");
                sum += u64::from(interval.unwrap_or(0));
            }
        }
        let state = sampler.state.lock().unwrap();
        assert_eq!((state.indexes.len(), state.indexes.capacity(), state.shared.len()), (1_000, capacity, SHARED));
        // 256 counters, each wrong by less than its interval of 64 or 128.
        assert!(u64::abs_diff(sum, 250_000) < 256 * 128, "{sum}");
        assert!(u64::abs_diff(sum, 250_000) < 250_000 / 50, "{sum}");
    }

    #[test]
    fn choice_depends_on_the_seed_alone() {
        assert_eq!(kept(10, 10_000, 1), kept(10, 10_000, 1));
        assert_ne!(kept(10, 10_000, 1), kept(10, 10_000, 2));
    }

    #[test]
    fn intervals_of_very_many_points_fit_their_type() {
        let mut random = Random(1);
        // The place 5 in a row of 2^31 points.
        let mut count = Count { seen: (1 << 62) + (1 << 30) + 5, kept: 5 };
        assert_eq!([(); 2].map(|()| count.next(1, &mut random)), [Some(1 << 31), None]);
    }
}
