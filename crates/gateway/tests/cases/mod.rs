//! Random cases, whose number and seed the environment sets.

use std::time::{SystemTime, UNIX_EPOCH};

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Cases of a test. `ISOBAR_CASES` sets another number.
const CASES: u32 = 5000;

/// Returns a runner with the seed `ISOBAR_SEED`, or one of the clock. The seed is printed.
#[allow(clippy::print_stdout, reason = "a failure has to be found again")]
pub(crate) fn runner(test: &str) -> TestRunner {
    let variable = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let clock = || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
    let seed = variable("ISOBAR_SEED").unwrap_or_else(clock);
    let cases = variable("ISOBAR_CASES").map_or(CASES, |cases| cases.try_into().unwrap());
    println!("{test}: {cases} cases, ISOBAR_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
