//! The common part of all mocks: the record of calls and the script of faults.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use isobar_base::sync::IgnorePoison;

/// One recorded call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Method of the trait: `get`, `query`, ...
    pub operation: &'static str,
    /// Subject of the call: a key, a statement, an id.
    pub subject: String,
}

/// Records calls and plays scripted faults, delays and holds. Clones share the same script.
///
/// It knows the operations of its mock by name: a name that is not one of them is refused where it is given, as a step that
/// waits for a misspelt operation would never be played. The mock's crate has an enum `Operation` with these names, which is
/// checked by the compiler.
///
/// ```
/// use isobar_testkit::Script;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let script = Script::<&str>::new(["get", "put"]);
/// script.fail_next("get", "not now");
/// // The mock's `get` begins with this:
/// assert_eq!(script.enter("get", "key").await, Err("not now"));
/// assert_eq!(script.enter("get", "key").await, Ok(()));
/// assert_eq!((script.count("get"), script.calls()[0].subject.as_str()), (2, "key"));
/// # }).unwrap();
/// ```
pub struct Script<E> {
    operations: Arc<[&'static str]>,
    state: Arc<Mutex<State<E>>>,
}

struct State<E> {
    calls: Vec<Call>,
    steps: VecDeque<(&'static str, Step<E>)>,
}

enum Step<E> {
    Fail(E),
    Delay(Duration),
    Hold(BoxFuture<'static, ()>),
}

/// Releases a held operation, also when dropped.
#[derive(Debug)]
#[must_use = "dropping it releases the held operation at once"]
pub struct Release(oneshot::Sender<()>);

impl Release {
    /// Releases the held operation.
    ///
    /// ```
    /// use std::pin::pin;
    ///
    /// use futures_util::FutureExt;
    /// use isobar_testkit::Script;
    ///
    /// let script = Script::<&str>::new(["get"]);
    /// let release = script.hold_next("get");
    /// let mut call = pin!(script.enter("get", "key"));
    /// assert_eq!(call.as_mut().now_or_never(), None);
    /// release.release();
    /// assert_eq!(call.now_or_never(), Some(Ok(())));
    /// ```
    pub fn release(self) {
        drop(self.0);
    }
}

impl<E> Clone for Script<E> {
    fn clone(&self) -> Self {
        Self { operations: Arc::clone(&self.operations), state: Arc::clone(&self.state) }
    }
}

impl<E> fmt::Debug for Script<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Script").field("calls", &state.calls.len()).field("steps", &state.steps.len()).finish()
    }
}

impl<E> Script<E> {
    /// Creates an empty script for a mock with these operations.
    ///
    /// ```
    /// use isobar_testkit::Script;
    ///
    /// isobar_base::operations! {
    ///     /// An operation of a counter.
    ///     pub enum Operation {
    ///         /// Adds one.
    ///         Increment => "increment",
    ///     }
    /// }
    ///
    /// let script = Script::<String>::new(Operation::ALL);
    /// assert_eq!(script.count(Operation::Increment), 0);
    /// ```
    pub fn new<O: Into<&'static str>>(operations: impl IntoIterator<Item = O>) -> Self {
        let state = State { calls: Vec::new(), steps: VecDeque::new() };
        Self { operations: operations.into_iter().map(Into::into).collect(), state: Arc::new(Mutex::new(state)) }
    }

    /// Makes the next call of `operation` fail with `error`. Further calls of this method apply to the calls after it.
    ///
    /// # Panics
    /// Panics where the mock has no such operation.
    ///
    /// ```
    /// use isobar_testkit::Script;
    ///
    /// let script = Script::new(["get", "put"]);
    /// script.fail_next("put", "first");
    /// script.fail_next("put", "second");
    /// assert_eq!(script.enter_now("get", "a"), Ok(())); // another operation
    /// assert_eq!(script.enter_now("put", "a"), Err("first"));
    /// assert_eq!(script.enter_now("put", "a"), Err("second"));
    /// assert_eq!(script.enter_now("put", "a"), Ok(()));
    /// ```
    #[track_caller]
    pub fn fail_next(&self, operation: impl AsRef<str>, error: E) {
        self.push(operation.as_ref(), Step::Fail(error));
    }

    /// Makes the next call of `operation` wait for `delay` before it reaches the backend.
    ///
    /// # Panics
    /// Panics where the mock has no such operation.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use isobar_testkit::Script;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let script = Script::<&str>::new(["get"]);
    /// script.delay_next("get", Duration::from_millis(20));
    /// let since = Instant::now();
    /// assert_eq!(script.enter("get", "key").await, Ok(()));
    /// assert!(since.elapsed() >= Duration::from_millis(20));
    /// # }
    /// ```
    #[track_caller]
    pub fn delay_next(&self, operation: impl AsRef<str>, delay: Duration) {
        self.push(operation.as_ref(), Step::Delay(delay));
    }

