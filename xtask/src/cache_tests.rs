//! Runs http-cache-tests, a public test suite for HTTP caches, against the cache in front of an application inside Workers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::http::{Ended, free_port, listens};
use crate::worker::{Options, Workerd, build};
use crate::{Outcome, npm, target};

const PACKAGE: &str = "http-cache-tests@0.4.5";
const SCRIPT: &str = include_str!("../js/cache-tests.mjs");

/// Least number of required tests that must pass; many of the others do not apply to a cache that never revalidates.
const LEAST: usize = 96;

/// Required tests that fail, with the reason; one that begins to pass must be removed from the list.
const KNOWN: &[(&str, &str)] = &[
    ("304-lm-use-stored-Test-Header", ASKS_ANEW),
    ("cc-resp-must-revalidate-stale", ASKS_ANEW),
    ("conditional-etag-vary-headers", ASKS_ANEW),
    ("age-parse-prefix", "an age that is no number, or several, is unknown: the answer is not kept"),
    ("headers-store-Set-Cookie", "an answer that sets a cookie is nobody else's: it is not kept"),
    ("invalidate-M-SEARCH", "the runtime knows no such method"),
    ("invalidate-M-SEARCH-cl", "the runtime knows no such method"),
    ("other-age-gen", NO_MAX_AGE),
    ("other-age-update-expires", NO_MAX_AGE),
    ("other-date-update", NO_MAX_AGE),
];
const ASKS_ANEW: &str = "what is stale is not asked for by condition, but anew; the test's origin then answers 999, which the runtime refuses";
const NO_MAX_AGE: &str = "it has `Expires` alone: only what says `public` and for how many seconds is kept";

#[derive(Debug, Deserialize)]
struct Told {
    id: String,
    suite: String,
    name: String,
    kind: String,
    verdict: String,
    why: Option<String>,
}

pub(crate) fn run() -> Outcome {
    let folder = std::path::absolute(target().join("cache-tests"))?;
    npm::install(&folder, &[PACKAGE])?;
    let package = folder.join("node_modules/http-cache-tests");
    let port = free_port()?;
    let _origin = origin(&package, port)?;
    let options = Options {
        name: "conformance".to_owned(),
        build: build("conformance", &[])?,
        vars: [("ORIGIN".to_owned(), format!("http://127.0.0.1:{port}").into())].into_iter().collect(),
        ..Options::default()
    };
    let workerd = Workerd::start(&options)?;
    let script = folder.join("cache-tests.mjs");
    fs::write(&script, SCRIPT)?;
    let base = format!("http://{}", workerd.address);
    let output = Command::new("node").arg(script).arg(&package).arg(base).stderr(Stdio::inherit()).output()?;
    // The package prints its own output first.
    let text = String::from_utf8(output.stdout)?;
    let told: Vec<Told> = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    judge(&told)
}

/// The server behind the cache.
fn origin(package: &Path, port: u16) -> Result<Ended, Box<dyn std::error::Error>> {
    let mut command = Command::new("node");
    command.arg("server/server.mjs").current_dir(package);
    let settings = [("protocol", "http"), ("port", &port.to_string()), ("pidfile", "server.pid")];
    command.envs(settings.map(|(name, value)| (format!("npm_config_{name}"), value)));
    let origin = Ended(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    match listens(&format!("127.0.0.1:{port}")) {
        true => Ok(origin),
        false => Err("the server behind the cache does not answer".into()),
    }
}

fn judge(told: &[Told]) -> Outcome {
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for Told { kind, verdict, .. } in told {
        *counts.entry(kind).or_default().entry(verdict).or_default() += 1;
    }
    for (kind, verdicts) in &counts {
        let shown: Vec<_> = verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
        println!("{kind}: {}", shown.join(", "));
    }
    let failed = |one: &&Told| one.kind == "required" && !matches!(&*one.verdict, "pass" | "depends");
    let is_known = |one: &Told| KNOWN.iter().find(|(id, _)| *id == one.id);
    let mut wrong: Vec<String> = Vec::new();
    for one in told.iter().filter(failed) {
        match is_known(one) {
            Some((id, why)) => println!("differs  {id}: {why}"),
            None => wrong.push(format!("{}/{} ({}): {} {:?}", one.suite, one.id, one.verdict, one.name, one.why)),
        }
    }
    for (id, _) in KNOWN {
        if !told.iter().any(|one| one.id == *id && failed(&one)) {
            wrong.push(format!("{id} does not fail any more: it must leave the list"));
        }
    }
    let required = counts.get("required").cloned().unwrap_or_default();
    let passed = required.get("pass").copied().unwrap_or_default();
    let all = required.values().sum::<usize>();
    println!(
        "{passed} of {all} required tests of {PACKAGE}, one of our own among them, pass on the cache inside Workers"
    );
    if passed < LEAST {
        wrong.push(format!("{LEAST} passed before"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
