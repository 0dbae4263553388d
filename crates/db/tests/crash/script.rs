//! Writes, restores and orderly ends on a database with a history, drawn by chance.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isobar_db::{
    Bookmark, Consistency, Database, HistoryOptions, InteractiveOptions, InteractiveTransaction, QueryableExt,
    SqliteDatabase, SqliteOptions, Statement,
};
use isobar_sqlite::journal::{Disk, SystemDisk};

use crate::Random;
use crate::record::{self, Op, RecordedDisk};

/// Rows of the table, each written in its turn.
const SLOTS: i64 = 8;

/// Numbers by slot.
pub(crate) type Content = BTreeMap<i64, i64>;

/// A state that was answered, and the one that the next operation was about to make.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) bookmark: Bookmark,
    pub(crate) content: Content,
    pub(crate) next: Option<Content>,
}

pub(crate) fn file(root: &Path) -> PathBuf {
    root.join("a.db")
}

pub(crate) async fn open(root: &Path, disk: Arc<dyn Disk>) -> isobar_db::Result<SqliteDatabase> {
    let history = HistoryOptions::default().with_max_bytes(64 << 20);
    let options = SqliteOptions::default().with_history(history).with_disk_reserve(0);
    SqliteDatabase::open_on(file(root), options, disk).await
}

pub(crate) async fn content(db: &SqliteDatabase) -> isobar_db::Result<Content> {
    let rows: Vec<(i64, i64)> = db.prepare("SELECT slot, n FROM t").all().await?;
    Ok(rows.into_iter().collect())
}

/// Writes a number with so many bytes behind it. Returns the bookmark that the session has then.
pub(crate) async fn write(db: &SqliteDatabase, number: i64, bytes: i64) -> isobar_db::Result<Bookmark> {
    let session = db.session(Consistency::FirstPrimary);
    session.query(insert(number, bytes)).await?;
    Ok(session.bookmark().expect("the session has written"))
}

/// As [`write`], in an interactive transaction.
async fn write_interactively(db: &SqliteDatabase, number: i64, bytes: i64) -> isobar_db::Result<Bookmark> {
    let tx = begin(db).await?;
    tx.query(insert(number, bytes)).await?;
    tx.commit().await?;
    let session = db.session(Consistency::FirstPrimary);
    session.query("SELECT 1".into()).await?;
    Ok(session.bookmark().expect("the session has read"))
}

pub(crate) async fn begin(db: &SqliteDatabase) -> isobar_db::Result<Box<dyn InteractiveTransaction>> {
    db.begin(InteractiveOptions::default().with_time_limit(Duration::from_secs(60))).await
}

pub(crate) fn insert(number: i64, bytes: i64) -> Statement {
    let insert = Statement::new("INSERT OR REPLACE INTO t VALUES (?, ?, randomblob(?))");
    insert.bind(number % SLOTS).bind(number).bind(bytes)
}

/// Records a script of this many steps. Returns what it has done, and what was answered when.
pub(crate) async fn run(root: &Path, seed: u64, steps: usize, lies: bool) -> (Vec<Op>, Vec<Answered>) {
    let disk: Arc<dyn Disk> = Arc::new(RecordedDisk { lies });
    record::start(root);
    let history = root.join("a.db-history");
    std::fs::create_dir(&history).unwrap();
    record::record(&history, Op::CreateFolder);
    // By SQLite, so that its making is recorded.
    let made = rusqlite::Connection::open(file(root)).unwrap();
    made.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (slot INTEGER PRIMARY KEY, n INTEGER, pad BLOB)")
        .unwrap();
    drop(made);
    record::record(root, Op::SyncFolder);
    let mut db = open(root, Arc::clone(&disk)).await.unwrap();
    let mut random = Random(seed);
    let mut now = Content::new();
    let mut answered: Vec<Answered> = Vec::new();
    for step in 0..steps {
        let number = step as i64 + 1;
        let mut kind = random.below(12);
        if answered.len() < 3 {
            kind = 5;
        }
        let old = if kind == 0 { random.below(answered.len()) } else { 0 };
        let next = if kind == 0 {
            answered[old].content.clone()
        } else {
            let mut next = now.clone();
            next.insert(number % SLOTS, number);
            next
        };
        if let Some(last) = answered.last_mut() {
            last.next = Some(next.clone());
        }
        let bookmark = match kind {
            0 => {
                let to = answered[old].bookmark.clone();
                db.time_travel().unwrap().restore(&to).await.unwrap().bookmark
            }
            // A write-ahead log is long after a few of them.
            1..5 => write(&db, number, 300_000).await.unwrap(),
            7 | 8 => write_interactively(&db, number, 9_000).await.unwrap(),
            _ => write(&db, number, 9_000).await.unwrap(),
        };
        now = next;
        answered.push(Answered { bookmark, content: now.clone(), next: None });
        record::step(answered.len() - 1);
        if kind == 6 {
            drop(db);
            db = open(root, Arc::clone(&disk)).await.unwrap();
        }
    }
    let ops = record::stop();
    drop(db);
    (ops, answered)
}

/// Looks whether the database has what was answered, or what was about to be, and whether bookmarks mean what they meant; then it must
/// go on from there.
pub(crate) async fn check(root: &Path, answered: &[Answered], random: &mut Random) -> Result<(), String> {
    let failed = |error: isobar_db::Error| error.to_string();
    let last = answered.last().expect("something was answered");
    let db = open(root, Arc::new(SystemDisk)).await.map_err(failed)?;
    let found = content(&db).await.map_err(failed)?;
    if found != last.content && Some(&found) != last.next.as_ref() {
        return Err(format!("{found:?} was found, {:?} or {:?} expected", last.content, last.next));
    }
    let travel = db.time_travel().ok_or("there is no history")?;
    let start = answered.len().saturating_sub(3);
    let others = [random.below(answered.len()), random.below(answered.len())];
    for number in (start..answered.len()).chain(others) {
        let Answered { bookmark, content: expected, .. } = &answered[number];
        travel.restore(bookmark).await.map_err(|error| format!("answer {number}, {bookmark}: {error}"))?;
        let restored = content(&db).await.map_err(failed)?;
        if restored != *expected {
            return Err(format!("answer {number}, {bookmark}: {restored:?} in place of {expected:?}"));
        }
    }
    let health: String = db.prepare("PRAGMA quick_check").one().await.map_err(failed)?;
    if health != "ok" {
        return Err(health);
    }
    let next = write(&db, 1_000_000, 100).await.map_err(failed)?;
    if next <= last.bookmark {
        return Err(format!("{next} is not later than {}", last.bookmark));
    }
    Ok(())
}
