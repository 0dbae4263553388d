//! Typed calls.

use std::fmt::Debug;

use isobar_testkit::{Case, Failure, cases, ensure, ensure_eq};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{Outcome, Subject, act};
use crate::{Call, Error, ErrorKind, SessionNamespaceExt, SessionStub};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "calls" => {
            an_answer_comes_as_its_type,
            an_error_keeps_its_kind_and_its_text,
            an_error_of_a_request_keeps_its_kind,
            calls_change_the_object_one_after_the_other,
            a_call_that_the_object_does_not_have_is_refused,
            a_call_of_another_shape_is_refused_by_the_object,
            a_panicking_call_resets_the_object_and_the_next_one_is_answered,
        }
    }
}

/// Answers with what it carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Echo(pub(super) Json);

impl Call for Echo {
    type Answer = Json;
    const NAME: &'static str = "echo";
}

/// Fails with an error of this kind.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refuse {
    kind: String,
    pub(super) message: String,
}

/// Kinds of errors by the names that the kit has for them.
const KINDS: [(&str, ErrorKind); 5] = [
    ("argument", ErrorKind::InvalidArgument),
    ("constraint", ErrorKind::Constraint),
    ("decode", ErrorKind::Decode),
    ("application", ErrorKind::Application),
    ("overloaded", ErrorKind::Overloaded),
];

impl Refuse {
    pub(super) fn kind(&self) -> ErrorKind {
        KINDS.iter().find(|(name, _)| *name == self.kind).map_or(ErrorKind::Internal, |(_, kind)| *kind)
    }
}

impl Call for Refuse {
    type Answer = ();
    const NAME: &'static str = "refuse";
}

/// Adds to the object's count, and answers with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) by: i64,
}

impl Call for Count {
    type Answer = i64;
    const NAME: &'static str = "count";
}

/// Panics.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Panic;

impl Call for Panic {
    type Answer = ();
    const NAME: &'static str = "panic";
}

/// No object has this one.
#[derive(Debug, Serialize, Deserialize)]
struct Unknown;

impl Call for Unknown {
    type Answer = ();
    const NAME: &'static str = "unknown";
}

/// [`Count`] with other fields.
#[derive(Debug, Serialize, Deserialize)]
struct OtherCount {
    text: String,
}

impl Call for OtherCount {
    type Answer = i64;
    const NAME: &'static str = Count::NAME;
}

/// The error that a call must fail with.
fn failed<T: Debug>(result: Result<T, Error>) -> Result<Error, Failure> {
    match result {
        Ok(value) => Err(Failure(format!("an error was due, got {value:?}"))),
        Err(error) => Ok(error),
    }
}

async fn an_answer_comes_as_its_type(sessions: Subject) -> Outcome {
    let stub = SessionStub::named(sessions, "call/echo");
    for value in [json!(null), json!(i64::MAX), json!(i64::MIN), json!(0.1), json!({"é": [1, "\u{0}", true]})] {
        ensure_eq!(stub.call(&Echo(value.clone())).await?, value);
    }
    let long = "x".repeat(3 << 20);
    ensure!(stub.call(&Echo(json!(long))).await? == json!(long), "a long answer comes whole");
    Ok(())
}

/// Those of the object's storage and of its own, whatever their texts are.
async fn an_error_of_a_request_keeps_its_kind(sessions: Subject) -> Outcome {
    for (operation, kind) in [
        (json!({"op": "list", "limit": 0}), ErrorKind::InvalidArgument),
        (json!({"op": "one", "sql": "SELECT 1 WHERE 0"}), ErrorKind::Decode),
        (json!({"op": "fail", "text": "no such table: mine: SQLITE_ERROR"}), ErrorKind::Application),
        (json!({"op": "sql", "sql": "SELECT nope"}), ErrorKind::Sql),
        (json!({"op": "sql", "sql": "BEGIN"}), ErrorKind::NotAuthorized),
        (json!({"op": "abort", "text": "aborted"}), ErrorKind::Reset),
    ] {
        match act(&sessions, "call/kinds", json!([operation])).await {
            Ok(given) => return Err(Failure(format!("{operation} gave {given}"))),
            Err(error) => ensure_eq!((&operation, error.kind()), (&operation, kind)),
        }
    }
    Ok(())
}

async fn an_error_keeps_its_kind_and_its_text(sessions: Subject) -> Outcome {
    let id = sessions.id_from_name("call/refuse");
    for (kind, expected) in KINDS {
        let message = format!("refused: {kind}");
        let call = Refuse { kind: kind.to_owned(), message: message.clone() };
        let error = failed(sessions.call(&id, &call).await)?;
        ensure_eq!((error.kind(), error.message()), (expected, message.as_str()));
    }
    Ok(())
}

async fn calls_change_the_object_one_after_the_other(sessions: Subject) -> Outcome {
    let id = sessions.id_from_name("call/count");
    let counts = futures_util::future::join_all((0..10).map(|_| sessions.call(&id, &Count { by: 3 }))).await;
    let mut counts = counts.into_iter().collect::<Result<Vec<_>, _>>()?;
    counts.sort_unstable();
    ensure_eq!(counts, (1..=10).map(|count| 3 * count).collect::<Vec<_>>());
    ensure_eq!(act(&sessions, "call/count", json!([{"op": "get", "key": "count"}])).await?, json!([30]));
    Ok(())
}

async fn a_call_that_the_object_does_not_have_is_refused(sessions: Subject) -> Outcome {
    let error = failed(sessions.call(&sessions.id_from_name("call/unknown"), &Unknown).await)?;
    ensure_eq!((error.kind(), error.message()), (ErrorKind::Unsupported, "the object has no call \"unknown\""));
    Ok(())
}

async fn a_call_of_another_shape_is_refused_by_the_object(sessions: Subject) -> Outcome {
    let call = OtherCount { text: "three".to_owned() };
    let error = failed(sessions.call(&sessions.id_from_name("call/shape"), &call).await)?;
    ensure_eq!(error.kind(), ErrorKind::Decode);
    ensure!(error.message().contains("the call \"count\" cannot be read"), "{error}");
    Ok(())
}

async fn a_panicking_call_resets_the_object_and_the_next_one_is_answered(sessions: Subject) -> Outcome {
    let id = sessions.id_from_name("call/panic");
    let error = failed(sessions.call(&id, &Panic).await)?;
    ensure!(error.is_retryable(), "{error}");
    ensure_eq!(sessions.call(&id, &Count { by: 1 }).await?, 1);
    Ok(())
}
