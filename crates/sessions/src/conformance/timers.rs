//! Named timers and cron expressions.

use std::time::Duration;

use isobar_testkit::{Case, cases, ensure, ensure_eq};
use serde_json::{Value as Json, json};

use super::{Outcome, Subject, act, eventually, refused};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "timers" => {
            several_timers_run_each_at_its_time,
            a_timer_that_is_set_again_replaces_the_earlier,
            a_cancelled_timer_does_not_run,
            a_failing_timer_is_tried_again_and_holds_up_no_other,
            a_timer_can_set_others_and_itself_anew,
            timers_wake_a_dormant_object if "evict",
            a_cron_expression_has_its_next_time_and_keeps_it,
            an_invalid_cron_expression_is_refused,
            timers_go_with_all_that_is_deleted,
            a_timer_of_a_transaction_that_fails_is_not_set,
        }
    }
}

fn fired() -> Json {
    json!({"op": "caught", "do": {"op": "sql", "sql": "SELECT name, retries FROM fired"}})
}

fn ran(runs: &[(&str, u32)]) -> Json {
    json!({"ok": {"columns": ["name", "retries"], "rows": runs}})
}

async fn several_timers_run_each_at_its_time(sessions: Subject) -> Outcome {
    let name = "timers/several";
    let set = json!([
        {"op": "set timer", "name": "late", "in": 3_600_000}, {"op": "set timer", "name": "second", "in": 1500},
        {"op": "set timer", "name": "first", "in": 100}, {"op": "timers"}, {"op": "alarm"}
    ]);
    let got = act(&sessions, name, set).await?;
    let names: Vec<_> = got[3].as_array().into_iter().flatten().map(|timer| timer["name"].clone()).collect();
    ensure_eq!(names, ["first", "second", "late"]);
    ensure!(got[4].as_i64().is_some_and(|ms| (0..=100).contains(&ms)), "{got}");
    eventually(&sessions, name, fired(), ran(&[("first", 0)])).await?;
    eventually(&sessions, name, fired(), ran(&[("first", 0), ("second", 0)])).await?;
    let left = act(&sessions, name, json!([{"op": "timers"}, {"op": "alarm"}])).await?;
    ensure_eq!(left[0].as_array().map(Vec::len), Some(1));
    ensure!(left[1].as_i64().is_some_and(|ms| ms > 3_000_000), "{left}");
    Ok(())
}

async fn a_timer_that_is_set_again_replaces_the_earlier(sessions: Subject) -> Outcome {
    let name = "timers/replace";
    let put = json!([{"op": "put", "key": "payload", "value": "the later one"}]);
    let set = json!([
        {"op": "set timer", "name": "one", "in": 50}, {"op": "set timer", "name": "one", "in": 1000, "do": put},
        {"op": "sleep", "ms": 200}, fired()
    ]);
    let early = act(&sessions, name, set).await?;
    ensure!(early[3]["error"].is_string(), "{early}");
    eventually(&sessions, name, fired(), ran(&[("one", 0)])).await?;
    ensure_eq!(act(&sessions, name, json!([{"op": "get", "key": "payload"}])).await?[0], "the later one");
    Ok(())
}

async fn a_cancelled_timer_does_not_run(sessions: Subject) -> Outcome {
    let name = "timers/cancel";
    act(&sessions, name, json!([{"op": "set timer", "name": "one", "in": 2000}])).await?;
    let cancelled = json!([
        {"op": "cancel timer", "name": "one"}, {"op": "cancel timer", "name": "one"}, {"op": "timers"}, {"op": "alarm"},
        {"op": "sleep", "ms": 2300}, fired()
    ]);
    let got = act(&sessions, name, cancelled).await?;
    ensure_eq!((&got[0], &got[1], &got[2], &got[3]), (&true.into(), &false.into(), &json!([]), &Json::Null));
    ensure!(got[5]["error"].is_string(), "{got}");
    Ok(())
}

async fn a_failing_timer_is_tried_again_and_holds_up_no_other(sessions: Subject) -> Outcome {
    let name = "timers/retry";
    let fail_once = json!([{"op": "fail", "text": "timer boom"}]);
    let set = json!([
        {"op": "set timer", "name": "bad", "in": 1, "do": fail_once}, {"op": "set timer", "name": "good", "in": 2}
    ]);
    act(&sessions, name, set).await?;
    eventually(&sessions, name, fired(), ran(&[("bad", 0), ("good", 0)])).await?;
    let left = act(&sessions, name, json!([{"op": "timers"}])).await?;
    let bad = &left[0][0];
    ensure_eq!((&bad["name"], &bad["retries"], &bad["failure"]), (&"bad".into(), &1.into(), &"timer boom".into()));
    ensure!(bad["in"].as_i64().is_some_and(|ms| (1..=2500).contains(&ms)), "{left}");
    eventually(&sessions, name, fired(), ran(&[("bad", 0), ("good", 0), ("bad", 1)])).await?;
    act(&sessions, name, json!([{"op": "cancel timer", "name": "bad"}])).await?;
    Ok(())
}

