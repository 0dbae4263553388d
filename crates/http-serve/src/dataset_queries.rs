//! A dataset that can be asked.

use std::sync::Arc;

use isobar_analytics::Result;
use isobar_analytics::query::{Answer, Dialect, Query, QueryExecutor};

/// A dataset by its name in queries, and the executor that answers them. Cheap to clone.
///
/// ```
/// use isobar_analytics::mock::MockExecutor;
/// use isobar_analytics::query::{Answer, Query, Type, Value};
/// use isobar_http_serve::DatasetQueries;
///
/// # futures_util::FutureExt::now_or_never(async {
/// let executor = MockExecutor::new(|_| Answer::from_rows([("visits", Type::UInt64)], [vec![Value::UInt(3)]]));
/// let web = DatasetQueries::new(executor, "web");
/// let query = Query::new(format!("SELECT count() AS visits FROM {} WHERE blob1 = $1", web.table())).with("/home");
/// assert_eq!(web.query(&query).await?.value(0, 0), Value::UInt(3));
/// # Ok::<(), isobar_analytics::Error>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct DatasetQueries {
    executor: Arc<dyn QueryExecutor>,
    dataset: String,
}

impl DatasetQueries {
    /// Asks the dataset of this name by an executor.
    pub fn new(executor: impl QueryExecutor + 'static, dataset: impl Into<String>) -> Self {
        Self { executor: Arc::new(executor), dataset: dataset.into() }
    }

    /// Returns the dataset's name as it stands after `FROM`.
    #[must_use]
    pub fn table(&self) -> String {
        self.dialect().table(&self.dataset)
    }

    /// Returns the SQL that the executor reads.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.executor.dialect()
    }

    /// Runs a query.
    ///
    /// # Errors
    /// As [`QueryExecutor::query`].
    pub async fn query(&self, query: &Query) -> Result<Answer> {
        self.executor.query(query).await
    }
}
