//! A mock over any other sink that records its calls and plays scripted failures, delays and holds.

use std::sync::Arc;

use async_trait::async_trait;
pub use isobar_testkit::{Call, Release, Script};

use crate::{Batches, DataPoint, Error, EventSink, Result, ScanOptions, SinkStats};

/// An operation of [`EventSink`], as named in the script and the record of its mock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the trait's")]
pub enum Operation {
    Write,
    Flush,
    Close,
    Health,
    Read,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 5] = [Self::Write, Self::Flush, Self::Close, Self::Health, Self::Read];

    /// Returns the name of the operation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Close => "close",
            Self::Health => "health",
            Self::Read => "read",
        }
    }
}

impl AsRef<str> for Operation {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

impl From<Operation> for &'static str {
    fn from(operation: Operation) -> Self {
        operation.name()
    }
}

/// A sink with a [`Script`] before every [`Operation`]. A `write` that is scripted to fail drops its point; delays and holds do not
/// apply to it, as writing never waits.
#[derive(Debug, Clone)]
pub struct MockSink {
    inner: Arc<dyn EventSink>,
    script: Script<Error>,
}

impl MockSink {
    /// Creates a mock over this sink. Without scripted steps it only records.
    pub fn new(inner: impl EventSink + 'static) -> Self {
        Self { inner: Arc::new(inner), script: Script::new(Operation::ALL) }
    }

    /// Returns the script, which has the record of calls.
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
        if self.script.enter_now(Operation::Write, index).is_ok() {
            self.inner.write(point);
        }
    }
    async fn flush(&self) -> Result<()> {
        self.script.enter(Operation::Flush, "").await?;
        self.inner.flush().await
    }
    async fn close(&self) -> Result<()> {
        self.script.enter(Operation::Close, "").await?;
        self.inner.close().await
    }
    fn stats(&self) -> SinkStats {
        self.inner.stats()
    }
    async fn health(&self) -> Result<()> {
        self.script.enter(Operation::Health, "").await?;
        self.inner.health().await
    }
    async fn read(&self, options: ScanOptions) -> Result<Batches> {
        self.script.enter(Operation::Read, "").await?;
        self.inner.read(options).await
    }
}
