//! Several processes on one store.

use std::process::{Child, Command, Stdio};

use isobar_storage::local::{FsckOptions, LocalStore};
use isobar_storage::{Conditions, Key, ListOptions, ObjectStore, ObjectStoreExt, PutOptions};

use crate::local::key;

const FOLDER: &str = "ISOBAR_PROCESS_FOLDER";
const NAME: &str = "ISOBAR_PROCESS_NAME";
const PROCESSES: u64 = 4;
/// Steps of each process on the one counter.
const STEPS: u64 = 50;

/// One of the processes.
async fn count(folder: String, name: String) {
    let store = LocalStore::open(folder).await.unwrap();
    for step in 0..STEPS {
        // What is large is a file of its own.
        let body = vec![step as u8; if step % 2 == 0 { 100 } else { 40_000 }];
        store.write(&Key::new(format!("{name}/{step}")).unwrap(), body).await.unwrap();
        while !add_one(&store).await {}
        if step % 20 == 0 {
            store.gc().await.unwrap();
        }
    }
}

/// Reads the counter and replaces what was read; whether it was still that.
async fn add_one(store: &LocalStore) -> bool {
    let (conditions, value) = match store.read(&key("counter")).await.unwrap() {
        Some((meta, bytes)) => {
            let value: u64 = std::str::from_utf8(&bytes).unwrap().parse().unwrap();
            (Conditions::if_etag(meta.etag).unwrap(), value)
        }
        None => (Conditions::create_only(), 0),
    };
    let options = PutOptions::default().with_conditions(conditions);
    store.put(&key("counter"), (value + 1).to_string().into(), options).await.unwrap().stored().is_some()
}

/// A process that does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn process(folder: &std::path::Path, name: u64) -> Process {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::processes_that_swap_one_value_lose_no_step", "--nocapture"])
        .envs([(FOLDER, folder.as_os_str()), (NAME, name.to_string().as_ref())])
        .stdout(Stdio::null())
        .spawn();
    Process(child.unwrap())
}

/// It is its own child: with a folder and a name in its environment it is one of the processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_swap_one_value_lose_no_step() {
    if let (Ok(folder), Ok(name)) = (std::env::var(FOLDER), std::env::var(NAME)) {
        return count(folder, name).await;
    }
    let folder = tempfile::tempdir().unwrap();
    // All of them open it anew, and at once.
    let mut processes: Vec<Process> = (0..PROCESSES).map(|name| process(folder.path(), name)).collect();
    for process in &mut processes {
        assert!(process.0.wait().unwrap().success());
    }
    let store = LocalStore::open(folder.path()).await.unwrap();
    let (_, counter) = store.read(&key("counter")).await.unwrap().unwrap();
    assert_eq!(counter, (PROCESSES * STEPS).to_string());
    for name in 0..PROCESSES {
        let page = store.list(ListOptions::default().with_prefix(format!("{name}/"))).await.unwrap();
        assert_eq!(page.objects.len() as u64, STEPS);
    }
    let report = store.fsck(FsckOptions::default().with_exclusive(true), |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}
