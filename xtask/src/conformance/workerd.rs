//! Runs the kits inside the real workerd, on its bindings.

use isobar_testkit::Outcome as Judged;

use super::table::Table;
use crate::Outcome;
use crate::http::ask;
use crate::worker::Workerd;

const KITS: [&str; 5] = ["storage", "site", "db", "sessions", "analytics"];

pub(super) fn run(workerd: &Workerd, table: &mut Table) -> Outcome {
    for kit in KITS {
        let answer = ask(&workerd.address, "GET", &format!("/{kit}"), &[], b"")?;
        let cases: Vec<String> = serde_json::from_slice(&answer.body).map_err(|_| answer.text())?;
        if cases.is_empty() {
            return Err(format!("the kit {kit} has no cases in the Worker").into());
        }
        for case in cases {
            let name = format!("{kit}/{case}");
            table.judge("workerd", &name, &judge(&workerd.address, &name)?);
        }
    }
    check_events(workerd)?;
    check_scheduled(workerd)?;
    check_panic(workerd)
}

/// Checks that a `scheduled` event of the runtime's comes to the application's handler, with its expression and its time.
fn check_scheduled(workerd: &Workerd) -> Outcome {
    let path = "/cdn-cgi/local/scheduled?cron=*/5+3+*+*+MON&time=1795000000000";
    let sent = ask(&workerd.address, "GET", path, &[], b"")?;
    let noted = ask(&workerd.address, "GET", "/scheduled", &[], b"")?;
    let event: serde_json::Value = serde_json::from_slice(&noted.body).map_err(|_| noted.text())?;
    if sent.status != 200 || event != serde_json::json!({"cron": "*/5 3 * * MON", "time": 1_795_000_000_000_i64}) {
        return Err(
            format!("a scheduled event is answered by {} ({}), and came as {event}", sent.status, sent.text()).into()
        );
    }
    println!("a scheduled event comes to the handler of its Worker");
    Ok(())
}

/// Checks that the points of the analytics kit arrived unchanged.
fn check_events(workerd: &Workerd) -> Outcome {
    let kept: serde_json::Value = serde_json::from_slice(&ask(&workerd.events, "GET", "/", &[], b"")?.body)?;
    let points = kept.as_array().map(Vec::as_slice).unwrap_or_default();
    let whole = points.iter().filter(|point| {
        point["indexes"] == serde_json::json!(["index"]) && point["doubles"] == serde_json::json!([1.5])
    });
    if whole.count() < 100 {
        return Err(format!("of the analytics kit's points {} arrived, not as they were written", points.len()).into());
    }
    Ok(())
}

/// Checks that a panic fails only its own request, although all share one instance of the Worker.
fn check_panic(workerd: &Workerd) -> Outcome {
    for _ in 0..3 {
        let panicked = ask(&workerd.address, "GET", "/panic", &[], b"")?.status;
        let next = judge(&workerd.address, "storage/objects/missing_objects_are_missing")?;
        if panicked != 500 || next != Judged::Passed {
            return Err(format!("a panic is answered by {panicked}, and what follows it: {next:?}").into());
        }
    }
    println!("a panic in the Worker is a 500, and the next request is answered");
    Ok(())
}

fn judge(address: &str, case: &str) -> Result<Judged, Box<dyn std::error::Error>> {
    let answer = ask(address, "GET", &format!("/{case}"), &[], b"")?;
    let Ok(judged) = serde_json::from_slice::<serde_json::Value>(&answer.body) else {
        return Ok(Judged::Failed(format!("it broke off: {}", answer.text())));
    };
    let why = judged["why"].as_str().unwrap_or_default().to_owned();
    Ok(match judged["outcome"].as_str() {
        Some("passed") => Judged::Passed,
        // The leak is small: there are few capabilities, and this runs once.
        Some("skipped") => Judged::Skipped(why.leak()),
        _ => Judged::Failed(why),
    })
}
