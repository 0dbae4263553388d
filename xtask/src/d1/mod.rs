//! Random SQL on the local database and on D1 inside workerd: rows, types, `meta` and the texts of errors must be the same.
//!
//! A case is a fresh database on either side, and some hundred statements that follow from its number. It ends at the first difference, as
//! the two databases may have parted there. What differs for a reason stands in [`known`], with the reason.

mod generate;
mod known;
mod local;
mod rebuild;

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Instant;

use isobar_db::Value;
use serde_json::{Value as Json, json};

use crate::http::{Server, ask};
use crate::worker::node;
use crate::{Outcome, target};

/// Statements of the gate: half a minute.
const OPERATIONS: usize = 6000;
/// Databases of a runtime; then it is started anew.
const DATABASES: u64 = 50;
/// Cases with a difference after which the run ends.
const MOST: usize = 20;
const SCRIPT: &str = include_str!("../../js/d1.mjs");

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The way in which a call runs its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// D1's `run`: rows as objects, and `meta`.
    Run,
    /// D1's `raw`: rows as arrays, with the columns' names.
    Raw,
    Batch,
    Exec,
}

/// A call of D1's, and its statements with their values.
struct Call {
    mode: Mode,
    statements: Vec<(String, Vec<Value>)>,
}

impl Call {
    fn of(mode: Mode, sql: String, values: Vec<Value>) -> Self {
        Self { mode, statements: vec![(sql, values)] }
    }

    fn to_json(&self) -> Json {
        let mode = match self.mode {
            Mode::Run => "run",
            Mode::Raw => "raw",
            Mode::Batch => "batch",
            Mode::Exec => "exec",
        };
        let statements: Vec<_> =
            self.statements.iter().map(|(sql, values)| json!([sql, values_json(values)])).collect();
        json!({"mode": mode, "statements": statements})
    }

    /// The call as a reader of a difference sees it.
    fn shown(&self) -> String {
        let statements = self.statements.iter().map(|(sql, values)| match values.is_empty() {
            true => sql.clone(),
            false => format!("{sql} -- {}", values_json(values)),
        });
        format!("{:?}: {}", self.mode, statements.collect::<Vec<_>>().join("\n    "))
    }
}

fn values_json(values: &[Value]) -> Json {
    values
        .iter()
        .map(|value| match value {
            Value::Null => Json::Null,
            Value::Integer(integer) => json!(integer),
            Value::Real(real) => json!(real),
            Value::Text(text) => json!(text),
            Value::Blob(bytes) => json!({"blob": bytes.to_vec()}),
        })
        .collect()
}

/// D1 in workerd, with empty databases.
struct D1 {
    server: Server,
}

impl D1 {
    fn start() -> Result<Self> {
        let node = node()?;
        std::fs::write(node.join("d1.mjs"), SCRIPT)?;
        let log = std::fs::File::create(node.join("d1.log"))?;
        let mut command = Command::new("node");
        command.arg(node.join("d1.mjs")).arg(DATABASES.to_string()).stderr(log);
        let mut server = Server::start(&mut command)?;
        server.watches_input = true;
        Ok(Self { server })
    }

    /// Runs the calls on the database of this number; an outcome for each.
    fn run(&self, database: u64, calls: &[Call]) -> std::result::Result<Vec<Json>, String> {
        let calls: Vec<_> = calls.iter().map(Call::to_json).collect();
        let body = json!({"database": database, "calls": calls}).to_string();
        let answer = ask(&self.server.address, "POST", "/", &[], body.as_bytes()).map_err(|error| error.to_string())?;
        serde_json::from_slice(&answer.body).map_err(|error| format!("{error}: {}", answer.text()))
    }
}

/// Arguments of the command.
struct Arguments {
    operations: usize,
    seed: u64,
    /// The only case to run, which is printed.
    case: Option<u64>,
}

impl Arguments {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut read = Self { operations: OPERATIONS, seed: 1, case: None };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} has no value", pair[0]).into()) };
            let number: u64 = value.parse().map_err(|error| format!("{name} {value}: {error}"))?;
            match name.as_str() {
                "--operations" => read.operations = usize::try_from(number)?,
                "--seed" => read.seed = number,
                "--case" => read.case = Some(number),
                _ => return Err("there is `cargo xtask d1 [--operations COUNT] [--seed SEED] [--case NUMBER]`".into()),
            }
        }
        Ok(read)
    }
}

