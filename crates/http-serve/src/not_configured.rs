//! In place of an executor of queries, where none is configured.

use std::borrow::Cow;

use async_trait::async_trait;
use isobar_analytics::query::{Answer, Query, QueryExecutor};
use isobar_analytics::{Error, ErrorKind, Result};

/// Fails every query, with what is to be done.
#[derive(Debug, Clone)]
pub(crate) struct NotConfigured(pub(crate) Cow<'static, str>);

#[async_trait]
impl QueryExecutor for NotConfigured {
    async fn query(&self, _: &Query) -> Result<Answer> {
        Err(Error::new(ErrorKind::Unsupported, self.0.clone()).during("query"))
    }
}
