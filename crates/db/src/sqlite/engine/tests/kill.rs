//! A process that writes in groups is killed, again and again; what it has answered is there, whole, and nothing else of what it has
//! reported. `ISOBAR_KILLS` is the number of kills. Default: 4.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::sqlite::engine::write::early;

const CHILD: &str = "ISOBAR_TEST_KILL_CHILD";
const EARLY: &str = "ISOBAR_TEST_KILL_EARLY";
const WRITERS: u64 = 16;

/// The process that is killed. It reports `ok N` when row N was answered, and `no N` when it was refused.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    early::ANSWERS.store(std::env::var_os(EARLY).is_some(), Ordering::SeqCst);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = Arc::new(Engine::open(Some(Path::new(&path)), SqliteOptions::default()).await.unwrap());
        let next = engine.run(vec!["SELECT coalesce(max(id), 0) AS n FROM a".into()]).await.unwrap();
        let next = Arc::new(AtomicU64::new(next[0].rows[0].get::<u64>("n").unwrap() + 1000));
        let writers = (0..WRITERS).map(|_| tokio::spawn(write(Arc::clone(&engine), Arc::clone(&next))));
        futures_util::future::join_all(writers).await;
    });
}

async fn write(engine: Arc<Engine>, next: Arc<AtomicU64>) {
    loop {
        let id = i64::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap();
        // Every seventh fails by its second statement.
        let other = if id % 7 == 0 { 0 } else { id };
        let insert = |sql: &'static str, id: i64| Statement::new(sql).bind(id);
        let statements = vec![insert("INSERT INTO a VALUES (?)", id), insert("INSERT INTO b VALUES (?)", other)];
        let done = match id % 11 {
            0 => write_interactively(&engine, statements).await,
            _ => engine.run(statements).await.map(drop),
        };
        assert_eq!(done.is_err(), id % 7 == 0, "{done:?}");
        let mut out = std::io::stdout().lock();
        // In one piece, so that a line is whole or has no end.
        out.write_all(format!("{} {id}\n", if done.is_ok() { "ok" } else { "no" }).as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

/// Runs statements in an interactive transaction.
async fn write_interactively(engine: &Arc<Engine>, statements: Vec<Statement>) -> Result<()> {
    let tx = engine.begin(Duration::from_secs(60)).await?;
    tx.batch(statements).await?;
    Box::new(tx).commit().await
}

/// Runs a test of this program as a process, with variables of the environment, and kills it after so many milliseconds from its first
/// report of success on. `hear` is called with each of its lines.
pub(super) fn run_and_kill(test: &str, environment: &[(&str, &Path)], milliseconds: u64, mut hear: impl FnMut(&str)) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut process = command.spawn().unwrap();
    let mut out = BufReader::new(process.stdout.take().unwrap());
    let mut killer = None;
    let mut line = String::new();
    while out.read_line(&mut line).unwrap() > 0 {
        if let Some(line) = line.strip_suffix('\n') {
            hear(line);
            if line.starts_with("ok ") && killer.is_none() {
                let id = process.id().to_string();
                killer = Some(thread::spawn(move || {
                    thread::sleep(Duration::from_millis(milliseconds));
                    Command::new("kill").args(["-9", &id]).status().unwrap()
                }));
            }
        }
        line.clear();
    }
    assert!(killer.expect("the process has written something").join().unwrap().success());
    assert!(!process.wait().unwrap().success());
}

/// Lets a process write, and kills it. Returns the rows that it has reported as written.
fn write_and_kill(path: &Path, milliseconds: u64, is_broken: bool) -> BTreeSet<i64> {
    let environment = [(CHILD, path), (EARLY, Path::new("1"))];
    let environment = if is_broken { &environment[..] } else { &environment[..1] };
    let mut written = BTreeSet::new();
    run_and_kill("sqlite::engine::tests::kill::child", environment, milliseconds, |line| {
        written.extend(line.strip_prefix("ok ").map(|id| id.parse::<i64>().unwrap()));
    });
    written
}

/// Kills a writing process this many times. Returns the answered rows that are missing, and checks that every task is whole.
fn kill(times: u64, is_broken: bool) -> (BTreeSet<i64>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tables =
        "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (id INTEGER PRIMARY KEY); INSERT INTO b VALUES (0)";
    runtime.block_on(async { opened(&path).await.run_script(tables).await.unwrap() });
    let mut answered = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for number in 0..times {
        answered.extend(write_and_kill(&path, 40 + number * 37 % 90, is_broken));
        let rows = runtime.block_on(async {
            let engine = opened(&path).await;
            let results =
                engine.run(vec!["SELECT id FROM a".into(), "SELECT id FROM b WHERE id > 0".into()]).await.unwrap();
            let ids = |result: &QueryResult| result.rows_as::<i64>().unwrap().into_iter().collect::<BTreeSet<_>>();
            let health = run(&engine, "PRAGMA quick_check").await.unwrap();
            assert_eq!(health[0].rows_as::<String>().unwrap(), ["ok"]);
            [ids(&results[0]), ids(&results[1])]
        });
        assert_eq!(rows[0], rows[1], "a task is there in part after kill {number}");
        assert!(rows[0].iter().all(|id| id % 7 != 0), "a refused task is there after kill {number}");
        missing.extend(answered.difference(&rows[0]).copied());
    }
    (missing, answered.len())
}

#[test]
fn answered_writes_survive_a_kill() {
    let kills = std::env::var("ISOBAR_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let (missing, answered) = kill(kills, false);
    assert!(missing.is_empty(), "of {answered} answered rows are missing: {missing:?}");
    assert!(answered > 0);
}

#[test]
fn kill_test_detects_an_answer_before_the_commit() {
    // On a busy machine only every other kill comes between an answer and its commit.
    let is_found = (0..7).any(|_| !kill(3, true).0.is_empty());
    assert!(is_found, "all answered rows are there, though they were answered too early");
}
