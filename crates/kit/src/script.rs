//! The part of a mock that is the same for every abstraction: the record of calls and the script of faults.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// One recorded call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The trait's method: `get`, `query`, ...
    pub operation: &'static str,
    /// What it was called on: a key, a statement, an id.
    pub subject: String,
}

/// Records calls and plays scripted faults, delays and holds. Clones share the same script.
pub struct Script<E> {
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

/// Lets a held operation go on; dropping it does the same.
#[derive(Debug)]
#[must_use = "dropping it releases the held operation at once"]
pub struct Release(oneshot::Sender<()>);

impl Release {
    /// Lets the held operation go on.
    pub fn release(self) {
        drop(self.0);
    }
}

impl<E> Default for Script<E> {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(State { calls: Vec::new(), steps: VecDeque::new() })) }
    }
}

impl<E> Clone for Script<E> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<E> fmt::Debug for Script<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Script").field("calls", &state.calls.len()).field("steps", &state.steps.len()).finish()
    }
}

impl<E> Script<E> {
    /// The next call of `operation` fails with `error`; call it again for the one after.
    pub fn fail_next(&self, operation: &'static str, error: E) {
        self.push(operation, Step::Fail(error));
    }

    /// The next call of `operation` waits for `delay` before it reaches the backend.
    pub fn delay_next(&self, operation: &'static str, delay: Duration) {
        self.push(operation, Step::Delay(delay));
    }

    /// The next call of `operation` waits until the returned [`Release`] is released: a delay without a clock.
    pub fn hold_next(&self, operation: &'static str) -> Release {
        let (sender, receiver) = oneshot::channel::<()>();
        self.push(operation, Step::Hold(receiver.map(drop).boxed()));
        Release(sender)
    }

    /// Every call so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// How often `operation` was called.
    #[must_use]
    pub fn count(&self, operation: &str) -> usize {
        self.lock().calls.iter().filter(|call| call.operation == operation).count()
    }

    /// Records a call and plays the step scripted for it: what a mock does before it forwards.
    ///
    /// # Errors
    /// The scripted error, where one was scripted for this call.
    pub async fn enter(&self, operation: &'static str, subject: impl Into<String>) -> Result<(), E> {
        match self.record(operation, subject.into()) {
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

    /// As [`enter`](Self::enter) for operations that cannot wait: delays and holds are left in the script.
    ///
    /// # Errors
    /// The scripted error, where one was scripted for this call.
    pub fn enter_now(&self, operation: &'static str, subject: impl Into<String>) -> Result<(), E> {
        let mut state = self.lock();
        state.calls.push(Call { operation, subject: subject.into() });
        let fails = |(scripted, step): &(&str, Step<E>)| *scripted == operation && matches!(step, Step::Fail(_));
        let index = state.steps.iter().position(fails);
        match index.and_then(|index| state.steps.remove(index)) {
            Some((_, Step::Fail(error))) => Err(error),
            _ => Ok(()),
        }
    }

    fn push(&self, operation: &'static str, step: Step<E>) {
        self.lock().steps.push_back((operation, step));
    }

    fn record(&self, operation: &'static str, subject: String) -> Option<Step<E>> {
        let mut state = self.lock();
        state.calls.push(Call { operation, subject });
        let index = state.steps.iter().position(|(scripted, _)| *scripted == operation)?;
        state.steps.remove(index).map(|(_, step)| step)
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // A panic while recording leaves plain data behind: nothing to protect from.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
