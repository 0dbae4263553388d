//! Targets of backups: in memory, and failing, late or changed by others meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use isobar_base::sync::IgnorePoison;
use isobar_sessions::backup::{Backup, BackupOptions, BackupTarget};
use isobar_sessions::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

/// A target in memory, whose puts fail after some.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) stored: std::sync::Mutex<BTreeMap<String, Bytes>>,
    pub(super) puts: AtomicUsize,
    pub(super) most_puts: AtomicUsize,
}

impl Memory {
    pub(super) fn new() -> Arc<Self> {
        let most_puts = AtomicUsize::new(usize::MAX);
        Arc::new(Self { stored: Default::default(), puts: AtomicUsize::new(0), most_puts })
    }

    pub(super) fn names(&self, part: &str) -> Vec<String> {
        self.stored.lock().ignore_poison().keys().filter(|name| name.contains(part)).cloned().collect()
    }

    /// Lets this number of puts succeed from now on.
    pub(super) fn allow(&self, puts: usize) {
        self.most_puts.store(self.puts.load(Ordering::SeqCst).saturating_add(puts), Ordering::SeqCst);
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut stored = self.stored.lock().ignore_poison();
        let mut bytes = stored[name].to_vec();
        change(&mut bytes);
        stored.insert(name.to_owned(), bytes.into());
    }
}

#[async_trait]
impl BackupTarget for Memory {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        tokio::task::yield_now().await;
        if self.puts.fetch_add(1, Ordering::SeqCst) >= self.most_puts.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Storage, "the target is gone"));
        }
        self.stored.lock().ignore_poison().insert(name.to_owned(), bytes);
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        tokio::task::yield_now().await;
        Ok(self.stored.lock().ignore_poison().get(name).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let stored = self.stored.lock().ignore_poison();
        Ok(stored.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.stored.lock().ignore_poison().remove(name);
        Ok(())
    }
}

/// Happens before a target is put to or read from.
#[async_trait]
pub(super) trait Disturbance: std::fmt::Debug + Send + Sync {
    async fn before_put(&self, _target: &Arc<Memory>, _name: &str) -> Result<()> {
        Ok(())
    }

    async fn before_get(&self, _target: &Arc<Memory>) -> Result<()> {
        Ok(())
    }
}

/// A target that something happens to meanwhile.
#[derive(Debug)]
pub(super) struct Disturbed<D> {
    pub(super) target: Arc<Memory>,
    pub(super) by: D,
}

#[async_trait]
impl<D: Disturbance> BackupTarget for Disturbed<D> {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.by.before_put(&self.target, name).await?;
        self.target.put(name, bytes).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.by.before_get(&self.target).await?;
        self.target.get(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.target.list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.target.delete(name).await
    }
}

/// Another process backs up its objects, and keeps one run, before the first list is put.
#[derive(Debug)]
pub(super) struct Overtaken {
    pub(super) others: PathBuf,
    pub(super) is_over: AtomicBool,
}

#[async_trait]
impl Disturbance for Overtaken {
    async fn before_put(&self, target: &Arc<Memory>, name: &str) -> Result<()> {
        if name.ends_with(".objects") && !self.is_over.swap(true, Ordering::SeqCst) {
            let options = BackupOptions::default().with_keep(1);
            let other = Backup::new(&self.others, "Probe", target.clone()).with_options(options);
            let run = move || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(other.run());
            std::thread::spawn(run).join().unwrap()?;
        }
        Ok(())
    }
}

/// Another process removes the oldest run once the runs are listed.
#[derive(Debug)]
pub(super) struct Pruned {
    pub(super) is_over: AtomicBool,
}

#[async_trait]
impl Disturbance for Pruned {
    async fn before_get(&self, target: &Arc<Memory>) -> Result<()> {
        if !self.is_over.swap(true, Ordering::SeqCst) {
            let oldest = target.names("manifest").remove(0);
            target.delete(&oldest).await?;
        }
        Ok(())
    }
}

/// Nothing is put until it is let.
#[derive(Debug)]
pub(super) struct Stalled {
    pub(super) asked: AtomicUsize,
    pub(super) let_go: Semaphore,
}

#[async_trait]
impl Disturbance for Stalled {
    async fn before_put(&self, _: &Arc<Memory>, _: &str) -> Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.let_go.acquire().await.unwrap().forget();
        Ok(())
    }
}
