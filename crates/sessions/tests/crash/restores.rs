//! The power goes while an object is restored to earlier states: it is in the old state or in the new one, and its history has both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isobar_sessions::local::{HistoryOptions, HostOptions, LocalHost};
use isobar_sessions::{
    Body, Bookmark, Request, Response, Result, SessionContext, SessionNamespace, SessionNamespaceExt, SessionObject,
};

use crate::points::{ONE, record_folder};
use crate::record::{self, Op, RecordedDisk, folder};
use crate::replay::{Loss, Replay};
use crate::{Random, count, vfs};

/// Counts by a key and by rows, which have to agree.
struct Counter(SessionContext);

impl SessionObject for Counter {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, pad BLOB)", ())?;
        Ok(Self(context))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let Self(context) = self;
        let answer = match request.uri().path().split_at(1).1.split_once('/').unwrap_or_default() {
            ("add", _) => {
                let count = context.kv().get::<i64>("count")?.unwrap_or_default() + 1;
                context.kv().put("count", &count)?;
                context.sql().exec("INSERT INTO rows VALUES (?1, randomblob(?1 % 5 * 1500))", (count,))?;
                count.to_string()
            }
            ("bookmark", _) => context.current_bookmark().await?.to_string(),
            ("restore", to) => context.restore_on_next_start(&Bookmark::new(to)).await?.to_string(),
            ("abort", _) => {
                context.abort("it goes back");
                String::new()
            }
            _ => {
                let count = context.kv().get::<i64>("count")?.unwrap_or_default();
                let sql = "SELECT count(*), coalesce(max(n), 0) FROM rows";
                let rows: (i64, i64) = context.sql().exec(sql, ())?.one()?;
                let checked: String = context.sql().exec("PRAGMA quick_check", ())?.one()?;
                format!("{count} {} {} {checked}", rows.0, rows.1)
            }
        };
        Ok(Response::new(Body::from(answer)))
    }
}

fn options() -> HostOptions {
    let options = HostOptions::default().with_threads(1).with_journal_bytes(64 << 10);
    options.with_idle(Duration::from_secs(600)).with_history(HistoryOptions::default())
}

async fn ask(host: &LocalHost<Counter>, path: &str) -> Result<String, String> {
    let answer = host.get(&host.id("one"), path).await.map_err(|error| error.to_string())?;
    answer.into_body().text().await.map_err(|error| error.to_string())
}

/// The count, if all that the object has agrees with it.
async fn read(host: &LocalHost<Counter>) -> Result<i64, String> {
    let text = ask(host, "/read/").await?;
    let count: i64 = text.split(' ').next().and_then(|count| count.parse().ok()).ok_or_else(|| text.clone())?;
    if text == format!("{count} {count} {count} ok") { Ok(count) } else { Err(format!("torn: {text}")) }
}

async fn go_back(host: &LocalHost<Counter>, to: &str) -> Result<String, String> {
    let undo = ask(host, &format!("/restore/{to}")).await?;
    drop(ask(host, "/abort/").await);
    Ok(undo)
}

async fn close(host: LocalHost<Counter>) {
    tokio::task::spawn_blocking(move || drop(host)).await.unwrap();
}

/// Counts that the object may have from a step of the script on, and the bookmarks that are known, with theirs.
#[derive(Debug, Clone)]
struct Step {
    allowed: Vec<i64>,
    known: Vec<(String, i64)>,
}

/// The script, as it goes.
struct Script {
    host: LocalHost<Counter>,
    steps: Vec<Step>,
    known: Vec<(String, i64)>,
}

impl Script {
    fn enter(&mut self, allowed: &[i64]) {
        self.steps.push(Step { allowed: allowed.to_vec(), known: self.known.clone() });
        record::step(self.steps.len() - 1);
    }

    async fn add(&mut self, count: i64) {
        self.enter(&[count - 1, count]);
        assert_eq!(ask(&self.host, "/add/").await.unwrap(), count.to_string());
        self.enter(&[count]);
    }

    /// Lets the object fall asleep: its log is copied into its history, and into its file.
    async fn sleep(&self) {
        self.host.evict(&self.host.id("one")).await.unwrap();
    }

