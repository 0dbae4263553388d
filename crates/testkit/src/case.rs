//! Cases, their outcomes, and the report that a run prints.

use std::fmt;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// One case of a conformance kit.
pub struct Case<S> {
    /// Group of the case, as printed in the table of backends: `conditions`, `ranges`, ...
    pub group: &'static str,
    /// Name of the case, unique in its kit.
    pub name: &'static str,
    /// Capability that the case needs. On a subject without it the case is reported as skipped.
    pub needs: Option<&'static str>,
    /// The case itself.
    pub body: fn(S) -> BoxFuture<'static, Result<(), Failure>>,
}

impl<S> fmt::Debug for Case<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({}/{})", self.group, self.name)
    }
}

/// The environment variable that selects cases: see [`run`].
const CASE: &str = "ISOBAR_CASE";

impl<S> Case<S> {
    /// Whether its `group/name` contains the filter.
    fn is_chosen(&self, filter: Option<&str>) -> bool {
        filter.is_none_or(|filter| format!("{}/{}", self.group, self.name).contains(filter))
    }
}

/// The failure of a case: an error, or an expectation that did not hold, with its location.
///
/// Any error becomes one by `?`, with the line of the `?`. So it does not implement `Error` itself.
#[derive(Debug)]
pub struct Failure(pub String);

impl<E: std::error::Error> From<E> for Failure {
    /// Names the line whose `?` has met the error.
    #[track_caller]
    fn from(error: E) -> Self {
        let place = std::panic::Location::caller();
        Self(format!("{}:{}: unexpected error: {error}", place.file(), place.line()))
    }
}

/// The outcome of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The case passed.
    Passed,
    /// The case failed, with a description.
    Failed(String),
    /// The subject lacks this capability.
    Skipped(&'static str),
}

/// The outcomes of a whole kit on one backend.
#[derive(Debug, Default)]
pub struct Report {
    /// `(group, case, outcome)` in the kit's order.
    pub outcomes: Vec<(&'static str, &'static str, Outcome)>,
}

impl Report {
    /// Returns the number of failed cases.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.outcomes.iter().filter(|(_, _, outcome)| matches!(outcome, Outcome::Failed(_))).count()
    }

    /// Returns the number of passed cases.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.outcomes.iter().filter(|(_, _, outcome)| *outcome == Outcome::Passed).count()
    }

    /// Asserts that every case passed or was skipped, for use in a `#[test]`.
    ///
    /// # Panics
    /// Panics with the report where a case failed or none passed.
    ///
    /// A report without a case that passed is not green: a filter that chooses nothing, or a subject without any capability, is a mistake
    /// in the test.
    ///
    /// ```should_panic
    /// isobar_testkit::Report::default().assert_green();
    /// ```
    pub fn assert_green(&self) {
        assert!(self.failed() == 0 && self.passed() > 0, "conformance:\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (group, name, outcome) in &self.outcomes {
            match outcome {
                Outcome::Passed => writeln!(f, "ok       {group}/{name}")?,
                Outcome::Failed(why) => writeln!(f, "FAILED   {group}/{name}: {why}")?,
                Outcome::Skipped(needs) => writeln!(f, "skipped  {group}/{name}: needs {needs}")?,
            }
        }
        write!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}

/// Runs the cases one after the other, each on its own `subject()`. A panic in a case fails that case.
///
/// `capable` says whether the subject has a capability of [`Case::needs`]. If the environment variable `ISOBAR_CASE` is set, only
/// cases whose `group/name` contains its value run; if there are none, the report is not green.
///
/// ```
/// use isobar_testkit::{Case, Failure, Outcome, cases, run};
///
/// async fn it_grows(mut list: Vec<u8>) -> Result<(), Failure> {
///     list.push(1);
///     if list.len() == 1 { Ok(()) } else { Err(Failure(format!("the list has {} elements", list.len()))) }
/// }
///
/// async fn it_sorts(_: Vec<u8>) -> Result<(), Failure> {
///     Ok(())
/// }
///
/// let kit: Vec<Case<Vec<u8>>> = cases!["push" => { it_grows } "order" => { it_sorts if "sorting" }];
/// # futures_util::FutureExt::now_or_never(async {
/// let report = run(&kit, async || Vec::new(), |capability| capability != "sorting").await;
/// assert_eq!((report.passed(), report.failed()), (1, 0));
/// assert_eq!(report.outcomes[1].2, Outcome::Skipped("sorting"));
/// # }).unwrap();
/// ```
pub async fn run<S, F>(cases: &[Case<S>], mut subject: F, capable: impl Fn(&str) -> bool) -> Report
where
    F: AsyncFnMut() -> S,
{
    let mut report = Report::default();
    let filter = std::env::var(CASE).ok();
    for case in cases.iter().filter(|case| case.is_chosen(filter.as_deref())) {
        let outcome = match case.needs {
            Some(needs) if !capable(needs) => Outcome::Skipped(needs),
            _ => judge((case.body)(subject().await)).await,
        };
        report.outcomes.push((case.group, case.name, outcome));
    }
    report
}

