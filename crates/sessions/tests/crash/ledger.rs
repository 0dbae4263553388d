//! Turns of objects, and the ledger of them: the states that each object may have after a crash.
//!
//! Each turn has a number that no other has, which says what the turn does, so that the ledger knows the state after it. Turns of one
//! object follow each other: at a crash one of them at most has begun and is not acknowledged. So an object has exactly what was
//! acknowledged, with that turn or without it, and anything else is a turn that was lost, doubled, torn, or has come back.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use isobar_sessions::{
    AlarmInfo, Body, Error, KvListOptions, Request, Response, Result, SessionContext, SessionNamespace,
    SessionNamespaceExt, SessionObject,
};
use serde::{Deserialize, Serialize};

/// Rows of a batch.
const BATCH: u64 = 5;
/// The key with the turn whose alarm is set and has not run.
const ARMED: &str = "armed";
/// Answer of a turn that has set an alarm.
const SET: &str = "set";
/// Answer of any other turn.
const DONE: &str = "done";

/// The work of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A row and a key.
    Write,
    /// Several rows in a transaction.
    Batch,
    /// A row, and another one in a turn that follows.
    Halves,
    /// A row after a transaction that has failed.
    Undone,
    /// A row and an alarm, unless one is set.
    Alarm,
    /// All is deleted; then a row, or nothing.
    Delete,
}

impl Kind {
    fn of(turn: u64) -> Self {
        match turn % 16 {
            0 => Self::Delete,
            3 | 11 => Self::Alarm,
            5 | 13 => Self::Halves,
            7 => Self::Batch,
            9 => Self::Undone,
            _ => Self::Write,
        }
    }

    /// Rows that the turn adds.
    fn parts(self) -> u64 {
        match self {
            Self::Batch => BATCH,
            Self::Halves => 2,
            _ => 1,
        }
    }
}

/// Bytes of each row of a turn. Some batches are larger than a log of the journal, and make a write-ahead log long.
fn bytes(turn: u64) -> u64 {
    match turn % 1008 {
        7 => 900_000,
        number if number % 50 == 17 => 30_000,
        _ => turn % 7 * 90 + 1, // SQLite makes no random blob of 0 bytes
    }
}

/// Whether the turn deletes all and writes nothing.
fn is_empty(turn: u64) -> bool {
    turn.is_multiple_of(32)
}

fn key(turn: u64) -> String {
    format!("key {}", turn % 8)
}

/// Object whose turns the ledger follows.
pub(crate) struct Account(SessionContext);

impl SessionObject for Account {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        let account = Self(context);
        account.define()?;
        Ok(account)
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let turn = request.uri().path().strip_prefix("/turn/").map(str::parse::<u64>);
        let Some(turn) = turn else { return Ok(Response::new(Body::from(serde_json::to_string(&self.found()?)?))) };
        let turn = turn.map_err(|error| Error::application(error.to_string()))?;
        Ok(Response::new(Body::from(self.turn(turn).await?)))
    }

    async fn alarm(&self, _: AlarmInfo) -> Result<()> {
        let Self(context) = self;
        // After a crash the handler may run again for an alarm that it has handled.
        let Some(turn) = context.kv().get::<u64>(ARMED)? else { return Ok(()) };
        context.sql().exec("INSERT INTO fired VALUES (?)", (turn.cast_signed(),))?;
        context.kv().delete(ARMED)?;
        Ok(())
    }
}

impl Account {
    fn define(&self) -> Result<()> {
        let sql = "CREATE TABLE IF NOT EXISTS turns (turn INTEGER, part INTEGER, pad BLOB);
                   CREATE TABLE IF NOT EXISTS fired (turn INTEGER)";
        self.0.sql().exec(sql, ()).map(drop)
    }

    fn row(&self, turn: u64, part: u64) -> Result<()> {
        let values = (turn.cast_signed(), part.cast_signed(), bytes(turn).cast_signed());
        self.0.sql().exec("INSERT INTO turns VALUES (?, ?, randomblob(?))", values).map(drop)
    }

