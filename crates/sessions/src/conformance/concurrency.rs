//! Instances, gates, errors.

use futures_util::future::{join, join_all};
use isobar_testkit::{Case, cases, ensure, ensure_eq};
use serde_json::json;

use super::{Outcome, Subject, act, eventually, refused};
use crate::{ErrorKind, SessionNamespaceExt};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "concurrency" => {
            one_instance_answers_all,
            events_interleave_at_awaits,
            code_between_awaits_is_atomic,
            blocking_holds_every_other_event,
            failing_block_concurrency_resets_the_object,
            writes_of_a_block_outlive_an_abort_that_follows,
            background_work_continues_after_the_answer,
        }
        "errors" => {
            an_objects_error_reaches_its_caller,
            abort_fails_events_in_flight,
            abort_in_a_transaction_undoes_its_own_turn_alone,
            a_panic_resets_and_the_next_event_starts_anew,
            a_panic_in_a_transaction_resets_as_well,
            a_panic_in_background_work_resets_as_well,
            encoded_answer_is_not_changed,
            a_failing_start_fails_its_event,
            evicted_instance_loses_memory_and_keeps_storage if "evict",
        }
    }
}

/// Concurrent requests meet one instance, which is started once.
async fn one_instance_answers_all(sessions: Subject) -> Outcome {
    let counts = join_all((0..20).map(|_| act(&sessions, "one/instance", json!([{"op": "memory"}])))).await;
    let mut counts: Vec<i64> = counts
        .into_iter()
        .map(|count| Ok::<_, crate::Error>(count?[0].as_i64().unwrap_or_default()))
        .collect::<Result<_, _>>()?;
    counts.sort_unstable();
    ensure_eq!(counts, (1..=20).collect::<Vec<_>>());
    let starts = act(&sessions, "one/instance", json!([{"op": "sql", "sql": "SELECT count(*) FROM starts"}])).await?;
    ensure_eq!(starts[0]["rows"], json!([[1]]));
    Ok(())
}

/// While one event waits, another runs.
async fn events_interleave_at_awaits(sessions: Subject) -> Outcome {
    act(&sessions, "interleave", json!([])).await?;
    let note = |text: &str| json!({"op": "note", "text": text});
    let slow =
        act(&sessions, "interleave", json!([note("slow begins"), {"op": "sleep", "ms": 100}, note("slow ends")]));
    let quick = act(&sessions, "interleave", json!([{"op": "sleep", "ms": 20}, note("quick")]));
    let (slow, quick) = join(slow, quick).await;
    slow?;
    quick?;
    let notes = act(&sessions, "interleave", json!([{"op": "notes"}])).await?;
    ensure_eq!(notes[0], json!(["slow begins", "quick", "slow ends"]));
    Ok(())
}

/// No event sees the middle of another one's turn.
async fn code_between_awaits_is_atomic(sessions: Subject) -> Outcome {
    act(&sessions, "atomic", json!([{"op": "sql", "sql": "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (0)"}]))
        .await?;
    let increment = json!([{"op": "sql", "sql": "UPDATE t SET n = (SELECT n FROM t) + 1"}, {"op": "sleep", "ms": 1}]);
    for done in join_all((0..20).map(|_| act(&sessions, "atomic", increment.clone()))).await {
        done?;
    }
    let n = act(&sessions, "atomic", json!([{"op": "sql", "sql": "SELECT n FROM t"}])).await?;
    ensure_eq!(n[0]["rows"], json!([[20]]));
    Ok(())
}

/// `block_concurrency_while` holds the input gate across awaits.
async fn blocking_holds_every_other_event(sessions: Subject) -> Outcome {
    act(&sessions, "block", json!([])).await?;
    let blocking = act(&sessions, "block", json!([{"op": "block", "ms": 100}]));
    let other = act(&sessions, "block", json!([{"op": "sleep", "ms": 30}, {"op": "get", "key": "blocked"}]));
    let (blocking, other) = join(blocking, other).await;
    blocking?;
    ensure_eq!(other?[1], json!(true));
    Ok(())
}