    /// Restores a bookmark, whose count is `to`, while the count is `from`.
    async fn restore(&mut self, bookmark: &str, from: i64, to: i64) {
        self.enter(&[from, to]);
        let undo = ask(&self.host, &format!("/restore/{bookmark}")).await.unwrap();
        self.known.push((undo, from));
        self.enter(&[to]); // with the next start, the one after a crash too
        drop(ask(&self.host, "/abort/").await);
        assert_eq!(read(&self.host).await.unwrap(), to);
        self.enter(&[to]);
    }
}

/// Records an object that counts, goes back, goes forward again, and counts on.
async fn script(root: &Path) -> (Vec<Op>, Vec<Step>) {
    let open = |options: &HostOptions| LocalHost::<Counter>::open(root, "Counter", options, || ()).unwrap();
    let host = open(&options());
    for _ in 0..3 {
        ask(&host, "/add/").await.unwrap();
    }
    let first = (ask(&host, "/bookmark/").await.unwrap(), 3);
    close(host).await;
    record::start(root);
    std::fs::create_dir(root.join("journal")).unwrap();
    record_folder(root);
    let host = open(&options().with_journal_disk(Arc::new(RecordedDisk::default())));
    let mut script = Script { host, steps: Vec::new(), known: vec![first.clone()] };
    script.enter(&[3]);
    for count in 4..=12 {
        script.add(count).await;
        if count == 8 {
            script.sleep().await;
        }
    }
    let middle = ask(&script.host, "/bookmark/").await.unwrap();
    script.known.push((middle.clone(), 12));
    script.enter(&[12]);
    for count in 13..=20 {
        script.add(count).await;
    }
    script.restore(&middle, 20, 12).await;
    for count in 13..=15 {
        script.add(count).await;
    }
    script.sleep().await;
    let undo = script.known[2].0.clone();
    script.restore(&undo, 15, 20).await;
    script.add(21).await;
    script.restore(&first.0, 21, 3).await;
    let Script { host, steps, .. } = script;
    close(host).await;
    (record::stop(), steps)
}

/// Opens what is left: the count is one of those that it may be, and each known bookmark brings its own back.
async fn check(folder: &Path, step: &Step) -> Result<(), String> {
    let host = LocalHost::<Counter>::open(folder, "Counter", &options(), || ()).map_err(|error| error.to_string())?;
    let found = read(&host).await?;
    if !step.allowed.contains(&found) {
        return Err(format!("the object is at {found}, and may be at {:?}", step.allowed));
    }
    let present = ask(&host, "/bookmark/").await?;
    for (bookmark, count) in step.known.iter().chain([&(present, found)]) {
        go_back(&host, bookmark).await?;
        let restored = read(&host).await?;
        if restored != *count {
            return Err(format!("the bookmark of {count} has brought back {restored}"));
        }
    }
    close(host).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_the_power_breaks_off_leaves_the_old_state_or_the_new_one() {
    let _one = ONE.lock().await;
    vfs::install();
    let root = folder();
    let (ops, steps) = script(root.path()).await;
    let first = ops.iter().position(|op| matches!(op, Op::Step(_))).unwrap();
    let mut random = Random(count("ISOBAR_SEED", 5) as u64);
    let crashes = count("ISOBAR_CRASHES", 60);
    let mut points: Vec<_> = (0..crashes).map(|_| first + random.below(ops.len() - first)).collect();
    points.sort_unstable();
    let mut replay = Replay::default();
    let mut done = 0;
    let mut last = 0;
    let mut failures = Vec::new();
    for point in points {
        while done <= point {
            replay.apply(&ops[done]);
            if let Op::Step(step) = ops[done] {
                last = step;
            }
            done += 1;
        }
        let loss = match random.below(8) {
            0 => Loss::Nothing,
            1 => Loss::Everything,
            _ => Loss::Random(random.next()),
        };
        let crashed = folder();
        replay.write(crashed.path(), loss);
        if let Err(failure) = check(crashed.path(), &steps[last]).await {
            failures.push(format!("after operation {point} of {}, step {last} ({loss:?}): {failure}", ops.len()));
        }
    }
    println!("{} operations, {crashes} power failures, {} failures", ops.len(), failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
}