    async fn turn(&self, turn: u64) -> Result<&'static str> {
        let Self(context) = self;
        let mut answer = DONE;
        match Kind::of(turn) {
            Kind::Write => self.row(turn, 0)?,
            Kind::Batch => context.transaction(|| (0..BATCH).try_for_each(|part| self.row(turn, part)))?,
            Kind::Halves => {
                self.row(turn, 0)?;
                tokio::task::yield_now().await; // the turn ends here, and another begins
                self.row(turn, 1)?;
            }
            Kind::Undone => {
                let undone = context.transaction(|| {
                    self.row(turn, 9)?;
                    context.kv().put("undone", &turn)?;
                    Err::<(), _>(Error::application("undone"))
                });
                if undone.is_ok() {
                    return Err(Error::application("a failed transaction has succeeded"));
                }
                self.row(turn, 0)?;
            }
            Kind::Alarm => {
                self.row(turn, 0)?;
                if context.kv().get::<u64>(ARMED)?.is_none() {
                    context.kv().put(ARMED, &turn)?;
                    context.set_alarm(context.now() + TimeDelta::milliseconds((turn % 30).cast_signed()))?;
                    answer = SET;
                }
            }
            Kind::Delete => {
                context.delete_all()?;
                self.define()?;
                if is_empty(turn) {
                    return Ok(answer);
                }
                self.row(turn, 0)?;
            }
        }
        context.kv().put(&key(turn), &turn)?;
        Ok(answer)
    }

    fn found(&self) -> Result<Found> {
        let Self(context) = self;
        let rows = context.sql().exec("SELECT turn, part, length(pad) FROM turns ORDER BY rowid", ())?.all()?;
        let fired = context.sql().exec("SELECT turn FROM fired ORDER BY rowid", ())?.all()?;
        let mut keys: BTreeMap<String, u64> = context.kv().list(&KvListOptions::default())?.into_iter().collect();
        let armed = keys.remove(ARMED);
        Ok(Found { rows, keys, fired, armed })
    }
}

/// Contents of an object.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Turn, part and bytes of each row, in the order in which they were written.
    rows: Vec<(u64, u64, u64)>,
    keys: BTreeMap<String, u64>,
    /// Turns whose alarms have run.
    fired: Vec<u64>,
    /// The turn whose alarm is set.
    armed: Option<u64>,
}

impl Found {
    /// Asks an object.
    pub(crate) async fn of(host: &impl SessionNamespace, object: &str) -> Result<Self, String> {
        let answer = host.get(&host.id(object), "/").await.map_err(|error| format!("{object}: {error}"))?;
        answer.into_body().json().await.map_err(|error| format!("{object}: {error}"))
    }

    /// Whether an alarm is set that has not run.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.is_some()
    }
}

/// Contents of an object after some turns. An alarm that is set may run at any time, so the state is the same before and after that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    rows: Vec<(u64, u64, u64)>,
    keys: BTreeMap<String, u64>,
    /// Turns whose alarms have run or are set, in this order.
    alarms: Vec<u64>,
}

impl From<Found> for State {
    fn from(found: Found) -> Self {
        let mut alarms = found.fired;
        alarms.extend(found.armed);
        Self { rows: found.rows, keys: found.keys, alarms }
    }
}

impl State {
    /// The state after a turn with this answer.
    fn after(&self, turn: u64, answer: &str) -> Self {
        let kind = Kind::of(turn);
        let mut state = if kind == Kind::Delete { Self::default() } else { self.clone() };
        if kind == Kind::Delete && is_empty(turn) {
            return state;
        }
        state.rows.extend((0..kind.parts()).map(|part| (turn, part, bytes(turn))));
        state.keys.insert(key(turn), turn);
        if answer == SET {
            state.alarms.push(turn);
        }
        state
    }

