//! A database: migrations, prepared statements, a batch, rows as structs. `cargo run -p database`.
#![allow(clippy::print_stdout, reason = "an example speaks")]

mod shop;

use std::error::Error;
use std::sync::Arc;

use isobar_db::{Constraint, ErrorKind, SqliteDatabase};

use crate::shop::{Line, Shop};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Everything below works the same on a file, on D1 inside a Worker, and on D1 over its REST API.
    let shop = Shop::open(Arc::new(SqliteDatabase::memory().await?)).await?;

    let ada = shop.add_customer("Ada", "ada@example.com").await?;
    println!("Ada is customer {ada}");

    // Errors have a kind to decide by: here, that somebody has this address already.
    let refused = shop.add_customer("Ada again", "ada@example.com").await;
    let kind = refused.err().map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::Constraint(Constraint::Unique)));
    println!("a second customer with the same address is refused");

    shop.place_order("2026-0001", ada, &[Line::new("tea", 2, 450), Line::new("cup", 1, 1200)]).await?;
    let orders = shop.orders(ada).await?;
    println!("orders: {orders:?}");
    assert_eq!(orders.len(), 1);
    assert_eq!((orders[0].number.as_str(), orders[0].lines, orders[0].total_cents), ("2026-0001", 2, 2100));
    Ok(())
}
