//! This crate beside rusqlite on the same SQLite, one line for each measurement: `cargo xtask bench db` runs it, beside sqlx, and
//! makes the table.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic, and prints")]

mod bulk;
mod measure;

use std::path::Path;

use isobar_db::{Queryable, QueryableExt, SqliteDatabase, Statement};
use measure::{INSERT, LONG, ROWS, SELECT, SELECT_100, TABLE, UPDATE, beside, blocking, key, tasks};
use rusqlite::{Connection, params};

#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "the conversion is measured")]
struct User {
    id: i64,
    name: String,
    age: i64,
    score: Option<f64>,
}

fn main() {
    // `cargo bench` says `--bench`; `cargo test --benches` says nothing, and only asks whether it starts.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        return;
    }
    let only = arguments.iter().find(|argument| !argument.starts_with('-'));
    let is_asked = |peer: &str| only.is_none_or(|only| only == peer);
    let folder = tempfile::tempdir().unwrap();
    if is_asked("rusqlite") {
        // First of all, as the most memory of the process is printed.
        bulk::with_rusqlite(folder.path());
        with_rusqlite(&folder.path().join("rusqlite.sqlite"));
    }
    if is_asked("isobar") {
        bulk::with_isobar(folder.path());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(with_isobar(&folder.path().join("isobar.sqlite")));
    }
}

fn with_rusqlite(path: &Path) {
    let mut connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON").unwrap();
    connection.execute_batch(TABLE).unwrap();
    let insert_all = |connection: &mut Connection, count: i64| {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        let mut insert = transaction.prepare_cached(INSERT).unwrap();
        for number in 0..count {
            insert.execute(params![format!("name {number}"), number % 90, 0.5]).unwrap();
        }
        drop(insert);
        transaction.commit().unwrap();
    };
    insert_all(&mut connection, ROWS);
    let user =
        |row: &rusqlite::Row<'_>| Ok(User { id: row.get(0)?, name: row.get(1)?, age: row.get(2)?, score: row.get(3)? });
    blocking("rusqlite\tselect/1", |number| {
        let mut select = connection.prepare_cached(SELECT).unwrap();
        drop(select.query_row([key(number)], user).unwrap());
    });
    blocking("rusqlite\trows/100", |number| {
        let mut select = connection.prepare_cached(SELECT_100).unwrap();
        let users: Vec<User> = select.query_map([key(number) % 900], user).unwrap().map(Result::unwrap).collect();
        assert_eq!(users.len(), 100);
    });
    blocking("rusqlite\tupdate/1", |number| {
        let mut update = connection.prepare_cached(UPDATE).unwrap();
        assert_eq!(update.execute([key(number)]).unwrap(), 1);
    });
    blocking("rusqlite\tbatch/100", |_| insert_all(&mut connection, 100));
}

async fn with_isobar(path: &Path) {
    let db = SqliteDatabase::open(path).await.unwrap();
    db.prepare(TABLE).run().await.unwrap();
    let batch = |count: i64| {
        let insert = |number: i64| Statement::new(INSERT).bind(format!("name {number}")).bind(number % 90).bind(0.5);
        (0..count).map(insert).collect::<Vec<_>>()
    };
    db.batch(batch(ROWS)).await.unwrap();
    let select = {
        let db = db.clone();
        move |number| {
            let db = db.clone();
            async move { drop(db.prepare(SELECT).bind(key(number)).first::<User>().await.unwrap().unwrap()) }
        }
    };
    tasks("isobar\tselect/1", 1, select.clone()).await;
    tasks("isobar\tselect/32", 32, select.clone()).await;
    let long = {
        let db = db.clone();
        move || {
            let db = db.clone();
            async move { drop(db.prepare(LONG).run().await.unwrap()) }
        }
    };
    beside(long, tasks("isobar\tselect/32 beside", 32, select)).await;
    let of_100 = db.clone();
    tasks("isobar\trows/100", 1, move |number| {
        let db = of_100.clone();
        async move {
            let users: Vec<User> = db.prepare(SELECT_100).bind(key(number) % 900).all().await.unwrap();
            assert_eq!(users.len(), 100);
        }
    })
    .await;
    for count in [1, 32, 128] {
        let db = db.clone();
        let update = move |number| {
            let db = db.clone();
            async move { assert_eq!(db.prepare(UPDATE).bind(key(number)).run().await.unwrap().changes, 1) }
        };
        tasks(&format!("isobar\tupdate/{count}"), count, update).await;
    }
    tasks("isobar\tbatch/100", 1, move |_| {
        let db = db.clone();
        async move { assert_eq!(db.batch(batch(100)).await.unwrap().len(), 100) }
    })
    .await;
}