    /// The states in which a crash may leave a turn.
    fn during(&self, turn: u64) -> Vec<Self> {
        let mut states = vec![self.clone(), self.after(turn, DONE)];
        match Kind::of(turn) {
            Kind::Alarm => states.push(self.after(turn, SET)),
            Kind::Halves => {
                let mut half = self.clone();
                half.rows.push((turn, 0, bytes(turn)));
                states.push(half);
            }
            _ => {}
        }
        states
    }
}

/// The states that an object may have, and the turn that has begun.
#[derive(Debug, Clone)]
struct Entry {
    possible: Vec<State>,
    begun: Option<u64>,
}

impl Entry {
    /// The process has ended: the turn that has begun may have happened or not.
    fn crash(&mut self) {
        if let Some(turn) = self.begun.take() {
            self.possible = self.possible.iter().flat_map(|state| state.during(turn)).collect();
        }
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self { possible: vec![State::default()], begun: None }
    }
}

/// Acknowledged turns, by object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(BTreeMap<String, Entry>);

impl Ledger {
    /// A turn is about to begin.
    pub(crate) fn begin(&mut self, object: &str, turn: u64) {
        let entry = self.0.entry(object.to_owned()).or_default();
        entry.crash(); // one that has failed
        entry.begun = Some(turn);
    }

    /// A turn was acknowledged.
    pub(crate) fn acknowledge(&mut self, object: &str, turn: u64, answer: &str) {
        let entry = self.0.entry(object.to_owned()).or_default();
        entry.begun = None;
        entry.possible = entry.possible.iter().map(|state| state.after(turn, answer)).collect();
    }

    /// The process has ended.
    pub(crate) fn crash(&mut self) {
        self.0.values_mut().for_each(Entry::crash);
    }

    /// Compares what an object has with what it may have.
    ///
    /// # Errors
    /// Both, where they differ.
    pub(crate) fn check(&mut self, object: &str, found: Found) -> Result<(), String> {
        let entry = self.0.entry(object.to_owned()).or_default();
        let found = State::from(found);
        if entry.possible.contains(&found) {
            entry.possible = vec![found];
            return Ok(());
        }
        Err(format!("{object} has {found:?}, and may have one of {:?}", entry.possible))
    }
}

#[test]
fn ledger_detects_lost_doubled_torn_and_returning_turns() {
    let found = |rows: &[(u64, u64, u64)]| Found {
        rows: rows.to_vec(),
        keys: rows.iter().map(|(turn, ..)| (key(*turn), *turn)).collect(),
        fired: Vec::new(),
        armed: None,
    };
    let row = |turn: u64, part: u64| (turn, part, bytes(turn));
    let mut ledger = Ledger::default();
    for turn in [18, 20] {
        ledger.begin("a", turn);
        ledger.acknowledge("a", turn, DONE);
    }
    ledger.begin("a", 39); // a batch
    ledger.crash();
    let batch: Vec<_> = [row(18, 0), row(20, 0)].into_iter().chain((0..BATCH).map(|part| row(39, part))).collect();
    let check = |rows: &[(u64, u64, u64)]| ledger.clone().check("a", found(rows));
    check(&[row(18, 0), row(20, 0)]).unwrap();
    check(&batch).unwrap();
    for (wrong, rows) in [
        ("lost", &[row(18, 0)][..]),
        ("doubled", &[row(18, 0), row(20, 0), row(20, 0)][..]),
        ("torn", &batch[..4]),
        ("foreign", &[row(18, 0), row(20, 0), row(22, 0)][..]),
    ] {
        assert!(check(rows).is_err(), "{wrong}");
    }
    ledger.begin("a", 64);
    ledger.acknowledge("a", 64, DONE);
    ledger.check("a", found(&[])).unwrap();
    assert!(ledger.check("a", found(&[row(18, 0), row(20, 0)])).is_err(), "what was deleted has come back");
}
