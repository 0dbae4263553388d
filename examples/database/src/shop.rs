//! The shop: all of its SQL, and nothing about which database runs it.

use std::sync::Arc;

use isobar_db::{Database, Queryable, QueryableExt, Result, Statement, migrations};
use serde::Deserialize;

/// A line of an order.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    article: String,
    quantity: i64,
    cents: i64,
}

impl Line {
    /// A number of pieces of an article, at a price in cents each.
    pub(crate) fn new(article: &str, quantity: i64, cents: i64) -> Self {
        Self { article: article.to_owned(), quantity, cents }
    }
}

/// An order as it is listed. The fields have the names of the query's columns.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct OrderSummary {
    pub(crate) number: String,
    pub(crate) lines: i64,
    pub(crate) total_cents: i64,
}

/// The shop's data.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    database: Arc<dyn Database>,
}

impl Shop {
    /// Opens the shop, and first brings the database to the schema of this program. Each migration is applied once: wrangler's
    /// table says which ones were.
    pub(crate) async fn open(database: Arc<dyn Database>) -> Result<Self> {
        migrations::apply(&*database, &isobar_db::migrations!("migrations")).await?;
        Ok(Self { database })
    }

    /// Adds a customer, and returns the id.
    pub(crate) async fn add_customer(&self, name: &str, email: &str) -> Result<i64> {
        // Values are bound, never pasted into the SQL.
        self.database
            .prepare("INSERT INTO customers (name, email) VALUES (?, ?) RETURNING id")
            .bind(name)
            .bind(email)
            .one()
            .await
    }

    /// Stores an order with its lines: all of it or, where any statement fails, nothing.
    pub(crate) async fn place_order(&self, number: &str, customer: i64, lines: &[Line]) -> Result<()> {
        let order =
            Statement::new("INSERT INTO orders (number, customer_id) VALUES (?, ?)").bind(number).bind(customer);
        let line = "INSERT INTO order_lines (order_number, article, quantity, cents) VALUES (?, ?, ?, ?)";
        let lines = lines.iter().map(|Line { article, quantity, cents }| {
            Statement::new(line).bind(number).bind(article).bind(*quantity).bind(*cents)
        });
        self.database.batch(std::iter::once(order).chain(lines).collect()).await?;
        Ok(())
    }

    /// Lists a customer's orders by number.
    pub(crate) async fn orders(&self, customer: i64) -> Result<Vec<OrderSummary>> {
        self.database
            .prepare(
                "SELECT number, count(*) AS lines, sum(quantity * cents) AS total_cents
                 FROM orders JOIN order_lines ON order_number = number
                 WHERE customer_id = ? GROUP BY number ORDER BY number",
            )
            .bind(customer)
            .all()
            .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use isobar_db::mock::{MockDatabase, Operation};
    use isobar_db::{Error, ErrorKind, SqliteDatabase};

    use super::*;

    /// A shop on a database in memory, behind a mock that does nothing until it is told to.
    async fn shop() -> (Shop, MockDatabase, i64) {
        let database = MockDatabase::new(SqliteDatabase::memory().await.unwrap());
        let shop = Shop::open(Arc::new(database.clone())).await.unwrap();
        let ada = shop.add_customer("Ada", "ada@example.com").await.unwrap();
        (shop, database, ada)
    }

    #[tokio::test]
    async fn an_order_with_a_bad_line_is_not_stored_at_all() {
        let (shop, _, ada) = shop().await;
        let lines = [Line::new("tea", 1, 450), Line::new("cup", 0, 1200)];
        let error = shop.place_order("1", ada, &lines).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Constraint(_)), "{error}");
        assert_eq!(shop.orders(ada).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_lost_connection_loses_the_order_and_may_be_tried_again() {
        let (shop, database, ada) = shop().await;
        let lost = Error::new(ErrorKind::Unavailable, "Network connection lost.");
        database.script().fail_next(Operation::Batch, lost);
        let error = shop.place_order("1", ada, &[Line::new("tea", 1, 450)]).await.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(shop.orders(ada).await.unwrap(), []);

        shop.place_order("1", ada, &[Line::new("tea", 1, 450)]).await.unwrap();
        assert_eq!(shop.orders(ada).await.unwrap().len(), 1);
        assert!(database.script().unplayed().is_empty(), "every scripted fault has happened");
    }
}