async fn judge(body: BoxFuture<'static, Result<(), Failure>>) -> Outcome {
    match AssertUnwindSafe(body).catch_unwind().await {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(Failure(why))) => Outcome::Failed(why),
        Err(panic) => Outcome::Failed(format!("panicked: {}", panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

/// Creates the list of a kit's cases: `cases!["group" => { name, needing if "capability" } "next" => { other }]`, where each name is an async
/// function from a subject to `Result<(), Failure>`.
#[macro_export]
macro_rules! cases {
    ($($group:literal => { $($name:ident $(if $needs:literal)?),* $(,)? })*) => {
        vec![$($($crate::Case {
            group: $group,
            name: stringify!($name),
            needs: $crate::cases!(@needs $($needs)?),
            body: |subject| ::std::boxed::Box::pin($name(subject)),
        },)*)*]
    };
    (@needs) => { None };
    (@needs $needs:literal) => { Some($needs) };
}

/// Fails the case if the condition does not hold.
///
/// ```
/// use isobar_testkit::{Failure, ensure};
///
/// fn check(size: u64) -> Result<(), Failure> {
///     ensure!(size < 10, "it has {size} bytes");
///     Ok(())
/// }
/// let Failure(why) = check(12).unwrap_err();
/// assert!(why.ends_with("size < 10 does not hold: it has 12 bytes"), "{why}");
/// ```
#[macro_export]
macro_rules! ensure {
    ($condition:expr $(, $($text:tt)+)?) => {
        if !$condition {
            #[allow(unused_mut)]
            let mut why = format!("{}:{}: {} does not hold", file!(), line!(), stringify!($condition));
            $(why.push_str(": "); why.push_str(&format!($($text)+));)?
            return Err($crate::Failure(why));
        }
    };
}

/// Fails the case if the two sides differ, and shows both.
///
/// ```
/// use isobar_testkit::{Failure, ensure_eq};
///
/// fn check() -> Result<(), Failure> {
///     ensure_eq!(1 + 1, 3);
///     Ok(())
/// }
/// let Failure(why) = check().unwrap_err();
/// assert!(why.contains("1 + 1 != 3") && why.ends_with("left:  2\n    right: 3"), "{why}");
/// ```
#[macro_export]
macro_rules! ensure_eq {
    ($left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => {
                if *left != *right {
                    let place = format!("{}:{}: {} != {}", file!(), line!(), stringify!($left), stringify!($right));
                    return Err($crate::Failure(format!("{place}\n    left:  {left:?}\n    right: {right:?}")));
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passes(_: ()) -> Result<(), Failure> {
        Ok(())
    }
    async fn fails(_: ()) -> Result<(), Failure> {
        ensure_eq!(1 + 1, 3);
        Ok(())
    }
    async fn meets_an_error(_: ()) -> Result<(), Failure> {
        "one".parse::<u8>()?;
        Ok(())
    }
    async fn panics(_: ()) -> Result<(), Failure> {
        panic!("on purpose")
    }

    #[test]
    fn a_report_tells_passes_failures_panics_and_skips_apart() {
        let kit: Vec<Case<()>> =
            cases! { "a" => { passes, fails, meets_an_error, panics } "b" => { passes if "wings" } };
        let report = futures_util::FutureExt::now_or_never(run(&kit, async || (), |_| false)).unwrap();
        assert_eq!((report.passed(), report.failed()), (1, 3));
        let text = report.to_string();
        assert!(text.contains("FAILED   a/panics: panicked: on purpose"), "{text}");
        let met = text.lines().find(|line| line.contains("a/meets_an_error")).unwrap();
        assert!(met.contains("case.rs:") && met.contains("unexpected error: invalid digit"), "{text}");
        assert!(text.contains("skipped  b/passes: needs wings"), "{text}");
    }

    #[test]
    fn a_filter_chooses_cases_by_group_and_name() {
        let kit: Vec<Case<()>> = cases! { "a" => { passes, fails } "b" => { passes } };
        let chosen = |filter| kit.iter().map(|case| case.is_chosen(filter)).collect::<Vec<_>>();
        assert_eq!(chosen(None), [true, true, true]);
        assert_eq!(chosen(Some("passes")), [true, false, true]);
        assert_eq!(chosen(Some("b/")), [false, false, true]);
        assert_eq!(chosen(Some("c")), [false, false, false]);
    }
}