/// Counts of a run, and its differences.
#[derive(Default)]
struct Tally {
    cases: u64,
    operations: usize,
    /// Calls that both sides refuse.
    refused: usize,
    calls: usize,
    known: BTreeMap<&'static str, usize>,
    differences: Vec<String>,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let arguments = Arguments::read(arguments)?;
    let start = Instant::now();
    let runtime = tokio::runtime::Runtime::new()?;
    let folder = std::path::absolute(target().join("d1"))?;
    let mut tally = Tally::default();
    let mut number = arguments.case.unwrap_or_default();
    while tally.operations < arguments.operations && tally.differences.len() < MOST {
        let d1 = D1::start()?;
        if number == 0 {
            rebuild::check(&d1, &runtime)?;
        }
        for database in 1..DATABASES {
            let calls = generate::case(arguments.seed, number);
            let (theirs, ours) = thread::scope(|scope| {
                let theirs = scope.spawn(|| d1.run(database, &calls));
                let ours = runtime.block_on(local::run(&folder, number, &calls));
                (theirs.join(), ours)
            });
            let theirs = theirs.map_err(|_| "asking D1 has panicked")?;
            let theirs = theirs.map_err(|error| format!("case {number}: {error}"))?;
            tally.compare(number, &calls, &theirs, &ours?);
            if arguments.case.is_some() {
                print_case(&calls, &theirs);
                return tally.verdict(start);
            }
            number += 1;
            if tally.operations >= arguments.operations || tally.differences.len() >= MOST {
                break;
            }
        }
    }
    tally.verdict(start)
}

fn print_case(calls: &[Call], outcomes: &[Json]) {
    for (call, outcome) in calls.iter().zip(outcomes) {
        println!("{}\n    => {}", call.shown(), shortened(outcome));
    }
}

impl Tally {
    fn compare(&mut self, number: u64, calls: &[Call], theirs: &[Json], ours: &[Json]) {
        self.cases += 1;
        if theirs.len() != calls.len() || ours.len() != calls.len() {
            self.differences.push(format!("case {number}: {} and {} outcomes", theirs.len(), ours.len()));
        }
        for ((call, theirs), ours) in calls.iter().zip(theirs).zip(ours) {
            self.calls += 1;
            self.operations += call.statements.len();
            if theirs == ours {
                self.refused += usize::from(theirs.get("error").is_some());
                continue;
            }
            match known::reason(theirs, ours) {
                Some((reason, after)) => {
                    *self.known.entry(reason).or_default() += 1;
                    if after == known::After::Same {
                        continue;
                    }
                }
                None => self.differences.push(format!(
                    "case {number}, {}\n    D1:    {}\n    local: {}",
                    call.shown(),
                    part_that_differs(theirs, ours),
                    part_that_differs(ours, theirs)
                )),
            }
            // The two may have parted.
            return;
        }
    }

    fn verdict(&self, start: Instant) -> Outcome {
        for (reason, count) in &self.known {
            println!("{count} calls differ for a known reason: {reason}");
        }
        if !self.differences.is_empty() {
            let differences = self.differences.join("\n");
            return Err(format!("{} cases differ from D1:\n{differences}", self.differences.len()).into());
        }
        println!(
            "{} random statements in {} cases end alike on D1 and locally, {} of {} calls with an error, in {:?}",
            self.operations,
            self.cases,
            self.refused,
            self.calls,
            start.elapsed()
        );
        Ok(())
    }
}

/// The part of an outcome in which it differs from another one.
fn part_that_differs(one: &Json, other: &Json) -> String {
    match (one, other) {
        (Json::Object(fields), Json::Object(others)) => {
            let differing = fields.iter().filter(|(name, value)| others.get(*name) != Some(*value));
            let shown: Vec<_> = differing
                .map(|(name, value)| {
                    format!("{name}: {}", part_that_differs(value, others.get(name).unwrap_or(&Json::Null)))
                })
                .collect();
            shown.join(", ")
        }
        (Json::Array(list), Json::Array(others)) if list.len() == others.len() => {
            let differing = list.iter().zip(others).enumerate().filter(|(_, (one, other))| one != other).take(3);
            let shown: Vec<_> =
                differing.map(|(place, (one, other))| format!("[{place}] {}", part_that_differs(one, other))).collect();
            shown.join(", ")
        }
        _ => shortened(one),
    }
}

fn shortened(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
