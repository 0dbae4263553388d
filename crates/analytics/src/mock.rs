//! A sink that records its calls and fails, waits or holds as scripted, over any other sink.

use std::sync::Arc;

use async_trait::async_trait;
use isobar_kit::Script;

use crate::{Batches, DataPoint, Error, EventSink, Result, ScanOptions, SinkStats};

/// Any sink, with a [`Script`] before every operation. A `write` that is scripted to fail loses its point, as a sink's
/// own drop would; delays and holds do not touch it, since writing never waits.
#[derive(Debug, Clone)]
pub struct MockSink {
    inner: Arc<dyn EventSink>,
    script: Script<Error>,
}

impl MockSink {
    /// A mock over this sink; without a script it only records.
    pub fn new(inner: impl EventSink + 'static) -> Self {
        Self { inner: Arc::new(inner), script: Script::default() }
    }

    /// The script and the record of calls.
    #[must_use]
    pub fn script(&self) -> &Script<Error> {
        &self.script
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl EventSink for MockSink {
    fn write(&self, point: DataPoint) {
        let index = point.indexes.first().map(|index| String::from_utf8_lossy(index).into_owned()).unwrap_or_default();
        if self.script.enter_now("write", index).is_ok() {
            self.inner.write(point);
        }
    }
    async fn flush(&self) -> Result<()> {
        self.script.enter("flush", "").await?;
        self.inner.flush().await
    }
    async fn close(&self) -> Result<()> {
        self.script.enter("close", "").await?;
        self.inner.close().await
    }
    fn stats(&self) -> SinkStats {
        self.inner.stats()
    }
    async fn health(&self) -> Result<()> {
        self.script.enter("health", "").await?;
        self.inner.health().await
    }
    async fn read(&self, options: ScanOptions) -> Result<Batches> {
        self.script.enter("read", "").await?;
        self.inner.read(options).await
    }
}
