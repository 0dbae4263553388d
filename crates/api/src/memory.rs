//! Memory for bodies of requests, without knowing which server counts it.

use std::fmt::Debug;
use std::sync::Arc;

use crate::Problem;

/// Counts the memory that a request takes for its body. A server implements it.
pub trait BodyBudget: Debug + Send + Sync {
    /// Sets the bytes of the body that a handler holds in memory now; 0 when it holds none any more.
    ///
    /// # Errors
    /// 503 with `Retry-After`, where the bodies of all requests, or those of the request's client, would take too much. What was
    /// set before stays.
    fn hold(&self, bytes: usize) -> Result<(), Problem>;
}

/// The memory for a request's body, in the request's extensions where the server counts it.
///
/// A handler that reads more of a body into memory than the server's limit for one body has to say so by [`hold`](Self::hold).
#[derive(Debug, Clone)]
pub struct BodyMemory(Arc<dyn BodyBudget>);

impl BodyMemory {
    /// The memory that this budget counts.
    pub fn new(budget: Arc<dyn BodyBudget>) -> Self {
        Self(budget)
    }

    /// Sets the bytes of the body that the handler holds in memory now.
    ///
    /// # Errors
    /// As [`BodyBudget::hold`].
    pub fn hold(&self, bytes: usize) -> Result<(), Problem> {
        self.0.hold(bytes)
    }
}
