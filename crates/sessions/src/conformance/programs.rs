//! Programs: events on one object, as JSON, and what each of them gave. Two hosts with the same transcripts of random programs
//! behave the same.

use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::{Value as Json, json};

use super::sockets::next;
use super::{Subject, act, outcome};
use crate::{ClientSocket, CloseFrame, Message, SessionNamespaceExt};

/// Longest time for which a program waits for what happens without an event of its own.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks at what a program waits for.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs programs side by side, each on an object of its own, and returns what each of their events gave. The objects' names are the
/// prefix and the number of the program.
///
/// | event | runs |
/// |---|---|
/// | `[operation, ..]` | the operations in one request to the [`Probe`](super::Probe) |
/// | `{"together": [[operation, ..], [operation, ..]]}` | two requests, the second sent before the first is answered |
/// | `{"evict": true}` | [`SessionNamespace::evict`](crate::SessionNamespace::evict) |
/// | `{"alarms": N}` | waits, 5 s at most, until the alarm's handler has run N times, and gives what it has noted |
/// | `{"connect": TAG}`, `{"send": [N, TEXT]}`, `{"hang up": true}` | a WebSocket; a message over the Nth; closes all |
///
/// An event's entry is `{"ok": ..}` or `{"error": [KIND, TEXT]}`; with sockets, what has come over each of them stands beside it.
///
/// ```
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use std::sync::Arc;
///
/// use isobar_sessions::conformance::{Probe, Subject, run_programs};
/// use isobar_sessions::memory::MemoryHost;
/// use serde_json::json;
///
/// let host: Subject = Arc::new(MemoryHost::<Probe>::new("Probe", || ())?);
/// let program = vec![json!([{"op": "put", "key": "a", "value": 1}]), json!({"evict": true}), json!([{"op": "get", "key": "a"}])];
/// let transcripts = run_programs(&host, "example/", &[program]).await;
/// assert_eq!(transcripts[0], [json!({"ok": [null]}), json!({"ok": null}), json!({"ok": [1]})]);
/// # Ok(())
/// # }
/// ```
pub async fn run_programs(namespace: &Subject, prefix: &str, programs: &[Vec<Json>]) -> Vec<Vec<Json>> {
    let numbered = programs.iter().enumerate();
    join_all(numbered.map(|(number, program)| run(namespace, format!("{prefix}{number}"), program))).await
}

/// Runs a program on the object of this name.
async fn run(namespace: &Subject, name: String, program: &[Json]) -> Vec<Json> {
    let mut run = Run { namespace, name, sockets: Vec::new(), marks: 0 };
    let mut transcript = Vec::new();
    for event in program {
        transcript.push(run.event(event).await);
    }
    transcript
}

/// A program that runs.
struct Run<'r> {
    namespace: &'r Subject,
    name: String,
    /// Its sockets; `None` for one that has ended.
    sockets: Vec<Option<ClientSocket>>,
    /// Number of marks sent, each with an answer that follows all that was sent before.
    marks: usize,
}

impl Run<'_> {
    /// Runs an event. Returns what it gave.
    async fn event(&mut self, event: &Json) -> Json {
        let mut given = match event.as_object().and_then(|event| event.iter().next()) {
            None => self.act(event).await,
            Some((kind, argument)) => match kind.as_str() {
                "together" => {
                    let (one, other) = join(self.act(&argument[0]), self.act(&argument[1])).await;
                    json!({"ok": [one, other]})
                }
                "evict" => {
                    let evicted = self.namespace.evict(&self.namespace.id_from_name(&self.name)).await;
                    outcome(evicted.map(|()| Json::Null))
                }
                "alarms" => self.alarms(argument.as_u64().unwrap_or_default()).await,
                "connect" => self.connect(argument.as_str().unwrap_or_default()).await,
                "send" => self.send(argument),
                "hang up" => self.hang_up().await,
                other => json!({"error": ["InvalidArgument", format!("no event {other}")]}),
            },
        };
        let heard = self.hear().await;
        if heard.iter().any(|one| !one.is_null()) {
            given["sockets"] = heard.into();
        }
        given
    }

    async fn act(&self, operations: &Json) -> Json {
        outcome(act(self.namespace, &self.name, operations.clone()).await)
    }

    /// Runs an operation until what it gives is wanted, and returns what the last run gave.
    async fn until(&self, operation: Json, is_wanted: impl Fn(&Json) -> bool) -> Json {
        let mut given = Json::Null;
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            given = self.act(&json!([operation])).await;
            if is_wanted(&given["ok"][0]) {
                break;
            }
            isobar_testkit::sleep(PAUSE).await;
        }
        given
    }

    async fn alarms(&self, runs: u64) -> Json {
        let rows = json!({"op": "rows", "sql": "SELECT entry FROM alarms"});
        let has_run = |given: &Json| given["ok"]["rows"].as_array().is_some_and(|rows| rows.len() as u64 >= runs);
        self.until(json!({"op": "try", "do": rows}), has_run).await
    }

    async fn connect(&mut self, tag: &str) -> Json {
        let id = self.namespace.id_from_name(&self.name);
        let connected = self.namespace.connect(&id, &format!("/socket/{tag}")).await;
        outcome(connected.map(|socket| {
            self.sockets.push(Some(socket));
            Json::Null
        }))
    }

    fn send(&self, argument: &Json) -> Json {
        let number = argument[0].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or_default();
        match self.sockets.get(number).and_then(Option::as_ref) {
            Some(socket) => outcome(socket.send(argument[1].as_str().unwrap_or_default()).map(|()| Json::Null)),
            None => json!({"ok": "no socket"}),
        }
    }

    /// Closes all sockets, and waits until the object has none.
    async fn hang_up(&mut self) -> Json {
        for mut socket in std::mem::take(&mut self.sockets).into_iter().flatten() {
            // One that has ended cannot be closed.
            drop(socket.close(CloseFrame::new(1000, "bye")));
            while let Ok(Some(Ok(_))) = next(&mut socket).await {}
        }
        self.until(json!({"op": "sockets"}), |given| *given == json!(0)).await
    }

    /// Returns what has come over each socket; null for one that had ended before.
    async fn hear(&mut self) -> Vec<Json> {
        self.marks += 1;
        let mark = format!("mark {}", self.marks);
        let mut heard = Vec::new();
        for slot in &mut self.sockets {
            let Some(mut socket) = slot.take() else {
                heard.push(Json::Null);
                continue;
            };
            let (messages, is_open) = hear_until(&mut socket, &mark).await;
            heard.push(messages.into());
            *slot = is_open.then_some(socket);
        }
        heard
    }
}

/// Returns what comes before the answer to this mark, and whether the socket is open still.
async fn hear_until(socket: &mut ClientSocket, mark: &str) -> (Vec<Json>, bool) {
    let mut messages = Vec::new();
    // What was sent before the end can be read still.
    drop(socket.send(mark));
    loop {
        match next(socket).await {
            Ok(Some(Ok(Message::Text(text)))) if text.strip_prefix("echo ") == Some(mark) => return (messages, true),
            Ok(Some(Ok(Message::Text(text)))) => messages.push(text.into()),
            Ok(Some(Ok(other))) => messages.push(format!("{other:?}").into()),
            Ok(Some(Err(CloseFrame { code, reason, was_clean }))) => {
                messages.push(json!([code, reason, was_clean]));
                return (messages, false);
            }
            Ok(None) => {
                messages.push("the end".into());
                return (messages, false);
            }
            Err(nothing) => {
                messages.push(nothing.0.into());
                return (messages, false);
            }
        }
    }
}
