//! Memory that request bodies take, counted by the server.

use std::fmt::Debug;
use std::sync::Arc;

use crate::Problem;

/// Counts the memory that a request takes for its body. A server implements it.
///
/// ```
/// use isobar_api::{BodyBudget, Problem};
///
/// /// At most 1 MiB for each request.
/// #[derive(Debug)]
/// struct OneMebibyte;
///
/// impl BodyBudget for OneMebibyte {
///     fn hold(&self, bytes: usize) -> Result<(), Problem> {
///         if bytes <= 1 << 20 { Ok(()) } else { Err(Problem::new(http::StatusCode::SERVICE_UNAVAILABLE)) }
///     }
/// }
///
/// let memory = isobar_api::BodyMemory::new(std::sync::Arc::new(OneMebibyte));
/// assert!(memory.hold(1000).is_ok());
/// assert_eq!(memory.hold(2 << 20).unwrap_err().status(), 503);
/// ```
pub trait BodyBudget: Debug + Send + Sync {
    /// Sets the number of bytes of the body that a handler holds in memory, in place of the earlier number; 0 when it holds none.
    ///
    /// It is called for every chunk of an upload, and must not block.
    ///
    /// # Errors
    /// 503 with `Retry-After` when the bodies of all requests, or of this client's requests, would exceed the budget. The earlier
    /// number stays.
    fn hold(&self, bytes: usize) -> Result<(), Problem>;
}

/// The memory for a request's body, in the request's extensions where the server counts it.
///
/// A handler that reads more of a body into memory than the server's limit for one body has to call [`hold`](Self::hold) first.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use isobar_api::{BodyBudget, BodyMemory, Problem};
///
/// /// Notes the number, for a test.
/// #[derive(Debug, Default)]
/// struct Noted(Mutex<usize>);
///
/// impl BodyBudget for Noted {
///     fn hold(&self, bytes: usize) -> Result<(), Problem> {
///         *self.0.lock().expect("no holder panics") = bytes;
///         Ok(())
///     }
/// }
///
/// let noted = Arc::new(Noted::default());
/// let budget: Arc<dyn BodyBudget> = noted.clone();
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(BodyMemory::new(budget));
/// // In a handler; the newest number counts, not the sum.
/// let memory = request.extensions().get::<BodyMemory>().expect("the server counts");
/// memory.hold(5 << 20)?;
/// memory.hold(1 << 20)?;
/// assert_eq!(*noted.0.lock().expect("no holder panics"), 1 << 20);
/// # Ok::<(), Problem>(())
/// ```
#[derive(Debug, Clone)]
pub struct BodyMemory(Arc<dyn BodyBudget>);

impl BodyMemory {
    /// A handle on a budget.
    pub fn new(budget: Arc<dyn BodyBudget>) -> Self {
        Self(budget)
    }

    /// Sets the number of bytes of the body that the handler holds in memory.
    ///
    /// # Errors
    /// As [`BodyBudget::hold`].
    pub fn hold(&self, bytes: usize) -> Result<(), Problem> {
        self.0.hold(bytes)
    }
}
