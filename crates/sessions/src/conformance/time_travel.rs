//! Earlier states: bookmarks, restores with the next start, and back.

use isobar_testkit::{Case, Failure, cases, ensure, ensure_eq};
use serde_json::{Value as Json, json};

use super::{Outcome, Subject, act, refused};

pub(super) fn cases() -> Vec<Case<Subject>> {
    cases! {
        "time_travel" => {
            rows_keys_and_alarm_come_back_and_go_again if "time_travel",
            deletion_of_everything_is_undone if "time_travel",
            restore_waits_for_the_next_start if "time_travel",
            the_last_restore_that_is_asked_for_counts if "time_travel",
            bookmarks_grow if "time_travel",
            time_means_the_last_turn_that_was_not_later if "time_travel",
            bookmarks_and_times_without_a_state_are_refused if "time_travel",
        }
    }
}

/// The bookmark of the present state.
async fn bookmark(sessions: &Subject, name: &str) -> Result<String, Failure> {
    text(&act(sessions, name, json!([{"op": "bookmark"}])).await?[0])
}

fn text(bookmark: &Json) -> Result<String, Failure> {
    bookmark.as_str().map(str::to_owned).ok_or_else(|| Failure(format!("a bookmark was due, got {bookmark}")))
}

/// Asks for a restore. Returns the bookmark that undoes it.
async fn ask(sessions: &Subject, name: &str, to: &str) -> Result<String, Failure> {
    text(&act(sessions, name, json!([{"op": "restore", "to": to}])).await?[0])
}

/// Lets the object start anew.
async fn restart(sessions: &Subject, name: &str) -> Outcome {
    let reason = refused(sessions, name, json!([{"op": "abort", "text": "it starts anew"}])).await?;
    ensure!(reason.contains("it starts anew"), "{reason}");
    Ok(())
}

async fn restore(sessions: &Subject, name: &str, to: &str) -> Result<String, Failure> {
    let undo = ask(sessions, name, to).await?;
    restart(sessions, name).await?;
    Ok(undo)
}

fn put(key: &str, value: impl Into<Json>) -> Json {
    json!({"op": "put", "key": key, "value": value.into()})
}

fn get(key: &str) -> Json {
    json!({"op": "get", "key": key})
}

fn sql(sql: &str) -> Json {
    json!({"op": "sql", "sql": sql})
}

async fn rows_keys_and_alarm_come_back_and_go_again(sessions: Subject) -> Outcome {
    let name = "time travel/all";
    let begin = json!([
        put("a", 1), sql("CREATE TABLE t (n)"), sql("INSERT INTO t VALUES (7)"), {"op": "set alarm", "in": 3_600_000}
    ]);
    act(&sessions, name, begin).await?;
    let to = bookmark(&sessions, name).await?;
    let change = json!([put("a", 2), put("b", 1), sql("DROP TABLE t"), {"op": "delete alarm"}]);
    act(&sessions, name, change).await?;
    let tables = sql("SELECT count(*) FROM sqlite_master WHERE name = 't'");
    let undo = restore(&sessions, name, &to).await?;
    let look = json!([get("a"), get("b"), tables, {"op": "alarm"}]);
    let got = act(&sessions, name, look.clone()).await?;
    ensure_eq!([&got[0], &got[1], &got[2]["rows"]], [&json!(1), &Json::Null, &json!([[1]])]);
    ensure!(got[3].as_i64().is_some_and(|left| (3_000_000..=3_600_000).contains(&left)), "{got}");
    ensure_eq!(act(&sessions, name, json!([sql("SELECT n FROM t")])).await?[0]["rows"], json!([[7]]));

    restore(&sessions, name, &undo).await?;
    let got = act(&sessions, name, look).await?;
    ensure_eq!([&got[0], &got[1], &got[2]["rows"]], [&json!(2), &json!(1), &json!([[0]])]);
    ensure_eq!(got[3], Json::Null);
    Ok(())
}

