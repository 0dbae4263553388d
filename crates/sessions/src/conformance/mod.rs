//! The conformance kit: what every host must do with a [`SessionObject`](crate::SessionObject), Durable Objects inside
//! workerd included. The host under test runs the kit's own object, [`Probe`].

mod alarms;
mod calls;
mod concurrency;
mod ids;
mod probe;
mod programs;
mod sockets;
mod storage;
mod time_travel;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use isobar_testkit::{Case, Failure, Report};
use serde_json::{Value as Json, json};

use crate::{Body, Error, SessionNamespace, SessionNamespaceExt};

pub use probe::Probe;
pub use programs::run_programs;

/// A namespace of [`Probe`]s; cases may share it: each keeps to objects of its own name.
pub type Subject = Arc<dyn SessionNamespace>;

/// Runs the whole kit, each case on the namespace that `subject` yields.
///
/// ```no_run
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use std::sync::Arc;
///
/// use isobar_sessions::conformance::{self, Probe};
/// use isobar_sessions::memory::MemoryHost;
///
/// let host = MemoryHost::<Probe>::new("Probe", || ())?;
/// conformance::run(async || Arc::new(host.clone()) as _).await.assert_green();
/// # Ok(())
/// # }
/// ```
pub async fn run<F: AsyncFnMut() -> Subject>(mut subject: F) -> Report {
    let capabilities = subject().await.capabilities();
    isobar_testkit::run(&cases(), subject, |name| capabilities.has(name)).await
}

/// Every case, by group.
#[must_use]
pub fn cases() -> Vec<Case<Subject>> {
    let mut cases = ids::cases();
    cases.extend(storage::cases());
    cases.extend(concurrency::cases());
    cases.extend(alarms::cases());
    cases.extend(sockets::cases());
    cases.extend(timers::cases());
    cases.extend(time_travel::cases());
    cases.extend(calls::cases());
    cases
}

type Outcome = Result<(), Failure>;

/// Runs operations in one event of the object of this name; what each gave.
async fn act(namespace: &Subject, name: &str, operations: Json) -> Result<Json, Error> {
    let id = namespace.id_from_name(name);
    let response = namespace.post(&id, "/act", Body::from(operations.to_string())).await?;
    response.into_body().json().await
}

/// A result as JSON, with the kind and the text of an error.
fn outcome(result: Result<Json, Error>) -> Json {
    match result {
        Ok(value) => json!({"ok": value}),
        Err(error) => json!({"error": [format!("{:?}", error.kind()), error.to_string()]}),
    }
}

/// The text of the error that an event must fail with.
async fn refused(namespace: &Subject, name: &str, operations: Json) -> Result<String, Failure> {
    match act(namespace, name, operations).await {
        Ok(value) => Err(Failure(format!("an error was due, got {value}"))),
        Err(error) => Ok(error.to_string()),
    }
}

/// Asks until the last operation gives `want`; for what happens by itself. An object that was reset meanwhile is asked again.
async fn eventually(namespace: &Subject, name: &str, operation: Json, want: Json) -> Outcome {
    let mut got = Json::Null;
    for _ in 0..100 {
        match act(namespace, name, json!([operation])).await {
            Ok(answer) => got = answer[0].clone(),
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error.into()),
        }
        if got == want {
            return Ok(());
        }
        isobar_testkit::sleep(Duration::from_millis(50)).await;
    }
    Err(Failure(format!("{operation} gave {got} for five seconds, not {want}")))
}