async fn a_timer_can_set_others_and_itself_anew(sessions: Subject) -> Outcome {
    let name = "timers/again";
    let again = json!([{"op": "sleep", "ms": 5}, {"op": "set timer", "name": "one", "in": 1}, {"op": "set timer", "name": "two", "in": 300}]);
    act(&sessions, name, json!([{"op": "set timer", "name": "one", "in": 1, "do": again}])).await?;
    eventually(&sessions, name, fired(), ran(&[("one", 0), ("one", 0), ("two", 0)])).await?;
    ensure_eq!(act(&sessions, name, json!([{"op": "timers"}])).await?[0], json!([]));
    Ok(())
}

async fn timers_wake_a_dormant_object(sessions: Subject) -> Outcome {
    let name = "timers/dormant";
    let set = json!([{"op": "set timer", "name": "a", "in": 150}, {"op": "set timer", "name": "b", "in": 300}]);
    act(&sessions, name, set).await?;
    sessions.evict(&sessions.id_from_name(name)).await?;
    isobar_testkit::sleep(Duration::from_millis(500)).await;
    eventually(&sessions, name, fired(), ran(&[("a", 0), ("b", 0)])).await
}

async fn a_cron_expression_has_its_next_time_and_keeps_it(sessions: Subject) -> Outcome {
    let name = "timers/cron";
    let every =
        |cron: &str| json!([{"op": "every", "name": "report", "cron": cron}, {"op": "timers"}, {"op": "alarm"}]);
    let hourly = act(&sessions, name, every("0 * * * *")).await?;
    let first = &hourly[1][0];
    ensure_eq!(first["cron"], "0 * * * *");
    let scheduled = first["scheduled"].as_i64().unwrap_or_default();
    ensure!(
        scheduled % 3_600_000 == 0 && first["in"].as_i64().is_some_and(|ms| (0..=3_600_000).contains(&ms)),
        "{hourly}"
    );
    ensure!(hourly[2].is_i64(), "{hourly}");
    let again = act(&sessions, name, every("0 * * * *")).await?;
    ensure_eq!(again[1][0]["scheduled"], scheduled);
    // A host gives an alarm up that fails again and again.
    act(&sessions, name, json!([{"op": "delete alarm"}])).await?;
    let armed = act(&sessions, name, every("0 * * * *")).await?;
    ensure!(armed[1][0]["scheduled"] == scheduled && armed[2].is_i64(), "{armed}");
    let daily = act(&sessions, name, every("30 3 * * *")).await?;
    let scheduled = daily[1][0]["scheduled"].as_i64().unwrap_or_default();
    ensure_eq!((daily[1].as_array().map(Vec::len), scheduled % 86_400_000), (Some(1), (3 * 60 + 30) * 60_000));
    act(&sessions, name, json!([{"op": "cancel timer", "name": "report"}])).await?;
    Ok(())
}

async fn an_invalid_cron_expression_is_refused(sessions: Subject) -> Outcome {
    for cron in ["", "* * * *", "61 * * * *", "0 0 31 2 *"] {
        let error = refused(&sessions, "timers/invalid", json!([{"op": "every", "name": "a", "cron": cron}])).await?;
        ensure!(error.contains("cron expression") && error.contains(cron), "{error}");
    }
    Ok(())
}

async fn timers_go_with_all_that_is_deleted(sessions: Subject) -> Outcome {
    let name = "timers/delete";
    let set = json!([{"op": "set timer", "name": "a", "in": 3_600_000}, {"op": "delete all"}, {"op": "timers"}, {"op": "alarm"}]);
    let got = act(&sessions, name, set).await?;
    ensure_eq!((&got[2], &got[3]), (&json!([]), &Json::Null));
    act(&sessions, name, json!([{"op": "set timer", "name": "a", "in": 1}])).await?;
    eventually(&sessions, name, fired(), ran(&[("a", 0)])).await
}

async fn a_timer_of_a_transaction_that_fails_is_not_set(sessions: Subject) -> Outcome {
    let set = json!([{"op": "set timer", "name": "a", "in": 50}, {"op": "fail", "text": "undone"}]);
    let operations =
        json!([{"op": "caught", "do": {"op": "transaction", "do": set}}, {"op": "timers"}, {"op": "alarm"}]);
    let got = act(&sessions, "timers/transaction", operations).await?;
    ensure_eq!((&got[1], &got[2]), (&json!([]), &Json::Null));
    Ok(())
}
