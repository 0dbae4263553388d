//! Analytics Engine's SQL, compared with recorded answers of ClickHouse, and its errors.

mod errors;
mod events;
mod fill;
mod local;
mod parts;
mod recorded;
mod sources;

use isobar_analytics::query::Query;

use self::events::{analytics, events};

/// The answer as TabSeparated.
fn tab(sql: &str) -> String {
    let answer = analytics().run(&Query::new(format!("{sql} FORMAT TabSeparated"))).unwrap();
    String::from_utf8(answer.to_bytes(answer.format())).unwrap()
}

/// The message of a query that fails.
fn failure(sql: &str) -> String {
    match analytics().run(&Query::new(sql)) {
        Ok(answer) => panic!("{sql} has no error: {answer:?}"),
        Err(error) => error.message().to_owned(),
    }
}
