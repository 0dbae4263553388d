//! Passwords, by argon2id.
//!
//! Natively hashes run on the runtime's blocking threads, as many at once as there are processors, since each takes its memory
//! and a processor for tens of milliseconds. Up to 128 wait; the next sign-in is answered 503 with `Retry-After`. A hash whose
//! client has gone away runs to its end, and keeps its slot until then. Inside Workers it runs in place, and costs the
//! request's CPU time.

#[cfg(not(target_arch = "wasm32"))]
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use http::StatusCode;

use super::token;
use crate::Problem;

/// Cost of hashing a password by argon2id. Default: 19 MiB in 2 passes, which is OWASP's recommendation.
///
/// A hash contains its cost: after a change existing hashes stay valid with theirs, and new ones get the new cost. Of equal
/// strength are, by OWASP's Password Storage Cheat Sheet: 46 MiB in 1 pass, 19 MiB in 2, 12 MiB in 3, 9 MiB in 4, 7 MiB in 5.
///
/// ```
/// use isobar_api::AuthOptions;
/// use isobar_api::auth::PasswordCost;
/// let options = AuthOptions::default().with_password_cost(PasswordCost { memory: 7 * 1024, passes: 5 });
/// assert_eq!(PasswordCost::default(), PasswordCost { memory: 19_456, passes: 2 });
/// # drop(options);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory in KiB. Default: 19,456. At least 8.
    pub memory: u32,
    /// Passes over the memory. Default: 2. At least 1.
    pub passes: u32,
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self { memory: 19 * 1024, passes: 2 }
    }
}

/// Hashes that wait for a processor. More are refused: with the default cost they are some seconds of two processors.
#[cfg(not(target_arch = "wasm32"))]
const WAITING: usize = 128;

/// Hashes and verifies passwords, no more of them at once than there are processors: each takes its memory.
#[derive(Debug, Clone)]
pub(super) struct Hasher {
    cost: PasswordCost,
    #[cfg(not(target_arch = "wasm32"))]
    slots: Arc<tokio::sync::Semaphore>,
    #[cfg(not(target_arch = "wasm32"))]
    queue: Arc<tokio::sync::Semaphore>,
}

impl Hasher {
    /// # Panics
    /// When argon2 does not take the cost.
    pub(super) fn new(cost: PasswordCost) -> Self {
        params(cost).expect("argon2 takes the cost");
        #[cfg(not(target_arch = "wasm32"))]
        let slots = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
        Self {
            cost,
            #[cfg(not(target_arch = "wasm32"))]
            slots: Arc::new(tokio::sync::Semaphore::new(slots)),
            #[cfg(not(target_arch = "wasm32"))]
            queue: Arc::new(tokio::sync::Semaphore::new(WAITING)),
        }
    }

    /// The hash of a password, in argon2's own text form.
    pub(super) async fn hash(&self, password: String) -> Result<String, Problem> {
        let cost = self.cost;
        let salt = token::random::<16>()?;
        self.run(move || hash_with(cost, &password, &salt)).await?.map_err(|error| {
            tracing::error!(%error, "a password was not hashed");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }

    /// Whether the password has this hash. Without a hash the answer is no, and takes as long.
    pub(super) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        let cost = self.cost;
        self.run(move || match hash {
            Some(expected) => Argon2::default().verify_password(password.as_bytes(), expected.as_str()).is_ok(),
            None => {
                drop(std::hint::black_box(hash_with(cost, &password, &[0; 16])));
                false
            }
        })
        .await
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let failed = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR);
        let place = self.queue.try_acquire().map_err(|_| {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE).with_detail("too many people sign in at once");
            problem.with_retry_after(http::HeaderValue::from_static("5"))
        })?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| failed())?;
        drop(place);
        let work = move || {
            let done = work();
            drop(slot); // by the work itself: a client that goes away does not free it early
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| failed())
    }

    #[cfg(target_arch = "wasm32")]
    async fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, Problem> {
        Ok(work())
    }
}

fn hash_with(cost: PasswordCost, password: &str, salt: &[u8]) -> Result<String, argon2::password_hash::Error> {
    let params = params(cost).map_err(|_| argon2::password_hash::Error::ParamsInvalid)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password_with_salt(password.as_bytes(), salt)?.to_string())
}

fn params(cost: PasswordCost) -> Result<Params, argon2::Error> {
    Params::new(cost.memory, cost.passes, 1, None)
}
