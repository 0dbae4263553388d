//! Every conformance kit inside the real workerd.

use std::collections::BTreeMap;

use crate::http::ask;
use crate::worker::{Options, Workerd, build};
use crate::{Outcome, target};

const KITS: [&str; 4] = ["storage", "db", "sessions", "analytics"];

/// Cases that cannot hold there, and why. One that begins to hold is a failure, too: it must leave this list.
const DIFFERENT: [(&str, &str); 2] = [
    ("storage/metadata/storage_class_is_kept", "miniflare's R2 drops the storage class; R2 keeps it"),
    ("sessions/sockets/a_broken_connection_is_told", "a Worker can close a WebSocket, but cannot break its connection"),
];

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
    different: usize,
}

pub(crate) fn run() -> Outcome {
    let options = Options {
        name: "conformance".to_owned(),
        build: build("conformance", &[])?,
        persist: Some(fresh("conformance-state")?),
        buckets: vec![("BUCKET".to_owned(), "bucket".to_owned())],
        databases: vec![("DB".to_owned(), "00000000-0000-0000-0000-00000000000d".to_owned())],
        classes: vec![("PROBE".to_owned(), "Probe".to_owned())],
        datasets: vec!["EVENTS".to_owned()],
        evicts: Some("Probe".to_owned()),
        ..Options::default()
    };
    let workerd = Workerd::start(&options)?;
    let (mut table, mut failed) = (BTreeMap::<String, Count>::new(), 0);
    for kit in KITS {
        let answer = ask(&workerd.address, "GET", &format!("/{kit}"), &[], b"")?;
        let cases: Vec<String> = serde_json::from_slice(&answer.body).map_err(|_| answer.text())?;
        for case in cases {
            let name = format!("{kit}/{case}");
            let group = name.rsplit_once('/').map_or(&*name, |(group, _)| group).to_owned();
            let count = table.entry(group).or_default();
            let (outcome, why) = judge(&workerd.address, &name)?;
            let known = DIFFERENT.iter().find(|(one, _)| *one == name).map(|(_, why)| *why);
            match (&*outcome, known) {
                ("passed", None) => count.passed += 1,
                ("skipped", None) => {
                    count.skipped += 1;
                    println!("skipped  {name}: {why}");
                }
                ("failed", Some(known)) => {
                    count.different += 1;
                    println!("differs  {name}: {known}");
                }
                (_, known) => {
                    count.failed += 1;
                    failed += 1;
                    println!("FAILED   {name}: {outcome} {why} {}", known.unwrap_or_default());
                }
            }
        }
    }
    check_events(&workerd)?;
    check_panic(&workerd)?;
    print(&table);
    if failed > 0 {
        return Err(format!("{failed} cases failed inside workerd").into());
    }
    println!("{} cases pass inside workerd", table.values().map(|count| count.passed).sum::<usize>());
    Ok(())
}

/// The points of the analytics kit came out at the other end as they went in.
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

/// A panic fails its own request and no other, though all share one instance of the Worker.
fn check_panic(workerd: &Workerd) -> Outcome {
    for _ in 0..3 {
        let panicked = ask(&workerd.address, "GET", "/panic", &[], b"")?.status;
        let (outcome, why) = judge(&workerd.address, "storage/objects/missing_objects_are_missing")?;
        if panicked != 500 || outcome != "passed" {
            return Err(format!("a panic is answered by {panicked}, and what follows it {outcome}: {why}").into());
        }
    }
    println!("a panic in the Worker is a 500, and the next request is answered");
    Ok(())
}

fn judge(address: &str, case: &str) -> Result<(String, String), Box<dyn std::error::Error>> {
    let answer = ask(address, "GET", &format!("/{case}"), &[], b"")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(match serde_json::from_slice::<serde_json::Value>(&answer.body) {
        Ok(judged) => (text(&judged["outcome"]), text(&judged["why"])),
        Err(_) => ("broke off".to_owned(), answer.text()),
    })
}

fn print(table: &BTreeMap<String, Count>) {
    println!("\n{:28} {:>6} {:>6} {:>7} {:>7}", "workerd", "passed", "failed", "skipped", "differs");
    for (group, Count { passed, failed, skipped, different }) in table {
        println!("{group:28} {passed:>6} {failed:>6} {skipped:>7} {different:>7}");
    }
}

/// An empty folder.
fn fresh(name: &str) -> std::io::Result<std::path::PathBuf> {
    let folder = std::path::absolute(target().join(name))?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(folder)
}
