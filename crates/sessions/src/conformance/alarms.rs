//! Alarms.

use isobar_testkit::{Case, cases, ensure, ensure_eq};
use serde_json::json;

use super::{Outcome, Subject, act, eventually};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "alarms" => {
            an_alarm_runs_once_at_its_time,
            a_later_alarm_replaces_the_earlier,
            a_deleted_alarm_does_not_run,
            an_alarm_can_set_the_next,
            a_failing_alarm_is_tried_again,
            an_alarm_wakes_a_dormant_object if "evict",
            alarms_of_one_object_do_not_overlap,
            a_panicking_alarm_is_tried_again_and_counted,
            times_before_1970_are_refused,
        }
    }
}

fn entries() -> serde_json::Value {
    json!({"op": "caught", "do": {"op": "sql", "sql": "SELECT entry FROM alarms"}})
}

fn ran(entries: &[&str]) -> serde_json::Value {
    let rows: Vec<_> = entries.iter().map(|entry| json!([entry])).collect();
    json!({"ok": {"columns": ["entry"], "rows": rows}})
}

const FIRST: &str = r#"{"alarm":false,"retry":0}"#;

/// It is readable until it runs, and gone afterwards.
async fn an_alarm_runs_once_at_its_time(sessions: Subject) -> Outcome {
    let got = act(
        &sessions,
        "alarm/once",
        json!([{"op": "alarm"}, {"op": "set alarm", "in": 200}, {"op": "alarm"}, entries()]),
    )
    .await?;
    ensure!(got[0].is_null() && got[2].as_i64().is_some_and(|ms| (0..=200).contains(&ms)), "{got}");
    ensure!(got[3]["error"].is_string(), "{got}");
    eventually(&sessions, "alarm/once", entries(), ran(&[FIRST])).await?;
    let after = act(&sessions, "alarm/once", json!([{"op": "sleep", "ms": 300}, entries(), {"op": "alarm"}])).await?;
    ensure_eq!((&after[1], &after[2]), (&ran(&[FIRST]), &serde_json::Value::Null));
    Ok(())
}

/// An object has one alarm; one in the past runs at once.
async fn a_later_alarm_replaces_the_earlier(sessions: Subject) -> Outcome {
    act(&sessions, "alarm/replace", json!([{"op": "set alarm", "in": 100}, {"op": "set alarm", "in": 3_600_000}]))
        .await?;
    let got = act(&sessions, "alarm/replace", json!([{"op": "sleep", "ms": 300}, entries(), {"op": "alarm"}])).await?;
    ensure!(got[1]["error"].is_string() && got[2].as_i64().is_some_and(|ms| ms > 3_000_000), "{got}");
    act(&sessions, "alarm/replace", json!([{"op": "set alarm", "in": -5000}])).await?;
    eventually(&sessions, "alarm/replace", entries(), ran(&[FIRST])).await
}

/// Neither does it show any more.
async fn a_deleted_alarm_does_not_run(sessions: Subject) -> Outcome {
    act(&sessions, "alarm/delete", json!([{"op": "set alarm", "in": 100}])).await?;
    let got = act(
        &sessions,
        "alarm/delete",
        json!([{"op": "delete alarm"}, {"op": "alarm"}, {"op": "sleep", "ms": 250}, entries()]),
    )
    .await?;
    ensure!(got[1].is_null() && got[3]["error"].is_string(), "{got}");
    Ok(())
}

/// While the handler runs there is no alarm, and it may set one.
async fn an_alarm_can_set_the_next(sessions: Subject) -> Outcome {
    let in_the_alarm = json!([{"op": "delete", "key": "in the alarm"}, {"op": "set alarm", "in": 50}]);
    act(
        &sessions,
        "alarm/next",
        json!([{"op": "put", "key": "in the alarm", "value": in_the_alarm}, {"op": "set alarm", "in": 10}]),
    )
    .await?;
    eventually(&sessions, "alarm/next", entries(), ran(&[FIRST, FIRST])).await
}

/// The second run knows that it is one: its retry count is 1.
async fn a_failing_alarm_is_tried_again(sessions: Subject) -> Outcome {
    let in_the_alarm = json!([{"op": "delete", "key": "in the alarm"}, {"op": "fail", "text": "alarm boom"}]);
    act(
        &sessions,
        "alarm/retry",
        json!([{"op": "put", "key": "in the alarm", "value": in_the_alarm}, {"op": "set alarm", "in": 1}]),
    )
    .await?;
    eventually(&sessions, "alarm/retry", entries(), ran(&[FIRST, r#"{"alarm":false,"retry":1}"#])).await
}

/// An object without an instance is started for its alarm.
async fn an_alarm_wakes_a_dormant_object(sessions: Subject) -> Outcome {
    act(&sessions, "alarm/dormant", json!([{"op": "set alarm", "in": 150}])).await?;
    sessions.evict(&sessions.id_from_name("alarm/dormant")).await?;
    eventually(&sessions, "alarm/dormant", entries(), ran(&[FIRST])).await
}

/// An alarm that the handler sets for now waits for the handler's end.
async fn alarms_of_one_object_do_not_overlap(sessions: Subject) -> Outcome {
    // The first sets the next at once and goes on for a while: the next must wait for it.
    let in_the_alarm = json!([{"op": "delete", "key": "in the alarm"}, {"op": "set alarm", "in": 1}, {"op": "sleep", "ms": 200}, {"op": "put", "key": "first ended", "value": true}]);
    act(
        &sessions,
        "alarm/overlap",
        json!([{"op": "put", "key": "in the alarm", "value": in_the_alarm}, {"op": "set alarm", "in": 1}]),
    )
    .await?;
    let got = act(
        &sessions,
        "alarm/overlap",
        json!([{"op": "sleep", "ms": 120}, entries(), {"op": "get", "key": "first ended"}]),
    )
    .await?;
    ensure_eq!((&got[1], &got[2]), (&ran(&[FIRST]), &serde_json::Value::Null));
    eventually(&sessions, "alarm/overlap", entries(), ran(&[FIRST, FIRST])).await
}

/// A panic counts as a failure, also where it resets the object.
async fn a_panicking_alarm_is_tried_again_and_counted(sessions: Subject) -> Outcome {
    let in_the_alarm = json!([{"op": "sleep", "ms": 1}, {"op": "delete", "key": "in the alarm"}, {"op": "sleep", "ms": 1}, {"op": "panic"}]);
    act(
        &sessions,
        "alarm/panic",
        json!([{"op": "put", "key": "in the alarm", "value": in_the_alarm}, {"op": "set alarm", "in": 1}]),
    )
    .await?;
    eventually(&sessions, "alarm/panic", entries(), ran(&[FIRST, r#"{"alarm":false,"retry":1}"#])).await
}

/// With workerd's words.
async fn times_before_1970_are_refused(sessions: Subject) -> Outcome {
    let long_ago = -chrono::Utc::now().timestamp_millis() - 1000;
    let error = super::refused(&sessions, "alarm/1970", json!([{"op": "set alarm", "in": long_ago}])).await?;
    ensure_eq!(error, "setAlarm() cannot be called with an alarm time <= 0");
    Ok(())
}
