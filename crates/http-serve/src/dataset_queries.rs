//! A dataset that can be asked.
//!
//! A dataset is written under the name of its binding and queried under its own name, which differ
//! where the configuration says so. This type keeps both together, so that an application knows the
//! binding alone.

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
    ///
    /// A name that is not one word is quoted, as the dialect does it.
    ///
    /// ```
    /// use isobar_analytics::mock::MockExecutor;
    /// use isobar_analytics::query::{Answer, Type};
    /// use isobar_http_serve::DatasetQueries;
    ///
    /// let executor = MockExecutor::new(|_| Answer::from_rows([("count()", Type::UInt64)], []));
    /// let events = DatasetQueries::new(executor, "my-events");
    /// assert_eq!(format!("SELECT count() FROM {}", events.table()), "SELECT count() FROM \"my-events\"");
    /// ```
    #[must_use]
    pub fn table(&self) -> String {
        self.dialect().table(&self.dataset)
    }

    /// Returns the SQL that the executor reads: names of functions and the weights of sampled rows
    /// differ between them.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.executor.dialect()
    }

    /// Runs a query.
    ///
    /// Values belong into the query's parameters, never into its text: see [`Query::with`].
    ///
    /// # Errors
    /// As [`QueryExecutor::query`].
    pub async fn query(&self, query: &Query) -> Result<Answer> {
        self.executor.query(query).await
    }
}