async fn deletion_of_everything_is_undone(sessions: Subject) -> Outcome {
    let name = "time travel/deleted";
    act(&sessions, name, json!([put("a", 1), {"op": "set alarm", "in": 3_600_000}])).await?;
    let to = bookmark(&sessions, name).await?;
    act(&sessions, name, json!([{"op": "delete all"}])).await?;
    restore(&sessions, name, &to).await?;
    let got = act(&sessions, name, json!([get("a"), {"op": "alarm"}])).await?;
    ensure_eq!(got[0], json!(1));
    ensure!(got[1].is_i64(), "{got}");
    Ok(())
}

/// A turn until then is undone with the rest, and comes back with the bookmark of the state before.
async fn restore_waits_for_the_next_start(sessions: Subject) -> Outcome {
    let name = "time travel/waits";
    act(&sessions, name, json!([put("a", 1)])).await?;
    let to = bookmark(&sessions, name).await?;
    act(&sessions, name, json!([put("a", 2)])).await?;
    let undo = ask(&sessions, name, &to).await?;
    ensure_eq!(act(&sessions, name, json!([get("a")])).await?, json!([2]));
    act(&sessions, name, json!([put("a", 3)])).await?;
    restart(&sessions, name).await?;
    ensure_eq!(act(&sessions, name, json!([get("a")])).await?, json!([1]));
    restart(&sessions, name).await?; // once
    act(&sessions, name, json!([put("a", 4)])).await?;
    restart(&sessions, name).await?;
    ensure_eq!(act(&sessions, name, json!([get("a")])).await?, json!([4]));
    restore(&sessions, name, &undo).await?;
    ensure_eq!(act(&sessions, name, json!([get("a")])).await?, json!([3]));
    Ok(())
}

async fn the_last_restore_that_is_asked_for_counts(sessions: Subject) -> Outcome {
    let name = "time travel/twice";
    let mut bookmarks = Vec::new();
    for value in 1..=2 {
        act(&sessions, name, json!([put("a", value)])).await?;
        bookmarks.push(bookmark(&sessions, name).await?);
    }
    act(&sessions, name, json!([put("a", 3)])).await?;
    ask(&sessions, name, &bookmarks[0]).await?;
    restore(&sessions, name, &bookmarks[1]).await?;
    ensure_eq!(act(&sessions, name, json!([get("a")])).await?, json!([2]));
    Ok(())
}

async fn bookmarks_grow(sessions: Subject) -> Outcome {
    let name = "time travel/order";
    let mut last = bookmark(&sessions, name).await?;
    let first = last.clone();
    for value in 0..5 {
        act(&sessions, name, json!([put("a", value)])).await?;
        let next = bookmark(&sessions, name).await?;
        ensure!(next > last, "{next} follows {last}");
        last = next;
    }
    let undo = restore(&sessions, name, &first).await?;
    ensure!(undo >= last, "{undo} is the state at {last}, or after it");
    let after = bookmark(&sessions, name).await?;
    ensure!(after > undo, "{after} follows {undo}");
    Ok(())
}

async fn time_means_the_last_turn_that_was_not_later(sessions: Subject) -> Outcome {
    let name = "time travel/time";
    let turns = json!([put("a", 1), {"op": "sleep", "ms": 60}, {"op": "bookmark at", "ago": 30}, put("a", 2)]);
    let to = text(&act(&sessions, name, turns).await?[2])?;
    restore(&sessions, name, &to).await?;
    ensure_eq!(act(&sessions, name, json!([get("a")])).await?, json!([1]));
    Ok(())
}

async fn bookmarks_and_times_without_a_state_are_refused(sessions: Subject) -> Outcome {
    let name = "time travel/wrong";
    act(&sessions, name, json!([put("a", 1)])).await?;
    let other = "time travel/other";
    act(&sessions, other, json!([put("a", 1)])).await?;
    let of_another = bookmark(&sessions, other).await?;
    for operation in [
        json!({"op": "restore", "to": "yesterday"}),
        json!({"op": "restore", "to": of_another}),
        json!({"op": "bookmark at", "ago": -3_600_000}),
        json!({"op": "bookmark at", "ago": 3_600_000_000_000_i64}),
    ] {
        refused(&sessions, name, json!([operation])).await?;
    }
    restart(&sessions, name).await?;
    ensure_eq!(act(&sessions, name, json!([get("a")])).await?, json!([1]));
    Ok(())
}