/// They are committed before the event goes on.
async fn writes_of_a_block_outlive_an_abort_that_follows(sessions: Subject) -> Outcome {
    let event =
        json!([{"op": "block", "ms": 1}, {"op": "put", "key": "after", "value": 1}, {"op": "abort", "text": "over"}]);
    let reason = refused(&sessions, "block/abort", event).await?;
    ensure!(reason.contains("over"), "{reason}");
    let found =
        act(&sessions, "block/abort", json!([{"op": "get", "key": "blocked"}, {"op": "get", "key": "after"}])).await?;
    ensure_eq!(found, json!([true, null]));
    Ok(())
}

/// Its error is the event's, and the next event meets a new instance.
async fn failing_block_concurrency_resets_the_object(sessions: Subject) -> Outcome {
    act(&sessions, "block/fails", json!([{"op": "memory"}])).await?;
    let failed = act(&sessions, "block/fails", json!([{"op": "block", "ms": 1, "fails": true}])).await;
    let failed = failed.map_err(|error| (error.kind(), error.message().to_owned()));
    ensure_eq!(failed, Err((ErrorKind::Reset, "blocked boom".to_owned())));
    ensure_eq!(act(&sessions, "block/fails", json!([{"op": "memory"}])).await?, json!([1]));
    Ok(())
}

/// `wait_until` keeps the object until its future is done.
async fn background_work_continues_after_the_answer(sessions: Subject) -> Outcome {
    let got = act(&sessions, "wait/until", json!([{"op": "wait until"}, {"op": "get", "key": "waited"}])).await?;
    ensure_eq!(got, json!([null, null]));
    eventually(&sessions, "wait/until", json!({"op": "get", "key": "waited"}), json!(true)).await
}

/// With its text; the instance goes on.
async fn an_objects_error_reaches_its_caller(sessions: Subject) -> Outcome {
    let operations = json!([{"op": "memory"}, {"op": "fail", "text": "fetch boom"}]);
    ensure_eq!(refused(&sessions, "error", operations).await?, "fetch boom");
    ensure_eq!(act(&sessions, "error", json!([{"op": "memory"}])).await?, json!([2]));
    Ok(())
}

async fn abort_in_a_transaction_undoes_its_own_turn_alone(sessions: Subject) -> Outcome {
    let name = "abort/transaction";
    act(&sessions, name, json!([{"op": "put", "key": "kept", "value": 1}])).await?;
    let ends = json!([{"op": "put", "key": "undone", "value": 1}, {"op": "abort", "text": "over"}]);
    let reason = refused(&sessions, name, json!([{"op": "transact", "do": ends}])).await?;
    ensure!(reason.contains("over"), "{reason}");
    let found = act(&sessions, name, json!([{"op": "get", "key": "kept"}, {"op": "get", "key": "undone"}])).await?;
    ensure_eq!(found, json!([1, null]));
    Ok(())
}

/// Every event in flight fails with the reason, and what was not committed is undone.
async fn abort_fails_events_in_flight(sessions: Subject) -> Outcome {
    act(&sessions, "abort", json!([{"op": "memory"}])).await?;
    let waiting = refused(&sessions, "abort", json!([{"op": "sleep", "ms": 2000}]));
    let aborting = async {
        act(&sessions, "abort", json!([{"op": "sleep", "ms": 30}])).await?;
        refused(
            &sessions,
            "abort",
            json!([{"op": "put", "key": "undone", "value": 1}, {"op": "abort", "text": "the reason"}]),
        )
        .await
    };
    let (waiting, aborting) = join(waiting, aborting).await;
    ensure_eq!((waiting?.as_str(), aborting?.as_str()), ("the reason", "the reason"));
    let got = act(&sessions, "abort", json!([{"op": "memory"}, {"op": "get", "key": "undone"}])).await?;
    ensure_eq!(got, json!([1, null]));
    Ok(())
}

