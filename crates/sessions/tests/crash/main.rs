//! Tests that no turn which a host has answered is lost, when the power goes and when the process ends.
//!
//! [`points`] records what a host does to the disk, beneath SQLite and beneath its journal, and lets the power go in the middle
//! (`ISOBAR_CRASHES`, 60 times). [`kill`] ends a process with a host by SIGKILL (`ISOBAR_KILLS`, 12 times).
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic")]

mod kill;
mod points;
#[path = "../../../storage/tests/crash/random.rs"]
mod random;
#[path = "../../../sqlite/tests/crash/record.rs"]
mod record;
#[path = "../../../storage/tests/crash/replay.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod replay;
#[path = "../../../storage/tests/crash/vfs.rs"]
#[allow(dead_code, reason = "the tests of isobar-storage use all of it")]
mod vfs;

use isobar_sessions::{Body, Request, Response, Result, SessionContext, SessionObject};

use random::{Random, count};

/// Counts: a turn adds one to the count, and a row that has it. `/read` answers the count, if the rows agree.
struct Counter(SessionContext);

impl SessionObject for Counter {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        context.sql().exec("CREATE TABLE IF NOT EXISTS turns (n INTEGER PRIMARY KEY, pad BLOB)", ())?;
        Ok(Self(context))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let Self(context) = self;
        let count = context.kv().get::<i64>("count")?.unwrap_or_default();
        let rows: i64 = context.sql().exec("SELECT count(*) FROM turns", ())?.one()?;
        // A crash between the two turns of a request leaves the first.
        let is_half = count % 5 == 0 && rows == count + 1;
        if request.uri().path() == "/read" || (rows != count && !is_half) {
            let text = if rows == count || is_half { count.to_string() } else { format!("{rows} of {count}") };
            return Ok(Response::new(Body::from(text)));
        }
        if !is_half {
            context.sql().exec("INSERT INTO turns VALUES (?, zeroblob(? % 7 * 90))", (count + 1, count))?;
        }
        if count % 5 == 0 {
            tokio::task::yield_now().await; // the turn ends here, and another begins
        }
        context.kv().put("count", &(count + 1))?;
        Ok(Response::new(Body::from((count + 1).to_string())))
    }
}
