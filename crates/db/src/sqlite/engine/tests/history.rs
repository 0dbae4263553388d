//! A process that keeps a history is killed, again and again, while it writes, archives, takes snapshots and restores: what it has
//! answered is there, there is no gap, and its bookmarks mean what they meant. `ISOBAR_KILLS` is the number of kills. Default: 6.

use std::collections::BTreeMap;
use std::io::Write;

use super::kill::run_and_kill;
use super::*;
use crate::HistoryOptions;

const CHILD: &str = "ISOBAR_TEST_HISTORY_CHILD";
/// Rows of the table, each written in its turn.
const SLOTS: i64 = 20;
/// Bytes of a row: a write-ahead log is long after a hundred of them.
const PAD: i64 = 40_000;

/// Numbers by slot.
type Content = BTreeMap<i64, i64>;

async fn with_history(path: &Path) -> Engine {
    // Few bytes, so that snapshots are taken while it is killed.
    let history = HistoryOptions::default().with_max_bytes(12 << 20);
    Engine::open(Some(path), SqliteOptions::default().with_history(history)).await.unwrap()
}

/// The process that is killed. It reports `in N` before it writes number N and `ok N BOOKMARK` when that was answered, `to BOOKMARK`
/// before it restores and `re BOOKMARK BOOKMARK` afterwards.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = with_history(Path::new(&path)).await;
        let next = engine.run(vec!["SELECT coalesce(max(n), 0) AS n FROM t".into()]).await.unwrap();
        let first = next[0].rows[0].get::<i64>("n").unwrap() + 1000;
        let mut bookmarks = Vec::new();
        report(""); // the harness has begun a line
        for number in first.. {
            report(&format!("in {number}"));
            let insert = Statement::new("INSERT OR REPLACE INTO t VALUES (?, ?, randomblob(?))");
            engine.run(vec![insert.bind(number % SLOTS).bind(number).bind(PAD)]).await.unwrap();
            let bookmark = engine.bookmark();
            report(&format!("ok {number} {bookmark}"));
            bookmarks.push(bookmark);
            if number % 37 == 0 && bookmarks.len() > 12 {
                let to = &bookmarks[bookmarks.len() - 12];
                report(&format!("to {to}"));
                let restored = engine.restore(to).await.unwrap();
                report(&format!("re {to} {}", restored.bookmark));
            }
        }
    });
}

fn report(line: &str) {
    let mut out = std::io::stdout().lock();
    // In one piece, so that a line is whole or has no end.
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The states that the reports tell of.
#[derive(Default)]
struct Ledger {
    now: Content,
    /// The state if what was begun last was done.
    perhaps: Option<Content>,
    by_bookmark: BTreeMap<String, Content>,
}

impl Ledger {
    fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["in", number] => {
                let number: i64 = number.parse().unwrap();
                let mut next = self.now.clone();
                next.insert(number % SLOTS, number);
                self.perhaps = Some(next);
            }
            ["to", bookmark] => self.perhaps = Some(self.by_bookmark[bookmark].clone()),
            ["ok" | "re", _, bookmark] => {
                self.now = self.perhaps.take().unwrap();
                self.by_bookmark.insert(bookmark.to_owned(), self.now.clone());
            }
            _ => {} // of the test's harness
        }
    }
}

async fn content(engine: &Engine) -> Content {
    let results = run(engine, "SELECT slot, n FROM t").await.unwrap();
    results[0].rows_as::<(i64, i64)>().unwrap().into_iter().collect()
}

/// The state of a bookmark, out of the history's files.
fn content_of(engine: &Engine, bookmark: &Bookmark) -> Result<Content> {
    let ready = engine.shared.recorder.get().unwrap().prepare(bookmark)?;
    let image = rusqlite::Connection::open(ready.path()).unwrap();
    let health: String = image.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(health, "ok");
    let mut rows = image.prepare("SELECT slot, n FROM t").unwrap();
    let content = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    Ok(content.collect::<rusqlite::Result<_>>().unwrap())
}

#[test]
fn bookmarks_that_were_answered_survive_a_kill() {
    let kills: u64 = std::env::var("ISOBAR_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let table = "CREATE TABLE t (slot INTEGER PRIMARY KEY, n INTEGER, pad BLOB)";
    runtime.block_on(async { with_history(&path).await.run_script(table).await.unwrap() });
    let mut ledger = Ledger::default();
    let mut compared = 0;
    for number in 0..kills {
        let child = "sqlite::engine::tests::history::child";
        run_and_kill(child, &[(CHILD, path.as_path())], 60 + number * 53 % 240, |line| ledger.hear(line));
        runtime.block_on(async {
            let engine = with_history(&path).await;
            let found = content(&engine).await;
            let is_known = found == ledger.now || Some(&found) == ledger.perhaps.as_ref();
            assert!(is_known, "after kill {number}: {found:?}, {:?}, {:?}", ledger.now, ledger.perhaps);
            ledger.now = found;
            ledger.perhaps = None;
            let report = engine.history().await.unwrap();
            assert_eq!((report.gaps, report.failure), (Vec::new(), None), "after kill {number}");
            let oldest = report.oldest.unwrap().bookmark;
            let kept = ledger.by_bookmark.range(oldest.as_str().to_owned()..).rev();
            // The newest ones, and some of the others.
            for (place, (bookmark, expected)) in kept.enumerate().filter(|(place, _)| *place < 3 || place % 17 == 5) {
                let found = content_of(&engine, &Bookmark::new(bookmark.as_str())).unwrap();
                assert_eq!(&found, expected, "after kill {number}, {place} before the newest: {bookmark}");
                compared += 1;
            }
        });
    }
    assert!(compared as u64 >= 3 * kills, "{compared}");
}