/// The error is `Reset` and retryable; what earlier events wrote stays.
async fn a_panic_resets_and_the_next_event_starts_anew(sessions: Subject) -> Outcome {
    act(&sessions, "panic", json!([{"op": "put", "key": "kept", "value": 1}, {"op": "memory"}])).await?;
    let error = act(&sessions, "panic", json!([{"op": "put", "key": "undone", "value": 1}, {"op": "panic"}])).await;
    ensure_eq!(error.map_err(|error| (error.kind(), error.is_retryable())), Err((ErrorKind::Reset, true)));
    let got = act(
        &sessions,
        "panic",
        json!([{"op": "get", "key": "kept"}, {"op": "get", "key": "undone"}, {"op": "memory"}]),
    )
    .await?;
    ensure_eq!(got, json!([1, null, 1]));
    Ok(())
}

/// Each event tries the start anew.
async fn a_failing_start_fails_its_event(sessions: Subject) -> Outcome {
    act(&sessions, "start", json!([{"op": "put", "key": "refuse to start", "value": true}])).await?;
    drop(refused(&sessions, "start", json!([{"op": "abort", "text": "x"}])).await?);
    for _ in 0..2 {
        ensure_eq!(refused(&sessions, "start", json!([])).await?, "refused to start");
    }
    Ok(())
}

/// An eviction is a hibernation; an object that was never used can be evicted.
async fn evicted_instance_loses_memory_and_keeps_storage(sessions: Subject) -> Outcome {
    let both = json!([{"op": "memory"}, {"op": "get", "key": "k"}, {"op": "put", "key": "k", "value": "kept"}]);
    act(&sessions, "evict", both.clone()).await?;
    sessions.evict(&sessions.id_from_name("evict")).await?;
    ensure_eq!(act(&sessions, "evict", both).await?, json!([1, "kept", null]));
    ensure!(sessions.evict(&sessions.id_from_name("evict/never")).await.is_ok());
    Ok(())
}

/// The transaction is undone.
async fn a_panic_in_a_transaction_resets_as_well(sessions: Subject) -> Outcome {
    act(&sessions, "panicking transaction", json!([{"op": "memory"}])).await?;
    let panics = json!([{"op": "transaction", "do": [{"op": "put", "key": "undone", "value": 1}, {"op": "panic"}]}]);
    ensure!(act(&sessions, "panicking transaction", panics).await.is_err());
    let after =
        act(&sessions, "panicking transaction", json!([{"op": "get", "key": "undone"}, {"op": "memory"}])).await?;
    ensure_eq!(after, json!([null, 1]));
    Ok(())
}

/// Earlier writes stay.
async fn a_panic_in_background_work_resets_as_well(sessions: Subject) -> Outcome {
    let begin =
        json!([{"op": "put", "key": "kept", "value": 1}, {"op": "memory"}, {"op": "wait until", "panics": true}]);
    act(&sessions, "panicking background", begin).await?;
    isobar_testkit::sleep(std::time::Duration::from_millis(200)).await;
    let after = act(&sessions, "panicking background", json!([{"op": "get", "key": "kept"}, {"op": "memory"}])).await?;
    ensure_eq!(after, json!([1, 1]));
    Ok(())
}

/// A host neither decodes nor encodes a body by its headers.
async fn encoded_answer_is_not_changed(sessions: Subject) -> Outcome {
    let answer = sessions.get(&sessions.id("encoded"), "/encoded").await?;
    ensure_eq!(answer.headers().get("content-encoding").map(|value| value.as_bytes()), Some(&b"gzip"[..]));
    ensure_eq!(answer.into_body().bytes().await?, "taken for gzip by its header alone");
    Ok(())
}
