//! The kits on the backends of this process.

use std::sync::Arc;

use isobar_sessions::conformance::Probe;
use isobar_sessions::local::{HistoryOptions, HostOptions, LocalHost};
use isobar_sessions::memory::MemoryHost;
use isobar_storage::local::LocalStore;
use isobar_storage::memory::MemoryStore;

use super::table::Table;
use crate::Outcome;

pub(super) async fn run(table: &mut Table) -> Outcome {
    let folder = super::fresh("conformance-local")?;
    let store = Arc::new(MemoryStore::new());
    table.take("memory", "storage", isobar_storage::conformance::run(async || store.clone() as _).await);
    table.take("memory", "site", isobar_site::conformance::run(async || store.clone() as _).await);
    let store = Arc::new(LocalStore::open(folder.join("storage")).await?);
    table.take("local", "storage", isobar_storage::conformance::run(async || store.clone() as _).await);
    table.take("local", "site", isobar_site::conformance::run(async || store.clone() as _).await);

    let db = Arc::new(isobar_db::SqliteDatabase::memory().await?);
    table.take("memory", "db", isobar_db::conformance::run(async || db.clone() as _).await);
    let db = Arc::new(isobar_db::SqliteDatabase::open(folder.join("db.sqlite")).await?);
    table.take("local", "db", isobar_db::conformance::run(async || db.clone() as _).await);

    let host = MemoryHost::<Probe>::new("Probe", || ())?;
    table.take("memory", "sessions", isobar_sessions::conformance::run(async || Arc::new(host.clone()) as _).await);
    let options = HostOptions::default().with_history(HistoryOptions::default());
    let host = LocalHost::<Probe>::open(folder.join("sessions"), "Probe", &options, || ())?;
    table.take("local", "sessions", isobar_sessions::conformance::run(async || Arc::new(host.clone()) as _).await);

    let sink = async || Arc::new(isobar_analytics::memory::MemorySink::new()) as _;
    table.take("memory", "analytics", isobar_analytics::conformance::run(sink, true).await);
    let mut sinks =
        (0..).map(|number| isobar_analytics::local::LocalSink::open(folder.join(format!("events{number}"))));
    let sink = async || Arc::new(sinks.next().expect("numbers do not end").expect("the folder is ours")) as _;
    table.take("local", "analytics", isobar_analytics::conformance::run(sink, true).await);
    Ok(())
}