    /// Makes the next call of `operation` wait until the returned [`Release`] is released, which needs no clock: a test can do anything
    /// meanwhile, and knows where the call stands.
    ///
    /// # Panics
    /// Panics where the mock has no such operation.
    #[track_caller]
    pub fn hold_next(&self, operation: impl AsRef<str>) -> Release {
        let (sender, receiver) = oneshot::channel::<()>();
        self.push(operation.as_ref(), Step::Hold(receiver.map(drop).boxed()));
        Release(sender)
    }

    /// Returns the operations of the steps that are not played yet, in the order in which they were scripted. A test that ends
    /// with `assert!(script.unplayed().is_empty())` shows that every fault it scripted has happened.
    #[must_use]
    pub fn unplayed(&self) -> Vec<&'static str> {
        self.lock().steps.iter().map(|(operation, _)| *operation).collect()
    }

    /// Returns all calls so far, in order.
    ///
    /// ```
    /// use isobar_testkit::Script;
    ///
    /// let script = Script::<&str>::new(["get", "put"]);
    /// script.enter_now("put", "a").unwrap();
    /// script.enter_now("get", "a").unwrap();
    /// let calls: Vec<String> = script.calls().iter().map(|call| format!("{} {}", call.operation, call.subject)).collect();
    /// assert_eq!(calls, ["put a", "get a"]);
    /// ```
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Returns the number of calls of `operation`, those that failed by the script included.
    ///
    /// # Panics
    /// Panics where the mock has no such operation.
    #[must_use]
    #[track_caller]
    pub fn count(&self, operation: impl AsRef<str>) -> usize {
        let operation = self.known(operation.as_ref());
        self.lock().calls.iter().filter(|call| call.operation == operation).count()
    }

    /// Records a call and plays the step scripted for it. A mock calls this before it forwards the operation.
    ///
    /// # Errors
    /// The scripted error, if one was scripted for this call.
    pub async fn enter(&self, operation: impl Into<&'static str>, subject: impl Into<String>) -> Result<(), E> {
        match self.record(operation.into(), subject.into()) {
            None => Ok(()),
            Some(Step::Fail(error)) => Err(error),
            Some(Step::Delay(delay)) => {
                crate::sleep(delay).await;
                Ok(())
            }
            Some(Step::Hold(released)) => {
                released.await;
                Ok(())
            }
        }
    }

    /// Does the same as [`enter`](Self::enter) for operations that cannot wait. Delays and holds stay in the script.
    ///
    /// # Errors
    /// The scripted error, if one was scripted for this call.
    pub fn enter_now(&self, operation: impl Into<&'static str>, subject: impl Into<String>) -> Result<(), E> {
        let operation = operation.into();
        let mut state = self.lock();
        state.calls.push(Call { operation, subject: subject.into() });
        let fails = |(scripted, step): &(&str, Step<E>)| *scripted == operation && matches!(step, Step::Fail(_));
        let index = state.steps.iter().position(fails);
        match index.and_then(|index| state.steps.remove(index)) {
            Some((_, Step::Fail(error))) => Err(error),
            _ => Ok(()),
        }
    }

    #[track_caller]
    fn push(&self, operation: &str, step: Step<E>) {
        let operation = self.known(operation);
        self.lock().steps.push_back((operation, step));
    }

    /// The mock's own name of an operation.
    #[track_caller]
    fn known(&self, operation: &str) -> &'static str {
        match self.operations.iter().copied().find(|known| *known == operation) {
            Some(known) => known,
            None => panic!("the mock has no operation {operation:?}; it has: {}", self.operations.join(", ")),
        }
    }

    fn record(&self, operation: &'static str, subject: String) -> Option<Step<E>> {
        let mut state = self.lock();
        state.calls.push(Call { operation, subject });
        let index = state.steps.iter().position(|(scripted, _)| *scripted == operation)?;
        state.steps.remove(index).map(|(_, step)| step)
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // Plain data, which a panic while recording cannot leave inconsistent.
        self.state.lock().ignore_poison()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script<&'static str> {
        Script::new(["get", "put"])
    }

    #[test]
    fn a_script_says_which_steps_were_not_played() {
        let script = script();
        script.fail_next("put", "first");
        script.fail_next("get", "second");
        script.fail_next("put", "third");
        assert_eq!(script.unplayed(), ["put", "get", "put"]);
        assert_eq!(script.enter_now("put", "key"), Err("first"));
        assert_eq!(script.unplayed(), ["get", "put"]);
        assert_eq!(script.enter("get", "key").now_or_never(), Some(Err("second")));
        assert_eq!(script.clone().unplayed(), ["put"], "clones share the script");
        assert_eq!((script.count("get"), script.count("put")), (1, 1));
    }

    #[test]
    #[should_panic(expected = "the mock has no operation \"gte\"; it has: get, put")]
    fn a_misspelt_operation_is_refused_in_a_script() {
        script().fail_next("gte", "never played");
    }

    #[test]
    #[should_panic(expected = "the mock has no operation \"gets\"")]
    fn a_misspelt_operation_is_refused_in_a_count() {
        assert_eq!(script().count("gets"), 0, "would hold for ever");
    }
}
