//! Buckets in memory whose rules clients change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use isobar_gateway::catalog::{BucketCatalog, BucketInfo, CatalogError, CorsPolicy, FixedBuckets, LifecyclePolicy};
use isobar_storage::ObjectStore;
use isobar_storage::memory::MemoryStore;

use crate::client::Setup;

/// The buckets `photos` and `backups`, and their rules.
#[derive(Debug)]
pub(crate) struct Rules {
    buckets: FixedBuckets,
    cors: Mutex<BTreeMap<String, CorsPolicy>>,
    lifecycle: Mutex<BTreeMap<String, LifecyclePolicy>>,
}

impl Rules {
    /// The buckets, without rules of their own; `photos` is this store.
    pub(crate) fn new(photos: Arc<dyn ObjectStore>) -> Self {
        let buckets = FixedBuckets::new().with_bucket("photos", photos);
        let buckets = buckets.with_bucket("backups", Arc::new(MemoryStore::new()));
        Self { buckets, cors: Mutex::default(), lifecycle: Mutex::default() }
    }
}

/// A door over buckets whose rules clients change.
pub(crate) fn setup() -> Setup {
    let photos: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    Setup::with_catalog(Arc::new(Rules::new(Arc::clone(&photos))), photos)
}

#[async_trait]
impl BucketCatalog for Rules {
    async fn list(&self) -> Result<Vec<BucketInfo>, CatalogError> {
        self.buckets.list().await
    }

    async fn open(&self, name: &str) -> Result<Option<Arc<dyn ObjectStore>>, CatalogError> {
        self.buckets.open(name).await
    }

    async fn cors(&self, name: &str) -> Result<CorsPolicy, CatalogError> {
        Ok(self.cors.lock().unwrap().get(name).cloned().unwrap_or_default())
    }

    async fn set_cors(&self, name: &str, policy: CorsPolicy) -> Result<(), CatalogError> {
        self.cors.lock().unwrap().insert(name.to_owned(), policy);
        Ok(())
    }

    async fn lifecycle(&self, name: &str) -> Result<LifecyclePolicy, CatalogError> {
        Ok(self.lifecycle.lock().unwrap().get(name).cloned().unwrap_or_default())
    }

    async fn set_lifecycle(&self, name: &str, policy: LifecyclePolicy) -> Result<(), CatalogError> {
        self.lifecycle.lock().unwrap().insert(name.to_owned(), policy);
        Ok(())
    }
}
