//! The measurements of `crates/db/benches/speed.rs` by sqlx: SQLite in WAL, FULL, a pool of four connections. The one argument is the
//! folder for its database.

#[allow(dead_code, reason = "rusqlite's measurements block, these do not")]
#[path = "../../../../crates/db/benches/measure/mod.rs"]
mod measure;

use std::path::Path;
use std::time::Duration;

use measure::{INSERT, LONG, ROWS, SELECT, SELECT_100, TABLE, UPDATE, beside, key, tasks};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

#[derive(sqlx::FromRow)]
#[allow(dead_code, reason = "the conversion is measured")]
struct User {
    id: i64,
    name: String,
    age: i64,
    score: Option<f64>,
}

async fn open(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePoolOptions::new().max_connections(4).test_before_acquire(false);
    pool.connect_with(options).await.expect("the database opens")
}

async fn insert(pool: &SqlitePool, count: i64) {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.expect("a transaction begins");
    for number in 0..count {
        let insert = sqlx::query(INSERT).bind(format!("name {number}")).bind(number % 90).bind(0.5);
        insert.execute(&mut *transaction).await.expect("a row is inserted");
    }
    transaction.commit().await.expect("the transaction is committed");
}

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).expect("the argument is a folder");
    let pool = open(&Path::new(&folder).join("sqlx.sqlite")).await;
    sqlx::query(TABLE).execute(&pool).await.expect("the table is made");
    insert(&pool, ROWS).await;
    let of_select = pool.clone();
    let select = move |number| {
        let pool = of_select.clone();
        async move {
            let user = sqlx::query_as::<_, User>(SELECT).bind(key(number)).fetch_one(&pool).await;
            drop(user.expect("the row is read"));
        }
    };
    tasks("sqlx\tselect/1", 1, select.clone()).await;
    tasks("sqlx\tselect/32", 32, select.clone()).await;
    let of_long = pool.clone();
    let long = move || {
        let pool = of_long.clone();
        async move { drop(sqlx::query(LONG).fetch_one(&pool).await.expect("the long query ends")) }
    };
    beside(long, tasks("sqlx\tselect/32 beside", 32, select)).await;
    let of_100 = pool.clone();
    tasks("sqlx\trows/100", 1, move |number| {
        let pool = of_100.clone();
        async move {
            let users = sqlx::query_as::<_, User>(SELECT_100).bind(key(number) % 900).fetch_all(&pool).await;
            assert_eq!(users.expect("the rows are read").len(), 100);
        }
    })
    .await;
    for count in [1, 32, 128] {
        let pool = pool.clone();
        let update = move |number| {
            let pool = pool.clone();
            async move {
                let updated = sqlx::query(UPDATE).bind(key(number)).execute(&pool).await;
                assert_eq!(updated.expect("the row is updated").rows_affected(), 1);
            }
        };
        tasks(&format!("sqlx\tupdate/{count}"), count, update).await;
    }
    tasks("sqlx\tbatch/100", 1, move |_| {
        let pool = pool.clone();
        async move { insert(&pool, 100).await }
    })
    .await;
}
